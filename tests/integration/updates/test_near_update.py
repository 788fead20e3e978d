"""Near segments over real HTTP: copies of listed photographs are found, and nothing wrong is installed."""

import dataclasses
import hashlib
import io
import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from tuf.api.metadata import TargetFile

from iii_client import errors
from iii_client.config import Limits
from iii_client.content import Content
from iii_client.errors import IIIError
from iii_client.filters import DEFAULT_ORIENTATIONS, Orientation, pack_bundle, parse_bundle
from iii_client.filters.near_segment import HEADER_BYTES
from iii_client.filters.ring_chain import NearParameters
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.model import Algorithm, Candidate, Fingerprint, HashValue, ReleaseId
from iii_client.publisher import FULL_QUALITY, ListEntry, build
from iii_client.publisher.keys import KeyStore
from iii_client.publisher.near import NearPublisher, PublishedSegment
from iii_client.publisher.roles import Roles
from iii_client.updates import LiveFilter
from iii_client.updates.signed_base import SignedBase
from iii_client.updates.signed_near import MAX_WITHDRAWN, SignedSegment

from .conftest import Chain, ChainMaker, Fault, Handler, listed

#: So many random hashes make the segments of these tests real ones.
FILLER = 10_000


def fillers(count: int = FILLER, *, seed: int = 1) -> list[ListEntry]:
    raw = np.random.default_rng(seed).bytes(32 * count)
    return [near_entry(raw[i : i + 32]) for i in range(0, len(raw), 32)]


def near_entry(value: bytes, algorithm: Algorithm = Algorithm.PDQ) -> ListEntry:
    return ListEntry(
        hash=HashValue(algorithm=algorithm, value=value), quality=100, list_name=f"{algorithm}", source="body"
    )


def encoded(picture: Image.Image, *, quality: int = 70) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return content.getvalue()


def fingerprint(picture: Image.Image, *, quality: int = 70) -> Fingerprint:
    content = Content.from_bytes(encoded(picture, quality=quality))
    return build_fingerprint(content, recipe=RECIPES["fast"], limits=Limits())


def entries_of(picture: Image.Image, algorithm: Algorithm = Algorithm.PDQ) -> list[ListEntry]:
    """What a list says about a picture: its digests and one perceptual hash."""
    content = Content.from_bytes(encoded(picture, quality=95))
    made = build_fingerprint(content, recipe=RECIPES["exact"], limits=Limits())
    hashes = [(digest, FULL_QUALITY) for digest in made.digests]
    hashes += [(p.hash_value, p.quality) for p in made.perceptual if p.algorithm is algorithm]
    return [ListEntry(hash=h, quality=q, list_name=f"{algorithm}", source="body") for h, q in hashes]


def hits(chain: Chain, picture: Image.Image, **options: Any) -> tuple[Candidate, ...]:
    (look_up,) = LiveFilter(chain.updater.store, **options).current().look_up([fingerprint(picture)])
    return look_up.candidates


@pytest.fixture(scope="module")
def pictures(photographs: list[Path]) -> list[Image.Image]:
    """Eight whole photographs of something: of fine textures PDQ keeps too little when they are resized."""
    made = []
    for path in [path for path in photographs if path.stem not in {"brick", "grass", "gravel"}][:8]:
        with Image.open(path) as image:
            picture = image.convert("RGB")
        picture.thumbnail((800, 800))
        made.append(picture)
    return made


@pytest.fixture
def chain(make_chain: ChainMaker) -> Chain:
    """A real repository with one segment of 10,000 hashes, and the two files "a" and "b"."""
    made = make_chain()
    made.repository.publish_base([listed("a"), listed("b"), *fillers()])
    return made


def asked_segments(chain: Chain) -> list[str]:
    return [path for path in chain.server.requests if path.startswith("/targets/near/")]


def near_files(chain: Chain) -> list[str]:
    folder = chain.state_dir / "filter" / "near"
    return sorted(path.name.rpartition("-")[0] for path in folder.iterdir()) if folder.exists() else []


