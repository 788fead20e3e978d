"""What a scan of an innocent upload costs beyond its fingerprint, end to end, and how `scan_many` scales.

    python benchmarks/scan.py [--pictures 40] [--rounds 5] [--json FILE]

Starts the practice service, installs its filter (with a near segment), and scans innocent pictures from
memory with everything on: look-up in the exact sections, near views, judging, policy. Milliseconds of wall
time, median over pictures of the best of the rounds, in one run.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import skimage
from PIL import Image

from iii_client import Config, Content, Outcome, Scanner, Updater
from iii_client.sandbox import Sandbox
from iii_client.scanner import ScanItem

SIDE_PX = (640, 480)
LISTED = ("astronaut.png", "camera.png", "coffee.png")
INNOCENT = ("chelsea.png", "rocket.jpg", "retina.jpg", "motorcycle_left.png", "hubble_deep_field.jpg")


def tiles(count: int) -> list[bytes]:
    """Distinct innocent JPEG files of 640x480."""
    data = Path(skimage.__file__).parent / "data"
    files: list[bytes] = []
    for number in range(count):
        with Image.open(data / INNOCENT[number % len(INNOCENT)]) as image:
            picture = image.convert("RGB")
        shift = number // len(INNOCENT)
        box = (shift * 4, shift * 3, picture.width - shift * 4, picture.height - shift * 5)
        buffer = io.BytesIO()
        picture.crop(box).resize(SIDE_PX).save(buffer, "JPEG", quality=80)
        files.append(buffer.getvalue())
    return files


def best_ms(call: Callable[[], object], rounds: int) -> float:
    """The fastest of some runs, in milliseconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times) * 1000


def measure(config: Config, files: list[bytes], rounds: int) -> dict[str, float]:
    """Medians over the files."""
    near_off = replace(config, filter=replace(config.filter, views=("upright",)))
    with Scanner.from_config(config) as scanner, Scanner.from_config(near_off) as upright:
        scanner.warm_up()
        assert all(scanner.scan(file).verdict.outcome is Outcome.NO_MATCH for file in files)
        prints = [scanner.fingerprint(file) for file in files]
        figures = {
            "fingerprint_ms": [best_ms(lambda f=file: scanner.fingerprint(f), rounds) for file in files],  # type: ignore[misc]
            "scan_ms": [best_ms(lambda f=file: scanner.scan(f), rounds) for file in files],  # type: ignore[misc]
            "scan_upright_only_ms": [best_ms(lambda f=file: upright.scan(f), rounds) for file in files],  # type: ignore[misc]
            "check_ms": [best_ms(lambda p=one: scanner.check([p]), rounds) for one in prints],  # type: ignore[misc]
            "check_batch_ms": [best_ms(lambda: scanner.check(prints), rounds) / len(prints)],
        }
        medians = {name: statistics.median(values) for name, values in figures.items()}
        medians["scan_over_fingerprint_ms"] = statistics.median(
            scan - print_ for scan, print_ in zip(figures["scan_ms"], figures["fingerprint_ms"], strict=True)
        )
        items = [ScanItem(content=Content.from_bytes(file)) for file in files] * 4
        for jobs in (1, len(os.sched_getaffinity(0))):
            took_ms = best_ms(lambda j=jobs: list(scanner.scan_many(items, jobs=j)), max(rounds // 2, 1))  # type: ignore[misc]
            medians[f"scan_many_jobs_{jobs}_per_s"] = len(items) / took_ms * 1000
    return medians


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = Path(skimage.__file__).parent / "data"
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.open(Path(folder) / "sandbox") as service,
    ):
        service.add_pictures([data / name for name in LISTED])
        service.publish()
        service.start()
        config = Config.from_env({**service.env, "III_CACHE": "false"})
        Updater(config.filter, config.state_dir).update()
        figures = measure(config, tiles(arguments.pictures), arguments.rounds)
    for name, value in figures.items():
        print(f"{name:32}{value:10.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
