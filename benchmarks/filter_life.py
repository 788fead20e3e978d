"""A daily delta: its bytes against the entropy bound, and the time to apply, judge, swap and open.

    python benchmarks/filter_life.py [--keys 1400000] [--json FILE]

The filter is one section of the size that so many keys take, its bits set at random as so many keys would;
only the added keys are hashed for real. The bound is log2 of the number of ways to choose the new bits: among
all bits of the section, which is what a code of positions can reach, and among those that are still unset,
which is the least there is. Everything is measured in one run, fastest of several rounds.
"""

import argparse
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from bitarray import bitarray
from pybloom_live import BloomFilter

from iii_client.filters import ExactSection, open_snapshot, pack_bundle, parse_bundle
from iii_client.filters.delta import SectionDelta, decode_delta, encode_delta, most_positions
from iii_client.filters.exact_fill import check_exact_fill
from iii_client.filters.patching import apply_deltas, delta_between
from iii_client.filters.rice import best_parameter, encode_positions
from iii_client.model import Release, ReleaseId
from iii_client.updates import FilterStore
from iii_client.updates.assembling import assemble
from iii_client.updates.gates import check_superset

ERROR_RATE = 1e-6
HEADROOM = 1.25
ROUNDS = 5
ADDED = (100, 1_000, 10_000)


def to_bytes(bloom: BloomFilter, sequence: int) -> bytes:
    with tempfile.TemporaryFile() as file:
        bloom.tofile(file)
        file.seek(0)
        return pack_bundle(ReleaseId(epoch=1, sequence=sequence), [("sha256", file.read())])


def filled(keys: int) -> BloomFilter:
    """A filter as if it held so many keys."""
    bloom = BloomFilter(int(keys * HEADROOM), ERROR_RATE)
    share = 1 - math.exp(-keys / bloom.bits_per_slice)
    random = np.random.default_rng(keys)
    bits = np.concatenate(
        [
            np.packbits(
                random.random(min(1 << 24, bloom.num_bits - start), np.float32) < share, bitorder="little"
            )
            for start in range(0, bloom.num_bits, 1 << 24)
        ]
    )
    bloom.bitarray = bitarray(endian="little")
    bloom.bitarray.frombytes(bits.tobytes())
    del bloom.bitarray[bloom.num_bits :]
    bloom.count = keys
    return bloom


def added_to(bloom: BloomFilter, count: int) -> BloomFilter:
    other = bloom.copy()
    for number in range(count):
        other.add(hashlib.sha256(f"added {number}".encode()).hexdigest(), skip_check=True)
    other.count = bloom.count + count
    return other


def judge(old: Path, new: Path) -> None:
    """The gates that read all of it."""
    check_superset(old, new)
    content = memoryview(new.read_bytes())
    check_exact_fill(ExactSection(content[parse_bundle(content).sections[0].offset :]), name="sha256")


def bound_bytes(places: int, chosen: int) -> float:
    """Bytes that tell which of so many places are chosen."""
    nats = math.lgamma(places + 1) - math.lgamma(chosen + 1) - math.lgamma(places - chosen + 1)
    return nats / math.log(2) / 8


def fastest_ms(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def release_of(content: bytes) -> Release:
    now = datetime.now(UTC)
    bundle = parse_bundle(content)
    return Release(
        id=bundle.release,
        sections=tuple(section.info for section in bundle.sections),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        signed_at=now,
        expires_at=now + timedelta(days=7),
    )


def measure_delta(keys: int, count: int, bloom: BloomFilter, folder: Path) -> dict[str, float]:
    old, new = to_bytes(bloom, 0), to_bytes(added_to(bloom, count), 1)
    delta = delta_between(old, new)
    (section,) = delta.sections
    most = most_positions(section.size_bits)
    size = size_of(section, most)
    unset = section.size_bits - bloom.bitarray.count()
    row = {
        "keys": keys,
        "added": count,
        "new_bits": len(section.positions),
        "bytes": size,
        "bound_bytes": bound_bytes(section.size_bits, len(section.positions)),
        "least_bytes": bound_bytes(unset, len(section.positions)),
        "within_one_delta": len(section.positions) <= most,
    }
    if not row["within_one_delta"]:
        return row
    encoded = encode_delta(delta)
    start, into = folder / "old", folder / "new"
    start.write_bytes(old)
    release, result = release_of(new), hashlib.sha256(new).hexdigest()
    row["decode_ms"] = fastest_ms(lambda: decode_delta(encoded))
    row["apply_ms"] = fastest_ms(
        lambda: assemble(start, [decode_delta(encoded)], into, release=release.id, sha256=result)
    )
    assert into.read_bytes() == new == b"".join(apply_deltas(old, [delta]))
    row["gates_ms"] = fastest_ms(lambda: judge(start, into))
    store = FilterStore(folder / "state")
    times = []
    for _ in range(ROUNDS):
        with store.lock():
            temporary = store.downloads_dir / "new"
            temporary.write_bytes(new)
            os.sync()  # the download's own pages; the swap pays for its metadata and the rest
            begun = time.perf_counter()
            store.install(temporary, release)
            times.append(time.perf_counter() - begun)
    row["swap_ms"] = min(times) * 1000
    return row


def size_of(section: SectionDelta, most: int) -> int:
    """Bytes of the delta, or of the several that more positions than one may set are split into."""
    parts = -(-len(section.positions) // most)
    codes = [section.positions[start::parts] for start in range(parts)]
    return sum(48 + 64 + len(encode_positions(code, best_parameter(code))) for code in codes)


def measure_open(keys: int, folder: Path) -> dict[str, float]:
    content = to_bytes(filled(keys), 0)
    path = folder / f"{keys}.bundle"
    path.write_bytes(content)
    release = release_of(content)
    return {
        "keys": keys,
        "bytes": len(content),
        "open_ms": fastest_ms(lambda: open_snapshot(path, release=release), 50),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_400_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bloom = filled(options.keys)
        deltas = [measure_delta(options.keys, count, bloom, folder) for count in ADDED]
        opened = [measure_open(keys, folder) for keys in (25_000, options.keys, 10 * options.keys)]
    full = bloom.bitarray.count() / bloom.num_bits
    print(f"\n{options.keys:,} keys, {bloom.num_bits / 8e6:.1f} MB, {full:.3f} full\n")
    print("added | new bits | bytes | over positions' bound | over the least | decode | apply | gates | swap")
    for row in deltas:
        times = [
            f"{row[key]:.1f} ms" if key in row else "in parts"
            for key in ("decode_ms", "apply_ms", "gates_ms", "swap_ms")
        ]
        print(
            f"{row['added']:,} | {row['new_bits']:,} | {row['bytes']:,} | "
            f"{row['bytes'] / row['bound_bytes'] - 1:+.1%} | {row['bytes'] / row['least_bytes'] - 1:+.1%} | "
            + " | ".join(times)
        )
    print("\nopening: " + ", ".join(f"{o['bytes'] / 1e6:.1f} MB in {o['open_ms']:.2f} ms" for o in opened))
    if options.json:
        options.json.write_text(json.dumps({"deltas": deltas, "open": opened}, indent=1) + "\n")


if __name__ == "__main__":
    main()
