"""What isolation costs a picture, in one run with and without: `python benchmarks/isolation.py [ROUNDS]`.

| column | means |
|---|---|
| here | decoded in this process |
| upload | a worker of its own, forked ahead; uploads come with a pause between them |
| burst | the same without a pause: each waits for its worker to be forked |
| rescan | one recycled worker |

Milliseconds of the least disturbed picture of all rounds (and the median in brackets); the ways take turns,
so that a busy machine is busy for all of them. `CPU` is the mean of host, helper and workers together.
"""

import io
import os
import statistics
import sys
import time
from pathlib import Path

import skimage
from PIL import Image

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.fingerprint import RECIPES, Isolation, LooksHere, PixelReader, build_fingerprint, warm_up

SIZES = {"small (320x240)": (320, 240), "1 MP": (1000, 1000), "12 MP": (4000, 3000)}
#: Long enough for a worker to be forked and to rehearse.
PAUSE_S = 0.05
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def jpeg(size: tuple[int, int]) -> bytes:
    """A photograph of this size."""
    with Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as image:
        picture = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def look(data: bytes, reader: PixelReader) -> float:
    """Milliseconds of one picture."""
    started = time.perf_counter()
    found = build_fingerprint(
        Content.from_bytes(data), recipe=RECIPES["fast"], limits=Limits(), reader=reader
    )
    taken = time.perf_counter() - started
    assert found.perceptual
    return taken * 1e3


def helper_cpu_s(isolation: Isolation) -> float:
    """CPU time of the helper and of the workers that ended."""
    helper = isolation._office.staff._helper
    assert helper is not None
    fields = Path(f"/proc/{helper._process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) * TICK_S


def cpu_a_picture(data: bytes, isolation: Isolation, rounds: int) -> tuple[float, float]:
    """Milliseconds of CPU a picture: here, and isolated in a worker of its own."""
    times = []
    for reader in (LooksHere(), isolation):
        before = time.process_time() + helper_cpu_s(isolation)
        for _ in range(rounds):
            look(data, reader)
        time.sleep(PAUSE_S)
        times.append((time.process_time() + helper_cpu_s(isolation) - before) / rounds * 1e3)
    return times[0], times[1]


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    warm_up()
    print("| picture | here | upload | + | burst | rescan | + | CPU here | CPU upload |")
    print("|---|---|---|---|---|---|---|---|---|")
    with Isolation() as isolation, Isolation() as another, another.recycling() as recycled:
        isolation.warm_up()
        for name, size in SIZES.items():
            data = jpeg(size)
            taken: dict[str, list[float]] = {
                "here": [],
                "paused": [],
                "upload": [],
                "burst": [],
                "rescan": [],
            }
            for reader in (LooksHere(), isolation, recycled):
                look(data, reader)
            for _ in range(rounds):
                taken["here"].append(look(data, LooksHere()))
                taken["rescan"].append(look(data, recycled))
                time.sleep(PAUSE_S)
                taken["paused"].append(look(data, LooksHere()))
                time.sleep(PAUSE_S)
                taken["upload"].append(look(data, isolation))
                taken["burst"].append(look(data, isolation))
            shown = {
                way: f"{min(values):.2f} ({statistics.median(values):.2f})" for way, values in taken.items()
            }
            cpu_here, cpu_upload = cpu_a_picture(data, isolation, rounds)
            print(
                f"| {name} | {shown['here']} | {shown['upload']} "
                f"| {min(taken['upload']) - min(taken['paused']):+.2f} ms | {shown['burst']} "
                f"| {shown['rescan']} | {min(taken['rescan']) / min(taken['here']) - 1:+.0%} "
                f"| {cpu_here:.1f} | {cpu_upload:.1f} |"
            )


if __name__ == "__main__":
    main()
