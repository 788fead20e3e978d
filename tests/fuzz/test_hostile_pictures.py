"""Hostile pictures through real isolated workers: nothing crashes or hangs the host, and every limit holds.

By default a few hundred. With III_TEST_HOSTILE=full, every picture of Pillow's source distribution (fetched
by pip, kept nowhere) and 10,000 mutations by zzuf, with a table for docs/explanation/isolation.md:

    III_TEST_HOSTILE=full pytest -s tests/fuzz/test_hostile_pictures.py
"""

import collections
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import PIL
import pytest
from PIL import Image

from iii_client.config import Limits
from iii_client.fingerprint import RECIPES, Isolation
from iii_client.fingerprint.isolation.hired import WorkerLostError
from iii_client.fingerprint.isolation.isolation import CPU_S, MEMORY_BYTES, WALL_S
from iii_client.fingerprint.isolation.looks import make_question
from iii_client.fingerprint.sniffing import HEAD_BYTES, Standing, sniff
from iii_client.model import Reason

FULL = os.environ.get("III_TEST_HOSTILE") == "full"
MUTATIONS = 10_000 if FULL else 200
#: What an interpreter with numpy and Pillow holds before it sees a picture; part of what is measured.
INTERPRETER_BYTES = 64 << 20

Named = tuple[str, bytes]


@pytest.fixture(scope="module")
def isolation() -> Iterator[Isolation]:
    with Isolation() as shared:
        yield shared


