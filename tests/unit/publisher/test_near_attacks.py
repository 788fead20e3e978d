"""The two measured attacks on near segments: they read a careless publisher's list, not ours.

Both invert bits by trying block values. At real size all 2^32 values of a block are tried, in minutes;
here windows of values that hold the true ones, so that the same arithmetic takes a second.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iii_client.errors import PublishError
from iii_client.filters.bit_table import probe_positions
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.ring_chain import DEFAULT_PARAMETERS as LAYOUT
from iii_client.filters.ring_chain import check_secrecy, table_bits, tier1_hash
from iii_client.model import Algorithm
from iii_client.publisher.near import NearPublisher
from iii_client.publisher.near_duplicates import block_columns

LISTED = 3_000
ADDED = 20
TRIED = 500
BLOCKS_READ = 2
Table = NDArray[np.bool_]


def positions(values: NDArray[np.uint32], block: int, size: int, salt: int = 0) -> NDArray[np.int64]:
    """All tier-1 positions of values, (n, 9)."""
    hashed = tier1_hash(block, values) ^ np.uint64(salt)
    probes = range(LAYOUT.tier1_bits)
    at = [probe_positions(hashed, probe, size_bits=size, tier=1) for probe in probes]
    return np.stack(at, axis=1).view(np.int64)


def careless_tier1(hashes: NDArray[np.uint8], *, size: int, salt: int = 0) -> Table:
    """Tier 1 as a publisher would build it who chooses size and salt as it likes."""
    table = np.zeros(size, np.bool_)
    for block, values in enumerate(block_columns(hashes)):
        table[positions(values, block, size, salt)] = True
    return table


def real_tier1(path: Path) -> Table:
    return np.unpackbits(NearSegment.open(path).tier1.bits, bitorder="little").astype(np.bool_)


def window(true_values: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """Every value that shares the upper bits of a true one."""
    upper = np.unique(true_values >> np.uint32(bits)) << np.uint32(bits)
    return (upper[:, None] | np.arange(1 << bits, dtype=np.uint32)).ravel()


def read_delta(before: Table, after: Table, values: NDArray[np.uint32], block: int) -> set[int]:
    """Attack 1: values whose positions are all set now, and three or more of them only since the delta."""
    at = positions(values, block, len(after))
    fresh = after & ~before
    return set(values[after[at].all(axis=1) & (fresh[at].sum(axis=1) >= 3)].tolist())


def read_two_builds(builds: list[tuple[Table, int]], values: NDArray[np.uint32], block: int) -> set[int]:
    """Attack 2: values whose positions are set in every build of the same hashes."""
    alive = np.ones(len(values), np.bool_)
    for table, salt in builds:
        alive &= table[positions(values, block, len(table), salt)].all(axis=1)
    return set(values[alive].tolist())


@pytest.fixture(scope="module")
def hashes() -> NDArray[np.uint8]:
    return np.random.default_rng(31).integers(0, 256, (LISTED + ADDED, 32), np.uint8)


def test_delta_of_a_careless_publisher_publishes_the_new_hashes(hashes: NDArray[np.uint8]) -> None:
    size = table_bits(8 * LISTED, LAYOUT.tier1_bits)
    before, after = careless_tier1(hashes[:LISTED], size=size), careless_tier1(hashes, size=size)
    for block in range(BLOCKS_READ):
        true = block_columns(hashes[LISTED:])[block]
        read = read_delta(before, after, window(true, 16), block)
        assert read <= set(true.tolist())
        assert len(read) >= 0.7 * ADDED


def test_our_publisher_refuses_the_delta_and_the_attack_reads_nothing(
    hashes: NDArray[np.uint8], tmp_path: Path
) -> None:
    publisher = NearPublisher(tmp_path, algorithm=Algorithm.PDQ, practice=True, minimum_count=1_000)
    path = publisher.publish(value.tobytes() for value in hashes[:LISTED]).path
    before = real_tier1(path)
    with pytest.raises(PublishError, match="20 new hashes"):
        publisher.publish(value.tobytes() for value in hashes)
    true = block_columns(hashes[LISTED:])[0]
    assert read_delta(before, real_tier1(path), window(true, 16), 0) == set()


@pytest.mark.parametrize(
    ("salt", "growth", "least_share"),
    [
        (0x5A17, 1.0, 0.98),
        # Another size moves the positions, but near ones stay near: two builds disclose a little less.
        (0, 1.25, 0.85),
    ],
)
def test_two_builds_of_a_careless_publisher_disclose_the_list(
    hashes: NDArray[np.uint8], salt: int, growth: float, least_share: float
) -> None:
    size = table_bits(8 * len(hashes), LAYOUT.tier1_bits)
    first = (careless_tier1(hashes, size=size), 0)
    second = (careless_tier1(hashes, size=int(size * growth), salt=salt), salt)
    sought = block_columns(hashes[:TRIED])[0]
    true, tried = set(sought.tolist()), window(sought, 10)
    assert share(true, read_two_builds([first], tried, 0)) < 0.5
    assert share(true, read_two_builds([first, second], tried, 0)) > least_share


def test_our_publisher_refuses_the_second_build_and_one_filter_hides_the_list(
    hashes: NDArray[np.uint8], tmp_path: Path
) -> None:
    publisher = NearPublisher(tmp_path, algorithm=Algorithm.PDQ, practice=True, minimum_count=1)
    path = publisher.publish(value.tobytes() for value in hashes).path
    with pytest.raises(PublishError, match="0 new hashes"):
        publisher.publish(value.tobytes() for value in hashes)
    sought = block_columns(hashes[:TRIED])[0]
    true, tried = set(sought.tolist()), window(sought, 10)
    assert share(true, read_two_builds([(real_tier1(path), 0)], tried, 0)) < 0.5


def test_inequality_forbids_what_the_second_attack_needs() -> None:
    spent = LAYOUT.tier1_bits + LAYOUT.tier2_bits
    check_secrecy(LAYOUT, count=LISTED)
    with pytest.raises(ValueError, match="would disclose"):
        check_secrecy(LAYOUT, count=LISTED, other_key_bits=spent)


def share(true: set[int], read: set[int]) -> float:
    """Which share of what the attacker reads is on the list; it always reads all that is."""
    assert true <= read
    return len(true) / len(read)
