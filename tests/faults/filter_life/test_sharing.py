"""One filter, many readers: memory is shared, releases change under load, additions are found at once.

Short by default. In full: III_TEST_SWAPS=2000 pytest -rP tests/faults/filter_life/test_sharing.py
"""

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client import Config, Outcome, Scanner
from iii_client.filters import parse_bundle
from iii_client.model import Release, ReleaseId
from iii_client.updates import FilterStore

from .conftest import Host
from .forge import CANARIES, LARGE_CANARIES, bundle_of, digest, large_bundle

SWAPS = int(os.environ.get("III_TEST_SWAPS", "60"))
PROCESSES = 8
READERS = PROCESSES if SWAPS >= 2000 else 2
SCRIPT = Path(__file__).with_name("reading.py")
#: Ten million hashes at 28.76 bits, with room for a quarter more.
TEN_MILLION_BYTES = int(10e6 * 1.25 * 28.76 / 8)


@contextmanager
def reader(state_dir: Path, what: str) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(state_dir), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def memory_kb(pid: int, file: str | None = None) -> dict[str, int]:
    """Sums of a process's maps, or of those of one file, by field of /proc/<pid>/smaps."""
    sums: dict[str, int] = {}
    counts = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            counts = file is None or line.endswith(file)
        elif counts and (match := re.match(r"^(\w+): +(\d+) kB", line)):
            sums[match[1]] = sums.get(match[1], 0) + int(match[2])
    return sums


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc/<pid>/smaps")
def test_eight_processes_use_the_memory_of_one_filter_of_ten_million_hashes(host: Host) -> None:
    content = large_bundle(TEN_MILLION_BYTES, ReleaseId(epoch=1, sequence=0))
    host.forge.put_base(content, epoch=1, changes=LARGE_CANARIES)
    host.forge.sign()
    host.update()
    (bundle,) = (host.state_dir / "filter" / "releases").glob("*.bundle")
    with ExitStack() as stack:
        processes = [stack.enter_context(reader(host.state_dir, "map")) for _ in range(PROCESSES)]
        for process in processes:
            ready(process)
        filters = [memory_kb(process.pid, str(bundle)) for process in processes]
        whole = [memory_kb(process.pid) for process in processes]
    size_kb = len(content) / 1024
    # Each process has its maps of all of it, and together they hold it once. (One opens it twice.)
    assert all(one["Rss"] >= size_kb * 0.99 for one in filters)
    assert sum(one["Pss"] for one in filters) < size_kb * 1.05
    assert sum(one["Private_Dirty"] for one in filters) == 0
    sys.stdout.write(
        f"\nfilter {size_kb / 1024:.0f} MiB; {PROCESSES} processes hold together "
        f"{sum(one['Pss'] for one in filters) / 1024:.0f} MiB of it, and everything else takes "
        f"{sum(w['Pss'] - f['Pss'] for w, f in zip(whole, filters, strict=True)) / 1024 / PROCESSES:.0f} MiB "
        f"a process\n"
    )


def epochs() -> list[bytes]:
    """Three bundles that list "always" and a marker each."""
    return [bundle_of(["always", f"marker {n}"], ReleaseId(epoch=1, sequence=0)) for n in range(3)]


def install(store: FilterStore, content: bytes, epoch: int) -> None:
    content = content[:16] + epoch.to_bytes(8, "little") + content[24:]
    now = datetime.now(UTC)
    release = Release(
        id=ReleaseId(epoch=epoch, sequence=0),
        sections=tuple(section.info for section in parse_bundle(content).sections),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        signed_at=now,
        expires_at=now + timedelta(days=7),
        canaries=CANARIES,
    )
    with store.lock():
        temporary = store.downloads_dir / "new"
        temporary.write_bytes(content)
        store.install(temporary, release)


@pytest.mark.timeout(1800)
def test_releases_change_under_load_and_no_answer_is_wrong(tmp_path: Path) -> None:
    store, contents = FilterStore(tmp_path), epochs()
    install(store, contents[1], 1)
    with ExitStack() as stack:
        readers = [stack.enter_context(reader(tmp_path, "swap")) for _ in range(READERS)]
        for process in readers:
            ready(process)
        started = time.monotonic()
        for epoch in range(2, SWAPS + 2):
            install(store, contents[epoch % 3], epoch)
        took_s = time.monotonic() - started
        outputs = [process.communicate("end")[0] for process in readers]
        # A SIGBUS would be -7 here.
        assert [process.returncode for process in readers] == [0] * READERS
    looked = [int(output.split()[0]) for output in outputs]
    seen = [int(output.split()[1]) for output in outputs]
    assert all(count > SWAPS / 30 for count in seen), outputs
    sys.stdout.write(
        f"\n{SWAPS} swaps in {took_s:.1f} s ({1000 * took_s / SWAPS:.1f} ms each, beside the readers): "
        f"{READERS} processes made {sum(looked)} look-ups in {min(seen)} to {max(seen)} releases, "
        "0 wrong, 0 killed\n"
    )


def test_an_addition_is_found_at_once_also_for_a_file_that_was_no_match_before(host: Host) -> None:
    content = b"an upload that nobody had listed"
    host.forge.publish_base("always")
    host.update()
    config = Config.from_mapping(
        {
            "mode": "enforce",
            "state_dir": str(host.state_dir),
            "service": {"url": "http://127.0.0.1:9", "protocol": "v2"},
        }
    )
    with Scanner.from_config(config) as scanner:
        for _ in range(2):
            assert scanner.scan(content).verdict.outcome is Outcome.NO_MATCH
        name = content.decode()
        assert digest(name).value == hashlib.sha256(content).digest()
        host.forge.publish_delta(name)
        assert host.update() == "1.1"
        decision = scanner.scan(content)
    assert decision.verdict.outcome is Outcome.UNCONFIRMED  # no service is running
    assert decision.verdict.release == ReleaseId(epoch=1, sequence=1)
    assert [candidate.section for candidate in decision.verdict.candidates] == ["sha256"]
