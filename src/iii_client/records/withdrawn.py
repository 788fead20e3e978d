"""Past actions that relied on a hash which is listed no more.

Lists have errors. A hash that is taken off one stops hurting new uploads at once; this finds the old ones.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from iii_client.model import Action, Algorithm, Answer, HashValue, NotListed, Outcome, Unanswered
from iii_client.protocols import Confirmer
from iii_client.records.cases import Case, Hit, load_case
from iii_client.records.store import Store

#: Hashes of one question: the most of one v2 call, so that each has the whole budget of a confirmation.
ASKED_AT_ONCE = 100


class SaidBy(StrEnum):
    """Who says that a hash is listed no more."""

    RELEASE = "release"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A case that rests on nothing any more: of all its confirmed hashes, none is listed now."""

    case: Case
    said_by: SaidBy


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnReport:
    """What was found.

    Attributes:
        found: oldest first.
        looked_at: cases that rest on confirmed hashes.
        unanswered: of those, cases about which the service could not be asked now.
        hashes_sent: that left the process; each had left it before, when it was confirmed.
    """

    found: tuple[Withdrawn, ...]
    looked_at: int
    unanswered: int
    hashes_sent: int


def find_withdrawn(
    store: Store, *, suppressed: Collection[bytes], confirmer: Confirmer | None
) -> WithdrawnReport:
    """Look through everything that was held or blocked because the service confirmed it.

    Args:
        store: the records.
        suppressed: SHA-256 of hashes that the installed release names as withdrawn (`Release.withdrawn`).
        confirmer: asked about the hashes that the release does not name; None asks nobody. Not one that
            remembers answers.
    """
    cases = _acted_on(store)
    by_release = [case for case in cases if all(_is_in(hit, suppressed) for hit in case.confirmed)]
    others = [case for case in cases if case not in by_release]
    answers, hashes_sent = _ask(others, suppressed, confirmer) if confirmer else ({}, 0)
    found = [Withdrawn(case=case, said_by=SaidBy.RELEASE) for case in by_release]
    unanswered = 0
    for case in others:
        said = [answers.get(_key(hit)) for hit in case.confirmed if not _is_in(hit, suppressed)]
        if all(isinstance(answer, NotListed) for answer in said):
            found.append(Withdrawn(case=case, said_by=SaidBy.SERVICE))
        elif confirmer and any(answer is None or isinstance(answer, Unanswered) for answer in said):
            unanswered += 1
    return WithdrawnReport(
        found=tuple(sorted(found, key=lambda one: one.case.at)),
        looked_at=len(cases),
        unanswered=unanswered,
        hashes_sent=hashes_sent,
    )


def _acted_on(store: Store) -> list[Case]:
    with store.reading() as tx:
        rows = tx.query("SELECT DISTINCT encounter_id FROM encounter_hit WHERE confirmed = 1")
        cases = [load_case(tx, encounter_id) for (encounter_id,) in rows]
    return [
        case
        for case in cases
        if not case.is_test
        and case.outcome_now is Outcome.MATCHED
        and (case.action_now is not Action.ALLOW or case.ruled is not Action.ALLOW)
    ]


def _ask(
    cases: Sequence[Case], suppressed: Collection[bytes], confirmer: Confirmer
) -> tuple[dict[tuple[str, bytes], Answer], int]:
    known = {str(algorithm): algorithm for algorithm in Algorithm}
    wanted = {
        _key(hit): HashValue(algorithm=known[hit.algorithm], value=hit.value)
        for case in cases
        for hit in case.confirmed
        if hit.algorithm in known and not _is_in(hit, suppressed)
    }
    hashes = list(wanted.values())
    answers: dict[tuple[str, bytes], Answer] = {}
    sent = 0
    for start in range(0, len(hashes), ASKED_AT_ONCE):
        confirmation = confirmer.confirm(hashes[start : start + ASKED_AT_ONCE])
        sent += confirmation.hashes_sent
        answers |= {(str(a.hash.algorithm), a.hash.value): a for a in confirmation.answers}
    return answers, sent


def _is_in(hit: Hit, suppressed: Collection[bytes]) -> bool:
    return hashlib.sha256(hit.value).digest() in suppressed


def _key(hit: Hit) -> tuple[str, bytes]:
    return hit.algorithm, hit.value
