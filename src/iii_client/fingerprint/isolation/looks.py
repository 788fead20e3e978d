"""One picture on its way to a worker and back, and what becomes of a picture whose worker is lost.

| the worker | the picture |
|---|---|
| died, or answered nonsense | `DECODER_CRASHED`; if it had seen others before, a fresh one is asked first |
| took too long | `DECODE_TIMEOUT` |
| is gone with its helper | is shown to another worker, once |
| cannot be had | `DECODER_UNAVAILABLE` |

Each death is remembered under the picture's SHA-256; after the second, nothing is tried any more.
"""

import logging
import time
from dataclasses import dataclass
from typing import BinaryIO, Protocol, Self

from iii_client.config import Limits
from iii_client.errors import IsolationError
from iii_client.fingerprint.isolation.answers import answer_bytes
from iii_client.fingerprint.isolation.confinement import ALL_LAYERS, Layer
from iii_client.fingerprint.isolation.hired import HelperGoneError, HiredWorker, WorkerLostError, new_nonce
from iii_client.fingerprint.isolation.poison import DEATHS_BEFORE_REFUSAL, PoisonMemory
from iii_client.fingerprint.isolation.questions import Question
from iii_client.fingerprint.isolation.staff import Staff
from iii_client.fingerprint.pixels import Looked, WaitForDigests
from iii_client.model import Algorithm, Reason, Recipe

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Office:
    """What all looks of one `Isolation` share."""

    staff: Staff
    poison: PoisonMemory
    wall_s: float
    warned: bool = False

    def note(self, held: Layer) -> None:
        """Say once what is missing here."""
        missing = ALL_LAYERS & ~held
        if missing and not self.warned:
            self.warned = True
            names = layer_names(missing)
            logger.warning("pictures are decoded in isolation, but without %s; see iii-client doctor", names)


class Source(Protocol):
    """Where a look's worker comes from, and goes to."""

    @property
    def recycled(self) -> bool:
        """Whether its workers may have seen other pictures."""
        ...

    @property
    def is_interrupted(self) -> bool:
        """Whether nothing more is to be tried."""
        ...

    def hire(self) -> HiredWorker:
        """A worker.

        Raises:
            IsolationError: none can be had.
        """
        ...

    def release(self, worker: HiredWorker, *, answered: bool) -> None:
        """It is not needed any more."""
        ...


class FreshWorkers:
    """A worker a picture."""

    recycled = False
    is_interrupted = False

    def __init__(self, staff: Staff) -> None:
        self._staff = staff

    def hire(self) -> HiredWorker:
        """A worker that saw nothing yet."""
        return self._staff.hire(1)

    def release(self, worker: HiredWorker, *, answered: bool) -> None:  # noqa: ARG002 - gone either way
        """End it."""
        worker.end()
        self._staff.replenish()


