"""`iii-client demo`: the whole chain on real pictures, with no configuration.

Starts the practice service on a free port, lists a few of the pictures as known, mixes copies of them with
innocent pictures, updates the filter, scans, and says what was found and how many hashes left the process.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from iii_client.cli.exits import ExitCode
from iii_client.cli.render import err, out, plural, safe_text
from iii_client.cli.walk import iter_files
from iii_client.errors import ConfigurationError, MissingExtraError
from iii_client.model import Decision, Outcome

if TYPE_CHECKING:
    from PIL import Image

KNOWN = 5
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
#: Quarters of every innocent picture are scanned too, as pictures of their own.
CROPS = ((0, 0), (1, 0), (0, 1), (1, 1))
MIN_CROP_SIDE_PX = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One picture that the demo scans, and what it is."""

    kind: str
    path: Path


def demo(
    folder: Annotated[
        Path | None, typer.Argument(help="Harmless pictures of your own; default: scikit-image's.")
    ] = None,
) -> int:
    """Watch the library do its whole job on real pictures. Needs no configuration."""
    from iii_client.config import Config
    from iii_client.sandbox import Sandbox
    from iii_client.scanner import Scanner
    from iii_client.updates import Updater

    pictures = _pictures(folder)
    known, innocent = pictures[:KNOWN], pictures[KNOWN:]
    with tempfile.TemporaryDirectory(prefix="iii-demo-") as directory:
        work = Path(directory)
        with Sandbox.open(work / "sandbox") as service:
            service.add_pictures(known)
            service.publish()
            service.start()
            err.print(f"practice service at {service.url}: {plural(len(known), 'picture')} listed as known")
            config = Config.from_env(service.env)
            report = Updater(config.filter, config.state_dir).update()
            err.print(f"filter release {report.release} downloaded, verified and installed")
            with Scanner.from_config(config, counts_hits=False) as scanner:
                scanner.warm_up()
                results = [(upload, scanner.scan(upload.path)) for upload in _uploads(known, innocent, work)]
    return _show(results)


def _pictures(folder: Path | None) -> list[Path]:
    if folder is None:
        try:
            import skimage
        except ImportError:
            raise MissingExtraError("the demo without a folder", extra="demo") from None
        folder = Path(skimage.__file__).parent / "data"
    if not folder.is_dir():
        raise ConfigurationError("the demo takes a folder of pictures", hint="Name a folder that exists.")
    pictures = [path for path in iter_files([folder]) if path.suffix.lower() in PICTURE_SUFFIXES]
    usable = [path for path in pictures if _is_rich(path)]
    if len(usable) <= KNOWN:
        raise ConfigurationError(
            f"the demo needs more than {KNOWN} pictures; {len(usable)} of {len(pictures)} here can be used",
            hint="Name a folder with more photographs in it.",
        )
    return usable


def _is_rich(path: Path) -> bool:
    """Whether a picture has enough in it to be told from others: drawings and blank pages are left out."""
    from iii_client.config import Limits
    from iii_client.content import Content
    from iii_client.fingerprint import RECIPES, build_fingerprint

    fingerprint = build_fingerprint(Content.from_path(path), recipe=RECIPES["fast"], limits=Limits())
    return bool(fingerprint.perceptual) and not any(hash_.gates for hash_ in fingerprint.perceptual)


def _uploads(known: list[Path], innocent: list[Path], work: Path) -> Iterator[Upload]:
    """Copies of the known pictures, then the innocent ones and quarters of them."""
    for path in known:
        yield Upload(kind="exact copy", path=path)
    for kind, make in _COPIES.items():
        for number, path in enumerate(known):
            yield Upload(kind=kind, path=_edited(path, work / f"{kind}-{number}.jpg", make))
    for path in innocent:
        yield Upload(kind="innocent", path=path)
    for number, path in enumerate(innocent):
        for corner in CROPS:
            crop = work / f"quarter-{number}-{corner[0]}{corner[1]}.jpg"
            if _save_quarter(path, crop, corner):
                yield Upload(kind="innocent", path=crop)


