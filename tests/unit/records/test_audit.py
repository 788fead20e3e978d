"""The audit log: every change of what was written shows, a cut at the end only against an exported head."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.outbox_items import unconfirmed

from iii_client.errors import RecordError
from iii_client.model import Action, Outcome, Receipt, UploadContext
from iii_client.records import SqliteStore, StateRecorder, Store
from iii_client.records.audit import append_audit, entry_digest
from iii_client.records.audit_check import (
    AuditHead,
    audit_head,
    export_head,
    read_head,
    read_heads,
    verify_audit,
)
from iii_client.records.audit_export import COLUMNS, as_csv, export_entries
from iii_client.records.pseudonyms import PseudonymKey

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
Record = Callable[..., Receipt]


def fill(store: Store, count: int = 5) -> None:
    for number in range(count):
        with store.transaction() as tx:
            append_audit(tx, "decision", {"number": number}, now=NOON + timedelta(hours=number))


def alter(store: Store, sql: str, **values: Any) -> None:
    with store.transaction() as tx:
        tx.execute(sql, **values)


def test_a_log_that_nobody_touched_is_whole(store: Store) -> None:
    assert verify_audit(store).entries == 0
    fill(store)
    report = verify_audit(store)
    assert (report.entries, report.broken_at) == (5, None)
    assert report.head == audit_head(store)
    assert verify_audit(store, exported=[report.head]).broken_at is None
    fill(store)
    assert verify_audit(store, exported=[report.head]).broken_at is None


@pytest.mark.parametrize("column", ["at", "kind", "body", "previous", "digest"])
def test_a_change_of_any_single_byte_of_an_entry_is_found_and_named(store: Store, column: str) -> None:
    fill(store, 3)
    with store.transaction() as tx:
        ((text,),) = tx.query(f"SELECT {column} FROM audit WHERE seq = 2")
    for index in range(len(text)):
        changed = text[:index] + chr(ord(text[index]) ^ 1) + text[index + 1 :]
        alter(store, f"UPDATE audit SET {column} = :text WHERE seq = 2", text=changed)
        assert verify_audit(store).broken_at == 2, f"{column}[{index}]"
    alter(store, f"UPDATE audit SET {column} = :text WHERE seq = 2", text=text)
    assert verify_audit(store).broken_at is None


def test_an_entry_that_was_written_anew_with_a_digest_that_fits_shows_at_the_next(store: Store) -> None:
    fill(store, 3)
    with store.transaction() as tx:
        ((at, kind, previous),) = tx.query("SELECT at, kind, previous FROM audit WHERE seq = 2")
        digest = entry_digest(previous=previous, seq=2, at=at, kind=kind, body="{}")
        tx.execute("UPDATE audit SET body = '{}', digest = :digest WHERE seq = 2", digest=digest)
    assert verify_audit(store).broken_at == 3


def test_an_entry_that_was_removed_renumbered_or_added_is_found(store: Store) -> None:
    fill(store)
    with store.transaction() as tx:
        (row,) = tx.query("SELECT at, kind, body, previous, digest FROM audit WHERE seq = 3")
    again = dict(zip(("at", "kind", "body", "previous", "digest"), row, strict=True))
    alter(store, "DELETE FROM audit WHERE seq = 3")
    assert verify_audit(store).broken_at == 3
    alter(store, "UPDATE audit SET seq = seq - 1 WHERE seq = 4")
    assert verify_audit(store).broken_at == 3
    alter(store, "UPDATE audit SET seq = seq + 1 WHERE seq = 3")
    with store.transaction() as tx:
        tx.insert("audit", [{"seq": 3, **again}])
    assert verify_audit(store).broken_at is None
    with store.transaction() as tx:
        tx.insert("audit", [{"seq": 6, **again}])
    assert verify_audit(store).broken_at == 6


def test_the_first_entry_and_the_head_are_covered_too(store: Store) -> None:
    fill(store, 2)
    head = audit_head(store)
    alter(store, "UPDATE audit_head SET digest = :digest", digest="0" * 64)
    assert verify_audit(store).broken_at == 2
    alter(store, "UPDATE audit_head SET digest = :digest", digest=head.digest)
    alter(store, "DELETE FROM audit WHERE seq = 1")
    assert verify_audit(store).broken_at == 1


def test_a_cut_at_the_end_shows_only_against_an_exported_head(store: Store, tmp_path: Path) -> None:
    """What the documentation says the log cannot do alone."""
    fill(store)
    kept = read_head(str(tmp_path / export_head(audit_head(store), str(tmp_path), now=NOON)))
    alter(store, "DELETE FROM audit WHERE seq > 3")
    with store.transaction() as tx:
        ((digest,),) = tx.query("SELECT digest FROM audit WHERE seq = 3")
    alter(store, "UPDATE audit_head SET seq = 3, digest = :digest", digest=digest)
    assert verify_audit(store).broken_at is None
    assert verify_audit(store, exported=[kept]).broken_at == 4


def test_a_chain_written_anew_shows_only_against_an_exported_head(store: Store) -> None:
    fill(store)
    kept = audit_head(store)
    alter(store, "DELETE FROM audit")
    alter(store, "UPDATE audit_head SET seq = 0, digest = ''")
    for number in range(5):
        with store.transaction() as tx:
            append_audit(tx, "decision", {"number": number * 7}, now=NOON)
    assert verify_audit(store).broken_at is None
    assert verify_audit(store, exported=[kept]).broken_at == 5


def test_what_is_not_an_exported_head_is_refused(tmp_path: Path) -> None:
    good = {"iii_client_audit_head": 1, "seq": 3, "digest": "a" * 64}
    (tmp_path / "head").write_text(json.dumps(good))
    assert read_head(str(tmp_path / "head")) == AuditHead(seq=3, digest="a" * 64)
    for change in (
        {"seq": -1},
        {"seq": "3"},
        {"seq": True},
        {"digest": "A" * 64},
        {"digest": ""},
        {"digest": None},
        {"seq": 0},
        {"iii_client_audit_head": 2},
    ):
        (tmp_path / "head").write_text(json.dumps({**good, **change}))
        with pytest.raises(RecordError, match="not an exported head"):
            read_head(str(tmp_path / "head"))
    for content in (b"", b"[]", b"\xff", b"{" * 3000, b" " * 5000 + json.dumps(good).encode()):
        (tmp_path / "head").write_bytes(content)
        with pytest.raises(RecordError, match="not an exported head"):
            read_head(str(tmp_path / "head"))
    with pytest.raises(RecordError):
        read_head(str(tmp_path / "nothing"))


def test_an_exported_head_is_never_overwritten(store: Store, tmp_path: Path) -> None:
    fill(store, 1)
    export_head(audit_head(store), f"memory://{tmp_path.name}", now=NOON)
    with pytest.raises(RecordError, match="already"):
        export_head(audit_head(store), f"memory://{tmp_path.name}", now=NOON)


def test_every_head_that_was_kept_must_be_in_its_place(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        fill(store, 2)
        export_head(audit_head(store), str(tmp_path), now=NOON + timedelta(days=number))
    (tmp_path / "something else").write_text("x")
    heads = read_heads(str(tmp_path))
    assert [head.seq for head in heads] == [2, 4, 6]
    assert verify_audit(store, exported=heads).broken_at is None
    forged = AuditHead(seq=4, digest="0" * 64)
    assert verify_audit(store, exported=[*heads, forged]).broken_at == 4
    assert read_heads(str(next(tmp_path.glob("*-4.json")))) == (heads[1],)
    with pytest.raises(RecordError):
        read_heads(str(tmp_path / "nowhere"))
    (tmp_path / "audit-head-20990101T000000Z-9.json").write_text("{}")
    with pytest.raises(RecordError, match="not an exported head"):
        read_heads(str(tmp_path))


def test_the_check_reads_in_batches_and_sees_the_end_of_each(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    with store.transaction() as tx:
        for number in range(2001):
            append_audit(tx, "decision", {"number": number}, now=NOON)
    assert verify_audit(store).entries == 2001
    for seq in (1000, 1001, 2000, 2001):
        alter(store, "UPDATE audit SET kind = 'x' WHERE seq = :seq", seq=seq)
        assert verify_audit(store).broken_at == seq
        alter(store, "UPDATE audit SET kind = 'decision' WHERE seq = :seq", seq=seq)
    store.close()


def test_an_export_holds_no_hash_uploader_or_reference_unless_hashes_are_asked_for(
    store: Store, record: Record
) -> None:
    context = UploadContext(route="avatar", uploader="alice", place="board", reference="files/alice.jpg")
    receipt = record(action=Action.BLOCK, context=context)
    record(outcome=Outcome.NO_MATCH, action=Action.ALLOW)
    (entry,) = export_entries(store)
    assert entry["case"] == receipt.case_reference
    for secret in ("alice", "board", bytes(range(32)).hex()):
        assert secret not in json.dumps(entry)
    (entry,) = export_entries(store, with_hashes=True)
    assert entry["hashes"] == [{"algorithm": "sha256", "value": bytes(range(32)).hex(), "confirmed": True}]


def test_an_export_starts_when_it_is_told_to_and_crosses_batches(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    fill(store, 3)
    assert [entry["seq"] for entry in export_entries(store, since=NOON + timedelta(hours=1))] == [2, 3]
    with store.transaction() as tx:
        for number in range(1200):
            append_audit(tx, "decision", {"number": number}, now=NOON)
    assert [entry["seq"] for entry in export_entries(store)] == list(range(1, 1204))
    store.close()


def test_the_csv_says_the_same_and_begins_no_formula(store: Store, record: Record) -> None:
    record(action=Action.BLOCK)
    entries = list(export_entries(store, with_hashes=True))
    rows = list(csv.reader(io.StringIO("".join(as_csv(iter(entries))))))
    assert rows[0] == [*COLUMNS, "hashes"]
    (entry,), (row,) = entries, rows[1:]
    assert json.loads(row[4]) == entry["body"]
    assert json.loads(row[7]) == entry["hashes"]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)
    assert list(as_csv(iter([]))) == []


def test_an_entry_that_cannot_be_read_is_said_so(store: Store) -> None:
    fill(store, 1)
    for text in ("{", "3"):
        alter(store, "UPDATE audit SET body = :text", text=text)
        with pytest.raises(RecordError, match="entry 1"):
            list(export_entries(store))


def test_the_recipe_in_the_documentation_verifies_an_export(store: Store, record: Record) -> None:
    for action in (Action.BLOCK, Action.QUARANTINE):
        record(action=action)
    page = Path(__file__).parents[3] / "docs/reference/audit-log.md"
    (recipe,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    export = "".join(json.dumps(entry) + "\n" for entry in export_entries(store))

    def check(text: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-c", recipe], input=text, capture_output=True, text=True)

    head = audit_head(store)
    assert check(export).stdout == f"{head.seq} {head.digest}\n"
    assert "entry 1" in check(export.replace('"block"', '"allow"', 1)).stderr


def test_a_log_without_its_head_is_broken_and_takes_no_entry(store: Store) -> None:
    with store.transaction() as tx:
        append_audit(tx, "decision", {}, now=NOON)
        tx.execute("DELETE FROM audit_head")
    assert verify_audit(store).broken_at == 1
    with pytest.raises(RecordError, match="head"), store.transaction() as tx:
        append_audit(tx, "decision", {}, now=NOON)


def test_a_decision_is_logged_with_the_rule_the_policy_and_what_it_rests_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "other" / "state.db")
    recorder = StateRecorder(store, key=PseudonymKey(tmp_path / "encounter.key"), policy="0123456789ab")
    recorder.record(unconfirmed(1), UploadContext(uploader="bob", reference="holiday.jpg"))
    with store.reading() as tx:
        ((body,),) = tx.query("SELECT body FROM audit WHERE kind = 'decision'")
    found = json.loads(body)
    assert found.pop("encounter")
    assert found == {
        "action": "quarantine",
        "guard": "",
        "hashes_sent": 0,
        "mode": "enforce",
        "outcome": "unconfirmed",
        "policy": "0123456789ab",
        "reasons": "service_unreachable",
        "release": "3.1",
        "rule": "unconfirmed_no_answer",
        "ruled": "quarantine",
    }