# --- found again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("practice", [False, True], ids=["10,000 others", "practice"])
def test_copies_of_listed_photographs_are_candidates_and_innocent_ones_are_not(
    make_chain: ChainMaker, pictures: list[Image.Image], practice: bool
) -> None:
    chain = make_chain(practice=practice)
    known, innocent = pictures[:4], pictures[4:]
    entries = [entry for picture in known for entry in entries_of(picture)]
    chain.repository.publish_base(entries if practice else entries + fillers())
    chain.updater.update()
    for picture in known:
        smaller = picture.resize((picture.width * 3 // 5, picture.height * 3 // 5), Image.Resampling.LANCZOS)
        for copy, view in (
            (picture, "upright"),
            (smaller, "upright"),
            (picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirror"),
        ):
            found = hits(chain, copy)
            assert {(hit.section, hit.view) for hit in found} == {("near/pdq/1", view)}
            assert found[0].distance_bits <= 31
            assert found[0].hash in [entry.hash for entry in entries]
    for picture in innocent:
        assert hits(chain, picture) == ()


def test_copies_in_a_border_are_candidates_of_the_trimmed_view(
    make_chain: ChainMaker, pictures: list[Image.Image]
) -> None:
    chain = make_chain(practice=True)
    listed_hashes = [entry.hash for picture in pictures[:4] for entry in entries_of(picture)]
    chain.repository.publish_base(entry for picture in pictures[:4] for entry in entries_of(picture))
    chain.updater.update()
    for picture in pictures[:4]:
        letterboxed = ImageOps.expand(picture, (0, picture.height // 5), "black")
        found = hits(chain, letterboxed)
        assert {hit.view for hit in found} == {"trimmed-upright"}
        assert found[0].hash in listed_hashes
        assert hits(chain, ImageOps.mirror(letterboxed))[0].view == "trimmed-mirror"
    for picture in pictures[4:]:
        assert hits(chain, ImageOps.expand(picture, (0, picture.height // 5), "black")) == ()


def test_only_the_orientations_that_are_asked_are_found(
    make_chain: ChainMaker, pictures: list[Image.Image]
) -> None:
    chain = make_chain(practice=True)
    chain.repository.publish_base(entries_of(pictures[0]))
    chain.updater.update()
    mirrored = pictures[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = pictures[0].transpose(Image.Transpose.ROTATE_180)
    upright = (Orientation.UPRIGHT,)
    every = (*DEFAULT_ORIENTATIONS, Orientation.ROTATE_180)
    assert [bool(hits(chain, p, orientations=upright)) for p in (pictures[0], mirrored)] == [True, False]
    assert [bool(hits(chain, p)) for p in (mirrored, turned)] == [True, False]
    assert hits(chain, turned, orientations=every)[0].view == "rotate-180"


def test_each_convention_has_segments_of_its_own(make_chain: ChainMaker, pictures: list[Image.Image]) -> None:
    chain = make_chain(practice=True)
    chain.repository.publish_base(
        entries_of(pictures[0]) + entries_of(pictures[1], algorithm=Algorithm.PDQ_512)
    )
    chain.updater.update()
    assert near_files(chain) == ["pdq-1", "pdq-512-1"]
    assert {hit.section for hit in hits(chain, pictures[0])} == {"near/pdq/1"}
    assert {hit.section for hit in hits(chain, pictures[1])} == {"near/pdq-512/1"}


def test_what_is_installed_is_told_as_it_was_published(chain: Chain) -> None:
    report = chain.repository.publish_base([listed("a"), listed("b"), *fillers()])
    chain.updater.update()
    release = chain.updater.store.installed()
    assert release.near == report.near
    assert [(s.name, s.count, s.practice) for s in release.near] == [("near/pdq/1", FILLER, False)]
    assert not release.is_practice
    assert chain.updater.store.verify() == release


def test_a_practice_segment_is_installed_with_a_warning_and_is_told(
    make_chain: ChainMaker, caplog: pytest.LogCaptureFixture
) -> None:
    chain = make_chain(practice=True)
    chain.publish("a")
    chain.updater.update()
    assert "near/pdq/1 is a practice segment of 1 hashes" in caplog.text
    assert chain.updater.store.installed().is_practice


# --- withdrawn ------------------------------------------------------------------------------------------


def test_a_withdrawn_hash_is_a_candidate_no_more_and_its_neighbours_still_are(
    make_chain: ChainMaker, pictures: list[Image.Image]
) -> None:
    chain = make_chain(practice=True)
    kept, gone = entries_of(pictures[0]), entries_of(pictures[1])
    first = chain.repository.publish_base(kept + gone)
    chain.updater.update()
    live = chain.live()
    asked = [fingerprint(pictures[0]), fingerprint(pictures[1])]
    assert [bool(f.candidates) for f in live.current().look_up(asked)] == [True, True]
    second = chain.repository.publish_base(kept, withdrawn=[entry.hash for entry in gone])
    assert (second.release.epoch, second.near) == (first.release.epoch + 1, first.near)
    chain.server.requests.clear()
    assert chain.updater.update().changed
    assert asked_segments(chain) == []
    assert [bool(f.candidates) for f in live.current().look_up(asked)] == [True, False]
    assert len(chain.updater.store.installed().withdrawn) == 1


def test_the_most_withdrawals_that_a_release_can_name_are_installed(make_chain: ChainMaker) -> None:
    chain = make_chain(practice=True)
    entries = fillers(MAX_WITHDRAWN)
    chain.repository.publish_base(entries)
    chain.repository.publish_base([], withdrawn=[entry.hash for entry in entries])
    chain.updater.update()
    installed = chain.updater.store.installed()
    assert len(installed.withdrawn) == MAX_WITHDRAWN
    assert set(installed.withdrawn) == {hashlib.sha256(entry.hash.value).digest() for entry in entries}
    assert not chain.updater.update().changed


# --- fetched once ---------------------------------------------------------------------------------------


def test_an_update_fetches_only_the_segments_that_are_not_here(chain: Chain) -> None:
    chain.updater.update()
    first = chain.updater.store.near_file(chain.updater.store.installed().near[0])
    before = first.stat()
    chain.server.requests.clear()
    chain.repository.publish_base([listed("a"), listed("c"), *fillers()])
    chain.updater.update()
    assert asked_segments(chain) == []
    chain.repository.publish_base([listed("a"), *fillers(), *fillers(seed=2)])
    chain.updater.update()
    (asked,) = asked_segments(chain)
    assert asked.endswith(".2.near")
    assert near_files(chain) == ["pdq-1", "pdq-2"]
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "gone"])
def test_a_damaged_segment_on_disk_is_seen_and_it_alone_is_fetched_again(chain: Chain, damage: str) -> None:
    chain.repository.publish_base([listed("a"), *fillers(), *fillers(seed=2)])
    chain.updater.update()
    store = chain.updater.store
    file = store.near_file(store.installed().near[1])
    content = file.read_bytes()
    match damage:
        case "flipped":
            file.write_bytes(content[:5000] + bytes([content[5000] ^ 4]) + content[5001:])
        case "cut":
            file.write_bytes(content[:-1])
        case "longer":
            file.write_bytes(content + b"\0")
        case "gone":
            file.unlink()
    with pytest.raises(errors.NoFilterError if damage == "gone" else errors.LengthOrHashError):
        store.verify()
    chain.server.requests.clear()
    assert chain.updater.update().changed
    (asked,) = asked_segments(chain)
    assert asked.endswith(".2.near")
    assert file.read_bytes() == content
    assert store.verify() == store.installed()


def on_segments(answer: Callable[[Handler, bytes], None]) -> Fault:
    def fault(handler: Handler) -> bool:
        if not handler.path.startswith("/targets/near/"):
            return False
        answer(handler, Path(handler.translate_path(handler.path)).read_bytes())
        return True

    return fault


def cut(handler: Handler, content: bytes) -> None:
    handler.answer(200, content[:100_000], declared=len(content))
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def test_a_broken_download_of_a_segment_goes_on_where_it_broke(chain: Chain) -> None:
    chain.server.fault = on_segments(cut)
    fails_and_keeps(chain, errors.ConnectError)
    chain.server.fault = None
    report = chain.updater.update()
    release = chain.updater.store.verify()
    missing = release.near[0].size_bytes - 100_000 + release.size_bytes
    assert missing <= report.bytes_fetched < missing + 10_000


def test_a_segment_that_came_before_an_update_broke_is_not_asked_again(chain: Chain) -> None:
    def no_bundle(handler: Handler) -> bool:
        if handler.path.startswith("/targets/base/"):
            handler.answer(500, b"")
        return handler.path.startswith("/targets/base/")

    chain.server.fault = no_bundle
    fails_and_keeps(chain, errors.ServiceError)
    chain.server.fault = None
    chain.server.requests.clear()
    assert chain.updater.update().changed
    assert asked_segments(chain) == []


def test_segments_stay_as_long_as_a_release_on_disk_has_them(make_chain: ChainMaker, tmp_path: Path) -> None:
    chain = make_chain(practice=True)
    chain.publish("a")
    chain.updater.update()
    for epoch in (2, 3, 4):
        forge(chain, build_segment(tmp_path, number=2), epoch=epoch)
        chain.updater.update()
        assert near_files(chain) == (["pdq-1", "pdq-2"] if epoch < 4 else ["pdq-2"])
        chain.updater.store.verify()


# --- faults on the way ----------------------------------------------------------------------------------


def fails_and_keeps(chain: Chain, kind: type[IIIError], *words: str) -> None:
    """The update raises exactly this kind, with a hint, and what was installed still answers, whole."""
    store = chain.updater.store
    pointer = chain.state_dir / "filter" / "current"
    installed = store.installed() if pointer.exists() else None
    with pytest.raises(kind) as caught:
        chain.updater.update()
    assert type(caught.value) is kind
    text = f"{caught.value} {caught.value.hint}"
    assert len(caught.value.hint) > 20
    for word in words:
        assert word in text
    for secret in ("127.0.0.1", "correct horse", str(chain.folder)):
        assert secret not in text
    if installed:
        assert store.verify() == installed
        assert chain.finds("a", "never listed") == [True, False]
        assert store.snapshot().info.near == installed.near
    else:
        assert not pointer.exists()


def flipped(handler: Handler, content: bytes) -> None:
    handler.answer(200, content[:999] + bytes([content[999] ^ 1]) + content[1000:])


def truncated(handler: Handler, content: bytes) -> None:
    handler.answer(200, content[:-1])


def endless(handler: Handler, content: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(content)


def swapped(handler: Handler, content: bytes) -> None:
    """Another segment of the same repository, and of the same size but for a little."""
    folder = Path(handler.translate_path(handler.path)).parent
    (other,) = (path for path in folder.iterdir() if path.read_bytes() != content)
    handler.answer(200, other.read_bytes()[: len(content)].ljust(len(content), b"\0"))


WAY: dict[str, tuple[Fault, type[IIIError], str]] = {
    "flipped": (on_segments(flipped), errors.LengthOrHashError, "signed bytes"),
    "truncated": (on_segments(truncated), errors.LengthOrHashError, "signed bytes"),
    "swapped": (on_segments(swapped), errors.LengthOrHashError, "signed bytes"),
    "endless": (on_segments(endless), errors.ResponseTooLargeError, "at most"),
    "missing": (on_segments(lambda h, _: h.answer(404, b"")), errors.ServiceError, "404"),
    "refused": (
        on_segments(lambda h, _: h.answer(403, b"")),
        errors.AuthenticationError,
        "III_FILTER_NEAR=false",
    ),
}


@pytest.mark.parametrize("fault", WAY)
@pytest.mark.parametrize("installed", [False, True], ids=["at first", "later"])
def test_a_segment_that_does_not_come_as_signed_is_refused(chain: Chain, fault: str, installed: bool) -> None:
    if installed:
        chain.updater.update()
    chain.repository.publish_base([listed("a"), listed("c"), *fillers(), *fillers(seed=2)])
    chain.server.fault, kind, word = WAY[fault]
    fails_and_keeps(chain, kind, word)
    chain.server.fault = None
    assert chain.updater.update().changed
    assert near_files(chain) == ["pdq-1", "pdq-2"]


def test_a_segment_that_nobody_signed_is_refused(chain: Chain, tmp_path: Path) -> None:
    chain.updater.update()
    forge(chain, build_segment(tmp_path, number=2), epoch=2, signed=False)
    fails_and_keeps(chain, errors.SignatureError, "a part of the newest release")


# --- gates: truly signed, and refused all the same ------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """A segment with a description, signed with the real keys, and both as wrong as the test wants."""

    path: str
    content: bytes
    custom: dict[str, Any]
    named: dict[str, Any] = field(default_factory=dict)


def build_segment(folder: Path, *, number: int, count: int = 50, seed: int = 7) -> Forged:
    """A well-formed practice segment of this number."""
    directory = folder / f"forge-{number}-{count}-{seed}"
    publisher = NearPublisher(directory, algorithm=Algorithm.PDQ, practice=True, minimum_count=1)
    for step in range(number):
        published = publisher.publish(e.hash.value for e in fillers(count, seed=seed * 100 + step))
    return as_forged(published)


def as_forged(published: PublishedSegment) -> Forged:
    content = published.path.read_bytes()
    shutil.rmtree(published.path.parent)
    signed = SignedSegment(header=published.header, sha256=hashlib.sha256(content).hexdigest())
    return Forged(path=signed.target.path, content=content, custom=signed.to_custom())


def other_bytes(segment: Forged, content: bytes) -> Forged:
    digest = hashlib.sha256(content).hexdigest()
    return dataclasses.replace(segment, content=content, custom=segment.custom | {"sha256": digest})


def forge(
    chain: Chain,
    *segments: Forged,
    epoch: int = 2,
    signed: bool = True,
    changes: dict[str, object] | None = None,
) -> None:
    """Publish a release of the files "a" and "b" with these segments, truly signed."""
    roles = Roles.load(
        chain.repository.public_dir / "metadata", KeyStore(chain.folder / "keys"), lambda: datetime.now(UTC)
    )
    targets_dir = chain.repository.public_dir / "targets"
    content = pack_bundle(
        ReleaseId(epoch=epoch, sequence=0), build.build_sections([listed("a"), listed("b")])
    )
    bundle = parse_bundle(content)
    base = SignedBase(
        release=bundle.release,
        sections=tuple(section.info for section in bundle.sections),
        sha256=hashlib.sha256(content).hexdigest(),
        canaries=(listed("a").hash,),
    )
    near = []
    targets = {}
    for segment in segments:
        digest = hashlib.sha256(segment.content).hexdigest()
        folder, _, name = segment.path.rpartition("/")
        file = targets_dir / folder / f"{digest}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(segment.content)
        near.append({"path": segment.path, "sha256": digest, "size_bytes": len(segment.content)})
        near[-1] |= segment.named
        custom = {"custom": segment.custom}
        targets[segment.path] = TargetFile(len(segment.content), {"sha256": digest}, segment.path, custom)
    custom = {"custom": base.to_custom() | ({"near": near} if near else {}) | (changes or {})}
    path = f"base/{epoch}/filter.bin"
    file = targets_dir / "base" / str(epoch) / f"{base.sha256}.filter.bin"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    roles.publish(
        {
            **(targets if signed else {}),
            path: TargetFile(len(content), {"sha256": base.sha256}, path, custom),
        }
    )


def test_a_forged_release_that_is_well_formed_is_installed(chain: Chain, tmp_path: Path) -> None:
    """The other tests of this part would pass if `forge` itself were at fault."""
    chain.updater.update()
    forge(chain, build_segment(tmp_path, number=2), build_segment(tmp_path, number=3))
    assert chain.updater.update().release.epoch == 2
    assert [segment.number for segment in chain.updater.store.installed().near] == [2, 3]


def custom_with(**changes: object) -> Callable[[Forged], Forged]:
    return lambda segment: dataclasses.replace(segment, custom=segment.custom | changes)


def renamed(path: str) -> Callable[[Forged], Forged]:
    return lambda segment: dataclasses.replace(segment, path=path)


def named_with(**changes: object) -> Callable[[Forged], Forged]:
    return lambda segment: dataclasses.replace(segment, named=changes)


def header_with(offset: int, value: int) -> Callable[[Forged], Forged]:
    def change(segment: Forged) -> Forged:
        content = bytearray(segment.content)
        content[offset] = value
        return other_bytes(segment, bytes(content))

    return change


def tables_of(byte: int) -> Callable[[Forged], Forged]:
    def change(segment: Forged) -> Forged:
        tables = bytes([byte]) * (len(segment.content) - HEADER_BYTES)
        return other_bytes(segment, segment.content[:HEADER_BYTES] + tables)

    return change


def one_region_full(segment: Forged) -> Forged:
    content = bytearray(segment.content)
    content[HEADER_BYTES : HEADER_BYTES + 512] = b"\xff" * 512
    return other_bytes(segment, bytes(content))


PARAMETERS = {f.name: getattr(NearParameters(), f.name) for f in dataclasses.fields(NearParameters)}

FORGERIES: dict[str, tuple[Callable[[Forged], Forged], str]] = {
    "no near segment": (lambda s: other_bytes(s, b"#!/bin/sh\n".ljust(len(s.content))), "no near segment"),
    "another number in the file": (header_with(12, 9), "not the segment described"),
    "another number described": (custom_with(number=3), "not the one that the release names"),
    "another number in the path": (renamed("near/pdq/3.near"), "not the one that the release names"),
    "another convention described": (custom_with(algorithm="pdq-512"), "not the one that the release names"),
    "no convention": (custom_with(algorithm="phash"), "has no near segments"),
    "too few for real use": (custom_with(practice=False, count=9999), "the least is 10000"),
    "another count described": (custom_with(count=10_001), "not the segment described"),
    "keys that cannot be": (custom_with(tier1_keys=8 * 51), "cannot have"),
    "other parameters in the file": (header_with(41, 14), "instead of"),
    "a layout that would disclose the list": (
        custom_with(parameters={**PARAMETERS, "tier2_bits": 16}),
        "tier2_bits is 16",
    ),
    "too much work": (custom_with(parameters={**PARAMETERS, "probes": 5000}), "probes is 5000"),
    "a description of another kind": (custom_with(parameters=[]), "malformed"),
    "a digest described that is another": (custom_with(sha256="0" * 64), "not the one that the release"),
    "a digest named that is another": (named_with(sha256="0" * 64), "not the one that the release names"),
    "a size named that is another": (named_with(size_bytes=1), "not the one that the release names"),
    "empty tables": (tables_of(0), "filled to 0.0000"),
    "full tables": (tables_of(255), "filled to 1.0000"),
    "a region that names everybody": (one_region_full, "slice of tier 1"),
}


@pytest.fixture(scope="module")
def large_segment(tmp_path_factory: pytest.TempPathFactory) -> Forged:
    """Number 2, large enough that a region of it does not tip the whole."""
    return build_segment(tmp_path_factory.mktemp("large"), number=2, count=10_000)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_signed_segment_that_must_not_be_used_is_refused(
    chain: Chain, large_segment: Forged, forgery: str
) -> None:
    chain.updater.update()
    forged, words = FORGERIES[forgery]
    forge(chain, forged(large_segment))
    fails_and_keeps(chain, errors.GateError, words)
    assert near_files(chain) == ["pdq-1"]
    assert list((chain.state_dir / "filter" / "downloads").iterdir()) == []


def test_a_second_build_of_an_installed_segment_is_refused(chain: Chain, tmp_path: Path) -> None:
    """Whoever holds two builds of the same hashes reads the list."""
    chain.updater.update()
    forge(chain, build_segment(tmp_path, number=1))
    fails_and_keeps(chain, errors.GateError, "another build of near/pdq/1")
    assert near_files(chain) == ["pdq-1"]


def test_other_segments_under_the_name_of_an_installed_release_are_refused(
    chain: Chain, tmp_path: Path
) -> None:
    forge(chain, build_segment(tmp_path, number=2))
    chain.updater.update()
    forge(chain, build_segment(tmp_path, number=2), build_segment(tmp_path, number=3))
    fails_and_keeps(chain, errors.GateError, "other bytes as release 2.0")


def test_other_withdrawals_under_the_name_of_an_installed_release_are_refused(
    chain: Chain, tmp_path: Path
) -> None:
    segment = build_segment(tmp_path, number=2)
    forge(chain, segment)
    chain.updater.update()
    forge(chain, segment, changes={"withdrawn": ["00" * 32]})
    fails_and_keeps(chain, errors.GateError, "other bytes as release 2.0")


def test_segments_that_cannot_be_asked_together_are_refused(chain: Chain, tmp_path: Path) -> None:
    chain.updater.update()
    publisher = NearPublisher(tmp_path / "odd", algorithm=Algorithm.PDQ, practice=True, minimum_count=1)
    for seed in (1, 2, 3):
        last = publisher.publish([fillers(1, seed=seed)[0].hash.value], parameters=NearParameters(probes=9))
    odd = as_forged(last)
    forge(chain, build_segment(tmp_path, number=2), odd)
    fails_and_keeps(chain, errors.GateError, "do not fit together")


@pytest.mark.parametrize(
    "changes",
    [
        {"near": []},
        {"near": {}},
        {"near": ["near/pdq/1.near"]},
        {"near": [{"path": "near/pdq/1.near", "sha256": "0" * 64, "size_bytes": 9}] * 2},
        {"near": [{"path": f"near/pdq/{n}.near", "sha256": "0" * 64, "size_bytes": 9} for n in range(33)]},
        {"withdrawn": []},
        {"withdrawn": ["zz"]},
        {"withdrawn": [7]},
        {"withdrawn": ["11" * 32, "00" * 32]},
        {"withdrawn": ["00" * 32, "00" * 32]},
        {"withdrawn": [f"{n:064x}" for n in range(MAX_WITHDRAWN + 1)]},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
def test_a_signed_base_with_nonsense_about_near_segments_is_refused(
    chain: Chain, changes: dict[str, object]
) -> None:
    chain.updater.update()
    forge(chain, changes=changes)
    fails_and_keeps(chain, errors.GateError, "malformed")


@pytest.mark.parametrize("path", ["near/pdq/02.near", "near/../x", "delta/1/2", "near/pdq/2"])
def test_a_segment_at_another_path_is_refused(chain: Chain, tmp_path: Path, path: str) -> None:
    chain.updater.update()
    forge(chain, renamed(path)(build_segment(tmp_path, number=2)))
    fails_and_keeps(chain, errors.GateError, "not the one that the release names")


def test_a_base_is_not_taken_for_a_segment(chain: Chain, tmp_path: Path) -> None:
    chain.updater.update()
    forge(chain, named_with(path="base/2/filter.bin")(build_segment(tmp_path, number=2)))
    fails_and_keeps(chain, errors.GateError, "malformed")
