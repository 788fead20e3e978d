"""RQ: two functions that drain the outbox. Needs the extra `[rq]`.

    hook = RqHook(queue)
    hook.ring(decision)                           # in the upload handler; optional
    cron.register(sweep, "default", interval=60)  # in the file that `rq cron` reads: this finds everything

The workers build their drainer from `III_*` variables.
"""

from iii_client.errors import MissingExtraError
from iii_client.integrations.queues import Doorbell, drainer_from_env
from iii_client.model import Decision

try:
    from rq import Queue
except ImportError:
    raise MissingExtraError("the RQ hook", extra="rq") from None

#: Longest run of a job, in seconds: a sweep through a large backlog keeps to the service's rate.
JOB_TIMEOUT_S = 3600


def drain_item(encounter_id: str) -> None:
    """Ask about one item, and see to the answer."""
    drainer_from_env().drain_once(encounter_id=encounter_id)


def sweep() -> None:
    """Ask about everything that is due."""
    drainer_from_env().run_until_empty()


class RqHook:
    """Rings for new items.

    Args:
        queue: of the application.
    """

    def __init__(self, queue: Queue) -> None:
        self._doorbell = Doorbell(
            lambda encounter_id: queue.enqueue_call(
                drain_item, args=(encounter_id,), timeout=JOB_TIMEOUT_S, result_ttl=0
            )
        )

    def ring(self, decision: Decision) -> bool:
        """Have a worker ask about this decision soon. See `Doorbell.ring`."""
        return self._doorbell.ring(decision)
