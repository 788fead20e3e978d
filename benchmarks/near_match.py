"""Evaluates near match on real pictures: recall, false candidates, bytes and milliseconds, in one run.

    python -m benchmarks.near_match [FOLDER ...] [--debian] [--listed 1400000] [--crops 30] [--half {0,1}]
                                    [--extension-probes 16384] [--json FILE] [--plot FILE.svg]

Half of the pictures (photographs and maps with crops of them) are listed among random, balanced filler, in a
segment that the real publisher builds; the other half are the innocents. Without FOLDER the pictures are
those that scikit-image, scikit-learn and matplotlib ship, drawn maps and drawn text; `--debian` adds
wallpapers, clip-art, maps, flags and screenshots where installed. `--half` takes only every other picture, by
the hash of its origin, so that a constant can be chosen on one half and reported on the other.

Recall is measured against brute force: pairs of a listed picture and an altered copy whose hashes are
at most 31 bits apart in a default view: upright and mirrored, whole and without a plain border. Queries are
made from stored (quantised) coefficients, as in the product; `quantisation_loss` says what exact ones would
add, `whole` what is found without the trimmed view. False candidates are counted for a picture over
all default views. Random filler cannot collide structurally, so the bound scales with the *real* listed
hashes only: (upper 95 % bound of the share) x (listed / real listed).
"""

import argparse
import hashlib
import json
import random
import resource
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from benchmarks.near_alterations import FAMILIES
from benchmarks.near_pictures import (
    MIN_SIDE_PX,
    crops,
    debian_pictures,
    load,
    pictures_under,
    relief_map,
    shipped_pictures,
    text_page,
)
from numpy.typing import NDArray
from PIL import Image

from iii_client.filters.near_results import NearResult
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.probing import NearFilter
from iii_client.filters.ring_chain import DEFAULT_PARAMETERS, LARGE_PARAMETERS
from iii_client.filters.views import DEFAULT_ORIENTATIONS, NearQueries
from iii_client.fingerprint import PdqHash, pack_coefficients, pdq, unpack_coefficients
from iii_client.fingerprint.borders import find_border
from iii_client.model import Algorithm
from iii_client.publisher.near import NearPublisher

BRUTE_FORCE_BITS: Final = 31
BANDS: Final = ((0, 15), (16, 23), (24, 31))
VIEWS: Final = len(DEFAULT_ORIENTATIONS)
BATCH: Final = 16
#: Pages and maps that are drawn; the second number in the short form.
DRAWN: Final = (400, 40)
CROPPED: Final = ("photo", "map")
#: Crops of each listed photograph that are altered beside the whole one.
ALTERED_CROPS: Final = 3
LARGE_FROM: Final = 4_000_000
PRACTICE_BELOW: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Look:
    """A picture's hash as near match asks about it: of the whole, or without its border."""

    hashed: PdqHash
    trimmed: bool

    @property
    def stored(self) -> NDArray[np.float64]:
        """Coefficients as the product keeps them."""
        packed = pack_coefficients(self.hashed.coefficients.ravel().tolist(), median=self.hashed.median)
        return np.array(unpack_coefficients(packed)).reshape(16, 16)

    @property
    def number(self) -> int:
        """The hash as an integer."""
        return int.from_bytes(self.hashed.value)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that near match may be asked about; the pixels only of those that are altered."""

    kind: str
    looks: list[Look]
    pixels: Image.Image | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A listed picture's altered copy: smallest distance over the views, and whether it was found."""

    family: str
    distance_bits: int
    distance_whole_bits: int
    found: bool
    found_whole: bool
    found_exact_coefficients: bool
    closed: bool


