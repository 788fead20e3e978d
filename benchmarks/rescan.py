"""Rescans measured: pictures a second, and stored fingerprints rechecked a minute.

    python benchmarks/rescan.py recheck [ROWS]     synthetic fingerprints through exact and near sections
    python benchmarks/rescan.py folder FOLDER      a rescan by 1 and 2 jobs, a scan, and an imagehash loop

Prints one JSON object. Figures of a loaded machine are noise; ratios within one run are not.
"""

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagehash
from PIL import Image

from iii_client import Config, Updater
from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.model import Algorithm, Fingerprint, HashValue
from iii_client.records.fingerprint_codec import encode_fingerprint
from iii_client.records.store import utc_now
from iii_client.rescan import Recheck, Rescan
from iii_client.rescan.chunks import HashedRow
from iii_client.rescan.recheck import Rechecked
from iii_client.rescan.segments import Position, StoredItem
from iii_client.sandbox import Sandbox
from iii_client.scanner import ScanItem, Scanner

BLOCK_ROWS = 256


def main(arguments: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, Sandbox.open(Path(folder) / "sandbox") as sandbox:
        sandbox.publish()
        sandbox.start()
        config = Config.from_env({**sandbox.env, "III_STATE_DIR": f"{folder}/state"})
        Updater(config.filter, config.state_dir).update()
        if arguments[0] == "recheck":
            rows = int(arguments[1]) if len(arguments) > 1 else 100_000
            exact = Config.from_env(
                {**sandbox.env, "III_STATE_DIR": f"{folder}/exact", "III_FILTER_NEAR": "false"}
            )
            Updater(exact.filter, exact.state_dir).update()
            return {"exact": recheck(exact, rows), "with_near": recheck(config, rows // 10)}
        return folder_rates(config, Path(arguments[1]))


def recheck(config: Config, rows: int) -> dict[str, Any]:
    """Rows a minute of CPU time, and what they take. Digests are random, pixels those of real pictures."""
    rescan = Rescan.start(config, job="job", roots=[str(config.state_dir)])
    ledger = rescan.ledger
    end = Position()
    for number, items in enumerate(_blocks(rows)):
        end = ledger.segments(0).append(items, end)
        ledger.commit_chunk(
            0,
            cursor=str(number),
            items=len(items),
            size_bytes=0,
            end=end,
            dispatched=0,
            now=utc_now(),
        )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, wall = time.process_time(), time.monotonic()
    events = [event for event in Recheck.of(config, job="job").run() if isinstance(event, Rechecked)]
    seconds, wall = time.process_time() - begun, time.monotonic() - wall
    checked = sum(event.items for event in events)
    return {
        "rows": checked,
        "hits": sum(event.hits for event in events),
        "rows_a_minute_of_cpu": round(60 * checked / seconds),
        "cpu_s": round(seconds, 2),
        "wall_s": round(wall, 2),
        "stored_bytes_a_row": round(ledger.status().stored_bytes / checked),
        "memory_growth_mib": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
        "cpu_hours_for_two_billion": round(2e9 * seconds / checked / 3600, 1),
    }


def _blocks(rows: int) -> Iterator[list[StoredItem]]:
    rng = random.Random(1)
    samples = list(_samples())
    for first in range(0, rows, BLOCK_ROWS):
        yield [
            StoredItem(
                key=f"user{number % 997}/{number:09}.jpg",
                token=f"{rng.getrandbits(128):032x}",
                row=HashedRow(stored=encode_fingerprint(_with_digests(rng.choice(samples), rng))),
            )
            for number in range(first, min(first + BLOCK_ROWS, rows))
        ]


def _samples() -> Iterator[Fingerprint]:
    import skimage

    for path in sorted((Path(skimage.__file__).parent / "data").glob("*.png")):
        yield build_fingerprint(Content.from_path(path), recipe=RECIPES["fast"], limits=Limits())


def _with_digests(sample: Fingerprint, rng: random.Random) -> Fingerprint:
    return Fingerprint(
        recipe=sample.recipe,
        size_bytes=rng.randrange(10**6),
        kind=sample.kind,
        digests=tuple(
            HashValue(algorithm=algorithm, value=rng.randbytes(algorithm.width_bits // 8))
            for algorithm in (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256)
        ),
        perceptual=sample.perceptual,
        frames=sample.frames,
        skipped=sample.skipped,
    )


def folder_rates(config: Config, folder: Path) -> dict[str, Any]:
    """Pictures a second by each way over the same files, the page cache warm."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        path.read_bytes()
    found: dict[str, Any] = {"files": len(files)}
    for jobs in (1, 2):
        rescan = Rescan.start(config, job=f"jobs-{jobs}", roots=[str(folder)], jobs=jobs)
        begun = time.monotonic()
        for _ in rescan.run():
            pass
        found[f"rescan_{jobs}_jobs_per_s"] = round(len(files) / (time.monotonic() - begun), 1)
    listing = rescan.ledger.status()
    found["stored_bytes_an_item"] = round(listing.stored_bytes / len(files))
    begun = time.monotonic()
    with Scanner.from_config(config, counts_hits=False) as scanner:
        for _ in scanner.scan_many((ScanItem(content=Content.from_path(path)) for path in files), jobs=1):
            pass
    found["scan_1_job_per_s"] = round(len(files) / (time.monotonic() - begun), 1)
    begun = time.monotonic()
    for path in files:
        with Image.open(path) as image:
            imagehash.phash(image)
    found["imagehash_loop_per_s"] = round(len(files) / (time.monotonic() - begun), 1)
    found["two_jobs_over_one"] = round(found["rescan_2_jobs_per_s"] / found["rescan_1_jobs_per_s"], 2)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:]), indent=2) + "\n")
