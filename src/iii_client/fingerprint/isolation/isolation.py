"""Isolation: a stranger's picture is looked at in a process that has nothing, and that is gone afterwards.

    reader = Isolation()                                   # nothing is started yet
    build_fingerprint(content, recipe=…, limits=…, reader=reader)

Promises: each picture gets a worker of its own, which saw no other picture before and sees none after;
whatever happens to it costs that picture only, as `skipped` with a reason; nothing is waited for longer than
`wall_s` (twice that, where a helper is killed from outside); what comes back is one record of fixed length,
parsed strictly. Thread-safe, and safe to fork. Where the kernel lacks a layer, the others hold, and one line
in the log says so.
"""

import time
from typing import BinaryIO, Self

from iii_client.config import Limits
from iii_client.errors import IsolationError
from iii_client.fingerprint.isolation.confinement import ALL_LAYERS, Bounds, Layer
from iii_client.fingerprint.isolation.hired import HelperGoneError, WorkerLostError
from iii_client.fingerprint.isolation.launching import HINT, HelperSettings
from iii_client.fingerprint.isolation.looks import FreshWorkers, Look, Office, RecyclingReader, make_question
from iii_client.fingerprint.isolation.poison import DeathsInThisProcess, PoisonMemory
from iii_client.fingerprint.isolation.staff import Staff
from iii_client.model import Recipe

#: A picture at the limits takes up to 3 s here (measured); a slower or busy machine takes longer.
WALL_S = 10.0
#: CPU time of a worker that sees one picture, enforced by the kernel.
CPU_S = 5
#: Memory beyond the interpreter's. A WebP of 49 megapixels takes 850 MB (measured).
MEMORY_BYTES = 1 << 30

#: Pictures that a recycled worker sees at most.
RECYCLED_ITEMS = 1000

_LOOK = "iii_client.fingerprint.pixels:look_at"


class Isolation:
    """A `PixelReader` that gives each picture a worker of its own.

    Args:
        wall_s: seconds from question to answer.
        bounds: memory and CPU time of one worker.
        layers: which to try; for tests of what the others hold alone.
        poison: remembers what killed its worker.
        spares: workers that are forked ahead, so that an upload does not wait for one. Each takes 5 MB.
        look: `module:function` that looks at a picture in the worker; for tests.
    """

    is_elsewhere = True

    def __init__(
        self,
        *,
        wall_s: float = WALL_S,
        bounds: Bounds | None = None,
        layers: Layer = ALL_LAYERS,
        poison: PoisonMemory | None = None,
        spares: int = 1,
        look: str = _LOOK,
    ) -> None:
        bounds = bounds or Bounds(memory_bytes=MEMORY_BYTES, cpu_s=CPU_S)
        self._office = Office(
            staff=Staff(HelperSettings(layers=layers, bounds=bounds, look=look), spares=spares),
            poison=poison or DeathsInThisProcess(),
            wall_s=wall_s,
        )

    def start(self, stream: BinaryIO, kind: str, size_bytes: int, *, recipe: Recipe, limits: Limits) -> Look:
        """Send a picture to a worker of its own. See `PixelReader`."""
        question = make_question(kind, size_bytes, recipe, limits)
        return Look(self._office, FreshWorkers(self._office.staff), question, stream)

    def recycling(self, items: int = RECYCLED_ITEMS) -> RecyclingReader:
        """A reader whose worker sees up to `items` pictures: for a hoster's rescan of its own storage.

        A picture that takes over such a worker can falsify the answers about those after it. That a match is
        looked at a second time by a fresh worker (`look_again`) holds against the false matches; that the
        worker is replaced, against the false silence, after `items`. CPU time is not limited, only `wall_s`.
        """
        return RecyclingReader(self._office, items)

    def held_layers(self) -> Layer:
        """The layers that hold for a worker, as it says before it sees a picture.

        Raises:
            IsolationError: no worker can be had.
        """
        worker = self._office.staff.hire(1)
        try:
            return worker.held(deadline_s=time.monotonic() + self._office.wall_s)
        except (WorkerLostError, HelperGoneError) as error:
            raise IsolationError("a worker ended before it said anything", hint=HINT) from error
        finally:
            worker.end()

    def warm_up(self) -> None:
        """Start the helper and a spare worker now.

        Raises:
            IsolationError: the helper cannot be started.
        """
        self._office.staff.prepare()

    def close(self) -> None:
        """End the helper and all workers. They are started again if they are needed again."""
        self._office.staff.dismiss()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