def looks_at(pixels: Image.Image) -> list[Look]:
    """The whole, and what is inside a border. What the gates keep out is in the list, and never probed."""
    array = np.asarray(pixels)
    border = find_border(np.asarray(pixels.convert("L")))
    looks = [Look(hashed=pdq(array)[Algorithm.PDQ], trimmed=False)]
    if border:
        looks.append(Look(hashed=pdq(border.trim(array))[Algorithm.PDQ], trimmed=True))
    return looks


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Pictures of two kinds of origin, and how many of each class the gates kept out."""

    listed: list[Picture]
    innocent: list[Picture]
    gated: Counter[str]

    def add(self, side: int, kind: str, pixels: Image.Image, *, altered: bool = False) -> bool:
        """Take a picture in, unless its hash says too little of it or it is there already."""
        looks = [look for look in looks_at(pixels) if not look.hashed.gates]
        if not looks or (side == 0 and looks[0].trimmed):  # lists hold hashes of whole pictures
            self.gated[kind] += 1
            return False
        wholes = (p.looks[0].number for p in self.listed if altered and p.pixels is not None)
        if any((looks[0].number ^ other).bit_count() <= BRUTE_FORCE_BITS for other in wholes):
            return False
        keep = pixels if altered and side == 0 else None
        (self.listed, self.innocent)[side].append(Picture(kind=kind, looks=looks, pixels=keep))
        return True


def gather(arguments: argparse.Namespace) -> Corpus:
    """Half of the origins are listed, the other half innocent."""
    sources = [source for folder in arguments.folders for source in pictures_under(folder)]
    sources = sources or list(shipped_pictures())
    if arguments.debian:
        sources += debian_pictures()
    rng = random.Random(1)
    corpus = Corpus(listed=[], innocent=[], gated=Counter())
    origins: dict[str, int] = {}
    for source in sources:
        if arguments.half is not None and half_of(source.origin) != arguments.half:
            continue
        # By origin, so that no innocent picture shows what a listed one shows.
        side = origins.setdefault(source.origin, len(origins)) % 2
        whole = load(source.path)
        if min(whole.size) < MIN_SIDE_PX // 2:
            continue
        taken = corpus.add(side, source.kind, whole, altered=source.kind == "photo")
        if source.kind in CROPPED and taken and min(whole.size) >= MIN_SIDE_PX:
            for number, crop in enumerate(crops(whole, arguments.crops, rng)):
                altered = source.kind == "photo" and number < ALTERED_CROPS
                corpus.add(side, source.kind, crop, altered=altered)
    for number in range(DRAWN[arguments.listed < PRACTICE_BELOW]):
        corpus.add(number % 2, "text", text_page(rng))
        corpus.add(number % 2, "map", relief_map(rng, part=number % 2))
    return corpus


def half_of(origin: str) -> int:
    """0 or 1, which nobody chose."""
    return hashlib.sha256(origin.encode()).digest()[0] % 2


def filler(count: int) -> Iterable[bytes]:
    """Random hashes of which 128 bits are set, as in PDQ."""
    rng = np.random.default_rng(2)
    for first in range(0, count, 10_000):
        words = rng.integers(0, 1 << 16, (min(10_000, count - first), 256), np.uint16)
        bits = np.argsort(words, axis=1, kind="stable") < 128
        yield from (row.tobytes() for row in np.packbits(bits, axis=1))


def probe(near_filter: NearFilter, coefficients: Sequence[NDArray[np.float64]]) -> list[list[NearResult]]:
    """Results of each look's default orientations."""
    results = near_filter.probe(NearQueries.from_coefficients(np.array(coefficients)))
    return [list(results[first : first + VIEWS]) for first in range(0, len(results), VIEWS)]


def distances_to(bits: NDArray[np.float32], looks: Sequence[Look]) -> NDArray[np.int64]:
    """Smallest distance over the orientations of each look to the nearest of hashes (n, 256, -1 or 1)."""
    queries = NearQueries.from_coefficients(np.array([look.hashed.coefficients for look in looks]))
    nearest = ((256 - (queries.bits.astype(np.float32) * 2 - 1) @ bits.T) / 2).min(axis=1)
    distances: NDArray[np.int64] = nearest.reshape(-1, VIEWS).min(axis=1).astype(np.int64)
    return distances


