"""The publisher builds a segment once, the same everywhere, and refuses what would disclose the list."""

import hashlib
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import PublishError
from iii_client.filters.near_fill import check_fill
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.probing import NearFilter
from iii_client.filters.ring_chain import LARGE_PARAMETERS, NearParameters, hash_bits
from iii_client.filters.views import NearQueries
from iii_client.model import Algorithm
from iii_client.publisher.near import NearPublisher
from iii_client.publisher.near_duplicates import NEAR_DUPLICATE_BITS, fresh_hashes

GOLDEN_SEGMENT_SHA256 = "0982c265209441b967ddf4b95291dd69a199ae68e7b33408589cc5defe4cd920"


def random_hashes(count: int, seed: int = 1) -> list[bytes]:
    raw = np.random.default_rng(seed).bytes(32 * count)
    return [raw[i : i + 32] for i in range(0, len(raw), 32)]


def practice(
    directory: Path, *, minimum_count: int = 1, algorithm: Algorithm = Algorithm.PDQ
) -> NearPublisher:
    return NearPublisher(directory, algorithm=algorithm, practice=True, minimum_count=minimum_count)


def test_published_hashes_are_all_found_and_fill_half_of_the_tables(tmp_path: Path) -> None:
    hashes = random_hashes(10_000)
    published = NearPublisher(tmp_path, algorithm=Algorithm.PDQ).publish(hashes)
    assert (published.header.count, published.header.practice, published.left_out) == (10_000, False, 0)
    segment = NearSegment.open(published.path)
    check_fill(segment)
    bits = hash_bits(np.frombuffer(b"".join(hashes[:200]), np.uint8).reshape(-1, 32))
    results = NearFilter([segment]).probe(NearQueries.upright(bits, np.ones((200, 256))))
    assert [result.candidates[0].reconstructed for result in results] == hashes[:200]
    assert published.path.stat().st_size / 10_000 < 32


def test_builds_are_the_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    hashes = random_hashes(500)
    one = practice(tmp_path / "one").publish(hashes)
    other = practice(tmp_path / "other").publish(hashes[::-1] + hashes[:20])
    assert one.path.read_bytes() == other.path.read_bytes()
    assert other.left_out == 20


def test_golden_segment(tmp_path: Path) -> None:
    """A change of one bit here would make every published segment unreadable."""
    stream = hashlib.shake_256(b"golden segment").digest(32 * 100)
    published = practice(tmp_path).publish(
        (stream[i : i + 32] for i in range(0, len(stream), 32)), parameters=NearParameters(probes=2048)
    )
    assert hashlib.sha256(published.path.read_bytes()).hexdigest() == GOLDEN_SEGMENT_SHA256


def test_too_few_hashes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="9999 new hashes"):
        NearPublisher(tmp_path, algorithm=Algorithm.PDQ).publish(random_hashes(9_999))
    assert list(tmp_path.iterdir()) == []


def test_lower_minimum_is_for_practice_only(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="10,000"):
        NearPublisher(tmp_path, algorithm=Algorithm.PDQ, minimum_count=9_999)
    assert practice(tmp_path).publish(random_hashes(3)).header.practice


def test_rebuild_of_a_published_list_is_refused(tmp_path: Path) -> None:
    hashes = random_hashes(300)
    before = practice(tmp_path).publish(hashes).path.read_bytes()
    with pytest.raises(PublishError, match="0 new hashes of 300"):
        practice(tmp_path).publish(hashes)
    assert [path.name for path in sorted(tmp_path.glob("*.near"))] == ["1.near"]
    assert (tmp_path / "1.near").read_bytes() == before


def test_rebuild_with_slightly_different_hashes_is_refused(tmp_path: Path) -> None:
    hashes = random_hashes(300)
    practice(tmp_path).publish(hashes)
    with pytest.raises(PublishError, match="0 new hashes"):
        practice(tmp_path).publish([value[:-1] + bytes([value[-1] ^ 0xFF]) for value in hashes])


def test_delta_of_a_few_hashes_is_refused(tmp_path: Path) -> None:
    hashes = random_hashes(320)
    practice(tmp_path).publish(hashes[:300])
    with pytest.raises(PublishError, match="20 new hashes of 320 offered, 100"):
        practice(tmp_path, minimum_count=100).publish(hashes)


