"""Which contents killed their decoder, so that they are not tried for ever."""

from collections import OrderedDict
from typing import Protocol

#: So often a content may take its worker with it: once may be the machine's fault (memory was short).
DEATHS_BEFORE_REFUSAL = 2

#: Contents remembered in one process, about 1 MB.
_MOST_REMEMBERED = 4096


class PoisonMemory(Protocol):
    """Counts deaths by content. Called from several threads; never raises."""

    def deaths(self, sha256: bytes) -> int:
        """How often this content took a worker with it, as far as is known."""
        ...

    def record_death(self, sha256: bytes) -> None:
        """It did so once more."""
        ...


class DeathsInThisProcess:
    """The default: remembered while the process lives, the latest few thousand."""

    def __init__(self) -> None:
        # No lock, which a fork could leave held: each step is one that the interpreter does not interrupt.
        self._deaths: OrderedDict[bytes, int] = OrderedDict()

    def deaths(self, sha256: bytes) -> int:
        """How often this content took a worker with it."""
        return self._deaths.get(sha256, 0)

    def record_death(self, sha256: bytes) -> None:
        """It did so once more."""
        self._deaths[sha256] = self._deaths.pop(sha256, 0) + 1
        if len(self._deaths) > _MOST_REMEMBERED:
            self._deaths.popitem(last=False)
