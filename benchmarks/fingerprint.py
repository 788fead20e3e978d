"""Our whole fingerprint beside what else a hoster might use: CPU time on the same files, in one run.

    python benchmarks/fingerprint.py [--photos FOLDER] [--rounds 5] [--json FILE]

Ours makes MD5, SHA-1, SHA-256, PDQ in two conventions with qualities and coefficients, and pHash; each
peer makes the one hash it is named for. Times are CPU milliseconds a picture (all threads of the process
added up, so that a thread in the background is not free), median over pictures of the best of the rounds;
the peers take turns on each file. Absolute figures move from machine to machine; ratios in one run count.

Pictures are made from photographs: scikit-image's, or the JPEG and PNG files of a folder. Larger sizes are
mirrored mosaics at native resolution, because an enlarged picture decodes too easily. "cold" gives each
picture a size of its own, so that no axis matrix is in the cache.
"""

import argparse
import gc
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, build_fingerprint, warm_up
from iii_client.fingerprint.digests import digest_stream

SIZES = {
    "0.3 MP JPEG": (640, 480, "JPEG", {"quality": 80}),
    "2 MP JPEG": (1632, 1224, "JPEG", {"quality": 85}),
    "12 MP JPEG": (4032, 3024, "JPEG", {"quality": 90}),
    "PNG 1080p": (1920, 1080, "PNG", {}),
    "WebP": (1200, 900, "WEBP", {"quality": 80}),
    "GIF 12 frames": (360, 270, "GIF", {}),
}
GIF_FRAMES = 12
#: Runs of one peer in a row, as a worker would, so that each finds its own code and tables in the cache.
CONSECUTIVE = 3
SKIMAGE_PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg")
#: Peers whose time is compared with ours, and the goals of the design for fast-v1 (at 0.3, 2 and 12 MP).
GOALS = {"pdqhash": (3, 10, 15), "imagehash.phash": (1.3, 2.5, 3.5), "perception PHash+PDQHash": (3, 10, 15)}

Run = Callable[[Path], object]


def main(arguments: Sequence[str]) -> None:
    """Make the pictures, measure, print a table, and write the figures as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, help="folder of photographs instead of scikit-image's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=5, help="pictures of each size")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    runners, missing = peers()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        single_threaded(stack)
        photos = load_photos(options.photos)[: options.pictures]
        warm_up()
        figures: dict[str, dict[str, float]] = {}
        for name, (width, height, pillow_format, settings) in SIZES.items():
            files = make_files(Path(folder), photos, [(width, height)], pillow_format, settings)
            figures[name] = measure(files, runners, options.rounds)
        figures["2 MP JPEG, cold"] = cold(Path(folder), photos, options.rounds)
    report(figures, missing)
    if options.json:
        options.json.write_text(json.dumps({"cpu_ms": figures, "missing": missing}, indent=1) + "\n")


def peers() -> tuple[dict[str, Run], list[str]]:
    """Everything that is measured, by name, and the peers that are not installed."""
    runners: dict[str, Run] = {
        "iii fast": lambda path: ours(path, "fast"),
        "iii exact": lambda path: ours(path, "exact"),
        "decoder alone": decoder_alone,
        "digests alone": digests_alone,
    }
    missing = []
    for name, module, make in (
        ("imagehash.phash", "imagehash", imagehash_phash),
        ("pdqhash", "pdqhash", pdqhash_compute),
        ("perception PHash+PDQHash", "perception.hashers", perception_both),
        ("threatexchange PDQ", "threatexchange.signal_type.pdq.signal", threatexchange_pdq),
    ):
        try:
            runners[name] = make(importlib.import_module(module))
        except ImportError:
            missing.append(name)
    return runners, missing


def ours(path: Path, recipe: str) -> object:
    """The whole fingerprint of a file."""
    return build_fingerprint(Content.from_path(path), recipe=RECIPES[recipe], limits=Limits())


def decoder_alone(path: Path) -> object:
    """What no hash of the pixels can do without: Pillow's reduced luma decode."""
    with Image.open(path) as image:
        image.draft("L", (256, 256))
        return image.load()


def digests_alone(path: Path) -> object:
    """MD5, SHA-1 and SHA-256 of the file: the other part that cannot be had for less."""
    with path.open("rb") as stream:
        return digest_stream(stream)


def imagehash_phash(imagehash: object) -> Run:
    """As its README shows."""
    return lambda path: imagehash.phash(Image.open(path))  # type: ignore[attr-defined]


def pdqhash_compute(pdqhash: object) -> Run:
    """As its README shows, with pixels from Pillow."""
    return lambda path: pdqhash.compute(np.array(Image.open(path).convert("RGB")))  # type: ignore[attr-defined]


