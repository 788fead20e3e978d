"""A hash goes into one table: near segments for PDQ with something to see, exact sections for the rest."""

import hashlib
from collections.abc import Mapping

import pytest

from iii_client.errors import PublishError
from iii_client.model import Algorithm, HashValue
from iii_client.publisher import ListEntry
from iii_client.publisher.sorting import Values, sort_entries


def entry(
    name: str, *, algorithm: Algorithm = Algorithm.PDQ, quality: int = 100, list_name: str = "list"
) -> ListEntry:
    value = hashlib.sha512(name.encode()).digest()[: algorithm.width_bits // 8]
    return ListEntry(
        hash=HashValue(algorithm=algorithm, value=value), quality=quality, list_name=list_name, source="s"
    )


def rows(hashes: Mapping[Algorithm, Values]) -> dict[Algorithm, list[bytes]]:
    return {algorithm: [row.tobytes() for row in values] for algorithm, values in hashes.items()}


@pytest.mark.parametrize("algorithm", [Algorithm.PDQ, Algorithm.PDQ_512])
@pytest.mark.parametrize(("quality", "is_near"), [(0, False), (49, False), (50, True), (100, True)])
def test_pdq_of_quality_50_goes_to_near_segments_and_nowhere_else(
    algorithm: Algorithm, quality: int, is_near: bool
) -> None:
    one = entry("a", algorithm=algorithm, quality=quality)
    hashes = sort_entries([one])
    assert rows(hashes.near) == ({algorithm: [one.hash.value]} if is_near else {})
    assert rows(hashes.exact) == ({} if is_near else {algorithm: [one.hash.value]})
    assert hashes.conventions == ({"list": algorithm} if is_near else {})


@pytest.mark.parametrize(
    "algorithm", [Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256, Algorithm.PHASH], ids=str
)
def test_every_other_hash_is_matched_exactly(algorithm: Algorithm) -> None:
    one = entry("a", algorithm=algorithm)
    hashes = sort_entries([one, one])
    assert rows(hashes.exact) == {algorithm: [one.hash.value]}
    assert hashes.near == {}


def test_where_lists_disagree_about_quality_the_hash_is_still_in_one_table() -> None:
    for first, second in ((20, 80), (80, 20)):
        entries = [entry("a", quality=first), entry("a", quality=second, list_name="other")]
        hashes = sort_entries(entries)
        assert hashes.exact == {}
        assert rows(hashes.near) == {Algorithm.PDQ: [entries[0].hash.value]}


@pytest.mark.parametrize("quality", [10, 90])
def test_a_list_under_both_conventions_is_refused_by_name_and_without_a_hash(quality: int) -> None:
    entries = [entry("a"), entry("b", algorithm=Algorithm.PDQ_512, quality=quality)]
    with pytest.raises(PublishError) as caught:
        sort_entries(entries)
    text = f"{caught.value} {caught.value.hint}"
    assert "'list'" in text
    assert not any(one.hash.hex[:8] in text for one in entries)


def test_two_lists_may_each_have_a_convention_of_their_own() -> None:
    hashes = sort_entries([entry("a"), entry("b", algorithm=Algorithm.PDQ_512, list_name="other")])
    assert hashes.conventions == {"list": Algorithm.PDQ, "other": Algorithm.PDQ_512}


def test_no_hash_shows_in_the_repr() -> None:
    one = entry("a")
    assert one.hash.hex[:8] not in repr(sort_entries([one]))


def test_hashes_are_distinct_and_ascending_whatever_their_last_bytes() -> None:
    values = [bytes([n]) + bytes(31) for n in (3, 1, 2)] + [bytes(32), bytes(31) + b"\x01"]
    listed = [
        ListEntry(
            hash=HashValue(algorithm=Algorithm.SHA256, value=value), quality=100, list_name="l", source="s"
        )
        for value in values * 2
    ]
    assert rows(sort_entries(listed).exact) == {Algorithm.SHA256: sorted(values)}


def test_the_same_hashes_are_told_apart_by_list_source_and_algorithm() -> None:
    entries = [entry("a"), entry("b", quality=10), entry("a", algorithm=Algorithm.MD5, list_name="other")]
    parts = sort_entries([*entries, entries[0]]).parts
    assert [(p.list_name, p.source, p.algorithm, len(p.values), len(p.near)) for p in parts] == [
        ("list", "s", Algorithm.PDQ, 2, 1),
        ("other", "s", Algorithm.MD5, 1, 0),
    ]