def test_new_hashes_make_a_segment_of_their_own_and_the_first_stays(tmp_path: Path) -> None:
    hashes = random_hashes(400)
    first = practice(tmp_path).publish(hashes[:300]).path.read_bytes()
    second = practice(tmp_path, minimum_count=100).publish(hashes)
    assert (second.header.number, second.header.count, second.left_out) == (2, 100, 300)
    assert (tmp_path / "1.near").read_bytes() == first
    alone = practice(tmp_path / "alone").publish(hashes[300:])
    tables = slice(128, None)
    assert second.path.read_bytes()[tables] == alone.path.read_bytes()[tables]


def test_second_convention_of_one_list_is_refused(tmp_path: Path) -> None:
    practice(tmp_path).publish(random_hashes(50))
    with pytest.raises(PublishError, match="another convention"):
        practice(tmp_path, algorithm=Algorithm.PDQ_512).publish(random_hashes(50, seed=2))


def test_algorithm_without_near_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no near segments"):
        practice(tmp_path, algorithm=Algorithm.PHASH)


def test_seventeenth_segment_is_refused(tmp_path: Path) -> None:
    for number in range(1, 17):
        assert practice(tmp_path).publish(random_hashes(2, seed=number)).header.number == number
    with pytest.raises(PublishError, match="16"):
        practice(tmp_path).publish(random_hashes(2, seed=99))


def test_segment_that_no_reader_could_ask_with_the_first_is_refused(tmp_path: Path) -> None:
    first = practice(tmp_path).publish(random_hashes(3)).path
    with pytest.raises(PublishError, match="same parameters"):
        practice(tmp_path).publish(
            random_hashes(3, seed=2), parameters=NearParameters(extension_probes=32_768)
        )
    denser = practice(tmp_path).publish(random_hashes(3, seed=2), parameters=LARGE_PARAMETERS).path
    NearFilter([NearSegment.open(first), NearSegment.open(denser)])


def test_later_segments_are_asked_like_the_first_whatever_the_defaults_have_become(tmp_path: Path) -> None:
    publisher = practice(tmp_path)
    assert publisher.asked_like_the_first(LARGE_PARAMETERS) == LARGE_PARAMETERS
    publisher.publish(random_hashes(3), parameters=NearParameters(probes=2048))
    adapted = publisher.asked_like_the_first(LARGE_PARAMETERS)
    assert adapted == NearParameters(probes=2048, tier2_bits=LARGE_PARAMETERS.tier2_bits)
    assert publisher.publish(random_hashes(3, seed=2), parameters=adapted).header.number == 2


def test_layout_that_breaks_secrecy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="bits of secrecy"):
        practice(tmp_path).publish(
            random_hashes(270_000), parameters=NearParameters(tier1_bits=1, tier2_bits=23)
        )
    assert list(tmp_path.iterdir()) == []


def test_value_that_is_no_pdq_hash_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="31"):
        practice(tmp_path).publish([bytes(31)])


def test_interrupted_publication_is_completed_with_the_same_bytes(tmp_path: Path) -> None:
    published = practice(tmp_path).publish(random_hashes(100))
    whole = published.path.read_bytes()
    published.path.unlink()  # as after a crash between ledger and segment
    (completed,) = practice(tmp_path).segments()
    assert completed.path.read_bytes() == whole


def test_damaged_ledger_stops_the_publisher(tmp_path: Path) -> None:
    practice(tmp_path).publish(random_hashes(100))
    ledger = tmp_path / "1.hashes"
    ledger.write_bytes(ledger.read_bytes()[:-32])
    with pytest.raises(PublishError, match="ledger"):
        practice(tmp_path).publish(random_hashes(100, seed=2))


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    practice(tmp_path / "near").publish(random_hashes(10))
    for path in (tmp_path / "near").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "near").stat().st_mode) == 0o700


@given(st.integers(0, 2**32 - 1), st.integers(0, 15), st.integers(0, 5))
def test_fresh_hashes_are_those_of_a_brute_force_search(seed: int, spread: int, published: int) -> None:
    rng = np.random.default_rng(seed)
    bits = np.repeat(rng.integers(0, 2, (4, 256), np.uint8), 6, axis=0)
    for row in bits:  # families of relatives up to twice `spread` bits apart
        row[rng.permutation(256)[: rng.integers(0, spread + 1)]] ^= 1
    hashes = np.packbits(bits, axis=1)
    known, offered = hashes[:published], hashes[published:]

    kept: list[int] = []
    earlier = [int.from_bytes(value) for value in known]
    for value in sorted({int.from_bytes(value) for value in offered}):
        if all((value ^ other).bit_count() > NEAR_DUPLICATE_BITS for other in (*earlier, *kept)):
            kept.append(value)
    assert [int.from_bytes(value) for value in fresh_hashes(offered, known)] == kept
