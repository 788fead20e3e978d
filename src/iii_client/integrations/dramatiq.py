"""Dramatiq: two actors that drain the outbox. Needs the extra `[dramatiq]`.

    hook = DramatiqHook(broker)                  # in the module that makes the broker
    hook.ring(decision)                          # in the upload handler; optional
    hook.sweep.send()                            # every minute, from cron, APScheduler or periodiq

Dramatiq has no scheduler of its own: `iii-client outbox drain` from a timer serves as the sweep, too.
"""

from collections.abc import Callable

from iii_client.drain import Drainer
from iii_client.errors import MissingExtraError
from iii_client.integrations.queues import (
    DELAY_S,
    ITEM_TASK,
    SWEEP_TASK,
    Doorbell,
    drainer_from_env,
)
from iii_client.model import Decision

try:
    from dramatiq import Actor, Broker
except ImportError:
    raise MissingExtraError("the Dramatiq hook", extra="dramatiq") from None

#: Longest run of a message, in milliseconds: a sweep through a large backlog keeps to the service's rate.
TIME_LIMIT_MS = 3_600_000


class DramatiqHook:
    """Declares the actors with a broker, and rings for new items.

    Args:
        broker: of the application.
        drainer: gives the drainer of a worker process.
        delay_s: seconds before an item is asked about.

    Attributes:
        sweep: the actor that asks about everything that is due.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        drainer: Callable[[], Drainer] = drainer_from_env,
        delay_s: float = DELAY_S,
    ) -> None:
        def drain_item(encounter_id: str) -> None:
            drainer().drain_once(encounter_id=encounter_id)

        def sweep() -> None:
            drainer().run_until_empty()

        # No retries by the queue: the outbox has its own back-off, and the next sweep comes.
        actor: Actor[[str], None] = _actor(drain_item, name=ITEM_TASK, broker=broker)
        self.sweep: Actor[[], None] = _actor(sweep, name=SWEEP_TASK, broker=broker)
        delay_ms = round(delay_s * 1000)
        self._doorbell = Doorbell(
            lambda encounter_id: actor.send_with_options(args=(encounter_id,), delay=delay_ms)
        )

    def ring(self, decision: Decision) -> bool:
        """Have a worker ask about this decision soon. See `Doorbell.ring`."""
        return self._doorbell.ring(decision)


def _actor(function: Callable[..., None], *, name: str, broker: Broker) -> Actor[..., None]:
    return Actor(
        function,
        broker=broker,
        actor_name=name,
        queue_name="default",
        priority=0,
        options={"max_retries": 0, "time_limit": TIME_LIMIT_MS},
    )