def _edited(source: Path, target: Path, make: "Callable[[Image.Image], Image.Image]") -> Path:
    from PIL import Image

    with Image.open(source) as image:
        make(image.convert("RGB")).save(target, quality=75)
    return target


def _resized(image: "Image.Image") -> "Image.Image":
    return image.resize((max(64, image.width * 2 // 3), max(64, image.height * 2 // 3)))


def _watermarked(image: "Image.Image") -> "Image.Image":
    from PIL import Image, ImageDraw, ImageFont

    text_px = max(12, image.height // 16)
    layer = Image.new("RGBA", image.size)
    ImageDraw.Draw(layer).text(
        (image.width - 8 * text_px, image.height - 1.6 * text_px),
        "example.org",
        fill=(255, 255, 255, 128),
        font=ImageFont.load_default(text_px),
    )
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _captioned(image: "Image.Image") -> "Image.Image":
    from PIL import ImageDraw, ImageFont

    text_px = max(12, image.height // 20)
    draw = ImageDraw.Draw(image)
    draw.text(
        (image.width // 2, image.height - text_px),
        "SEEN ON EXAMPLE.ORG",
        anchor="ms",
        fill="white",
        stroke_fill="black",
        stroke_width=max(1, text_px // 12),
        font=ImageFont.load_default(text_px),
    )
    return image


def _mirrored(image: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    return ImageOps.mirror(image)


def _letterboxed(image: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    return ImageOps.expand(image, (0, image.height // 5), "black")


_COPIES: "dict[str, Callable[[Image.Image], Image.Image]]" = {
    "re-encoded": lambda image: image,
    "resized": _resized,
    "watermarked": _watermarked,
    "captioned": _captioned,
    "mirrored": _mirrored,
    "letterboxed": _letterboxed,
}


def _save_quarter(source: Path, target: Path, corner: tuple[int, int]) -> bool:
    from PIL import Image

    with Image.open(source) as image:
        width, height = image.width // 2, image.height // 2
        if min(width, height) < MIN_CROP_SIDE_PX:
            return False
        left, top = corner[0] * width, corner[1] * height
        image.convert("RGB").crop((left, top, left + width, top + height)).save(target, quality=85)
    return True


def _show(results: list[tuple[Upload, Decision]]) -> int:
    table = Table("what was uploaded", "files", "found", "not found", "action", "hashes sent", box=None)
    for kind in dict.fromkeys(upload.kind for upload, _ in results):
        decisions = [decision for upload, decision in results if upload.kind == kind]
        found = sum(decision.verdict.outcome is Outcome.MATCHED for decision in decisions)
        actions = dict.fromkeys(decision.action.value for decision in decisions)
        table.add_row(
            safe_text(kind),
            str(len(decisions)),
            str(found),
            str(len(decisions) - found),
            ", ".join(actions),
            str(sum(decision.verdict.hashes_sent for decision in decisions)),
        )
    out.print(table)
    innocent = [decision for upload, decision in results if upload.kind == "innocent"]
    exact = [decision for upload, decision in results if upload.kind == "exact copy"]
    sent = sum(decision.verdict.hashes_sent for _, decision in results)
    sent_innocent = sum(decision.verdict.hashes_sent for decision in innocent)
    out.print(
        f"\n{plural(len(innocent), 'innocent file')} scanned, "
        f"[bold]{plural(sent_innocent, 'hash')} of them left the process[/]."
    )
    out.print(f"{plural(sent, 'hash')} left the process in all, 0 pictures, 0 file names.")
    missed = sum(
        decision.verdict.outcome is not Outcome.MATCHED
        for upload, decision in results
        if upload.kind in _COPIES
    )
    if missed:
        copies = "1 edited copy" if missed == 1 else f"{missed} edited copies"
        out.print(f"{copies} not found: the perceptual hash does not see through every edit.")
    whole = all(decision.verdict.outcome is Outcome.MATCHED for decision in exact)
    return ExitCode.NO_MATCH if whole and not sent_innocent else ExitCode.INCOMPLETE
