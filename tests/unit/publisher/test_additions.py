"""Deltas from lists: what is missing comes in, in steps that clients accept, and the same each time."""

import hashlib

import numpy as np
import pytest

from iii_client.filters import ExactSection, pack_bundle, parse_bundle
from iii_client.filters.delta import BITS_FOR_ONE_POSITION, decode_delta
from iii_client.filters.patching import apply_deltas, lost_bits
from iii_client.model import Algorithm, ReleaseId
from iii_client.publisher import build
from iii_client.publisher.additions import additions, missing_hashes, removed_count, size_bits
from iii_client.publisher.sorting import Values, distinct

PLENTY = dict.fromkeys(map(str, Algorithm), 1 << 40)


def values(*names: object, algorithm: Algorithm = Algorithm.SHA256) -> Values:
    width = algorithm.width_bits // 8
    rows = [hashlib.sha512(str(name).encode()).digest()[:width] for name in names]
    return distinct(np.frombuffer(b"".join(rows), np.uint8).reshape(-1, width))


def bundle(*names: object, algorithm: Algorithm = Algorithm.SHA256) -> bytes:
    sections = build.sections_of({algorithm: values(*names, algorithm=algorithm)})
    return pack_bundle(ReleaseId(epoch=3, sequence=0), sections)


def finds(content: bytes, *names: object) -> bool:
    (section,) = parse_bundle(content).sections
    opened = ExactSection(memoryview(content)[section.offset :][: section.size_bytes])
    return all(opened.contains_many(build.hex_keys(values(*names))))


def applied(content: bytes, missing: dict[Algorithm, Values]) -> bytes:
    for step in additions(content, missing, allowed_bits=PLENTY):
        content = b"".join(apply_deltas(content, [decode_delta(step.content)]))
        assert hashlib.sha256(content).hexdigest() == step.result_sha256
        assert parse_bundle(content).release == step.release
    return content


def test_what_a_release_finds_is_not_missing() -> None:
    release = bundle("a", "b")
    missing = missing_hashes(release, {Algorithm.SHA256: values("a", "b", "c")})
    assert {a: rows.tolist() for a, rows in missing.items()} == {Algorithm.SHA256: values("c").tolist()}
    assert missing_hashes(release, {Algorithm.SHA256: values("a")}) == {}
    assert list(missing_hashes(release, {Algorithm.MD5: values("a", algorithm=Algorithm.MD5)})) == [
        Algorithm.MD5
    ]


def test_after_all_deltas_everything_is_found_and_nothing_is_lost() -> None:
    names = range(60)
    release = bundle(*names[:5])
    result = applied(release, missing_hashes(release, {Algorithm.SHA256: values(*names)}))
    assert finds(result, *names)
    assert lost_bits(release, result) == 0
    (section,) = parse_bundle(result).sections
    assert section.header.count == 60


def test_the_result_holds_the_bits_that_a_base_of_all_would() -> None:
    release = bundle(*range(5))
    result = applied(release, missing_hashes(release, {Algorithm.SHA256: values(*range(40))}))
    (section,) = parse_bundle(result).sections
    whole = bundle(*range(40))
    assert result[section.offset + 40 :] == whole[section.offset + 40 :]


def test_no_step_sets_more_bits_than_a_client_accepts() -> None:
    release = bundle(*range(5))
    (section,) = parse_bundle(release).sections
    steps = list(additions(release, {Algorithm.SHA256: values(*range(5, 105))}, allowed_bits=PLENTY))
    assert len(steps) > 1
    assert [step.release.sequence for step in steps] == list(range(1, len(steps) + 1))
    assert all(0 < step.bits["sha256"] <= size_bits(section) // BITS_FOR_ONE_POSITION for step in steps)
    assert sum(step.hashes["sha256"] for step in steps) == 100


def test_all_steps_together_set_no_more_than_is_allowed() -> None:
    release = bundle(*range(5))
    missing = {Algorithm.SHA256: values(*range(5, 105))}
    steps = list(additions(release, missing, allowed_bits={"sha256": 1000}))
    assert 0 < sum(step.bits["sha256"] for step in steps) <= 1000
    assert list(additions(release, missing, allowed_bits={"sha256": 5})) == []
    assert list(additions(release, missing, allowed_bits={})) == []


def test_no_section_is_filled_beyond_its_room() -> None:
    release = bundle(*range(build.MIN_CAPACITY - 10))
    (section,) = parse_bundle(release).sections
    room = section.header.capacity - section.header.count
    more = {Algorithm.SHA256: values(*range(100_000, 100_000 + room + 50))}
    steps = list(additions(release, more, allowed_bits=PLENTY))
    assert sum(step.hashes["sha256"] for step in steps) == room


def test_a_hash_without_a_section_is_never_in_a_delta() -> None:
    md5 = {Algorithm.MD5: values("a", algorithm=Algorithm.MD5)}
    assert list(additions(bundle("a"), md5, allowed_bits=PLENTY)) == []


def test_the_same_lists_give_the_same_deltas() -> None:
    release = bundle(*range(5))
    missing = missing_hashes(release, {Algorithm.SHA256: values(*range(60))})
    first, second = (list(additions(release, missing, allowed_bits=PLENTY)) for _ in range(2))
    assert first == second


def test_several_sections_grow_in_one_delta() -> None:
    sections = build.sections_of(
        {Algorithm.SHA256: values("a"), Algorithm.MD5: values("a", algorithm=Algorithm.MD5)}
    )
    release = pack_bundle(ReleaseId(epoch=1, sequence=0), sections)
    exact = {Algorithm.SHA256: values("a", "b"), Algorithm.MD5: values("b", "c", algorithm=Algorithm.MD5)}
    (step,) = additions(release, missing_hashes(release, exact), allowed_bits=PLENTY)
    assert step.hashes == {"md5": 2, "sha256": 1}


@pytest.mark.parametrize(("listed", "removed"), [("abc", 0), ("ab", 1), ("abd", 1), ("", 3), ("abcd", 0)])
def test_what_is_listed_no_more_is_counted(listed: str, removed: int) -> None:
    release = bundle(*"abc")
    exact = {Algorithm.SHA256: values(*listed)} if listed else {}
    assert removed_count(release, exact, missing_hashes(release, exact)) == removed


def test_no_hash_shows_in_the_repr() -> None:
    release = bundle("a")
    (step,) = additions(release, {Algorithm.SHA256: values("b")}, allowed_bits=PLENTY)
    assert "content" not in repr(step)
