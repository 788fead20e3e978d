"""A thread that keeps the filter fresh, for hosts without a timer: one leader among any number of workers.

Every process may run one. Each looks now and then whether an update is due, which costs a read of a small
file; whoever gets the lock first updates, the others find that it is no longer due. Readers in all
processes follow by themselves. A thread does not survive a fork: start it in each worker, after the fork.
"""

import logging
import random as random_module
import threading

from iii_client.errors import IIIError, TrustError
from iii_client.updates.schedule import Random
from iii_client.updates.updater import Updater

#: How often a process looks, give or take a half: an update is due once an hour.
LOOK_EVERY_S = 60.0

#: How long `stop` waits for an update that is running; it is then left to the end of the process.
STOP_TIMEOUT_S = 5.0

logger = logging.getLogger(__name__)


class Refresher:
    """A running refresher; make it with `start_refresher`."""

    def __init__(self, updater: Updater, *, look_every_s: float, random: Random) -> None:
        self._updater = updater
        self._look_every_s = look_every_s
        self._random = random
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="iii-client-refresher", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread lives: not after `stop`, and not in a child that was forked."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread; an update that is running is not interrupted."""
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        # The first look is jittered, too: a deployment starts all workers of all hosts at once.
        while not self._stop.wait(self._look_every_s * (0.5 + self._random())):
            try:
                self._updater.update_if_due()
            except TrustError as error:
                logger.error("the filter was not updated: %s %s", error, error.hint)  # noqa: TRY400
            except IIIError as error:
                logger.warning("the filter was not updated: %s %s", error, error.hint)
            except Exception as error:  # noqa: BLE001 - the boundary of a thread: a bug must not end updates
                logger.error("the filter was not updated: %s", type(error).__name__)  # noqa: TRY400


def start_refresher(
    updater: Updater, *, look_every_s: float = LOOK_EVERY_S, random: Random = random_module.random
) -> Refresher:
    """Update in the background whenever it is due.

    Args:
        updater: of the state directory that this process reads.
        look_every_s: how often to look, in seconds, give or take a half.
        random: for the jitter.
    """
    return Refresher(updater, look_every_s=look_every_s, random=random)
