"""What a publisher's day costs: a list into the catalogue, a base, a day's deltas; time and peak memory.

    python benchmarks/publisher.py                        short: 200,000 hashes
    python benchmarks/publisher.py --hashes 10000000      as measured in docs/how-to/publish-a-filter.md
    python benchmarks/publisher.py --algorithm pdq        near segments; a day's hashes wait for the next

Each step runs in a process of its own, so that the peak is its own. Hashes are random: no list is needed.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from iii_client.model import ListKind
from iii_client.publisher import PublisherDesk
from iii_client.publisher.deliveries import Delivery

HEADER = "algorithm,value,quality,list,source,scheme,code\n"


def write_list(path: Path, count: int, *, algorithm: str, seed: int) -> None:
    """A CSV of so many random hashes, of 32 bytes each."""
    source = random.Random(seed)
    with path.open("w") as file:
        file.write(HEADER)
        for _ in range(count):
            file.write(f"{algorithm},{source.randbytes(32).hex()},100,list,body,interpol-baseline,1\n")


def step(name: str, folder: Path) -> dict[str, object]:
    """One step, in this process."""
    desk = PublisherDesk.open(folder / "publisher")
    started = time.monotonic()
    said: object
    if name.startswith("add"):
        said = desk.add(Delivery(path=folder / f"{name}.csv"), kind=ListKind.OTHER).new
    else:
        report = desk.publish()
        said = f"{report.release}, {report.deltas} deltas, {report.added} added, {report.left} left"
    return {
        "step": name,
        "said": said,
        "seconds": round(time.monotonic() - started, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hashes", type=int, default=200_000)
    parser.add_argument("--algorithm", choices=("sha256", "pdq"), default="sha256")
    parser.add_argument("--daily", type=int, default=1_000, help="hashes that a day adds")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step, options.folder)))
        return
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        PublisherDesk.create(folder / "publisher")
        write_list(folder / "add-list.csv", options.hashes, algorithm=options.algorithm, seed=1)
        write_list(folder / "add-day.csv", options.daily, algorithm=options.algorithm, seed=2)
        print(f"{options.hashes:,} hashes, then {options.daily:,} more; {os.cpu_count()} processors")
        for name in ("add-list", "base", "add-day", "deltas", "nothing"):
            command = [sys.executable, __file__, "--folder", str(folder), "--step", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout)
            print(f"{row['step']:10} {row['seconds']:8.1f} s {row['peak_mb']:6} MB   {row['said']}")
        public = folder / "publisher" / "repository" / "public" / "targets"
        for path in sorted(public.rglob("*")):
            if path.is_file():
                print(f"  {path.stat().st_size:12,} bytes  {path.name.partition('.')[2]}")
        size = (folder / "publisher" / "private" / "catalogue.db").stat().st_size
        print(f"  {size:12,} bytes  catalogue.db")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
