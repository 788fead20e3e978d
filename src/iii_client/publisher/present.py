"""The present release of a repository, read back from its folder, and the tools to make the next one."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tuf.api.metadata import TargetFile

from iii_client.errors import PublishError
from iii_client.filters import Clock
from iii_client.filters.delta import decode_delta
from iii_client.filters.near_segment import CONVENTIONS
from iii_client.filters.patching import apply_deltas
from iii_client.model import Algorithm, ReleaseId
from iii_client.publisher.near import PublishedSegment
from iii_client.publisher.near_ledger import NearLedger
from iii_client.publisher.roles import Roles
from iii_client.publisher.target_files import TargetFiles
from iii_client.updates.signed_base import SignedBase, base_path, newest_base
from iii_client.updates.signed_delta import delta_path, delta_sequences
from iii_client.updates.signed_near import SignedSegment


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What a publication works with. Valid while the repository's lock is held."""

    roles: Roles
    files: TargetFiles
    near: NearLedger
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The present release.

    Attributes:
        base: as signed.
        base_file: its target.
        deltas: their targets, in order.
    """

    base: SignedBase
    base_file: TargetFile = field(repr=False)
    deltas: tuple[TargetFile, ...] = field(repr=False)

    @property
    def release(self) -> ReleaseId:
        """The base with all its deltas."""
        return ReleaseId(epoch=self.base.release.epoch, sequence=len(self.deltas))


def present_release(roles: Roles) -> Present | None:
    """The present release; None before the first.

    Raises:
        GateError: its signed description is nonsense.
    """
    epoch = newest_base(roles.targets)
    if not epoch:
        return None
    base_file = roles.targets[base_path(epoch)]
    paths = (delta_path(ReleaseId(epoch=epoch, sequence=n)) for n in delta_sequences(roles.deltas, epoch))
    return Present(
        base=SignedBase.from_custom(custom_of(base_file)),
        base_file=base_file,
        deltas=tuple(roles.deltas[path] for path in paths),
    )


def present_bundle(present: Present, files: TargetFiles) -> bytes:
    """The bundle of the present release: its base with all deltas applied, as clients have it.

    Raises:
        ConfigurationError: a file is missing or damaged.
    """
    bundle = files.read(present.base_file)
    if not present.deltas:
        return bundle
    return b"".join(apply_deltas(bundle, [decode_delta(files.read(target)) for target in present.deltas]))


def custom_of(target: TargetFile) -> Any:
    """The fields that were signed with a target."""
    return target.unrecognized_fields.get("custom")


def signed_segments(segments: Iterable[PublishedSegment]) -> tuple[SignedSegment, ...]:
    """Segments as they are signed; reads their files."""
    return tuple(map(_signed, segments))


def check_ledger(present: Present | None, ledger: NearLedger) -> None:
    """Refuse to go on without the ledger of what was published: a hash could come into a second table.

    Raises:
        PublishError: it does not hold what was published.
    """
    if present is None:
        return
    held = {signed.target.path: signed.sha256 for signed in signed_segments(ledger.segments())}
    lost = [target.path for target in present.base.near if held.get(target.path) != target.sha256]
    lost += [
        f"the exact section {section.name}"
        for section in present.base.sections
        if section.name in CONVENTIONS and section.count > ledger.exact.count(Algorithm(section.name))
    ]
    if lost:
        raise PublishError(
            f"{lost[0]} was published and the ledger does not hold it",
            hint="Restore the folder 'near' beside the keys from a backup: two builds of the same hashes "
            "disclose the list.",
        )


def _signed(segment: PublishedSegment) -> SignedSegment:
    with segment.path.open("rb") as file:
        return SignedSegment(header=segment.header, sha256=hashlib.file_digest(file, "sha256").hexdigest())
