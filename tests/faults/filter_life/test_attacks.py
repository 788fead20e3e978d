"""Attacks on the life of the filter. Each test is a row of docs/explanation/filter-life.md.

Someone on the network, or with a mirror, replays and mixes what was signed; someone with a stolen online key
(the deltas' key, the snapshot's, or both) signs what he likes. The filter in use must stay, or must only ever
find more.
"""

import dataclasses
import hashlib
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner

from iii_client import errors
from iii_client.filters import parse_bundle
from iii_client.filters.delta import Delta, SectionDelta, encode_delta, most_positions
from iii_client.filters.patching import apply_deltas
from iii_client.model import Algorithm, Fingerprint, HashValue, ReleaseId

from ...integration.updates.conftest import Handler  # noqa: TID252 - tests are no package on the path
from .conftest import Host
from .forge import bundle_of, digest, names

A, B = "a", "b"


@pytest.fixture
def settled(host: Host) -> Host:
    """A base of two names and a delta of one are installed."""
    host.forge.publish_base(A, B)
    host.forge.publish_delta("c")
    assert host.update() == "1.1"
    return host


# --- what should happen ---------------------------------------------------------------------------------


def test_a_delta_is_fetched_alone_and_found_by_a_reader_that_never_restarts(host: Host) -> None:
    host.forge.publish_base(A, B)
    assert host.update() == "1.0"
    assert host.finds(A, B, "c") == [True, True, False]
    host.forge.publish_delta("c")
    report = host.updater().update()
    assert (str(report.release), str(report.previous), report.changed) == ("1.1", "1.0", True)
    assert report.bytes_fetched < 10_000
    assert host.finds(A, B, "c", "d") == [True, True, True, False]
    assert host.installed() == "1.1"


def test_a_fresh_client_gets_the_base_and_all_deltas(host: Host) -> None:
    host.forge.publish_base(A)
    for name in names(5):
        host.forge.publish_delta(name)
    assert host.update() == "1.5"
    assert host.finds(A, *names(5)) == [True] * 6
    assert not list((host.state_dir / "filter" / "downloads").iterdir())


def test_a_new_base_begins_a_new_line_of_deltas(settled: Host) -> None:
    settled.forge.publish_base(A, "d", epoch=2)
    settled.forge.publish_delta("e")
    assert settled.update() == "2.1"
    assert settled.finds(A, B, "c", "d", "e") == [True, False, False, True, True]


def test_a_damaged_installed_file_is_made_anew_from_its_base(settled: Host) -> None:
    (file,) = (settled.state_dir / "filter" / "releases").glob("1.1-*.bundle")
    content = bytearray(file.read_bytes())
    content[70_000] ^= 0xFF
    file.write_bytes(content)
    settled.forge.publish_delta("d")
    assert settled.update() == "1.2"
    assert settled.finds(A, "c", "d", "e") == [True, True, True, False]


def test_many_root_rotations_are_followed(host: Host) -> None:
    """v1 to v20, every key another one each time; the client still pins v1."""
    forge = host.forge
    forge.publish_base(A)
    assert host.update() == "1.0"
    for number in range(19):
        old = forge.keys.root
        forge.keys.root = [CryptoSigner.generate_ed25519() for _ in range(3)]
        if number % 4 == 0:
            forge.keys.targets = CryptoSigner.generate_ed25519()
            forge.keys.online = CryptoSigner.generate_ed25519()
        forge.sign_root(signers=[*old[:2], *forge.keys.root[:2]])
    forge.publish_base(A, B, epoch=2)
    assert forge.versions["root"] == 20
    assert host.update() == "2.0"
    fresh = dataclasses.replace(host, state_dir=host.state_dir.with_name("fresh"))
    assert fresh.update() == "2.0"


# --- someone on the network -----------------------------------------------------------------------------


def replayed(host: Host, tmp_path: Path) -> Path:
    copy = tmp_path / "old"
    shutil.copytree(host.forge.folder, copy)
    return copy


def serve(host: Host, copy: Path) -> None:
    shutil.rmtree(host.forge.folder)
    shutil.copytree(copy, host.forge.folder)


