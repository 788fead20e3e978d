"""A snapshot: every hash of every fingerprint is looked up, in one batch or alone, with one answer."""

import gc
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.errors import FilterFormatError
from iii_client.filters import FilterSnapshot, open_bundle, open_snapshot, pack_bundle
from iii_client.model import (
    Algorithm,
    Candidate,
    Fingerprint,
    Freshness,
    HashValue,
    LookUp,
    PerceptualHash,
    Reason,
    Release,
    ReleaseId,
)
from iii_client.publisher.build import build_bundle, build_sections
from iii_client.publisher.lists import ListEntry

SIGNED_AT = datetime(2030, 1, 1, tzinfo=UTC)
RELEASE_ID = ReleaseId(epoch=3, sequence=0)


def value(algorithm: Algorithm, name: str) -> HashValue:
    width = algorithm.width_bits // 8
    return HashValue(algorithm=algorithm, value=hashlib.sha512(name.encode()).digest()[:width])


def fingerprint(name: str, *, frames: Sequence[str] = ()) -> Fingerprint:
    digests = tuple(value(a, name) for a in (Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5))
    perceptual = tuple(
        PerceptualHash(algorithm=algorithm, value=value(algorithm, frame).value, quality=90, frame=number)
        for number, frame in enumerate(frames)
        for algorithm in (Algorithm.PDQ, Algorithm.PDQ_512)
    )
    return Fingerprint(recipe="fast-v1", size_bytes=9, kind="jpeg", digests=digests, perceptual=perceptual)


def listing(*values: HashValue) -> list[ListEntry]:
    """Digests, and perceptual hashes of pictures with so little to see that they are matched exactly."""
    return [
        ListEntry(hash=v, quality=100 if v.algorithm.is_digest else 49, list_name="list", source="body")
        for v in values
    ]


def release(content: bytes) -> Release:
    return Release(
        id=RELEASE_ID,
        sections=(),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        signed_at=SIGNED_AT,
        expires_at=SIGNED_AT + timedelta(days=7),
    )


def open_listing(tmp_path: Path, *values: HashValue, now: datetime = SIGNED_AT) -> FilterSnapshot:
    content = build_bundle(listing(*values), release=RELEASE_ID)
    path = tmp_path / "bundle"
    path.write_bytes(content)
    return open_snapshot(path, release=release(content), clock=lambda: now)


def test_listed_hashes_are_candidates_of_their_section(tmp_path: Path) -> None:
    md5, sha256 = value(Algorithm.MD5, "known"), value(Algorithm.SHA256, "known")
    snapshot = open_listing(tmp_path, md5, sha256)
    known, unknown = snapshot.look_up([fingerprint("known"), fingerprint("unknown")])
    assert known.candidates == (Candidate(hash=sha256, section="sha256"), Candidate(hash=md5, section="md5"))
    assert unknown == LookUp()
    assert snapshot.release == RELEASE_ID


def test_a_perceptual_hash_hits_by_exact_membership_with_its_first_frame(tmp_path: Path) -> None:
    listed = value(Algorithm.PDQ, "frame b")
    snapshot = open_listing(tmp_path, listed)
    (hits,) = snapshot.look_up([fingerprint("file", frames=["frame a", "frame b", "frame b"])])
    assert hits.candidates == (Candidate(hash=listed, section="pdq", frame=1),)


def test_one_convention_is_never_taken_for_the_other(tmp_path: Path) -> None:
    native = value(Algorithm.PDQ, "frame")
    snapshot = open_listing(tmp_path, HashValue(algorithm=Algorithm.PDQ_512, value=native.value))
    (hits,) = snapshot.look_up([fingerprint("file", frames=["frame"])])
    assert [hit.section for hit in hits.candidates] == ["pdq-512"]


def test_a_batch_and_single_look_ups_agree(tmp_path: Path) -> None:
    listed = [value(a, f"file {n}") for n in range(0, 300, 3) for a in (Algorithm.SHA1, Algorithm.SHA256)]
    snapshot = open_listing(tmp_path, *listed)
    prints = [fingerprint(f"file {n}", frames=[f"frame {n}"]) for n in range(300)]
    batch = snapshot.look_up(prints)
    assert batch == tuple(snapshot.look_up([one])[0] for one in prints)
    assert [bool(hits.candidates) for hits in batch] == [n % 3 == 0 for n in range(300)]


def test_nothing_asked_is_nothing_found(tmp_path: Path) -> None:
    assert open_listing(tmp_path).look_up([]) == ()


def test_a_release_ages_by_its_clock(tmp_path: Path) -> None:
    ages = {
        timedelta(hours=24): Freshness.FRESH,
        timedelta(hours=25): Freshness.STALE,
        timedelta(days=8): Freshness.EXPIRED,
        # A clock that is a little behind is forgiven; one that is far behind could hide any age.
        timedelta(minutes=-59): Freshness.FRESH,
        timedelta(minutes=-61): Freshness.EXPIRED,
        timedelta(days=-400): Freshness.EXPIRED,
    }
    for age, expected in ages.items():
        assert open_listing(tmp_path, now=SIGNED_AT + age).freshness is expected


def test_a_snapshot_outlives_its_file_and_every_newer_one(tmp_path: Path) -> None:
    listed = value(Algorithm.MD5, "known")
    old = open_listing(tmp_path, listed)
    (tmp_path / "bundle").unlink()
    new = open_listing(tmp_path)
    gc.collect()
    asked = [fingerprint("known")] * 50
    assert all(hits.candidates for hits in old.look_up(asked))
    assert not any(hits.candidates for hits in new.look_up(asked))


def test_a_section_of_an_unknown_algorithm_is_passed_over(tmp_path: Path) -> None:
    (name, content) = build_sections([])[0]
    path = tmp_path / "bundle"
    path.write_bytes(pack_bundle(RELEASE_ID, [(name, content), ("photo-x", content)]))
    bundle, exact = open_bundle(path)
    assert [section.name for section in bundle.sections] == [name, "photo-x"]
    assert value(Algorithm.MD5, "any") not in exact


def test_a_file_of_another_release_is_refused(tmp_path: Path) -> None:
    content = build_bundle([], release=ReleaseId(epoch=4, sequence=0))
    path = tmp_path / "bundle"
    path.write_bytes(content)
    with pytest.raises(FilterFormatError, match=r"release 4\.0, not 3\.0"):
        open_snapshot(path, release=release(content))


@pytest.mark.parametrize("content", [b"", b"<html>not here</html>", b"\x89IIIBLM\n"])
def test_a_file_that_is_no_filter_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(content)
    with pytest.raises(FilterFormatError):
        open_bundle(path)


class Near:
    """A second kind of section, as near segments will be."""

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> list[LookUp]:
        hits = (Candidate(hash=f.digests[0], section="near/pdq/1", distance_bits=9) for f in fingerprints)
        return [LookUp(candidates=(hit,), reasons=(Reason.PROBE_OVERFLOW,)) for hit in hits]


def test_other_sections_answer_behind_the_exact_ones(tmp_path: Path) -> None:
    content = build_bundle(listing(value(Algorithm.MD5, "known")), release=RELEASE_ID)
    (tmp_path / "bundle").write_bytes(content)
    _, exact = open_bundle(tmp_path / "bundle")
    snapshot = FilterSnapshot(release=release(content), sections=[exact, Near()])
    (hits,) = snapshot.look_up([fingerprint("known")])
    assert [hit.section for hit in hits.candidates] == ["md5", "near/pdq/1"]
    assert hits.reasons == (Reason.PROBE_OVERFLOW,)