class Tally:
    """Looks at pictures, one worker each, and counts what came out and what it took."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation = isolation
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.lost: list[str] = []
        self.most_memory = self.most_cpu_s = self.most_wall_s = 0.0

    def look(self, name: str, data: bytes) -> str:
        kind = sniff(data[:HEAD_BYTES])
        if kind.standing is not Standing.DECODED:
            outcome = f"not decoded: {kind.standing.value}"
        else:
            outcome = self._in_worker(name, kind.name, data)
        self.outcomes[outcome] += 1
        return outcome

    def _in_worker(self, name: str, kind: str, data: bytes) -> str:
        worker = self._isolation._office.staff.hire(1)
        question = make_question(kind, len(data), RECIPES["fast"], Limits())
        started = time.monotonic()
        deadline = started + WALL_S
        try:
            worker.ask(question, io.BytesIO(data), deadline_s=deadline)
            looked = worker.answer(question, deadline_s=deadline)
        except WorkerLostError as lost:
            self.lost.append(f"{name}: {lost.reason} {lost.detail}")
            return str(lost.reason.value)
        finally:
            self.most_wall_s = max(self.most_wall_s, time.monotonic() - started)
            fate = worker.fate()
            worker.end()
            self._isolation._office.staff.replenish()
            if fate is not None:
                self.most_memory = max(self.most_memory, fate.largest_memory_bytes)
                self.most_cpu_s = max(self.most_cpu_s, fate.cpu_s)
        missing = [skip.reason for skip in looked.skipped if skip.reason is not Reason.FRAMES_SAMPLED]
        if not missing:
            return "looked at"
        return f"{'in part: ' if looked.frames else ''}{missing[0].value}"

    def check_limits(self, *, timeouts: bool = False) -> None:
        assert self.most_memory < MEMORY_BYTES + INTERPRETER_BYTES
        assert self.most_cpu_s < CPU_S + 1.5
        assert self.most_wall_s < WALL_S + 1
        assert timeouts or Reason.DECODE_TIMEOUT.value not in self.outcomes, self.lost
        assert Reason.DECODER_CRASHED.value not in self.outcomes, self.lost

    def report(self, title: str) -> None:
        if FULL:
            rows = "\n".join(f"| {outcome} | {count} |" for outcome, count in self.outcomes.most_common())
            most = (
                f"most memory {self.most_memory / 2**20:.0f} MiB, most CPU {self.most_cpu_s:.2f} s, "
                f"most time {self.most_wall_s:.2f} s"
            )
            lost = "\n".join(self.lost)
            sys.stdout.write(f"\n{title}: {self.outcomes.total()} pictures, {most}\n{rows}\n{lost}\n")


def look_at_all(isolation: Isolation, title: str, pictures: Iterable[Named]) -> Tally:
    tally = Tally(isolation)
    for name, data in pictures:
        tally.look(name, data)
    tally.report(title)
    return tally


def saved(image: Image.Image, pillow_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, pillow_format, **options)
    return out.getvalue()


def bombs() -> Iterator[Named]:
    """Small files of many pixels, many frames, or much work; those within the limits are decoded in full."""
    yield "1 bit, 144 megapixels", saved(Image.new("1", (12_000, 12_000)), "PNG")
    side = 7000
    for pillow_format in ("PNG", "GIF", "WEBP", "AVIF", "TIFF", "JPEG") if FULL else ("PNG",):
        options: dict[str, object] = {"compression": "tiff_lzw"} if pillow_format == "TIFF" else {}
        picture = Image.new("RGB", (side, side), (200, 30, 90))
        yield f"49 megapixels of {pillow_format}", saved(picture, pillow_format, **options)
    if FULL:  # they take long to make
        yield "progressive", saved(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True)
        frames = [Image.new("P", (2000, 2000), number) for number in range(60)]
        yield "60 frames of 4 megapixels", saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    png = saved(Image.new("L", (64, 64)), "PNG")
    yield "a size that is not there", png[:16] + b"\xff\xff\xff\x7f" * 2 + png[24:]
    jpeg = bytearray(saved(Image.new("L", (64, 64)), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    yield "65535 x 65535 in a header", bytes(jpeg)
    yield "empty chunks", png[:8] + bytes(4) + b"teSt" + bytes(4) * 20_000
    yield "nothing behind the signature", b"II*\0\x08\0\0\0" + b"\xff" * 4096


def test_bombs_stay_within_the_limits(isolation: Isolation) -> None:
    tally = look_at_all(isolation, "bombs", bombs())
    tally.check_limits(timeouts=True)  # 49 megapixels of AVIF take 2.5 s of CPU: on a busy machine too long
    assert tally.outcomes[Reason.TOO_MANY_PIXELS.value] >= 2


@pytest.mark.skipif(shutil.which("zzuf") is None, reason="zzuf is not installed (Debian: apt install zzuf)")
@pytest.mark.timeout(3600)
def test_mutations_by_zzuf_crash_and_hang_nothing(
    isolation: Isolation, tmp_path: Path, make_pictures: Callable[[Path, int], list[Path]]
) -> None:
    def mutations() -> Iterator[Named]:
        pictures = _ten_kinds(make_pictures(tmp_path, 10))
        for seed in range(MUTATIONS // len(pictures)):
            for name, data in pictures:
                # One bit in ten thousand to four in a thousand, behind the signature, or nothing is decoded.
                ratio = (0.0001, 0.0005, 0.001, 0.004)[seed % 4]
                command = ["zzuf", "-s", str(seed), "-r", str(ratio), "-b", "16-"]
                done = subprocess.run(command, input=data, capture_output=True, check=True, timeout=60)
                yield f"{name} {seed}", done.stdout

    tally = look_at_all(isolation, "zzuf", mutations())
    tally.check_limits()
    assert tally.outcomes.total() == MUTATIONS


def _ten_kinds(paths: list[Path]) -> list[Named]:
    """Ten photographs, in all formats that are decoded."""
    ways: list[tuple[str, dict[str, object]]] = [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("AVIF", {}),
    ]
    made = []
    for path, (pillow_format, options) in zip(paths, ways, strict=True):
        with Image.open(path) as image:
            picture = image.convert("RGB")
        picture.thumbnail((320, 320))
        made.append((pillow_format, saved(picture, pillow_format, **options)))
    return made


@pytest.mark.skipif(not FULL, reason="47 MB are fetched: III_TEST_HOSTILE=full")
@pytest.mark.timeout(1800)
def test_every_picture_of_pillows_source_crashes_and_hangs_nothing(
    isolation: Isolation, tmp_path: Path
) -> None:
    fetch = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-binary",
        ":all:",
        "-d",
        str(tmp_path),
    ]
    fetched = subprocess.run([*fetch, f"pillow=={PIL.__version__}"], capture_output=True, check=False)
    archives = list(tmp_path.glob("pillow-*.tar.gz"))
    if not archives:
        pytest.skip(f"Pillow's source distribution cannot be fetched: {fetched.stderr[-200:]!r}")

    def pictures() -> Iterator[Named]:
        with tarfile.open(archives[0]) as archive:
            for member in archive:
                if member.isfile() and "/Tests/images/" in member.name:
                    file = archive.extractfile(member)
                    assert file is not None
                    yield Path(member.name).name, file.read()

    tally = look_at_all(isolation, "Pillow's own", pictures())
    tally.check_limits()
    assert tally.outcomes["looked at"] > 300