def test_old_metadata_replayed(settled: Host, tmp_path: Path) -> None:
    copy = replayed(settled, tmp_path)
    settled.forge.publish_delta("d")
    assert settled.update() == "1.2"
    serve(settled, copy)
    settled.refuses(errors.RollbackError, "older metadata")


def test_old_metadata_replayed_to_a_client_that_lost_its_own(settled: Host, tmp_path: Path) -> None:
    copy = replayed(settled, tmp_path)
    settled.forge.publish_delta("d")
    assert settled.update() == "1.2"
    serve(settled, copy)
    shutil.rmtree(settled.state_dir / "filter" / "metadata")
    settled.refuses(errors.RollbackError, "leaves out deltas", "1.2 is installed")


def test_a_frozen_repository(settled: Host) -> None:
    settled.forge.clock = lambda: settled.now() - timedelta(days=8)
    settled.forge.sign("timestamp")
    error = settled.refuses(errors.StaleMetadataError, "expired")
    assert error.retryable


def test_frozen_deltas(settled: Host) -> None:
    """The deltas' own metadata expires in 14 days, however fresh the timestamp is."""
    settled.forge.sign_delta(days=-1)
    settled.forge.sign("snapshot", "timestamp")
    settled.refuses(errors.StaleMetadataError, "expired")


@pytest.mark.parametrize("role", ["targets", "delta", "snapshot", "timestamp"])
def test_a_wrong_key(settled: Host, role: str) -> None:
    forge = settled.forge
    held = "online" if role in ("snapshot", "timestamp") else role
    true = getattr(forge.keys, held)
    setattr(forge.keys, held, CryptoSigner.generate_ed25519())
    forge.sign(role)
    setattr(forge.keys, held, true)
    order = ("targets", "delta", "snapshot", "timestamp")
    for later in order[max(order.index(role) + 1, 2) :]:
        forge.sign(later)
    settled.refuses(errors.SignatureError)


def test_a_root_below_its_threshold(settled: Host) -> None:
    """One stolen root key of three is not enough to name other keys."""
    thief = CryptoSigner.generate_ed25519()
    settled.forge.keys.targets = settled.forge.keys.online = thief
    settled.forge.sign_root(signers=settled.forge.keys.root[:1])
    settled.forge.publish_base("x", epoch=9)
    settled.refuses(errors.SignatureError)


@pytest.mark.parametrize("what", ["base", "delta"])
def test_a_poisoned_target_of_the_same_size(settled: Host, what: str) -> None:
    if what == "base":
        settled.forge.publish_base(A, B, "d", epoch=2)
    else:
        settled.forge.publish_delta("d")

    def zeros(handler: Handler) -> bool:
        if not handler.path.startswith(f"/targets/{what}/"):
            return False
        handler.answer(200, bytes(Path(handler.translate_path(handler.path)).stat().st_size))
        return True

    settled.server.fault = zeros
    settled.refuses(errors.LengthOrHashError, "signed bytes")
    settled.server.fault = None
    settled.update()
    assert settled.finds("d") == [True]


@pytest.mark.parametrize("what", ["/metadata/timestamp", "/metadata/", "/targets/"])
def test_an_endless_body(settled: Host, what: str) -> None:
    settled.forge.publish_delta("d")

    def endless(handler: Handler) -> bool:
        if not handler.path.startswith(what) or "root" in handler.path:
            return False
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"{" * 65536)

    settled.server.fault = endless
    settled.refuses(errors.ResponseTooLargeError, "at most")


def test_mix_and_match_of_two_states(settled: Host, tmp_path: Path) -> None:
    """The newest timestamp and snapshot beside older deltas under the newer name."""
    old = (settled.forge.folder / "metadata" / f"{settled.forge.versions['delta']}.delta.json").read_bytes()
    settled.forge.publish_delta("d")
    newest = settled.forge.folder / "metadata" / f"{settled.forge.versions['delta']}.delta.json"
    newest.write_bytes(old)
    settled.refuses(errors.RollbackError)


