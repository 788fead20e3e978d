"""The allow-list: exact digests, each with a reason, an author and an audit entry."""

from datetime import UTC, datetime

import pytest

from iii_client.errors import ConfigurationError
from iii_client.model import Algorithm, HashValue
from iii_client.records import Store
from iii_client.records.allow_list import AllowList
from iii_client.records.operators import Operators

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOOD = HashValue(algorithm=Algorithm.SHA256, value=bytes(range(32)))
OTHER = HashValue(algorithm=Algorithm.SHA256, value=bytes(32))
ANN = Operators(first="ann", second="bob")


def audited(store: Store) -> list[tuple[str, str]]:
    with store.transaction() as tx:
        return [(kind, body) for kind, body in tx.query("SELECT kind, body FROM audit ORDER BY seq")]


def test_what_was_added_is_allowed_until_it_is_removed(store: Store) -> None:
    allow_list = AllowList(store, clock=lambda: NOON)
    assert allow_list.allowed([GOOD, OTHER]) == frozenset()
    assert allow_list.add(GOOD, reason="bundled with the CMS", by=ANN)
    assert allow_list.allowed([GOOD, OTHER]) == {GOOD}
    assert allow_list.remove(GOOD, by=ANN)
    assert allow_list.allowed([GOOD]) == frozenset()


def test_a_digest_of_another_algorithm_with_the_same_bytes_is_another_entry(store: Store) -> None:
    allow_list = AllowList(store)
    allow_list.add(HashValue(algorithm=Algorithm.MD5, value=bytes(16)), reason="r", by=ANN)
    assert allow_list.allowed([OTHER]) == frozenset()


def test_an_entry_says_who_put_it_there_and_why(store: Store) -> None:
    allow_list = AllowList(store, clock=lambda: NOON)
    allow_list.add(GOOD, reason="bundled with the CMS", by=ANN)
    (entry,) = allow_list.entries()
    assert (entry.digest, entry.reason, entry.by, entry.at) == (GOOD, "bundled with the CMS", ANN, NOON)


def test_adding_twice_keeps_the_first_author(store: Store) -> None:
    allow_list = AllowList(store)
    allow_list.add(GOOD, reason="first", by=ANN)
    assert not allow_list.add(GOOD, reason="second", by=Operators(first="eve"))
    assert [entry.reason for entry in allow_list.entries()] == ["first"]
    assert len(audited(store)) == 1


def test_both_acts_are_audited_without_the_digest(store: Store) -> None:
    allow_list = AllowList(store)
    allow_list.add(GOOD, reason="bundled", by=ANN)
    allow_list.remove(GOOD, reason="no longer", by=ANN)
    assert not allow_list.remove(GOOD, by=ANN)
    entries = audited(store)
    assert [kind for kind, _ in entries] == ["allow_added", "allow_removed"]
    for _, body in entries:
        assert GOOD.hex not in body
        assert '"operator":"ann","reason"' in body
        assert '"second_operator":"bob"' in body


def test_a_perceptual_hash_is_refused_with_the_reason_why(store: Store) -> None:
    for algorithm, width in ((Algorithm.PDQ, 32), (Algorithm.PHASH, 8)):
        with pytest.raises(ConfigurationError, match="exact bytes") as caught:
            AllowList(store).add(HashValue(algorithm=algorithm, value=bytes(width)), reason="r", by=ANN)
        assert "looks like" in caught.value.hint


def test_an_entry_without_a_reason_is_refused(store: Store) -> None:
    with pytest.raises(ConfigurationError, match="reason"):
        AllowList(store).add(GOOD, reason="  ", by=ANN)
    assert AllowList(store).entries() == ()
