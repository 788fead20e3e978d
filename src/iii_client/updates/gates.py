"""Gates: what no signature can excuse. Signed files that are implausible are refused, and nothing changes.

A stolen or careless key must not be able to install a filter that finds nothing or everything, that is
older than what was seen, that means two things under one name, or that would disclose the list.
"""

import mmap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from iii_client.errors import FilterFormatError, GateError, RollbackError
from iii_client.filters import Bundle, ExactSections, NearSections, open_bundle
from iii_client.filters.bundle import MAX_BUNDLE_BYTES
from iii_client.filters.delta import MAX_DELTA_BYTES
from iii_client.filters.exact_fill import check_exact_fill
from iii_client.filters.near_fill import check_fill
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.patching import lost_bits
from iii_client.model import Release, ReleaseId, SectionInfo
from iii_client.updates.signed_base import SignedBase
from iii_client.updates.signed_near import SignedSegment

#: All near segments of a release. At 32 bytes a hash room for 130 million, which nobody lists.
MAX_NEAR_BYTES = 4 << 30

#: All deltas of an epoch, as a multiple of their bundle. A position takes some 12.5 bits, so this is room for
#: half of a filter's bits, which no honest filter has left. Together they would otherwise fill the disk.
MAX_DELTAS_RATIO = 8
#: And so much for each of them, whatever its size: headers, and small filters.
_DELTA_ROOM_BYTES = 4096

_STAYS = "The filter in use stays. Tell the publisher of the filter."


def check_order(
    offered: Release, installed: Release | None, *, min_epoch: int, digests: Sequence[str]
) -> None:
    """No older release than was required or seen, no second one under the same name, no segment rebuilt.

    Args:
        offered: the newest release.
        installed: the one in use.
        min_epoch: as configured.
        digests: SHA-256 of the offered epoch's bundle at sequence 0, 1, and so on.

    Raises:
        RollbackError: it is older.
        GateError: it, or one of its near segments, is another one under the same name.
    """
    if offered.id.epoch < min_epoch:
        raise RollbackError(
            f"the repository offers epoch {offered.id.epoch}, at least {min_epoch} is required",
            hint="A mirror may lag, or somebody replays old files. Check III_FILTER_MIN_EPOCH.",
        )
    if installed is None:
        return
    if offered.id < installed.id:
        left_out = " and leaves out deltas" if offered.id.epoch == installed.id.epoch else ""
        raise RollbackError(
            f"the repository offers release {offered.id}{left_out}, {installed.id} is installed", hint=_STAYS
        )
    if offered.id.epoch == installed.id.epoch and (
        (digests[installed.id.sequence], offered.withdrawn) != (installed.sha256, installed.withdrawn)
        # A host that fetches no near segments, or fetched none before, has a part of the same.
        or (offered.near and installed.near and offered.near != installed.near)
    ):
        raise GateError(
            f"the repository offers other bytes as release {installed.id}",
            hint="The filter in use stays. Run: iii-client filter verify. If that is content, tell the "
            "publisher of the filter; if not, it says what to do.",
        )
    known = {segment.name: segment.sha256 for segment in installed.near}
    for segment in offered.near:
        # Two builds of one segment side by side would disclose its hashes to whoever has both.
        if known.get(segment.name, segment.sha256) != segment.sha256:
            raise GateError(f"the repository offers another build of {segment.name}", hint=_STAYS)


def check_sizes(release: Release, *, deltas: Sequence[int]) -> None:
    """Refuse files that are larger than any filter, before a byte of them is fetched.

    Args:
        release: what is offered.
        deltas: bytes of each delta of its epoch.

    Raises:
        GateError: over a cap.
    """
    near_bytes = sum(segment.size_bytes for segment in release.near)
    for what, size, most in (
        ("the filter has", release.size_bytes, MAX_BUNDLE_BYTES),
        ("the near segments have", near_bytes, MAX_NEAR_BYTES),
        ("a delta has", max(deltas, default=0), MAX_DELTA_BYTES),
        (
            "the deltas of an epoch have",
            sum(deltas),
            MAX_DELTAS_RATIO * release.size_bytes + _DELTA_ROOM_BYTES * len(deltas),
        ),
    ):
        if size > most:
            raise GateError(f"{what} {size} bytes, at most {most} are allowed", hint=_STAYS)


def check_bundle(file: Path, signed: SignedBase, release: ReleaseId) -> tuple[Bundle, ExactSections]:
    """The bundle is a filter, the one described, finds what it must, and not far more. Reads all of it.

    Args:
        file: the bundle, which nothing else changes.
        signed: the base that it is, or that its deltas stand on.
        release: which it must be.

    Returns:
        What it holds.

    Raises:
        GateError: it is not.
    """
    try:
        bundle, exact = open_bundle(file)
    except FilterFormatError as error:
        raise GateError(f"the signed file is no filter: {error}", hint=error.hint or _STAYS) from error
    if bundle.release != release:
        raise GateError(f"the signed file holds release {bundle.release}, not {release}", hint=_STAYS)
    sections = tuple(section.info for section in bundle.sections)
    if sections != signed.sections and not (release.sequence and _grown(signed.sections, sections)):
        raise GateError("the sections of the file are not the ones described", hint=_STAYS)
    missed = sum(canary not in exact for canary in signed.canaries)
    if missed:
        raise GateError(
            f"the filter misses {missed} of {len(signed.canaries)} hashes that it must list", hint=_STAYS
        )
    # Every false positive tells the service the hash of an innocent file, so a careless publisher may ask
    # for less than our own cap and not for more.
    for algorithm, section in exact.sections:
        try:
            check_exact_fill(section, name=str(algorithm), max_fill=signed.max_fill_permille / 1000)
        except GateError as error:
            raise GateError(str(error), hint=_STAYS) from error
    return bundle, exact


def check_superset(older: Path, newer: Path) -> None:
    """Within an epoch no bit is ever lost: every hash that was found is found. Reads both files.

    Raises:
        GateError: one is.
    """
    views = []
    for path in (older, newer):
        with path.open("rb") as file:
            views.append(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    try:
        lost = lost_bits(*views)
    except FilterFormatError as error:
        raise GateError(f"the releases of one epoch differ: {error}", hint=_STAYS) from error
    if lost:
        raise GateError(f"{lost} bits that are set in the filter in use would be lost", hint=_STAYS)


def check_segment(file: Path, signed: SignedSegment) -> None:
    """A near segment is one, is the one described, and is half full everywhere.

    Raises:
        GateError: it is not.
    """
    name = signed.info.name
    try:
        segment = NearSegment.open(file)
    except FilterFormatError as error:
        raise GateError(f"the file of {name} is no near segment: {error}", hint=_STAYS) from error
    if segment.header != signed.header:
        raise GateError(f"the file of {name} is not the segment described", hint=_STAYS)
    try:
        check_fill(segment)
    except GateError as error:
        raise GateError(str(error), hint=_STAYS) from error


def check_together(files: Sequence[Path]) -> None:
    """Near segments can be asked together, as every reader will.

    Raises:
        GateError: they cannot.
    """
    try:
        NearSections([NearSegment.open(file) for file in files])
    except FilterFormatError as error:
        raise GateError(f"the near segments do not fit together: {error}", hint=_STAYS) from error


def _grown(before: Sequence[SectionInfo], after: Sequence[SectionInfo]) -> bool:
    """Whether the sections are the same, each with as many keys or more, and room for them."""
    return len(before) == len(after) and all(
        replace(now, count=was.count) == was and was.count <= now.count <= was.capacity
        for was, now in zip(before, after, strict=True)
    )