def test_a_delta_of_another_epoch_under_the_name_of_this_one(settled: Host) -> None:
    """Both are truly signed files; the path binds one of them."""
    (target,) = settled.forge.deltas.values()
    other = bundle_of([A, B, "x"], ReleaseId(epoch=2, sequence=0))
    settled.forge.put_base(other, epoch=2)
    path = target.path.replace("delta/1/", "delta/2/")
    file = next((settled.forge.folder / "targets" / "delta" / "1").iterdir())
    settled.forge.deltas = {}
    settled.forge.put_delta(
        file.read_bytes(), release=ReleaseId(epoch=2, sequence=1), result_sha256="0" * 64, path=path
    )
    settled.forge.sign()
    settled.refuses(errors.GateError, "leads elsewhere")


def test_an_older_valid_base_shown_to_a_fresh_client(host: Host) -> None:
    host.forge.publish_base(A)
    host.config = dataclasses.replace(host.config, min_epoch=2)
    host.refuses(errors.RollbackError, "epoch 1", "III_FILTER_MIN_EPOCH")


# --- a stolen online key --------------------------------------------------------------------------------


def forged(host: Host, content: bytes, delta: bytes | None = None) -> None:
    """Sign a delta to these bytes with the online keys alone."""
    release = ReleaseId(epoch=1, sequence=2)
    host.forge.put_delta(
        delta if delta is not None else b"",
        release=release,
        result_sha256=hashlib.sha256(content).hexdigest(),
    )
    host.forge.sign("delta", "snapshot", "timestamp")


def spread(section: str, positions: np.ndarray, bundle: bytes, *, count: int) -> Delta:
    (row,) = (s for s in parse_bundle(bundle).sections if s.name == section)
    return Delta(
        epoch=1,
        from_sequence=1,
        to_sequence=2,
        sections=(
            SectionDelta(
                name=section,
                size_bits=row.header.slices * row.header.bits_per_slice,
                count=count,
                positions=positions.astype(np.int64),
            ),
        ),
    )


def unset(section: str, bundle: bytes) -> np.ndarray:
    (row,) = (s for s in parse_bundle(bundle).sections if s.name == section)
    bits = np.frombuffer(bundle, np.uint8)[row.offset + 40 : row.offset + row.size_bytes]
    size = row.header.slices * row.header.bits_per_slice
    return np.flatnonzero(np.unpackbits(bits, bitorder="little")[:size] == 0)


def test_a_thief_cannot_clear_a_bit(settled: Host) -> None:
    """There is no way to say it: the result that he signs is one that no delta gives."""
    smaller = bundle_of([A], ReleaseId(epoch=1, sequence=2))
    position = unset("sha256", settled.forge.bundle)[:1]
    delta = encode_delta(spread("sha256", position, settled.forge.bundle, count=10))
    forged(settled, smaller, delta)
    settled.refuses(errors.LengthOrHashError, "do not give the signed release 1.2")
    assert settled.finds(A, B, "c") == [True, True, True]


def test_a_thief_cannot_serve_a_whole_bundle_as_a_delta(settled: Host) -> None:
    smaller = bundle_of([A], ReleaseId(epoch=1, sequence=2))
    forged(settled, smaller, smaller)
    settled.refuses(errors.GateError, "not a delta")
    assert settled.finds(A, B, "c") == [True, True, True]


def test_a_thief_cannot_leave_out_the_newest_delta(settled: Host) -> None:
    settled.forge.deltas.clear()
    settled.forge.sign("delta", "snapshot", "timestamp")
    settled.refuses(errors.RollbackError, "leaves out deltas", "1.1 is installed")


def test_a_thief_cannot_leave_out_a_delta_between_two_others(settled: Host) -> None:
    settled.forge.publish_delta("d")
    settled.forge.publish_delta("e")
    del settled.forge.deltas["delta/1/000002.delta"]
    settled.forge.sign("delta", "snapshot", "timestamp")
    settled.refuses(errors.GateError, "leaves out a delta between two others")


