"""A filter repository made by hand, key by key: what a publisher signs, and what a thief would.

It knows nothing of `iii_client.publisher`'s roles, so that a weakness there cannot hide one in the client.
"""

import hashlib
import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bitarray import bitarray
from pybloom_live import BloomFilter
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from iii_client.filters import pack_bundle, parse_bundle
from iii_client.filters.delta import encode_delta
from iii_client.filters.near_segment import HEADER_BYTES, NearHeader
from iii_client.filters.patching import delta_between
from iii_client.model import Algorithm, HashValue, ReleaseId
from iii_client.publisher import ListEntry, build_bundle
from iii_client.publisher.build import test_picture_entries as picture_entries
from iii_client.publisher.near import NearPublisher
from iii_client.updates.signed_base import SignedBase, base_path
from iii_client.updates.signed_delta import SignedDelta, delta_path
from iii_client.updates.signed_near import SignedSegment

CANARIES = tuple(entry.hash for entry in picture_entries() if entry.hash.algorithm.is_digest)


def digest(name: str) -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(name.encode()).digest())


def bundle_of(names: Iterable[str], release: ReleaseId) -> bytes:
    """A bundle that lists the SHA-256 of these names, and the test picture."""
    return _built(tuple(names), release)


@cache
def _built(names: tuple[str, ...], release: ReleaseId) -> bytes:
    # Most tests begin with the same few.
    entries = [ListEntry(hash=digest(name), quality=100, list_name="list", source="body") for name in names]
    return build_bundle(entries, release=release)


@dataclass
class Keys:
    """All the keys there are; an attacker is given some of them."""

    root: list[CryptoSigner] = field(
        default_factory=lambda: [CryptoSigner.generate_ed25519() for _ in range(3)]
    )
    targets: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    delta: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)
    online: CryptoSigner = field(default_factory=CryptoSigner.generate_ed25519)


