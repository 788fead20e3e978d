"""What the offline key signs about near segments, in the `custom` fields of their targets and of the base.

A segment's own target says everything that its header says, so that a segment is judged, by the header's
own rules, before a byte of it is fetched. A base names its segments by path, SHA-256 and length: whoever
may choose what a client sees can leave out a whole release, and cannot mix the parts of two.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from iii_client.errors import GateError
from iii_client.filters.near_segment import CONVENTIONS, NearHeader
from iii_client.filters.ring_chain import MAXIMUM_SEGMENTS, NearParameters
from iii_client.model import Algorithm, NearInfo
from iii_client.updates.fields import flag, number, rows_if_any, sha256, text

#: Of all conventions together.
MAX_NEAR_SEGMENTS = MAXIMUM_SEGMENTS * len(CONVENTIONS)

#: Withdrawn hashes named in one release; 70 bytes of metadata each. More are a list that needs other care.
MAX_WITHDRAWN = 8192

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NearTarget:
    """A near segment as a base names it.

    Attributes:
        path: its target, `near/<convention>/<n>.near`.
        sha256: of the whole file, hexadecimal.
        size_bytes: of the whole file.
    """

    path: str
    sha256: str
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """The row as it is signed."""
        return {"path": self.path, "sha256": self.sha256, "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedSegment:
    """A near segment as signed: its header, and the digest of its file."""

    header: NearHeader
    sha256: str

    @property
    def target(self) -> NearTarget:
        """How a base names it."""
        path = near_path(self.header.algorithm, self.header.number)
        return NearTarget(path=path, sha256=self.sha256, size_bytes=self.header.size_bytes)

    @property
    def info(self) -> NearInfo:
        """What a release says about it."""
        return NearInfo(
            algorithm=self.header.algorithm,
            number=self.header.number,
            count=self.header.count,
            size_bytes=self.header.size_bytes,
            practice=self.header.practice,
            sha256=self.sha256,
        )

    def to_custom(self) -> dict[str, Any]:
        """The fields as they are signed."""
        header = self.header
        return {
            "algorithm": str(header.algorithm),
            "number": header.number,
            "count": header.count,
            "tier1_keys": header.tier1_keys,
            "tier2_keys": header.tier2_keys,
            "practice": header.practice,
            "parameters": {f.name: getattr(header.parameters, f.name) for f in fields(NearParameters)},
            "sha256": self.sha256,
        }

    @classmethod
    def from_custom(cls, custom: Any) -> "SignedSegment":
        """Read what `to_custom` wrote; what the header's rules refuse is refused here.

        Raises:
            GateError: signed, but nonsense, or a segment that must not exist.
        """
        try:
            parameters = custom["parameters"]
            header = NearHeader(
                number=number(custom, "number", 1),
                algorithm=Algorithm(text(custom, "algorithm")),
                count=number(custom, "count", 1),
                tier1_keys=number(custom, "tier1_keys", 1),
                tier2_keys=number(custom, "tier2_keys", 1),
                parameters=NearParameters(
                    **{f.name: number(parameters, f.name, 1) for f in fields(NearParameters)}
                ),
                practice=flag(custom, "practice"),
            )
            return cls(header=header, sha256=sha256(custom, "sha256"))
        except ValueError as refused:
            # The rules' own words hold numbers only.
            raise _refused(str(refused)) from None
        except (KeyError, TypeError) as error:
            raise _refused(f"malformed ({type(error).__name__})") from None


def near_path(algorithm: Algorithm, segment: int) -> str:
    """Target path of a segment. No delegation matches it: only the offline targets role can sign it."""
    return f"near/{algorithm}/{segment}.near"


def near_targets_from(tree: Mapping[str, Any], key: str) -> tuple[NearTarget, ...]:
    """The segments that a base names; none in a base from before there were any.

    Raises:
        KeyError, TypeError, ValueError: anything but distinct, well-formed rows.
    """
    targets = tuple(
        NearTarget(
            path=text(row, "path"), sha256=sha256(row, "sha256"), size_bytes=number(row, "size_bytes", 1)
        )
        for row in rows_if_any(tree, key, MAX_NEAR_SEGMENTS)
    )
    if len({target.path for target in targets}) != len(targets):
        raise ValueError("a near segment is named twice")
    return targets


def near_to_json(segment: NearInfo) -> dict[str, Any]:
    """One segment as the pointer to the installed release keeps it."""
    return {
        "algorithm": str(segment.algorithm),
        "number": segment.number,
        "count": segment.count,
        "size_bytes": segment.size_bytes,
        "practice": segment.practice,
        "sha256": segment.sha256,
    }


def near_from_json(row: Any) -> NearInfo:
    """Read what `near_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: anything else.
    """
    algorithm = Algorithm(text(row, "algorithm"))
    if algorithm not in CONVENTIONS:
        raise ValueError(f"{algorithm} has no near segments")
    return NearInfo(
        algorithm=algorithm,
        number=number(row, "number", 1),
        count=number(row, "count", 1),
        size_bytes=number(row, "size_bytes", 1),
        practice=flag(row, "practice"),
        sha256=sha256(row, "sha256"),
    )


def withdrawn_to_json(withdrawn: Sequence[bytes]) -> list[str]:
    """SHA-256 values in hexadecimal."""
    return [digest.hex() for digest in withdrawn]


def withdrawn_from(tree: Mapping[str, Any], key: str) -> tuple[bytes, ...]:
    """Read what `withdrawn_to_json` wrote; none where there is no such field.

    Raises:
        TypeError, ValueError: anything but ascending SHA-256 values.
    """
    digests = rows_if_any(tree, key, MAX_WITHDRAWN)
    if not all(isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError(f"{key} must hold SHA-256 values")
    if any(one >= other for one, other in pairwise(digests)):
        raise ValueError(f"{key} must be ascending")
    return tuple(map(bytes.fromhex, digests))


def _near_target(row: Mapping[str, Any]) -> NearTarget:
    return NearTarget(
        path=text(row, "path"), sha256=sha256(row, "sha256"), size_bytes=number(row, "size_bytes", 1)
    )


def _refused(why: str) -> GateError:
    return GateError(
        f"the signed description of a near segment is refused: {why}",
        hint="The filter in use stays. Tell the publisher of the filter.",
    )
