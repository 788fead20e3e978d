"""Asking about a batch, and what the answers say about the service as a whole. Pure but for `ask`.

Promises: one item that the service chokes on is found by halving, at the cost of some calls, and the others
get their answers; a service that is broken as a whole is asked three times and then left alone.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from iii_client.model import ANSWERABLE_REASONS, Confirmation, Reason, Unanswered
from iii_client.service.paced import WHOLE_SERVICE

_Item = TypeVar("_Item")

#: The service was reached and made nothing of a whole call: perhaps because of one item in it.
_CHOKED = frozenset({Reason.SERVICE_ERROR, Reason.SERVICE_BAD_ANSWER})


def ask_in_halves(
    items: Sequence[_Item], ask: Callable[[Sequence[_Item]], Sequence[Confirmation]]
) -> tuple[Confirmation, ...]:
    """Answers for each item, aligned.

    Args:
        items: what to ask about.
        ask: one call; aligned.
    """
    answers = tuple(ask(items)) if items else ()
    return _find_culprit(items, answers, ask) if _may_hide_a_culprit(answers) else answers


def _find_culprit(
    items: Sequence[_Item],
    failed: tuple[Confirmation, ...],
    ask: Callable[[Sequence[_Item]], Sequence[Confirmation]],
) -> tuple[Confirmation, ...]:
    middle = len(items) // 2
    first, second = tuple(ask(items[:middle])), tuple(ask(items[middle:]))
    if fault_of_all(first) and fault_of_all(second):
        # Neither half got through: it is not one item's fault.
        return failed
    if _may_hide_a_culprit(first):
        first = _find_culprit(items[:middle], first, ask)
    if _may_hide_a_culprit(second):
        second = _find_culprit(items[middle:], second, ask)
    return first + second


def _may_hide_a_culprit(answers: Sequence[Confirmation]) -> bool:
    return len(answers) > 1 and fault_of_all(answers) in _CHOKED


def fault_of_all(confirmations: Sequence[Confirmation]) -> Reason | None:
    """Why not one item got an answer; None when one did, or nothing was asked."""
    reasons = []
    for confirmation in confirmations:
        last = confirmation.answers[-1] if confirmation.answers else None
        if not isinstance(last, Unanswered) or last.reason not in ANSWERABLE_REASONS:
            return None
        reasons.append(last.reason)
    return next((reason for reason in reasons if reason in WHOLE_SERVICE), reasons[0] if reasons else None)


def retry_after_s(confirmation: Confirmation) -> float:
    """How long the service asks to be left alone about this item."""
    return max(
        (answer.retry_after_s for answer in confirmation.answers if isinstance(answer, Unanswered)),
        default=0.0,
    )
