"""Celery: two tasks and a beat entry that drain the outbox. Needs the extra `[celery]`.

hook = CeleryHook(app)                       # in the module that makes the Celery app
...
decision = scanner.scan(upload)
hook.ring(decision)                          # in the upload handler; optional, the sweep comes anyway
"""

from collections.abc import Callable
from typing import Any

from iii_client.drain import Drainer
from iii_client.errors import MissingExtraError
from iii_client.integrations.queues import (
    DELAY_S,
    ITEM_TASK,
    SWEEP_S,
    SWEEP_TASK,
    Doorbell,
    drainer_from_env,
)
from iii_client.model import Decision

try:
    from celery import Celery
except ImportError:
    raise MissingExtraError("the Celery hook", extra="celery") from None


class CeleryHook:
    """Registers the tasks with an app, and rings for new items.

    Args:
        app: of the application.
        drainer: gives the drainer of a worker process.
        sweep_s: seconds between two sweeps by `celery beat`.
        delay_s: seconds before an item is asked about.
    """

    def __init__(
        self,
        app: Celery,
        *,
        drainer: Callable[[], Drainer] = drainer_from_env,
        sweep_s: float = SWEEP_S,
        delay_s: float = DELAY_S,
    ) -> None:
        options: dict[str, Any] = {
            # Acknowledged when done and given back when a worker dies: by default Celery does neither.
            "acks_late": True,
            "reject_on_worker_lost": True,
            "ignore_result": True,
            # Of this app: by default Celery gives a task to every app of the process.
            "shared": False,
        }

        def drain_item(encounter_id: str) -> None:
            drainer().drain_once(encounter_id=encounter_id)

        def sweep() -> None:
            drainer().run_until_empty()

        task = app.task(drain_item, name=ITEM_TASK, **options)
        app.task(sweep, name=SWEEP_TASK, **options)
        self._doorbell = Doorbell(
            lambda encounter_id: task.apply_async((encounter_id,), countdown=delay_s, retry=False)
        )
        # Expires: after an hour without workers one sweep is enough.
        app.conf.beat_schedule = {
            **(app.conf.beat_schedule or {}),
            SWEEP_TASK: {"task": SWEEP_TASK, "schedule": sweep_s, "options": {"expires": sweep_s}},
        }

    def ring(self, decision: Decision) -> bool:
        """Have a worker ask about this decision soon. See `Doorbell.ring`."""
        return self._doorbell.ring(decision)
