"""The pointer to the installed release: one JSON file that says what is in use, strictly read.

A copy of it lies beside each bundle, so that a release that is rolled back to is described as it was signed.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from iii_client.model import Release, ReleaseId
from iii_client.updates.fields import moment, number, rows, rows_if_any, sha256, text
from iii_client.updates.growth import MAX_GROWTH_ROWS, Growth, growth_from_json, growth_to_json
from iii_client.updates.signed_base import (
    MAX_CANARIES,
    MAX_SECTIONS,
    canary_from_json,
    canary_to_json,
    section_from_json,
    section_to_json,
)
from iii_client.updates.signed_coverage import (
    coverage_from,
    coverage_to_json,
    mapping_to_json,
    mappings_from,
)
from iii_client.updates.signed_near import (
    MAX_NEAR_SEGMENTS,
    near_from_json,
    near_to_json,
    withdrawn_from,
    withdrawn_to_json,
)

#: 8,192 withdrawn hashes take 0.6 MB of it.
MAX_POINTER_BYTES = 1 << 20
POINTER_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What the pointer says.

    Attributes:
        release: the current one.
        file_name: of its bundle.
        growth: what deltas added within the last day.
        checked_at: when an update last found that this is the newest, by this host's clock; None when it was
            rolled back to, or an older library installed it.
    """

    release: Release
    file_name: str
    growth: tuple[Growth, ...] = ()
    checked_at: datetime | None = None


def pointer_to_bytes(
    release: Release, growth: Iterable[Growth] = (), *, checked_at: datetime | None = None
) -> bytes:
    """The pointer's text."""
    pointer = {
        "version": POINTER_VERSION,
        "release": str(release.id),
        "file": file_name(release),
        "sha256": release.sha256,
        "size_bytes": release.size_bytes,
        "signed_at": release.signed_at.isoformat(),
        "expires_at": release.expires_at.isoformat(),
        "sections": [section_to_json(section) for section in release.sections],
    }
    if release.near:
        pointer["near"] = [near_to_json(segment) for segment in release.near]
    if release.withdrawn:
        pointer["withdrawn"] = withdrawn_to_json(release.withdrawn)
    if release.canaries:
        pointer["canaries"] = [canary_to_json(canary) for canary in release.canaries]
    if release.coverage:
        pointer["coverage"] = [coverage_to_json(row) for row in release.coverage]
    if release.mappings:
        pointer["mappings"] = [mapping_to_json(mapping) for mapping in release.mappings]
    if rows_of_growth := [growth_to_json(row) for row in growth]:
        pointer["growth"] = rows_of_growth
    if checked_at:
        pointer["checked_at"] = checked_at.isoformat()
    return json.dumps(pointer, indent=1).encode()


def parse_pointer(content: bytes) -> Installed:
    """Read what `pointer_to_bytes` wrote.

    Raises:
        KeyError, TypeError, ValueError, RecursionError: anything else.
    """
    if len(content) > MAX_POINTER_BYTES:
        raise ValueError("too long")
    tree = json.loads(content)
    if number(tree, "version", 1) != POINTER_VERSION:
        raise ValueError("another version")
    release = Release(
        id=ReleaseId.parse(text(tree, "release")),
        sections=tuple(section_from_json(row) for row in rows(tree, "sections", MAX_SECTIONS)),
        size_bytes=number(tree, "size_bytes", 1),
        sha256=sha256(tree, "sha256"),
        signed_at=moment(tree, "signed_at"),
        expires_at=moment(tree, "expires_at"),
        near=tuple(near_from_json(row) for row in rows_if_any(tree, "near", MAX_NEAR_SEGMENTS)),
        withdrawn=withdrawn_from(tree, "withdrawn"),
        # An older library wrote none: its filter is not probed until the next update adds them.
        canaries=tuple(canary_from_json(row) for row in rows_if_any(tree, "canaries", MAX_CANARIES)),
        coverage=coverage_from(tree, "coverage"),
        mappings=mappings_from(tree, "mappings"),
    )
    if text(tree, "file") != file_name(release):
        raise ValueError("the name of another file")
    return Installed(
        release=release,
        file_name=file_name(release),
        growth=tuple(growth_from_json(row) for row in rows_if_any(tree, "growth", MAX_GROWTH_ROWS)),
        checked_at=moment(tree, "checked_at") if "checked_at" in tree else None,
    )


def file_name(release: Release) -> str:
    """The name of a release's bundle: what it is, and which bytes."""
    return f"{release.id}-{release.sha256[:16]}.bundle"