def test_a_thief_cannot_change_a_delta_that_was_installed(settled: Host) -> None:
    settled.forge.put_delta(b"x", release=ReleaseId(epoch=1, sequence=1), result_sha256="0" * 64)
    settled.forge.sign("delta", "snapshot", "timestamp")
    settled.refuses(errors.GateError, "other bytes as release 1.1")


def test_a_thief_cannot_replace_a_base(settled: Host) -> None:
    """He has the online keys, the offline role still names the true base: his own is not looked at."""
    content = bundle_of(["x"], ReleaseId(epoch=2, sequence=0))
    true = dict(settled.forge.bases)
    settled.forge.put_base(content, epoch=2)
    claimed, settled.forge.bases = settled.forge.bases, true
    settled.forge.deltas |= claimed
    settled.forge.sign("delta", "snapshot", "timestamp")
    assert settled.update() == "1.1"
    assert settled.finds(A, B, "c", "x") == [True, True, True, False]


def test_a_thief_cannot_claim_the_path_of_the_present_base(settled: Host) -> None:
    poisoned = bundle_of(["x"], ReleaseId(epoch=1, sequence=0))
    settled.forge.deltas["base/1/filter.bin"] = settled.forge.put("base/1/filter.bin", poisoned, {})
    settled.forge.sign("delta", "snapshot", "timestamp")
    fresh = dataclasses.replace(settled, state_dir=settled.state_dir.with_name("fresh"))
    assert fresh.update() == "1.1"
    assert fresh.finds(A, "x") == [True, False]


def test_a_thief_cannot_sign_a_base_with_the_deltas_key(settled: Host) -> None:
    settled.forge.keys.targets = settled.forge.keys.delta
    settled.forge.publish_base("x", epoch=9)
    settled.refuses(errors.SignatureError)


def test_a_thief_cannot_flood_a_delta(settled: Host) -> None:
    """One position more than a delta may set, written past our own writer's check."""
    free = unset("sha256", settled.forge.bundle)
    size = parse_bundle(settled.forge.bundle).sections[-1].header
    most = most_positions(size.slices * size.bits_per_slice)
    good = encode_delta(spread("sha256", free[:most], settled.forge.bundle, count=20))
    flood = bytearray(good)
    flood[48 + 32 : 48 + 40] = (most + 1).to_bytes(8, "little")
    forged(settled, b"", bytes(flood))
    settled.refuses(errors.GateError, f"{most + 1} positions", f"allowed are 1 to {most}")


def largest_steps(settled: Host, count: int) -> None:
    """So many deltas of the largest allowed size, spread at random, each truly signed."""
    random = np.random.default_rng(1)
    for _ in range(count):
        bundle = settled.forge.bundle
        release = parse_bundle(bundle).release
        free = unset("sha256", bundle)
        header = next(s for s in parse_bundle(bundle).sections if s.name == "sha256").header
        most = most_positions(header.slices * header.bits_per_slice)
        chosen = np.sort(random.choice(free, most, replace=False))
        delta = dataclasses.replace(
            spread("sha256", chosen, bundle, count=header.count + 1),
            from_sequence=release.sequence,
            to_sequence=release.sequence + 1,
        )
        settled.forge.publish_grown(b"".join(apply_deltas(bundle, [delta])))


def test_a_thief_cannot_flood_a_day_with_deltas_of_the_allowed_size(settled: Host) -> None:
    largest_steps(settled, 9)
    assert settled.update() == "1.10"
    largest_steps(settled, 2)
    settled.refuses(errors.GateError, "adds 0.5", "% or more to section sha256", "at most 0.5% a day")
    # Nor in small steps: the day is remembered.
    settled.forge.clock = lambda: settled.now()
    settled.shift = timedelta(hours=3)
    settled.forge.sign("snapshot", "timestamp")
    settled.refuses(errors.GateError, "adds 0.5", "% or more to section sha256")
    settled.shift = timedelta(hours=25)
    settled.forge.sign("snapshot", "timestamp")
    assert settled.update() == "1.12"