class Forge:
    """Writes signed metadata and files into `folder`, as a web server serves it.

    What is public here (`bases`, `deltas`, `names`) is what the next `sign` signs; change it at will.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.folder = folder
        self.clock = clock
        self.keys = Keys()
        self.versions = dict.fromkeys(("root", "targets", "delta", "snapshot", "timestamp"), 0)
        self.bases: dict[str, TargetFile] = {}
        self.deltas: dict[str, TargetFile] = {}
        self.segments: list[SignedSegment] = []
        self.names: list[str] = []
        self.bundle = b""
        self.timestamp_fields: dict[str, Any] = {}
        (folder / "metadata").mkdir(parents=True)
        self.root_bytes = self.sign_root()

    # --- what an honest publisher does ------------------------------------------------------------------

    def publish_base(self, *names: str, epoch: int = 1) -> None:
        """A base that lists these names."""
        self.names = list(names)
        release = ReleaseId(epoch=epoch, sequence=0)
        self.put_base(bundle_of(names, release), epoch=epoch)
        self.deltas.clear()
        self.sign()

    def publish_delta(self, *names: str) -> None:
        """The next delta, which adds these names."""
        present = parse_bundle(self.bundle).release
        release = ReleaseId(epoch=present.epoch, sequence=present.sequence + 1)
        self.names += names
        self.publish_grown(bundle_of(self.names, release))

    def publish_grown(self, content: bytes) -> None:
        """The delta that leads from the present bundle to this one."""
        release = parse_bundle(content).release
        self.put_delta(
            encode_delta(delta_between(self.bundle, content)),
            release=release,
            result_sha256=hashlib.sha256(content).hexdigest(),
        )
        self.bundle = content
        self.sign()

    # --- the single steps, for anybody who has the keys ---------------------------------------------------

    def put_base(
        self,
        content: bytes,
        *,
        epoch: int,
        published_at: datetime | None = None,
        changes: dict[str, Any] | None = None,
    ) -> None:
        """Describe a base; it is signed with the next `sign`."""
        sha256 = hashlib.sha256(content).hexdigest()
        described = SignedBase(
            release=ReleaseId(epoch=epoch, sequence=0),
            sections=tuple(section.info for section in parse_bundle(content).sections),
            sha256=sha256,
            canaries=CANARIES,
            near=tuple(segment.target for segment in self.segments),
            published_at=published_at or self.clock(),
        )
        self.bundle = content
        custom = described.to_custom() | (changes or {})
        near = {path: target for path, target in self.bases.items() if path.startswith("near/")}
        self.bases = {base_path(epoch): self.put(base_path(epoch), content, custom), **near}

    def put_segment(self, ledger: Path, *, label: str) -> None:
        """A practice segment of three hashes; the next base names it."""
        publisher = NearPublisher(ledger, algorithm=Algorithm.PDQ, practice=True, minimum_count=1)
        content = publisher.publish(
            hashlib.sha256(f"{label} {number}".encode()).digest() for number in range(3)
        ).path.read_bytes()
        header = NearHeader.from_bytes(content[:HEADER_BYTES])
        signed = SignedSegment(header=header, sha256=hashlib.sha256(content).hexdigest())
        self.segments.append(signed)
        self.bases[signed.target.path] = self.put(signed.target.path, content, signed.to_custom())

    def put_delta(
        self, content: bytes, *, release: ReleaseId, result_sha256: str, path: str | None = None
    ) -> None:
        """Describe a delta; it is signed with the next `sign`."""
        custom = SignedDelta(release=release, result_sha256=result_sha256).to_custom()
        path = path or delta_path(release)
        self.deltas[path] = self.put(path, content, custom)

    def put(self, path: str, content: bytes, custom: dict[str, Any]) -> TargetFile:
        """Write a target's file and describe it."""
        sha256 = hashlib.sha256(content).hexdigest()
        folder, _, name = path.rpartition("/")
        file = self.folder / "targets" / folder / f"{sha256}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return TargetFile(len(content), {"sha256": sha256}, path, {"custom": custom})

    def sign(self, *roles: str) -> None:
        """Sign targets, delta, snapshot and timestamp anew, or only those that are named."""
        for role in roles or ("targets", "delta", "snapshot", "timestamp"):
            getattr(self, f"sign_{role}")()

    def sign_root(self, *, signers: Sequence[CryptoSigner] = (), days: int = 548) -> bytes:
        root = Root(consistent_snapshot=True)
        for signer in self.keys.root:
            root.add_key(signer.public_key, "root")
        root.roles["root"].threshold = 2
        root.add_key(self.keys.targets.public_key, "targets")
        for role in ("snapshot", "timestamp"):
            root.add_key(self.keys.online.public_key, role)
        return self.write("root", root, signers or self.keys.root[:2], timedelta(days=days))

    def sign_targets(self, *, days: int = 120) -> None:
        key = self.keys.delta.public_key
        role = DelegatedRole("delta", [key.keyid], 1, terminating=True, paths=["delta/*/*"])
        delegations = Delegations({key.keyid: key}, {"delta": role})
        targets = Targets(targets=dict(self.bases), delegations=delegations)
        self.write("targets", targets, [self.keys.targets], timedelta(days=days))

    def sign_delta(self, *, days: int = 14) -> None:
        self.write("delta", Targets(targets=dict(self.deltas)), [self.keys.delta], timedelta(days=days))

    def sign_snapshot(self) -> None:
        meta = {f"{role}.json": MetaFile(version=self.versions[role]) for role in ("targets", "delta")}
        self.write("snapshot", Snapshot(meta=meta), [self.keys.online], timedelta(days=7))

    def sign_timestamp(self) -> None:
        timestamp = Timestamp(
            snapshot_meta=MetaFile(version=self.versions["snapshot"]),
            unrecognized_fields=dict(self.timestamp_fields),
        )
        content = self.write("timestamp", timestamp, [self.keys.online], timedelta(days=7))
        (self.folder / "metadata" / "timestamp.json").write_bytes(content)

    def write(self, role: str, signed: Any, signers: Iterable[CryptoSigner], lifetime: timedelta) -> bytes:
        self.versions[role] += 1
        signed.version = self.versions[role]
        signed.expires = self.clock().replace(microsecond=0) + lifetime
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        content = metadata.to_bytes()
        if role != "timestamp":
            (self.folder / "metadata" / f"{self.versions[role]}.{role}.json").write_bytes(content)
        return content


def large_bundle(size_bytes: int, release: ReleaseId) -> bytes:
    """A bundle of one section of about this size, filled at random: only its size matters. It lists the test
    picture's SHA-256, and no name."""
    capacity = int(size_bytes * 8 / 28.76)
    bloom = BloomFilter(capacity, 1e-6)
    random = np.random.default_rng(capacity)
    bits = np.frombuffer(random.bytes(-(-bloom.num_bits // 8)), np.uint8)
    # One of two random bits and a third: set in three of eight cases.
    others = (np.frombuffer(random.bytes(len(bits)), np.uint8) for _ in range(2))
    bits = bits & np.bitwise_or(*others)
    bloom.bitarray = bitarray(endian="little")
    bloom.bitarray.frombytes(bits.tobytes())
    del bloom.bitarray[bloom.num_bits :]
    for canary in CANARIES:
        if canary.algorithm is Algorithm.SHA256:
            bloom.add(canary.hex, skip_check=True)
    bloom.count = capacity // 2
    content = io.BytesIO()
    bloom.tofile(content)
    return pack_bundle(release, [("sha256", content.getvalue())])


#: What a base of `large_bundle` is described with: its only canary.
LARGE_CANARIES = {
    "canaries": [
        {"algorithm": str(canary.algorithm), "value": canary.hex}
        for canary in CANARIES
        if canary.algorithm is Algorithm.SHA256
    ]
}


def names(count: int, *, label: str = "name") -> list[str]:
    """Distinct names."""
    return [f"{label} {number}" for number in itertools.islice(itertools.count(), count)]
