"""A hotline report: the circumstances of one case, counted over the records that are kept."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from iii_client.cli.hotline_page import as_text
from iii_client.errors import RecordError
from iii_client.model import Action, Algorithm, Mode, Outcome, Reason, Receipt, UploadContext
from iii_client.records import Store
from iii_client.records.hotline import hotline_report

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
Record = Callable[..., Receipt]


def report(store: Store, receipt: Receipt, **options: bool) -> dict[str, Any]:
    with store.reading() as tx:
        return hotline_report(
            tx, receipt.encounter_id, contact="abuse@example.org", version="1", now=NOON, **options
        )


def test_earlier_cases_of_the_same_uploader_place_and_hash_are_counted(store: Store, record: Record) -> None:
    alice = UploadContext(uploader="alice")
    alice_here = UploadContext(uploader="alice", place="board")
    earlier = [NOON - timedelta(hours=hours) for hours in (5, 4, 3)]
    record(at=earlier[0], context=alice, value=bytes(32))
    record(at=earlier[1], context=alice_here, value=bytes(32))
    record(at=earlier[2], context=UploadContext(uploader="bob"))
    last = record(at=NOON, context=alice_here)
    record(at=NOON + timedelta(hours=1), context=alice_here)
    assert report(store, last)["seen_before"] == {
        "from_the_same_uploader": 2,
        "at_the_same_place": 1,
        "the_same_hash": 1,
    }


def test_anonymous_uploads_are_not_one_uploader(store: Store, record: Record) -> None:
    record(at=NOON - timedelta(hours=1))
    assert report(store, record(at=NOON))["seen_before"]["from_the_same_uploader"] == 0


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"action": Action.BLOCK}, "refused"),
        ({"action": Action.QUARANTINE}, "held, out of reach"),
        ({"action": Action.BLOCK, "mode": Mode.SHADOW}, "let through (shadow mode: nothing is held)"),
        ({"action": Action.BLOCK, "context": UploadContext(stored=True)}, "found in storage"),
    ],
)
def test_what_was_done_first_is_said_as_it_was(
    store: Store, record: Record, given: dict[str, Any], first: str
) -> None:
    made = report(store, record(**given))
    assert made["done"][0]["what"] == first
    assert bool(made["out_of_reach_at"]) == (first in ("refused", "held, out of reach"))


def test_hashes_and_the_reference_are_there_when_asked_for_and_only_confirmed_ones(
    store: Store, record: Record
) -> None:
    context = UploadContext(reference="files/1.jpg")
    quiet = report(store, record(context=context))
    assert bytes(range(32)).hex() not in str(quiet)
    assert "files/1.jpg" not in str(quiet)
    full = report(store, record(context=context), with_hashes=True, with_reference=True)
    assert full["matches"][0]["value"] == bytes(range(32)).hex()
    assert full["reference"] == "files/1.jpg"
    unconfirmed = record(outcome=Outcome.UNCONFIRMED, reasons=(Reason.SERVICE_TIMEOUT,))
    assert report(store, unconfirmed, with_hashes=True)["matches"] == []


def test_the_text_of_any_case_can_be_made(store: Store, record: Record) -> None:
    for receipt in (
        record(),
        record(algorithm=Algorithm.PDQ),
        record(outcome=Outcome.UNSCANNABLE, reasons=(Reason.TRUNCATED,)),
    ):
        text = as_text(report(store, receipt, with_hashes=True, with_reference=True))
        assert text.startswith("Report of a case")
        assert receipt.case_reference in text


def test_no_case_is_no_report(store: Store) -> None:
    with pytest.raises(RecordError, match="no such case"):
        report(store, Receipt(encounter_id="x"))
