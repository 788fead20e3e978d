"""A store that is not waited for twice: after it failed slowly, questions are refused at once for a while.

A database that is locked, or away behind a network, takes seconds to say so, and one upload that hits asks it
several times (budgets, allow-list, breaker) before it writes. Each of these does without it when it is
refused; only the wait would be added up, by every thread.

Promises: what is written is tried again after `WRITES_AFTER_S`, because it is evidence; whatever fails at
once (a full disk, a wrong password) is tried every time, because nobody waits for it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from iii_client.errors import RecordError
from iii_client.records.store import Store, Transaction

#: A failure that took so long is worth avoiding.
SLOW_S = 1.0
#: How long questions are refused after one. Meanwhile an allow-list and budgets are not looked at: hits are
#: ruled as the policy says.
QUESTIONS_AFTER_S = 10.0
#: How long writing is refused. What is refused then is not recorded, and the decision says so.
WRITES_AFTER_S = 2.0


class ImpatientStore:
    """Puts this in front of a store. Fits `store.Store`. One process's own; safe after a fork.

    Args:
        store: the store behind.
        timer: monotonic seconds.
    """

    def __init__(self, store: Store, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._timer = timer
        # Read and written without a lock: the worst is that one thread more waits once.
        self._failed_at_s = float("-inf")

    def transaction(self) -> AbstractContextManager[Transaction]:
        """See `store.Store`; refused at once for `WRITES_AFTER_S` after a slow failure."""
        return self._watched(self._store.transaction, WRITES_AFTER_S)

    def reading(self) -> AbstractContextManager[Transaction]:
        """See `store.Store`; refused at once for `QUESTIONS_AFTER_S` after a slow failure."""
        return self._watched(self._store.reading, QUESTIONS_AFTER_S)

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        self._store.close()

    @contextmanager
    def _watched(
        self, begin: Callable[[], AbstractContextManager[Transaction]], refused_for_s: float
    ) -> Iterator[Transaction]:
        started_s = self._timer()
        if started_s - self._failed_at_s < refused_for_s:
            raise RecordError(
                "the state database did not answer in time a moment ago",
                hint="Is it locked by a backup, overloaded, or away? It is tried again within seconds.",
            )
        try:
            with begin() as tx:
                yield tx
        except RecordError:
            if self._timer() - started_s >= SLOW_S:
                self._failed_at_s = self._timer()
            raise
        self._failed_at_s = float("-inf")
