"""A confirmer that keeps to a rate: few hashes a call, and each call in its turn.

Promises: no call leaves before its turn came; each call has the whole budget of the confirmer behind, because
nobody's upload waits; after a call that the next one would fail like, or when the turn never comes, the rest
is not asked.
"""

from collections.abc import Callable, Sequence

from iii_client.model import Algorithm, Answer, Confirmation, HashValue, Reason, Unanswered
from iii_client.protocols import Confirmer

#: After one of these the next call would meet the same.
WHOLE_SERVICE = frozenset(
    {
        Reason.NO_SERVICE,
        Reason.SERVICE_UNREACHABLE,
        Reason.SERVICE_TIMEOUT,
        Reason.SERVICE_REFUSED,
        Reason.SERVICE_RATE_LIMITED,
        Reason.SERVICE_PAUSED,
    }
)


class PacedConfirmer:
    """Asks in small calls, each in its turn. Fits `protocols.Confirmer`.

    Args:
        inner: asks the service.
        hashes_per_call: most hashes of one call of the service's contract: 1 under v1, 100 under v2.
        turn: returns when the next call may leave; whether it may at all.
    """

    def __init__(self, inner: Confirmer, *, hashes_per_call: int, turn: Callable[[], bool]) -> None:
        self._inner = inner
        self._hashes_per_call = hashes_per_call
        self._turn = turn

    def supports(self, algorithm: Algorithm) -> bool:
        """What the confirmer behind supports."""
        return self._inner.supports(algorithm)

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:  # noqa: ARG002
        """Ask about hashes; `DEFERRED` for those whose turn did not come. See `protocols.Confirmer`."""
        replies: list[Confirmation] = []
        answers: list[Answer] = []
        for start in range(0, len(hashes), self._hashes_per_call):
            fault = _fault_of_all(answers)
            if fault is None and not self._turn():
                fault = Unanswered(hash=hashes[start], reason=Reason.DEFERRED, detail="stopped")
            if fault is not None:
                answers += [
                    Unanswered(
                        hash=value,
                        reason=fault.reason,
                        detail=fault.detail,
                        retry_after_s=fault.retry_after_s,
                    )
                    for value in hashes[start:]
                ]
                break
            replies.append(self._inner.confirm(hashes[start : start + self._hashes_per_call]))
            answers += replies[-1].answers
        return Confirmation(
            answers=tuple(answers),
            hashes_sent=sum(reply.hashes_sent for reply in replies),
            confirm_id=next((reply.confirm_id for reply in reversed(replies) if reply.confirm_id), ""),
            minimum_wait_s=max((reply.minimum_wait_s for reply in replies), default=0.0),
        )


def _fault_of_all(answers: Sequence[Answer]) -> Unanswered | None:
    last = answers[-1] if answers else None
    return last if isinstance(last, Unanswered) and last.reason in WHOLE_SERVICE else None
