"""The store interface, the same on SQLite and PostgreSQL."""

import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iii_client.config import RecordsConfig, Secret
from iii_client.errors import ConfigurationError, RecordError
from iii_client.records import SqliteStore, Store
from iii_client.records.audit import append_audit
from iii_client.records.migrations import MIGRATIONS
from iii_client.records.opening import open_store
from iii_client.records.postgres import PostgresStore, translated
from iii_client.records.store import Value, storable

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def tally(store: Store) -> list[tuple[str, int]]:
    with store.transaction() as tx:
        return [(name, amount) for name, amount in tx.query("SELECT name, amount FROM tally ORDER BY name")]


def add(store: Store, name: str, amount: int = 1) -> None:
    with store.transaction() as tx:
        tx.execute(
            "INSERT INTO tally (day, name, amount) VALUES ('d', :name, :amount) "
            "ON CONFLICT (day, name) DO UPDATE SET amount = tally.amount + excluded.amount",
            name=name,
            amount=amount,
        )


def test_what_is_committed_is_there_and_what_raised_is_not(store: Store) -> None:
    add(store, "kept")

    def fail() -> None:
        with store.transaction() as tx:
            tx.insert("tally", [{"day": "d", "name": "lost", "amount": 1}])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert tally(store) == [("kept", 1)]


def test_rows_changed_are_counted_and_returned(store: Store) -> None:
    with store.transaction() as tx:
        tx.insert("tally", [{"day": "d", "name": name, "amount": 1} for name in "abc"])
        assert tx.execute("UPDATE tally SET amount = 2 WHERE name <> :name", name="a") == 2
        assert tx.query("UPDATE tally SET amount = 3 WHERE name = 'c' RETURNING name, amount") == [("c", 3)]
        tx.insert("tally", [])
    assert tally(store) == [("a", 1), ("b", 2), ("c", 3)]


def test_bytes_come_back_as_they_went_in(store: Store) -> None:
    row: dict[str, Value] = {
        "algorithm": "sha256",
        "value": bytes(range(32)),
        "reason": storable("caf\udce9\0"),
        "author": "a",
    }
    with store.transaction() as tx:
        tx.insert("allowed", [{**row, "second_author": "", "at": "2026"}])
        ((value, reason),) = tx.query("SELECT value, reason FROM allowed")
    assert (value, reason) == (bytes(range(32)), "caf\\udce9\\x00")


def test_a_refused_statement_names_no_value(store: Store) -> None:
    secret = "a-very-telling-value"

    def insert() -> None:
        with store.transaction() as tx:
            tx.insert("tally", [{"day": "d", "name": secret, "amount": 1}])

    insert()
    with pytest.raises(RecordError) as caught:
        insert()
    chain: BaseException | None = caught.value
    while chain is not None:
        assert secret not in str(chain)
        chain = chain.__cause__
    assert caught.value.hint


def test_reading_sees_what_is_committed_keeps_nothing_and_is_refused_by_name(store: Store) -> None:
    add(store, "parent")
    with store.reading() as tx:
        assert tx.query("SELECT name, amount FROM tally") == [("parent", 1)]
        tx.execute("DELETE FROM tally")
    assert tally(store) == [("parent", 1)]
    with pytest.raises(RecordError), store.reading() as tx:
        tx.query("SELECT nothing FROM nowhere")
    assert tally(store) == [("parent", 1)], "the store goes on after a refusal"


def test_reading_waits_for_no_writer(store: Store) -> None:
    add(store, "parent")
    writing, done = threading.Event(), threading.Event()

    def write() -> None:
        with store.transaction() as tx:
            tx.execute("UPDATE tally SET amount = 99")
            writing.set()
            done.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    assert writing.wait(20)
    started_s = time.monotonic()
    with store.reading() as tx:
        assert tx.query("SELECT amount FROM tally") == [(1,)]
    assert time.monotonic() - started_s < 2
    done.set()
    writer.join()


def test_writers_of_the_audit_log_get_an_order(store: Store) -> None:
    def work() -> None:
        for _ in range(10):
            with store.transaction() as tx:
                append_audit(tx, "test", {"a": 1}, now=NOON)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.transaction() as tx:
        rows = tx.query("SELECT seq, previous, digest FROM audit ORDER BY seq")
    assert [seq for seq, _, _ in rows] == list(range(1, 41))
    assert [previous for _, previous, _ in rows[1:]] == [digest for _, _, digest in rows[:-1]]


def test_a_forked_child_writes_through_a_connection_of_its_own(store: Store) -> None:
    add(store, "parent")
    child = os.fork()
    if child == 0:
        try:
            add(store, "child")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    add(store, "parent")
    assert tally(store) == [("child", 1), ("parent", 2)]


def test_two_stores_that_open_a_new_database_at_once_migrate_it_once(database_url: str) -> None:
    stores = [PostgresStore(database_url) for _ in range(6)]
    threads = [threading.Thread(target=add, args=(store, "x")) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally(stores[0]) == [("x", 6)]
    with stores[0].transaction() as tx:
        assert tx.query("SELECT version FROM schema_version") == [(len(MIGRATIONS),)]
    for store in stores:
        store.close()


def test_a_newer_postgres_schema_is_refused(database_url: str) -> None:
    store = PostgresStore(database_url)
    add(store, "x")
    with store.transaction() as tx:
        tx.execute("UPDATE schema_version SET version = 999")
    store.close()
    with pytest.raises(RecordError, match="999"):
        add(PostgresStore(database_url), "x")


def test_a_postgres_that_cannot_be_reached_is_a_record_error() -> None:
    pytest.importorskip("psycopg")
    store = PostgresStore("postgresql://nobody:hunter2@127.0.0.1:9/none")
    with pytest.raises(RecordError) as caught:
        add(store, "x")
    assert "hunter2" not in repr(caught.value)
    assert "III_DATABASE_URL" in caught.value.hint


def test_no_postgres_address_is_echoed() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ConfigurationError) as caught:
        PostgresStore("postgresql://user:hunter2@host:port-that-is-none/x")
    assert "hunter2" not in str(caught.value)


def test_the_configuration_names_the_store(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    assert isinstance(open_store(RecordsConfig(), tmp_path), SqliteStore)
    config = RecordsConfig(database=Secret("postgres://user@host/name"))
    assert isinstance(open_store(config, tmp_path), PostgresStore)


def test_migrations_are_spelt_for_postgres() -> None:
    assert translated("CREATE TABLE t (a INTEGER, b BLOB) STRICT") == "CREATE TABLE t (a BIGINT, b BYTEA) "
