"""A report for a hotline or the police: what was seen when and where, who lists it, what was done.

No picture, no thumbnail, no name of an uploader or a file. Hashes and the application's own reference only
when asked for: a hotline needs them, a ticket system does not.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from iii_client.records.cases import Case, load_case
from iii_client.records.review import clock_of
from iii_client.records.store import Transaction

FORMAT = "iii-client hotline report 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """How often the same was seen before, as far as records are kept.

    Attributes:
        of_uploader, at_place: earlier cases of the same (keyed) uploader and place.
        of_hash: earlier cases of a hash that was confirmed here.
    """

    of_uploader: int
    at_place: int
    of_hash: int


def circumstances(tx: Transaction, case: Case) -> Circumstances:
    """Counts over the records that are kept."""
    return Circumstances(
        of_uploader=_earlier(tx, "uploader_key", case.uploader_key, case),
        at_place=_earlier(tx, "place_key", case.place_key, case),
        of_hash=len(
            {
                encounter_id
                for hit in case.confirmed
                for (encounter_id,) in tx.query(
                    "SELECT e.id FROM encounter_hit h JOIN encounter e ON e.id = h.encounter_id"
                    " WHERE h.value = :value AND h.algorithm = :algorithm AND e.at < :at",
                    value=hit.value,
                    algorithm=hit.algorithm,
                    at=case.at.isoformat(timespec="milliseconds"),
                )
            }
        ),
    )


def hotline_report(
    tx: Transaction,
    encounter_id: str,
    *,
    contact: str,
    version: str,
    now: datetime,
    with_hashes: bool = False,
    with_reference: bool = False,
) -> dict[str, Any]:
    """The report as plain values.

    Args:
        contact: whom the hotline may ask.
        version: of this library.
        now: aware.
        with_hashes: also the hashes that were confirmed, and the SHA-256 of the file.
        with_reference: also where the application finds the item.

    Raises:
        RecordError: no such case.
    """
    case = load_case(tx, encounter_id)
    before, clock = circumstances(tx, case), clock_of(case)
    report: dict[str, Any] = {
        "format": FORMAT,
        "made_at": _time(now),
        "made_by": f"iii-client {version}",
        "contact": contact,
        "case": case.name,
        "seen_at": _time(case.at),
        "route": case.route,
        "outcome": case.outcome_now.value,
        "confirmed_at": _time(clock.known_at) if clock else "",
        "is_test": case.is_test,
        "listed_by": sorted({source for hit in case.confirmed for source in hit.sources}),
        "categories": sorted(
            {
                (category.scheme, category.code, category.source)
                for hit in case.confirmed
                for category in hit.categories
            }
        ),
        "matches": [
            {"algorithm": hit.algorithm, "exact": hit.is_exact, "distance_bits": hit.distance_bits}
            | ({"value": hit.value.hex()} if with_hashes else {})
            for hit in case.confirmed
        ],
        "seen_before": {
            "from_the_same_uploader": before.of_uploader,
            "at_the_same_place": before.at_place,
            "the_same_hash": before.of_hash,
        },
        "done": [{"at": _time(case.at), "what": _first_act(case)}]
        + [{"at": _time(step.at), "what": step.kind} for step in case.follow_ups],
        "out_of_reach_at": _time(clock.out_of_reach_at) if clock and clock.out_of_reach_at else "",
        "kept_sealed": any(held.is_live for held in case.held),
        "technical": {
            "release": case.release,
            "recipe": case.recipe,
            "rule": case.rule_now,
            "policy": case.policy,
        },
    }
    if with_hashes:
        report["sha256"] = case.sha256.hex()
    if with_reference:
        report["reference"] = case.reference
    return report


def _first_act(case: Case) -> str:
    if case.stored:
        return "found in storage"
    done = {"allow": "let through", "quarantine": "held, out of reach", "block": "refused"}[case.action.value]
    return f"{done} (shadow mode: nothing is held)" if case.mode == "shadow" else done


def _earlier(tx: Transaction, column: str, key: bytes, case: Case) -> int:
    """Earlier cases with the same pseudonym; `column` is ours, never somebody's text."""
    if not key:
        return 0
    ((count,),) = tx.query(
        f"SELECT count(*) FROM encounter WHERE {column} = :key AND at < :at",  # noqa: S608
        key=key,
        at=case.at.isoformat(timespec="milliseconds"),
    )
    return int(count)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
