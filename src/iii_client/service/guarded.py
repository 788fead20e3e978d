"""A confirmer that does not ask what it knows, and leaves a service alone that fails or asks for it.

    hashes ──► remembered? ──► the answer
                  │ no
                  ▼
               may it be asked? ── no ──► Unanswered(SERVICE_PAUSED)
                  │ yes
                  ▼
               the confirmer behind ──► what became of it is noted, answers are remembered

Promises: a fault of the memory or of the stored state never blocks a confirmation and never changes an
answer: while the state cannot be kept, each process has a breaker of its own, closed at first. Nothing is
slept. What is remembered never left this time.
"""

import hashlib
import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from iii_client.config import ServiceConfig
from iii_client.errors import RecordError
from iii_client.model import (
    Algorithm,
    Answer,
    Confirmation,
    HashValue,
    Listed,
    NotListed,
    Reason,
    Unanswered,
)
from iii_client.model.breakers import CLOSED, BreakerState
from iii_client.protocols import Confirmer
from iii_client.service.breaker import (
    Admission,
    admit,
    answered,
    failed,
    not_asked,
    paused_s,
    refused,
    worked,
)

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

#: So long a process does without the shared state after it failed: a database that is locked or away takes
#: seconds to say so, and an upload waits for each of them.
WITHOUT_STATE_S = 30.0


class BreakerStore(Protocol):
    """Keeps breakers where all workers see them."""

    def apply(self, endpoint: str, step: Callable[[BreakerState], tuple[_T, BreakerState]]) -> _T:
        """Replace a breaker's state by the next one, in one atomic step.

        Args:
            endpoint: which breaker; one that is not there is `CLOSED`.
            step: pure, because it may be called twice: gives a result and the next state.

        Raises:
            RecordError: the state could not be read or kept.
        """
        ...


class AnswerMemory(Protocol):
    """Remembers what a service answered, for as long as the service said."""

    def recall(self, hashes: Sequence[HashValue]) -> Mapping[HashValue, Answer]:
        """Answers that may still be used, for those hashes that there is one for. Never raises."""
        ...

    def remember(self, answers: Sequence[Answer]) -> None:
        """Keep those that may be kept. Never raises."""
        ...


class GuardedConfirmer:
    """Puts a memory and a circuit breaker in front of a confirmer. Fits `protocols.Confirmer`.

    Args:
        inner: asks the service.
        endpoint: names the service in the shared state, see `endpoint_of`.
        breaker: the shared state.
        answers: what was answered before; None to ask always.
        clock: aware.
        timer: monotonic seconds.
        jitter: at random from 0 to 1.
    """

    def __init__(
        self,
        inner: Confirmer,
        *,
        endpoint: str,
        breaker: BreakerStore,
        answers: AnswerMemory | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._endpoint = endpoint
        self._breaker = breaker
        self._answers = answers
        self._clock = clock
        self._timer = timer
        self._jitter = jitter
        self._own_state = CLOSED
        self._on_its_own_until_s = -math.inf

    def supports(self, algorithm: Algorithm) -> bool:
        """What the confirmer behind supports."""
        return self._inner.supports(algorithm)

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        """Ask about what is not remembered, if the service may be asked. See `protocols.Confirmer`."""
        started_s = self._timer()
        known = dict(self._answers.recall(hashes)) if self._answers else {}
        unknown = tuple(dict.fromkeys(value for value in hashes if value not in known))
        reply = Confirmation()
        if unknown:
            reply = self._ask(unknown, spent_s=spent_s, started_s=started_s)
        answers = {**known, **dict(zip(unknown, reply.answers, strict=True))}
        return Confirmation(
            answers=tuple(answers[value] for value in hashes),
            hashes_sent=reply.hashes_sent,
            confirm_id=reply.confirm_id,
            minimum_wait_s=reply.minimum_wait_s,
            recalled=frozenset(known),
        )

    def close(self) -> None:
        """Close what the confirmer behind has open."""
        close = getattr(self._inner, "close", None)
        if close is not None:
            close()

    def _ask(self, hashes: Sequence[HashValue], *, spent_s: float, started_s: float) -> Confirmation:
        now_ms = self._now_ms()

        def enter(state: BreakerState) -> tuple[tuple[Admission, float], BreakerState]:
            admission, after = admit(state, now_ms=now_ms)
            return (admission, paused_s(state, now_ms=now_ms)), after

        admission, wait_s = self._apply(enter)
        if admission is Admission.PAUSED:
            logger.warning("hashes stay unconfirmed: %s", Reason.SERVICE_PAUSED)
            return Confirmation(
                answers=tuple(
                    Unanswered(hash=value, reason=Reason.SERVICE_PAUSED, retry_after_s=wait_s)
                    for value in hashes
                )
            )
        # What the look into the state took is the upload's time, too.
        reply = self._inner.confirm(hashes, spent_s=spent_s + self._timer() - started_s)
        self._note(reply, probed=admission is Admission.PROBE)
        if self._answers:
            self._answers.remember(reply.answers)
        return reply

    def _note(self, reply: Confirmation, *, probed: bool) -> None:
        now_ms, jitter = self._now_ms(), self._jitter()

        def leave(state: BreakerState) -> tuple[None, BreakerState]:
            return None, after_reply(state, reply, probed=probed, jitter=jitter, now_ms=now_ms)

        self._apply(leave)

    def _apply(self, step: Callable[[BreakerState], tuple[_T, BreakerState]]) -> _T:
        if self._timer() >= self._on_its_own_until_s:
            try:
                return self._breaker.apply(self._endpoint, step)
            except RecordError as error:
                logger.error(  # noqa: TRY400 - a traceback would carry paths and values
                    "the state of the service cannot be shared just now: %s %s", error, error.hint
                )
                self._on_its_own_until_s = self._timer() + WITHOUT_STATE_S
        result, self._own_state = step(self._own_state)
        return result

    def _now_ms(self) -> int:
        return round(self._clock().timestamp() * 1000)


def after_reply(
    state: BreakerState, reply: Confirmation, *, probed: bool, jitter: float, now_ms: int
) -> BreakerState:
    """What a reply makes of a breaker. Pure.

    One real answer proves that the service works: the others of its batch may have run out of time.
    """
    if reply.hashes_sent == 0:
        return not_asked(state, probed=probed)
    faults = [answer for answer in reply.answers if isinstance(answer, Unanswered)]
    wait_s = max([reply.minimum_wait_s, *(fault.retry_after_s for fault in faults)])
    if any(isinstance(answer, (Listed, NotListed)) for answer in reply.answers):
        return worked(state, wait_s=wait_s, now_ms=now_ms)
    if any(fault.reason is Reason.SERVICE_REFUSED for fault in faults):
        return refused(state, now_ms=now_ms)
    if any(fault.failed for fault in faults):
        return failed(state, probed=probed, jitter=jitter, now_ms=now_ms)
    return answered(state, wait_s=wait_s, now_ms=now_ms)


def endpoint_of(config: ServiceConfig) -> str:
    """A short name for a service and the account it is asked under. It ends up in state and metrics, so it
    tells neither."""
    identity = "\n".join((config.url.rstrip("/"), config.username, str(config.v1_test)))
    return f"{config.protocol}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
