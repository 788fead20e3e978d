"""What caches, breaker, budgets and counts add to the scan of an innocent file, and what a re-upload costs.

    python benchmarks/state_cost.py [--pictures 20] [--rounds 15] [--json FILE]

Three ways through one filter of a practice service, in turn, in one run:

    bare       fingerprint, look-up, judging, policy; nothing is remembered or counted
    full       `Scanner.scan`: cache, allow-list, budgets, breaker, tallies, negatives, Prometheus
    re-upload  the same bytes a second time, with everything on

Each round takes bytes that were never seen before (a few bytes behind the end of the picture differ), so
that `full` is a first upload each time. Milliseconds of wall time: median over pictures of the best round.
Goal: full is at most 10 % or 0.3 ms over bare, whichever is larger.
"""

import argparse
import gc
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import skimage
from PIL import Image
from prometheus_client import CollectorRegistry

from iii_client import Config, Content, Decision, Outcome, Scanner, Updater
from iii_client.checking import Checker
from iii_client.fingerprint import build_fingerprint, warm_up
from iii_client.integrations.prometheus import PrometheusObserver
from iii_client.model import ANONYMOUS, Remembered
from iii_client.parts import Parts
from iii_client.records import StateRecorder
from iii_client.sandbox import Sandbox

LISTED = ("astronaut.png", "camera.png", "coffee.png")
INNOCENT = ("chelsea.png", "rocket.jpg", "retina.jpg", "motorcycle_left.png", "hubble_deep_field.jpg")
SIZES = {"0.3 MP": (640, 480), "2 MP": (1632, 1224), "12 MP": (4000, 3000)}

Scan = Callable[[bytes], Decision]


def pictures(size_px: tuple[int, int], number: int) -> list[bytes]:
    """Innocent JPEG files."""
    data = Path(skimage.__file__).parent / "data"
    files = []
    for index in range(number):
        with Image.open(data / INNOCENT[index % len(INNOCENT)]) as image:
            picture = image.convert("RGB")
        shift = index // len(INNOCENT)
        box = (shift * 4, shift * 3, picture.width - shift * 4, picture.height - shift * 5)
        buffer = io.BytesIO()
        picture.crop(box).resize(size_px).save(buffer, "JPEG", quality=80)
        files.append(buffer.getvalue())
    return files


class Ways:
    """Both ways to scan, over one filter and one state directory."""

    def __init__(self, config: Config) -> None:
        self._limits = config.limits
        parts = Parts.from_config(config)
        self._recipe = parts.recipe
        self._bare = Checker(
            filters=parts.filters,
            confirmer=parts.confirmer,
            policy=parts.policy,
            recorder=StateRecorder(parts.store, key=parts.pseudonyms),
            mode=config.mode,
        )
        self._scanner = Scanner.from_parts(parts, observers=[PrometheusObserver(CollectorRegistry())])

    def bare(self, data: bytes) -> Decision:
        """A scan without any state."""
        fingerprint = build_fingerprint(Content.from_bytes(data), recipe=self._recipe, limits=self._limits)
        (decision,) = self._bare.check([Remembered(fingerprint=fingerprint)], [ANONYMOUS])
        return decision

    def full(self, data: bytes) -> Decision:
        """A scan with everything on, as an application makes it."""
        return self._scanner.scan(data)


def measure(ways: Ways, files: list[bytes], rounds: int) -> dict[str, float]:
    """Medians over the files of the best round."""
    numbers = count(1)
    best: dict[str, list[float]] = {"bare_ms": [], "full_ms": [], "re_upload_ms": []}
    for file in files:
        times: dict[str, list[float]] = {name: [] for name in best}
        for _ in range(rounds):
            fresh = file + next(numbers).to_bytes(8)
            times["bare_ms"].append(timed_ms(ways.bare, fresh))
            times["full_ms"].append(timed_ms(ways.full, fresh))
            times["re_upload_ms"].append(timed_ms(ways.full, fresh))
        for name, values in times.items():
            best[name].append(min(values))
    medians = {name: statistics.median(values) for name, values in best.items()}
    added = [full - bare for full, bare in zip(best["full_ms"], best["bare_ms"], strict=True)]
    medians["added_ms"] = statistics.median(added)
    medians["added_ratio"] = medians["added_ms"] / medians["bare_ms"]
    return medians


def timed_ms(scan: Scan, data: bytes) -> float:
    """One scan."""
    started = time.perf_counter()
    decision = scan(data)
    took_ms = (time.perf_counter() - started) * 1000
    assert decision.verdict.outcome is Outcome.NO_MATCH
    return took_ms


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = Path(skimage.__file__).parent / "data"
    with tempfile.TemporaryDirectory() as folder, Sandbox.open(Path(folder) / "sandbox") as service:
        service.add_pictures([data / name for name in LISTED])
        service.publish()
        service.start()
        # Without isolation, whose cost would hide this one.
        config = replace(Config.from_env(service.env), isolation="off")
        Updater(config.filter, config.state_dir).update()
        warm_up()
        ways = Ways(config)
        gc.disable()
        figures = {
            name: measure(ways, pictures(size, arguments.pictures), arguments.rounds)
            for name, size in SIZES.items()
        }
    names = list(next(iter(figures.values())))
    print(f"{'':10}{''.join(f'{name:>14}' for name in names)}")
    for size, values in figures.items():
        print(f"{size:10}{''.join(f'{values[name]:14.3f}' for name in names)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
