"""The filter that a process asks: always the current release, remapped by itself after an update."""

import logging

from iii_client.errors import FilterFormatError, NoFilterError
from iii_client.filters import DEFAULT_ORIENTATIONS, Clock, FilterSnapshot, Orientation, utc_now
from iii_client.updates.store import FilterStore

logger = logging.getLogger(__name__)


class LiveFilter:
    """Always the current release (a `protocols.FilterSource`): remaps by itself after an update.

    Asking costs a `stat`. Thread-safe; one is enough for a process, and it survives a fork. When a new
    pointer or file turns out to be damaged, the release in use stays in use and the fault is logged: it
    still finds everything that it lists, and its age is seen.

    Args:
        store: where releases are installed.
        orientations: views that each picture is asked as in the near segments.
        clock: tells how old a release is.
    """

    def __init__(
        self,
        store: FilterStore,
        *,
        orientations: tuple[Orientation, ...] = DEFAULT_ORIENTATIONS,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._orientations = orientations
        self._clock = clock
        self._state: tuple[tuple[int, int, int], FilterSnapshot] | None = None

    def current(self) -> FilterSnapshot:
        """The newest installed release.

        Raises:
            NoFilterError: none is installed.
            FilterFormatError: it is damaged and there is none before it.
        """
        # Without a lock: one held by another thread during a fork would stay locked in the child. Threads
        # that race here open one snapshot too many, which is dropped; whatever stamp stays is the true one
        # or differs from the next, which opens again.
        state = self._state
        stamp = self._store.stamp()
        if state is not None and state[0] == stamp:
            return state[1]
        try:
            # The stamp is older than what is read: a change in between is seen at the next call.
            snapshot = self._store.snapshot(self._clock, orientations=self._orientations)
        except (NoFilterError, FilterFormatError) as error:
            if state is None:
                raise
            logger.warning(
                "the installed filter cannot be opened, release %s stays in use: %s", state[1].release, error
            )
            snapshot = state[1]
        self._state = (stamp, snapshot)
        return snapshot
