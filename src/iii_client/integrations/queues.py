"""What the hooks for task queues share: when to ring, and which drainer answers.

A queue is a doorbell and no store: the outbox row is on disk before the upload is answered, a message carries
nothing but an encounter's id, and a periodic sweep finds what the queue lost. So a message that comes twice,
late or never changes nothing but the moment.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable

from iii_client.config import Config
from iii_client.drain import Drainer
from iii_client.model import Decision, Outcome

#: Names of the tasks in every queue.
ITEM_TASK, SWEEP_TASK = "iii_client.drain_item", "iii_client.sweep"
#: Seconds between two sweeps.
SWEEP_S = 60.0
#: Seconds before an item is asked about again: whatever kept the service from answering had no time to pass.
DELAY_S = 10.0

#: Rings that wait for a broker that is slow or away; beyond, the sweep has to do.
MAX_RINGS = 100

logger = logging.getLogger(__name__)

_drainers: dict[int, Drainer] = {}


class Doorbell:
    """Sends messages from a thread of its own: an upload never waits for a broker, which may try for seconds
    to be reached.

    Args:
        send: hands one encounter's id to the queue.
    """

    def __init__(self, send: Callable[[str], object]) -> None:
        self._send = send
        self._pid = 0
        self._rings: queue.Queue[str] = queue.Queue(MAX_RINGS)

    def ring(self, decision: Decision) -> bool:
        """Have a worker ask about this decision soon, if an answer is outstanding. Never waits or raises.

        Returns:
            Whether it is on its way to the broker; if not, or if it gets lost, the sweep finds the item.
        """
        if decision.verdict.outcome is not Outcome.UNCONFIRMED or not decision.encounter_id:
            return False
        self._ensure_running()
        try:
            self._rings.put_nowait(decision.encounter_id)
        except queue.Full:
            return False
        return True

    def _ensure_running(self) -> None:
        # No lock: one that is held during a fork stays locked in the child. Two threads that race here start
        # one sender too many.
        if self._pid != os.getpid():
            self._pid, self._rings = os.getpid(), queue.Queue(MAX_RINGS)
            threading.Thread(target=self._run, args=(self._rings,), name="iii-doorbell", daemon=True).start()

    def _run(self, rings: "queue.Queue[str]") -> None:
        while True:
            encounter_id = rings.get()
            try:
                self._send(encounter_id)
            except Exception as error:  # noqa: BLE001 - each broker has errors of its own, of no common kind
                logger.warning("no task was queued (%s); the sweep finds the item", type(error).__name__)


def drainer_from_env() -> Drainer:
    """This process's drainer, built from `III_*` variables on first use.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    pid = os.getpid()
    if pid not in _drainers:
        _drainers.clear()
        _drainers[pid] = Drainer.from_config(Config.from_env())
    return _drainers[pid]