def perception_both(hashers: object) -> Run:
    """Both hashes of one file, one after the other."""
    both = (hashers.PHash(), hashers.PDQHash())  # type: ignore[attr-defined]
    return lambda path: [hasher.compute(str(path)) for hasher in both]


def threatexchange_pdq(signal: object) -> Run:
    """As HMA hashes an upload."""
    return lambda path: signal.PdqSignal.hash_from_file(path)  # type: ignore[attr-defined]


def single_threaded(stack: ExitStack) -> None:
    """One core for everyone, where the libraries let themselves be told."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
        stack.enter_context(threadpoolctl.threadpool_limits(1))
    except ImportError:
        print("threadpoolctl is not installed: BLAS may use several threads", file=sys.stderr)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def load_photos(folder: Path | None) -> list[Image.Image]:
    """Photographs as RGB."""
    if folder is None:
        data = Path(importlib.import_module("skimage").__file__ or "").parent / "data"
        paths = [data / name for name in SKIMAGE_PHOTOS if (data / name).exists()]
    else:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    return [Image.open(path).convert("RGB") for path in paths]


def make_files(
    folder: Path,
    photos: list[Image.Image],
    sizes: list[tuple[int, int]],
    pillow_format: str,
    settings: dict[str, int],
) -> list[Path]:
    """One file of each photo, its size taken from `sizes` in turn."""
    paths = []
    for index, photo in enumerate(photos):
        width, height = sizes[index % len(sizes)]
        path = folder / f"{pillow_format}-{width}-{height}-{index}.{pillow_format.lower()}"
        picture = mosaic(photo, width, height)
        if pillow_format == "GIF":
            frames = [picture.rotate(2 * i) for i in range(1, GIF_FRAMES)]
            picture.save(path, "GIF", save_all=True, append_images=frames)
        else:
            picture.save(path, pillow_format, **settings)
        paths.append(path)
    return paths


def mosaic(photo: Image.Image, width: int, height: int) -> Image.Image:
    """A picture of this size: shrunk if the photo is larger, mirrored at its edges if it is smaller."""
    scale = max(width / photo.width, height / photo.height)
    if scale < 1:
        photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
    pixels = np.asarray(photo)
    pad = [(0, max(height - pixels.shape[0], 0)), (0, max(width - pixels.shape[1], 0)), (0, 0)]
    return Image.fromarray(np.pad(pixels, pad, mode="symmetric")[:height, :width])


def measure(files: list[Path], runners: dict[str, Run], rounds: int) -> dict[str, float]:
    """CPU milliseconds a picture of each runner; they take turns on each file."""
    best: dict[str, list[float]] = {name: [] for name in runners}
    for path in files:
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(rounds):
            for name, run in runners.items():
                gc.collect()
                gc.disable()
                for _ in range(CONSECUTIVE):
                    start = time.process_time()
                    run(path)
                    times[name].append((time.process_time() - start) * 1000)
                gc.enable()
        for name, taken in times.items():
            best[name].append(min(taken))
    return {name: statistics.median(taken) for name, taken in best.items()}


def cold(folder: Path, photos: list[Image.Image], rounds: int) -> dict[str, float]:
    """Ours and the decoder on pictures that all differ in size, each read once a round."""
    sizes = [(1632 + 2 * i, 1224 + 2 * i) for i in range(40)]
    files = make_files(folder, (photos * 40)[:40], sizes, "JPEG", {"quality": 85})
    runners: dict[str, Run] = {"iii fast": lambda path: ours(path, "fast"), "decoder alone": decoder_alone}
    for path in files:
        decoder_alone(path)
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(max(rounds // 2, 1)):  # 80 axes a round: the cache of 64 never helps
        for path in files:
            for name, run in runners.items():
                start = time.process_time()
                run(path)
                taken[name].append((time.process_time() - start) * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def report(figures: dict[str, dict[str, float]], missing: list[str]) -> None:
    """A table of milliseconds, then one of ratios to ours (fast)."""
    names = list(dict.fromkeys(name for row in figures.values() for name in row))
    print(f"{'CPU ms a picture':26}" + "".join(f"{name:>18}" for name in figures))
    for name in names:
        print(f"{name:26}" + "".join(f"{row.get(name, float('nan')):18.2f}" for row in figures.values()))
    print(f"\n{'times ours (fast)':26}" + "".join(f"{name:>18}" for name in figures))
    for name in names[1:]:
        ratios = [row.get(name, float("nan")) / row["iii fast"] for row in figures.values()]
        goal = "/".join(f"{g}" for g in GOALS.get(name, ()))
        print(f"{name:26}" + "".join(f"{r:18.2f}" for r in ratios) + (f"   goal {goal}" if goal else ""))
    for name in missing:
        print(f"not installed, not measured: {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
