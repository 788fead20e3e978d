"""Filter look-ups a second beside pybloom-live, and the time to open a filter.

    python benchmarks/filters.py [--keys 1400000] [--json FILE]

Everything is measured in one run on one core, fastest of several rounds; the ratios count, not the
figures. Targets: batches at least 2.4 times pybloom-live's own rate, one file's three digests in at most
10 microseconds, opening in the same time whatever the size.
"""

import argparse
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pybloom_live import BloomFilter

from iii_client.filters import FilterSnapshot, open_snapshot, pack_bundle, parse_bundle
from iii_client.filters.bloom import ExactSection
from iii_client.model import Algorithm, Fingerprint, HashValue, Release, ReleaseId

ERROR_RATE = 1e-6
HEADROOM = 1.25
ASKED = 20_000
ROUNDS = 5
RELEASE = ReleaseId(epoch=1, sequence=0)
DIGESTS = (Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5)


def key(name: str, algorithm: Algorithm = Algorithm.SHA256) -> str:
    return hashlib.sha512(name.encode()).hexdigest()[: algorithm.width_bits // 4]


def build(count: int, algorithm: Algorithm = Algorithm.SHA256) -> bytes:
    bloom = BloomFilter(int(count * HEADROOM), ERROR_RATE)
    for number in range(count):
        bloom.add(key(f"listed {number}", algorithm), skip_check=True)
    content = io.BytesIO()
    bloom.tofile(content)
    return content.getvalue()


def fastest_s(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def open_release(content: bytes, folder: Path) -> tuple[Path, Release]:
    path = folder / f"{len(content)}.bundle"
    path.write_bytes(content)
    now = datetime.now(UTC)
    return path, Release(
        id=RELEASE,
        sections=tuple(section.info for section in parse_bundle(content).sections),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        signed_at=now,
        expires_at=now + timedelta(days=7),
    )


def ask_singly(bloom: BloomFilter | ExactSection, keys: Sequence[str]) -> list[bool]:
    return [one in bloom for one in keys]


def ask_in_batches(section: ExactSection, batches: Sequence[Sequence[str]]) -> list[list[bool]]:
    return [section.contains_many(batch) for batch in batches]


def look_ups(section_bytes: bytes, count: int) -> dict[str, float]:
    """Look-ups a second by name."""
    theirs = BloomFilter.fromfile(io.BytesIO(section_bytes))
    ours = ExactSection(section_bytes)
    rates: dict[str, float] = {}
    present = [key(f"listed {number}") for number in range(min(ASKED, count))]
    absent = [key(f"absent {number}") for number in range(ASKED)]
    for kind, keys in (("absent", absent), ("present", present)):
        rates[f"pybloom-live, {kind}"] = len(keys) / fastest_s(partial(ask_singly, theirs, keys))
        rates[f"ours singly, {kind}"] = len(keys) / fastest_s(partial(ask_singly, ours, keys))
        for size in (100, 1_000, 10_000):
            batches = [keys[start : start + size] for start in range(0, len(keys), size)]
            seconds = fastest_s(partial(ask_in_batches, ours, batches))
            rates[f"ours in batches of {size}, {kind}"] = len(keys) / seconds
    return rates


def one_file_s(snapshot: FilterSnapshot, names: Sequence[str]) -> float:
    """Seconds to look up the three digests of one file, given its fingerprint."""
    prints = [
        Fingerprint(
            recipe="fast-v1",
            size_bytes=1,
            kind="unknown",
            digests=tuple(HashValue.from_hex(a, key(name, a)) for a in DIGESTS),
        )
        for name in names
    ]
    return fastest_s(lambda: [snapshot.look_up([one]) for one in prints]) / len(prints)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=1_400_000, help="hashes a section")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    count: int = arguments.keys
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sha256 = build(count)
        rates = look_ups(sha256, count)
        print(f"{count:,} keys, {len(sha256):,} bytes, error rate {ERROR_RATE:g}\n")
        for label, rate in rates.items():
            base = rates[f"pybloom-live, {label.rpartition(' ')[2]}"]
            print(f"{label:36} {rate:12,.0f} look-ups/s {rate / base:6.2f} x")
        small = min(count, 30_000)
        sections = [(str(a), build(small, a)) for a in (Algorithm.MD5, Algorithm.SHA1)]
        large_path, large = open_release(pack_bundle(RELEASE, [*sections, ("sha256", sha256)]), folder)
        small_path, little = open_release(pack_bundle(RELEASE, [*sections, ("sha256", build(small))]), folder)
        snapshot = open_snapshot(large_path, release=large)
        innocent_s = one_file_s(snapshot, [f"absent {n}" for n in range(3_000)])
        listed_s = one_file_s(snapshot, [f"listed {n}" for n in range(min(3_000, small))])
        print(
            f"\none file's three digests: innocent {innocent_s * 1e6:.1f} µs, listed {listed_s * 1e6:.1f} µs"
        )
        opening = {
            release.size_bytes: fastest_s(partial(open_snapshot, path, release=release), 50)
            for path, release in ((small_path, little), (large_path, large))
        }
        copying_s = fastest_s(lambda: BloomFilter.fromfile(io.BytesIO(sha256)))
        for size, seconds in opening.items():
            print(f"opening {size:13,} bytes: {seconds * 1e6:8.0f} µs")
        print(f"pybloom-live's fromfile:      {copying_s * 1e6:8.0f} µs for {len(sha256):,} bytes")
    if arguments.json:
        figures = {
            "keys": count,
            "look_ups_per_s": rates,
            "one_file_innocent_s": innocent_s,
            "one_file_listed_s": listed_s,
            "open_s": opening,
            "fromfile_s": copying_s,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
