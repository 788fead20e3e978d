"""Near sections: stored hashes of pictures in, candidates out, whatever batch they come in."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iii_client.filters import NearSections, Orientation
from iii_client.filters.near_lookup import _HASHES_AT_ONCE, MAX_HITS
from iii_client.filters.near_segment import NearSegment
from iii_client.fingerprint import value_of
from iii_client.model import Algorithm, Candidate, Fingerprint, PerceptualHash, Reason, pack_coefficients
from iii_client.publisher.near import NearPublisher

GATED = (Reason.LOW_MARGIN,)
Coefficients = NDArray[np.float64]


def pictures(count: int, *, seed: int = 1) -> list[Coefficients]:
    """Coefficients of so many pictures that have nothing in common."""
    return list(np.random.default_rng(seed).normal(0, 100, (count, 256)))


def hashed(
    coefficients: Coefficients,
    *,
    algorithm: Algorithm = Algorithm.PDQ,
    frame: int = 0,
    gates: tuple[Reason, ...] = (),
    trimmed: bool = False,
) -> PerceptualHash:
    median = float(np.sort(coefficients)[127])
    return PerceptualHash(
        algorithm=algorithm,
        value=value_of(coefficients > median),
        quality=100,
        coefficients=pack_coefficients(coefficients.tolist(), median=median),
        frame=frame,
        gates=gates,
        trimmed=trimmed,
    )


def fingerprint(*hashes: PerceptualHash) -> Fingerprint:
    return Fingerprint(recipe="fast-v1", size_bytes=9, kind="jpeg", perceptual=hashes)


def edited(coefficients: Coefficients, *, bits: int = 8) -> Coefficients:
    """The picture after an edit that moves its least reliable coefficients across the median."""
    changed = coefficients.copy()
    order = np.argsort(np.abs(changed - np.sort(changed)[127]))[1 : bits + 1]
    changed[order] = 2 * np.sort(coefficients)[127] - changed[order]
    return changed


def segment(tmp_path: Path, values: Sequence[bytes], algorithm: Algorithm = Algorithm.PDQ) -> NearSegment:
    publisher = NearPublisher(tmp_path / algorithm, algorithm=algorithm, practice=True, minimum_count=1)
    return NearSegment.open(publisher.publish(values).path)


def candidates(sections: NearSections, *hashes: PerceptualHash) -> tuple[Candidate, ...]:
    (look_up,) = sections.look_up([fingerprint(*hashes)])
    return look_up.candidates


def test_an_edited_copy_gives_the_listed_hash_first_and_then_its_own(tmp_path: Path) -> None:
    (picture,) = pictures(1)
    listed, copy = hashed(picture), hashed(edited(picture))
    near = NearSections([segment(tmp_path, [listed.value])])
    first, second = candidates(near, copy)
    distance = (int.from_bytes(listed.value) ^ int.from_bytes(copy.value)).bit_count()
    assert (first.hash.value, first.own, first.distance_bits) == (listed.value, False, distance)
    assert (second.hash.value, second.own) == (copy.value, True)
    assert {first.section, second.section} == {"near/pdq/1"}


def test_a_gated_picture_is_found_as_it_is_and_never_by_what_it_resembles(tmp_path: Path) -> None:
    """A list tells qualities and no margins, so that a segment holds half-black pictures, too."""
    picture, other = pictures(2)
    near = NearSections([segment(tmp_path, [hashed(picture).value])])
    (same,) = candidates(near, hashed(picture, gates=GATED, frame=3))
    assert same == Candidate(
        hash=hashed(picture).hash_value, section="near/pdq/1", frame=3, chain_length=8, view="upright"
    )
    assert candidates(near, hashed(edited(picture, bits=4), gates=GATED)) == ()
    assert candidates(near, hashed(other, gates=GATED)) == ()
    assert candidates(near, hashed(picture, algorithm=Algorithm.PDQ_512, gates=GATED)) == ()


def test_exact_membership_finds_every_inserted_hash_and_no_other(tmp_path: Path) -> None:
    inserted, others = (np.random.default_rng(seed).integers(0, 256, (2000, 32), np.uint8) for seed in (2, 3))
    held = segment(tmp_path, [value.tobytes() for value in inserted])
    assert held.holds(inserted).all()
    assert not held.holds(others).any()
    # Each block of a listed hash, and yet no listed hash.
    assert not held.holds(np.where(np.arange(32) < 16, inserted, inserted[::-1])[:999]).any()
    assert held.holds(inserted[:0]).shape == (0,)


@pytest.mark.parametrize("gates", [(), GATED])
def test_a_withdrawn_hash_is_no_candidate(tmp_path: Path, gates: tuple[Reason, ...]) -> None:
    (picture,) = pictures(1)
    asked = hashed(picture, gates=gates)
    withdrawn = [hashlib.sha256(asked.value).digest()]
    assert candidates(NearSections([segment(tmp_path, [asked.value])], withdrawn=withdrawn), asked) == ()


def test_each_convention_is_asked_in_its_own_segments(tmp_path: Path) -> None:
    picture, other = pictures(2)
    near = NearSections(
        [
            segment(tmp_path, [hashed(picture).value]),
            segment(tmp_path, [hashed(other).value], Algorithm.PDQ_512),
        ]
    )
    assert [c.section for c in candidates(near, hashed(other, algorithm=Algorithm.PDQ_512))] == [
        "near/pdq-512/1"
    ]
    assert candidates(near, hashed(other)) == ()


def test_a_crafted_picture_with_many_frames_becomes_few_questions(tmp_path: Path) -> None:
    many = pictures(10)
    near = NearSections([segment(tmp_path, [hashed(picture).value for picture in many])])
    hits = candidates(near, *(hashed(picture, frame=i) for i, picture in enumerate(many)))
    assert len(hits) == MAX_HITS


def test_a_batch_of_any_length_answers_like_single_look_ups(tmp_path: Path) -> None:
    many = pictures(_HASHES_AT_ONCE + 3)
    near = NearSections([segment(tmp_path, [hashed(picture).value for picture in many[::100]])])
    asked = [
        fingerprint(hashed(picture, gates=GATED if number % 7 == 0 else ()))
        for number, picture in enumerate(many)
    ]
    together = near.look_up(asked)
    assert [number for number, look_up in enumerate(together) if look_up.candidates] == [
        *range(0, len(many), 100)
    ]
    for number in (0, 1, 100, 511, 512, 513):
        assert near.look_up(asked[number : number + 1]) == [together[number]]


def test_a_mirrored_copy_is_named_by_its_view(tmp_path: Path) -> None:
    (picture,) = pictures(1)
    near = NearSections([segment(tmp_path, [hashed(picture).value])])
    mirrored = (picture.reshape(16, 16) * np.where(np.arange(1, 17) % 2 == 0, 1, -1)).ravel()
    assert {c.view for c in candidates(near, hashed(mirrored))} == {Orientation.MIRROR}


def test_a_picture_that_was_found_without_its_border_says_so(tmp_path: Path) -> None:
    picture, in_its_border = pictures(2)
    near = NearSections([segment(tmp_path, [hashed(picture).value])])
    hits = candidates(near, hashed(in_its_border), hashed(edited(picture), trimmed=True))
    assert [(hit.view, hit.own) for hit in hits] == [("trimmed-upright", False), ("trimmed-upright", True)]