class RecyclingReader:
    """A `PixelReader` for one thread, whose worker is used again. Close it, or use it in a `with`."""

    is_elsewhere = True
    recycled = True

    def __init__(self, office: Office, items: int) -> None:
        self._office = office
        self._items = items
        self._worker: HiredWorker | None = None
        self._interrupted = False

    def start(
        self, stream: BinaryIO, kind: str, size_bytes: int, *, recipe: Recipe, limits: Limits
    ) -> "Look":
        """Send a picture to the worker. See `PixelReader`."""
        return Look(self._office, self, make_question(kind, size_bytes, recipe, limits), stream)

    def hire(self) -> HiredWorker:
        """The worker at hand, or a new one. See `Source`."""
        if not self._interrupted:
            self._worker = self._worker or self._office.staff.hire(self._items)
        if self._interrupted or self._worker is None:  # perhaps meanwhile, when there was nothing to end yet
            raise IsolationError("it was interrupted")
        return self._worker

    def release(self, worker: HiredWorker, *, answered: bool) -> None:
        """Keep it for the next picture, if it can be kept."""
        if not answered or worker.is_used_up:
            self._worker = None
            worker.end()

    def interrupt(self) -> None:
        """End the worker from another thread; what it looks at now is not looked at. Close it after that."""
        self._interrupted = True
        if (worker := self._worker) is not None:
            worker.interrupt()

    def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    @property
    def is_interrupted(self) -> bool:
        """See `Source`."""
        return self._interrupted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Look:
    """A `PendingLook`.

    Raises:
        ContentError: the picture could not be read to its end.
    """

    def __init__(self, office: Office, source: Source, question: Question, stream: BinaryIO) -> None:
        self._office = office
        self._source = source
        self._question = question
        self._stream = stream
        self._worker: HiredWorker | None = None
        self._deadline_s = 0.0
        self._unavailable = ""
        self._ask()

    def finish(self, wait_for_digests: WaitForDigests) -> Looked:
        """The answer, or why there is none."""
        sha256 = next(d.value for d in wait_for_digests() if d.algorithm is Algorithm.SHA256)
        if self._office.poison.deaths(sha256) >= DEATHS_BEFORE_REFUSAL:
            return Looked.refused(Reason.DECODER_CRASHED, "it ended its decoder before")
        try:
            return self._answer()
        except (HelperGoneError, WorkerLostError) as lost:
            if self._source.is_interrupted:
                return Looked.refused(Reason.DECODER_UNAVAILABLE, "it was interrupted")
            if not self._is_worth_another(lost):
                return self._dead(sha256, lost)
        self._source = FreshWorkers(self._office.staff)
        self._ask()
        try:
            return self._answer()
        except (HelperGoneError, WorkerLostError) as lost:
            return self._dead(sha256, lost)

    def cancel(self) -> None:
        """Have the worker ended, if it was not released yet."""
        self._release(answered=False)

    def _ask(self) -> None:
        self._deadline_s = time.monotonic() + self._office.wall_s
        try:
            self._worker = self._source.hire()
        except IsolationError as error:
            if not self._source.is_interrupted:
                logger.warning("a picture cannot be looked at: %s. %s", error, error.hint)
            self._unavailable = str(error)
            return
        try:
            self._stream.seek(0)
            self._worker.ask(self._question, self._stream, deadline_s=self._deadline_s)
        except BaseException:
            self._release(answered=False)
            raise

    def _answer(self) -> Looked:
        if self._worker is None:
            return Looked.refused(Reason.DECODER_UNAVAILABLE, self._unavailable)
        answered = False
        try:
            looked = self._worker.answer(self._question, deadline_s=self._deadline_s)
            self._office.note(self._worker.held(deadline_s=self._deadline_s))
            answered = True
        finally:
            self._release(answered=answered)
        return looked

    def _release(self, *, answered: bool) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._source.release(worker, answered=answered)

    def _is_worth_another(self, lost: Exception) -> bool:
        if isinstance(lost, HelperGoneError):
            self._office.staff.dismiss()
            return True
        # A worker that was used before may be lost through what it saw before. Time is not spent twice.
        return self._source.recycled and getattr(lost, "reason", None) is not Reason.DECODE_TIMEOUT

    def _dead(self, sha256: bytes, lost: Exception) -> Looked:
        self._office.poison.record_death(sha256)
        if isinstance(lost, WorkerLostError):
            return Looked.refused(lost.reason, lost.detail)
        self._office.staff.dismiss()
        return Looked.refused(Reason.DECODER_CRASHED, "it ended the decoder's helper")


def make_question(kind: str, size_bytes: int, recipe: Recipe, limits: Limits) -> Question:
    """A question with a nonce of its own.

    Raises:
        ValueError: a recipe with more frames than an answer holds.
    """
    answer_bytes(recipe)
    return Question(nonce=new_nonce(), kind=kind, size_bytes=size_bytes, recipe=recipe, limits=limits)


def layer_names(layers: Layer) -> str:
    """Layers as words, for a person."""
    return ", ".join(str(layer.name).lower().replace("_", " ") for layer in layers)