def signs(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """The whole hashes of pictures as (n, 256), -1 or 1."""
    hashes = np.array([np.frombuffer(picture.looks[0].hashed.value, np.uint8) for picture in pictures])
    return np.unpackbits(hashes[:, ::-1], axis=1, bitorder="little").astype(np.float32) * 2 - 1


def measure_recall(near_filter: NearFilter, listed: Sequence[Picture]) -> list[Pair]:
    """Every alteration of every listed photograph whose pixels are at hand."""
    pairs = []
    for picture in listed:
        if picture.pixels is None:
            continue
        bits = signs([picture])
        for family, alterations in FAMILIES.items():
            for alter in alterations:
                looks = looks_at(alter(picture.pixels))
                distances = distances_to(bits, looks)
                probed = [look for look in looks if not look.hashed.gates]
                kept = exact = []
                if probed:
                    kept = probe(near_filter, [look.stored for look in probed])
                    exact = probe(near_filter, [look.hashed.coefficients for look in probed])
                hits = [
                    (look, candidate)
                    for look, views in zip(probed, kept, strict=True)
                    for view in views
                    for candidate in view.candidates
                ]
                pairs.append(
                    Pair(
                        family=family,
                        distance_bits=int(distances.min()),
                        distance_whole_bits=int(distances[0]),
                        found=bool(hits),
                        found_whole=any(not look.trimmed for look, _ in hits),
                        found_exact_coefficients=any(view.candidates for views in exact for view in views),
                        closed=any(candidate.closed for _, candidate in hits),
                    )
                )
    return pairs


def summarise_recall(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Recall relative to brute force by distance, and both absolute ones by family."""

    def relative(least: int, most: int) -> dict[str, Any]:
        band = [pair for pair in pairs if least <= pair.distance_bits <= most]
        found = sum(pair.found for pair in band)
        exact = sum(pair.found_exact_coefficients for pair in band)
        return {
            "pairs": len(band),
            "recall": round(found / max(1, len(band)), 5),
            "quantisation_loss": round((exact - found) / max(1, len(band)), 5),
        }

    families = {}
    for family in FAMILIES:
        of_family = [pair for pair in pairs if pair.family == family]
        near = [pair for pair in of_family if pair.distance_bits <= BRUTE_FORCE_BITS]
        families[family] = {
            "pairs": len(of_family),
            "brute_force": round(len(near) / len(of_family), 4),
            "ring_chain": round(sum(pair.found for pair in of_family) / len(of_family), 4),
            "relative": round(sum(pair.found for pair in near) / max(1, len(near)), 4),
            "brute_force_whole": round(
                sum(pair.distance_whole_bits <= BRUTE_FORCE_BITS for pair in of_family) / len(of_family), 4
            ),
            "ring_chain_whole": round(sum(pair.found_whole for pair in of_family) / len(of_family), 4),
        }
    hits = [pair for pair in pairs if pair.found]
    return {
        "pooled": relative(0, BRUTE_FORCE_BITS),
        "bands": {f"{least}-{most}": relative(least, most) for least, most in BANDS},
        "families": families,
        "rings_closed": round(sum(pair.closed for pair in hits) / max(1, len(hits)), 4),
    }


def upper_bound_95(events: int, trials: int) -> float:
    """Upper end of the one-sided 95 % Clopper-Pearson interval, by bisection."""
    if events >= trials:
        return 1.0
    terms = np.arange(events + 1)
    steps = np.concatenate([[0.0], np.cumsum(np.log((trials - terms[:-1]) / (terms[:-1] + 1)))])
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        tail = np.exp(steps + terms * np.log(share) + (trials - terms) * np.log1p(-share)).sum()
        low, high = (share, high) if tail > 0.05 else (low, share)
    return high


def measure_false(
    near_filter: NearFilter, innocent: Sequence[Picture], listed: Sequence[Picture], listed_count: int
) -> dict[str, Any]:
    """False candidates a picture over all default views, by class."""
    bits = signs(listed)
    real_of_kind = Counter(picture.kind for picture in listed)
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for picture in innocent:
        views = [
            view for views in probe(near_filter, [look.stored for look in picture.looks]) for view in views
        ]
        candidates = [candidate for view in views for candidate in view.candidates]
        counts = by_kind[picture.kind]
        counts["pictures"] += 1
        counts["with_a_border"] += any(look.trimmed for look in picture.looks)
        counts["candidates"] += bool(candidates)
        counts["closed"] += any(candidate.closed for candidate in candidates)
        counts["overflows"] += any(view.overflows for view in views)
        near = distances_to(bits, picture.looks).min() <= BRUTE_FORCE_BITS
        counts["within_31_bits_by_brute_force"] += int(near)
        counts["candidates_beyond_31_bits"] += bool(candidates) and not near
    return {
        kind: {
            "real_listed_of_this_class": real_of_kind[kind],
            **counts,
            "rate_bound_95_at_real_hashes": upper_bound_95(counts["candidates"], counts["pictures"]),
            "rate_bound_95_beyond_31_bits": upper_bound_95(
                counts["candidates_beyond_31_bits"], counts["pictures"]
            ),
            "rate_bound_95_scaled_to_listed": min(
                1.0,
                upper_bound_95(counts["candidates"], counts["pictures"]) * listed_count / len(listed),
            ),
        }
        for kind, counts in sorted(by_kind.items())
    }


def measure_speed(near_filter: NearFilter, innocent: Sequence[Picture]) -> dict[str, Any]:
    """CPU milliseconds a view of innocent pictures, one at a time and in batches: one thread does all, and
    what other processes take is not counted."""
    queries = NearQueries.from_coefficients(
        np.array([picture.looks[0].hashed.coefficients for picture in innocent])
    )

    def milliseconds(size: int) -> dict[str, float]:
        times = []
        for first in range(0, len(queries) - size + 1, size):
            part = slice(first, first + size)
            batch = NearQueries(
                bits=queries.bits[part],
                margins=queries.margins[part],
                orientations=queries.orientations[part],
            )
            start = time.thread_time()
            near_filter.probe(batch)
            times.append((time.thread_time() - start) * 1e3 / size)
        return {"median": round(float(np.median(times)), 3), "p99": round(float(np.quantile(times, 0.99)), 3)}

    milliseconds(BATCH)
    return {"single_ms_a_view": milliseconds(1), f"batch_of_{BATCH}_ms_a_view": milliseconds(BATCH)}


def plot(result: dict[str, Any], path: Path) -> None:
    """Recall by family (brute force beside ring chain) and by distance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    families = result["recall"]["families"]
    at = np.arange(len(families))
    for place, key, label in (
        (-0.27, "brute_force", "brute force, ≤ 31 bits"),
        (0.0, "ring_chain", "ring-chain filter"),
        (0.27, "ring_chain_whole", "the same, borders not trimmed"),
    ):
        left.bar(at + place, [family[key] for family in families.values()], 0.27, label=label)
    left.set_xticks(at, list(families), rotation=30, ha="right")
    left.set_ylabel("altered copies found")
    left.legend(loc="lower left")
    bands = result["recall"]["bands"]
    right.bar(list(bands), [band["recall"] for band in bands.values()], color="C1")
    right.set_ylim(0.9, 1.001)
    right.set_xlabel("distance, bits")
    right.set_ylabel("found, of what brute force finds")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--debian", action="store_true")
    parser.add_argument("--listed", type=int, default=1_400_000)
    parser.add_argument("--crops", type=int, default=30, help="crops of each photograph and map")
    parser.add_argument("--half", type=int, choices=(0, 1), help="only every other picture")
    parser.add_argument("--extension-probes", type=int, default=DEFAULT_PARAMETERS.extension_probes)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()

    corpus = gather(arguments)
    values = [picture.looks[0].hashed.value for picture in corpus.listed]
    layout = LARGE_PARAMETERS if arguments.listed >= LARGE_FROM else DEFAULT_PARAMETERS
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        practice = arguments.listed < PRACTICE_BELOW
        publisher = NearPublisher(
            Path(folder) / "near",
            algorithm=Algorithm.PDQ,
            practice=practice,
            **({"minimum_count": 1} if practice else {}),
        )
        published = publisher.publish(
            [*values, *filler(arguments.listed - len(values))],
            parameters=replace(layout, extension_probes=arguments.extension_probes),
        )
        build_s = time.perf_counter() - start
        near_filter = NearFilter([NearSegment.open(published.path)])
        count = published.header.count
        result: dict[str, Any] = {
            "listed": count,
            "real_listed": len(values),
            "left_out_as_near_duplicates": published.left_out,
            "innocent": len(corpus.innocent),
            "kept_out_by_gates": dict(corpus.gated),
            "parameters": asdict(published.header.parameters),
            "default_views": [
                *map(str, DEFAULT_ORIENTATIONS),
                *(f"trimmed-{orientation}" for orientation in DEFAULT_ORIENTATIONS),
            ],
            "bytes_a_hash": round(published.path.stat().st_size / count, 3),
            "build_s": round(build_s, 1),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "speed": measure_speed(near_filter, corpus.innocent),
            "false_candidates": measure_false(near_filter, corpus.innocent, corpus.listed, count),
            "recall": summarise_recall(measure_recall(near_filter, corpus.listed)),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    if arguments.plot:
        plot(result, arguments.plot)


if __name__ == "__main__":
    main()