def test_a_host_that_was_away_may_catch_up(settled: Host) -> None:
    settled.forge.clock = lambda: settled.now()
    settled.shift = timedelta(days=3, hours=1)
    largest_steps(settled, 25)
    assert settled.update() == "1.26"


def test_a_fresh_client_is_flooded_no_faster_than_since_the_base(settled: Host) -> None:
    largest_steps(settled, 12)
    fresh = dataclasses.replace(settled, state_dir=settled.state_dir.with_name("fresh"))
    fresh.refuses(errors.GateError, "at most 0.5% a day")
    fresh.shift = timedelta(days=2)
    settled.forge.clock = lambda: fresh.now()
    settled.forge.sign("snapshot", "timestamp")
    assert fresh.update() == "1.13"


def filled(bundle: bytes, fill: float, *, sequence: int) -> bytes:
    """The same bundle with each section filled to this share, at random."""
    random = np.random.default_rng(2)
    content = bytearray(bundle)
    content[24:32] = sequence.to_bytes(8, "little")
    for section in parse_bundle(bundle).sections:
        start, stop = section.offset + 40, section.offset + section.size_bytes
        bits = np.unpackbits(np.frombuffer(bundle, np.uint8)[start:stop], bitorder="little")
        used = section.header.slices * section.header.bits_per_slice
        bits[:used] |= random.random(used) < fill
        content[start:stop] = np.packbits(bits, bitorder="little").tobytes()
    return bytes(content)


def test_a_thief_cannot_raise_a_fill_to_55_percent(host: Host) -> None:
    """The base is nearly full as signed offline; the deltas' key takes it the last steps, day by day."""
    forge = host.forge
    start = filled(bundle_of([A], ReleaseId(epoch=1, sequence=0)), 0.5, sequence=0)
    forge.put_base(start, epoch=1, published_at=host.now() - timedelta(days=30))
    forge.sign()
    assert host.update() == "1.0"
    for _ in range(20):
        largest_steps(host, 1)
    host.shift = timedelta(days=2)
    forge.clock = lambda: host.now()
    forge.sign("snapshot", "timestamp")
    host.refuses(errors.GateError, "false-positive rate")


def test_a_thief_cannot_put_all_bits_into_one_place(settled: Host) -> None:
    """Within every cap, and yet one region would be ones: whose bits fall there would be named."""
    free = unset("sha256", settled.forge.bundle)
    size = next(s for s in parse_bundle(settled.forge.bundle).sections if s.name == "sha256").header
    most = most_positions(size.slices * size.bits_per_slice)
    delta = spread("sha256", free[1000 : 1000 + most], settled.forge.bundle, count=20)
    settled.forge.publish_grown(b"".join(apply_deltas(settled.forge.bundle, [delta])))
    settled.refuses(errors.GateError, "a slice of section sha256")


def test_a_thief_cannot_name_many_files_of_a_host(settled: Host) -> None:
    """He guesses what a host sees every day; the host's own recent negatives hold the release."""
    everyday = names(2_000, label="stock picture")
    remember(settled, everyday)
    settled.forge.publish_delta(*everyday[:3])
    assert settled.update() == "1.2"
    settled.forge.publish_delta(*everyday[3:7])
    error = settled.refuses(
        errors.HeldReleaseError, "4 of this host's last 2000", "at most 3", "filter accept 1.3"
    )
    assert isinstance(error, errors.HeldReleaseError)
    assert error.release == "1.3"
    assert [kind for kind, _ in settled.alarms] == ["release_held"]
    assert settled.finds(*everyday[:4]) == [True, True, True, False]


def remember(host: Host, files: list[str]) -> None:
    """As scans would: files in which nothing was found."""
    memory = host.negatives()
    memory.remember(
        [
            Fingerprint(
                recipe="fast-v1",
                size_bytes=1,
                kind="unknown",
                digests=(
                    HashValue(algorithm=Algorithm.MD5, value=hashlib.md5(name.encode()).digest()),
                    HashValue(algorithm=Algorithm.SHA1, value=hashlib.sha1(name.encode()).digest()),
                    digest(name),
                ),
            )
            for name in files
        ]
    )
    memory.flush()
