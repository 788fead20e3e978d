"""What a stolen online key may cost a host: no file outside the filter's folder, no disk, no memory.

Rows of docs/explanation/filter-life.md, as in `test_attacks.py`; these are about a thief who wants to harm
the machine rather than the filter.
"""

import dataclasses
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TargetFile

from iii_client import errors
from iii_client.filters import parse_bundle
from iii_client.filters.delta import Delta, SectionDelta, most_positions
from iii_client.filters.patching import apply_deltas
from iii_client.model import ReleaseId
from iii_client.updates.mirror import mirror
from iii_client.updates.signed_delta import SignedDelta, delta_path

from .conftest import Host


@pytest.fixture
def settled(host: Host) -> Host:
    """A base of two names and a delta of one are installed."""
    host.forge.publish_base("a", "b")
    host.forge.publish_delta("c")
    assert host.update() == "1.1"
    return host


def claim(host: Host, sequence: int, *, size_bytes: int = 3, sha256: str = "0" * 64) -> None:
    """A delta as the thief describes it. Sign it with `sign_as_thief`."""
    release = ReleaseId(epoch=1, sequence=sequence)
    custom = SignedDelta(release=release, result_sha256="0" * 64).to_custom()
    path = delta_path(release)
    host.forge.deltas[path] = TargetFile(size_bytes, {"sha256": sha256}, path, {"custom": custom})


def sign_as_thief(host: Host) -> None:
    host.forge.sign("delta", "snapshot", "timestamp")


@pytest.mark.parametrize("digest", ["../../../victim", "{folder}/victim", "A" * 64, "0" * 63, "0" * 65])
def test_a_digest_that_is_a_path_reaches_no_file(settled: Host, tmp_path: Path, digest: str) -> None:
    """TUF takes any text for a digest; ours becomes the name of a file on its way."""
    victim = tmp_path / "victim.part"
    victim.write_bytes(b"somebody else's")
    claim(settled, 2, sha256=digest.format(folder=tmp_path))
    sign_as_thief(settled)
    settled.refuses(errors.GateError, "delta")
    assert victim.read_bytes() == b"somebody else's"


def requested(host: Host, part: str) -> list[str]:
    return [path for path in host.server.requests if part in path]


def test_deltas_that_are_larger_than_all_they_could_add_are_not_fetched(settled: Host) -> None:
    """Each is of an allowed size; together they would fill the disk."""
    for sequence in range(2, 40):
        claim(settled, sequence, size_bytes=30 << 20)
    sign_as_thief(settled)
    asked = len(requested(settled, "/targets/delta/"))
    settled.refuses(errors.GateError, "the deltas of an epoch have")
    assert len(requested(settled, "/targets/delta/")) == asked


@pytest.mark.parametrize("sizes", [[1 << 50], [30 << 20] * 40])
def test_a_mirror_fetches_no_delta_beyond_the_caps(host: Host, tmp_path: Path, sizes: list[int]) -> None:
    host.forge.publish_base("a")
    for sequence, size_bytes in enumerate(sizes, 1):
        claim(host, sequence, size_bytes=size_bytes)
    sign_as_thief(host)
    with pytest.raises(errors.GateError, match="at most"):
        mirror(host.config, Path(host.config.root).read_bytes(), tmp_path / "mirror")
    assert not requested(host, "/targets/delta/")


def test_a_wait_of_any_length_is_at_most_a_day(host: Host) -> None:
    host.forge.timestamp_fields = {"minimum_wait_s": 10**400}
    host.forge.publish_base("a")
    assert host.update() == "1.0"
    assert not host.updater().is_due()
    later = dataclasses.replace(host, shift=timedelta(days=1, seconds=1))
    assert later.updater().is_due()


def flood(host: Host, count: int) -> None:
    """So many deltas of the largest allowed size, spread at random over the free bits, each truly signed."""
    random = np.random.default_rng(1)
    for _ in range(count):
        bundle = host.forge.bundle
        parsed = parse_bundle(bundle)
        (row,) = (section for section in parsed.sections if section.name == "sha256")
        size = row.header.slices * row.header.bits_per_slice
        content = np.frombuffer(bundle, np.uint8)[row.offset + 40 : row.offset + row.size_bytes]
        free = np.flatnonzero(np.unpackbits(content, bitorder="little")[:size] == 0)
        change = SectionDelta(
            name="sha256",
            size_bits=size,
            count=row.header.count + 1,
            positions=np.sort(random.choice(free, most_positions(size), replace=False)),
        )
        delta = Delta(
            epoch=1,
            from_sequence=parsed.release.sequence,
            to_sequence=parsed.release.sequence + 1,
            sections=(change,),
        )
        host.forge.publish_grown(b"".join(apply_deltas(bundle, [delta])))


def test_a_flood_is_fetched_no_further_than_a_host_would_take_it(settled: Host) -> None:
    """It is refused at the first delta that is too much: the others fill neither disk nor memory."""
    flood(settled, 14)
    settled.refuses(errors.GateError, "% or more to section sha256")
    assert len(requested(settled, "/targets/delta/1/")) == 1 + 10


def test_a_timestamp_that_looks_old_buys_no_larger_day(settled: Host) -> None:
    """Who holds the key of the timestamp sets its expiry: he signs one that seems six days old, waits
    until it is known, and floods."""
    forge = settled.forge
    forge.clock = lambda: settled.now() - timedelta(days=6)
    forge.sign("timestamp")
    assert settled.update() == "1.1"
    forge.clock = lambda: settled.now()
    flood(settled, 14)
    settled.refuses(errors.GateError, "at most 0.5% a day")


def test_deltas_made_anew_after_damage_are_allowed_what_the_epoch_is(settled: Host) -> None:
    """The host's file is damaged, and the deltas are older than a day: all of them come again, and may."""
    flood(settled, 9)
    assert settled.update() == "1.10"
    settled.shift = timedelta(hours=25)
    settled.forge.clock = lambda: settled.now()
    flood(settled, 9)
    assert settled.update() == "1.19"
    (file,) = (settled.state_dir / "filter" / "releases").glob("1.19-*.bundle")
    content = bytearray(file.read_bytes())
    content[70_000] ^= 0xFF
    file.write_bytes(content)
    assert settled.update() == "1.19"
    assert settled.installed() == "1.19"


def test_a_rotation_and_a_base_end_it_however_far_the_thief_went_ahead(settled: Host) -> None:
    """He signs versions far ahead, so that true ones look old, and deltas that hosts install. Root names
    other keys, and the next base takes his additions out again; deltas alone would not."""
    forge = settled.forge
    true, bundle = dict(forge.versions), forge.bundle
    forge.versions.update(delta=10_000, snapshot=10_000, timestamp=1 << 40)
    forge.publish_delta("his own")
    assert settled.update() == "1.2"
    # The targets' versions are none of his.
    forge.versions, forge.bundle = true | {"targets": forge.versions["targets"]}, bundle
    del forge.deltas["delta/1/000002.delta"]
    forge.keys.online, forge.keys.delta = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
    forge.sign_root()
    forge.sign()
    settled.refuses(errors.RollbackError, "leaves out deltas")
    forge.publish_base("a", "b", "c", epoch=2)
    assert settled.update() == "2.0"
    assert settled.finds("a", "c", "his own") == [True, True, False]
