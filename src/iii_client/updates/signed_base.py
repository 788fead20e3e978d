"""What the offline key signs about a base: the `custom` fields of its TUF target.

Publisher and client share this one form. TUF's canonical JSON has no fractions, so the error rate is a
text and the fill a number of thousandths. Unknown fields are ignored, so that later releases may say
more; anything wrong in a known one is a trust failure, because it was signed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from iii_client.errors import GateError
from iii_client.model import Algorithm, CategoryMapping, Coverage, HashValue, ReleaseId, SectionInfo
from iii_client.updates.fields import moment, number, rows, sha256, text
from iii_client.updates.signed_coverage import (
    coverage_from,
    coverage_to_json,
    mapping_to_json,
    mappings_from,
)
from iii_client.updates.signed_near import (
    NearTarget,
    near_targets_from,
    withdrawn_from,
    withdrawn_to_json,
)

#: A section is sized to stay below this fill, in thousandths; pybloom-live's full section has 500.
MAX_FILL_PERMILLE = 520

#: More canaries than this would be a list.
MAX_CANARIES = 64
MAX_SECTIONS = 16

_PATH = re.compile(r"base/([1-9][0-9]{0,9})/filter\.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBase:
    """A base as signed.

    Attributes:
        release: epoch and sequence.
        sections: the sections with their parameters and counts.
        sha256: of the whole file, hexadecimal.
        max_fill_permille: largest share of set bits a section may have, in thousandths.
        canaries: hashes that the bundle lists (those of the test picture) and that must hit.
        near: the near segments of this release; none of another may stand beside it.
        withdrawn: SHA-256 of hashes in near segments that are listed no more, ascending.
        published_at: when it was first signed, aware: its deltas may grow by so much a day from then on. It
            does not tell two bases apart.
        coverage: what the release is made of, by list, source and algorithm.
        mappings: how its publisher relates category schemes to each other.
    """

    release: ReleaseId
    sections: tuple[SectionInfo, ...]
    sha256: str
    max_fill_permille: int = MAX_FILL_PERMILLE
    canaries: tuple[HashValue, ...] = ()
    near: tuple[NearTarget, ...] = ()
    withdrawn: tuple[bytes, ...] = field(default=(), repr=False)
    published_at: datetime | None = field(default=None, compare=False)
    coverage: tuple[Coverage, ...] = field(default=(), repr=False)
    mappings: tuple[CategoryMapping, ...] = field(default=(), repr=False)

    def to_custom(self) -> dict[str, Any]:
        """The fields as they are signed."""
        custom = {
            "epoch": self.release.epoch,
            "sequence": self.release.sequence,
            "sha256": self.sha256,
            "max_fill_permille": self.max_fill_permille,
            "sections": [section_to_json(section) for section in self.sections],
            "canaries": [canary_to_json(canary) for canary in self.canaries],
        }
        if self.near:
            custom["near"] = [target.to_json() for target in self.near]
        if self.withdrawn:
            custom["withdrawn"] = withdrawn_to_json(self.withdrawn)
        if self.published_at:
            custom["published_at"] = self.published_at.isoformat()
        if self.coverage:
            custom["coverage"] = [coverage_to_json(row) for row in self.coverage]
        if self.mappings:
            custom["mappings"] = [mapping_to_json(mapping) for mapping in self.mappings]
        return custom

    @classmethod
    def from_custom(cls, custom: Any) -> "SignedBase":
        """Read what `to_custom` wrote.

        Raises:
            GateError: signed, but nonsense.
        """
        try:
            return cls(
                release=ReleaseId(epoch=number(custom, "epoch", 1), sequence=number(custom, "sequence", 0)),
                sha256=sha256(custom, "sha256"),
                max_fill_permille=number(custom, "max_fill_permille", 1),
                sections=tuple(section_from_json(s) for s in rows(custom, "sections", MAX_SECTIONS)),
                canaries=tuple(canary_from_json(row) for row in rows(custom, "canaries", MAX_CANARIES)),
                near=near_targets_from(custom, "near"),
                withdrawn=withdrawn_from(custom, "withdrawn"),
                published_at=moment(custom, "published_at") if "published_at" in custom else None,
                coverage=coverage_from(custom, "coverage"),
                mappings=mappings_from(custom, "mappings"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GateError(
                f"the signed description of the release is malformed ({type(error).__name__})",
                hint="The filter in use stays. Tell the publisher of the filter.",
            ) from None


def base_path(epoch: int) -> str:
    """Target path of an epoch's base. No delegation matches it: only the offline targets role can sign it."""
    return f"base/{epoch}/filter.bin"


def newest_base(paths: Iterable[str]) -> int:
    """The highest epoch among target paths, 0 when there is no base among them."""
    return max((int(match[1]) for path in paths if (match := _PATH.fullmatch(path))), default=0)


def section_to_json(section: SectionInfo) -> dict[str, Any]:
    """One section without fractions."""
    return {
        "name": section.name,
        "count": section.count,
        "capacity": section.capacity,
        "error_rate": repr(section.error_rate),
        "size_bytes": section.size_bytes,
    }


def section_from_json(row: Any) -> SectionInfo:
    """Read what `section_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: anything else.
    """
    error_rate = float(text(row, "error_rate"))
    if not 0.0 < error_rate < 1.0:
        raise ValueError("error rate out of range")
    return SectionInfo(
        name=text(row, "name"),
        count=number(row, "count", 0),
        capacity=number(row, "capacity", 1),
        error_rate=error_rate,
        size_bytes=number(row, "size_bytes", 1),
    )


def canary_to_json(canary: HashValue) -> dict[str, str]:
    """One canary. It is no secret: everybody has the test picture."""
    return {"algorithm": str(canary.algorithm), "value": canary.hex}


def canary_from_json(row: Mapping[str, Any]) -> HashValue:
    """Read what `canary_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: anything else.
    """
    return HashValue.from_hex(Algorithm(text(row, "algorithm")), text(row, "value"))
