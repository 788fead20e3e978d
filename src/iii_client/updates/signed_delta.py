"""What the online key signs about a delta: the `custom` fields of its TUF target.

Publisher and client share this one form. It says little: sizes, parameters, maximum fill and canaries come
from the offline-signed base alone, so that an online key cannot loosen what its deltas are judged by.
Unknown fields are ignored; anything wrong in a known one is a trust failure, because it was signed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from iii_client.errors import GateError
from iii_client.model import ReleaseId
from iii_client.updates.fields import number, sha256

#: Deltas of one epoch: more than five months of hourly ones, and 0.7 MB of metadata. Publish a base earlier.
MAX_DELTAS = 4096

_PATH = re.compile(r"delta/([1-9][0-9]{0,9})/([0-9]{6})\.delta")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDelta:
    """A delta as signed.

    Attributes:
        release: what results when it is applied to the release of the sequence before.
        result_sha256: of the whole resulting bundle, hexadecimal.
    """

    release: ReleaseId
    result_sha256: str

    def to_custom(self) -> dict[str, Any]:
        """The fields as they are signed."""
        return {
            "epoch": self.release.epoch,
            "sequence": self.release.sequence,
            "result_sha256": self.result_sha256,
        }

    @classmethod
    def from_custom(cls, custom: Any) -> "SignedDelta":
        """Read what `to_custom` wrote.

        Raises:
            GateError: signed, but nonsense.
        """
        try:
            return cls(
                release=ReleaseId(epoch=number(custom, "epoch", 1), sequence=number(custom, "sequence", 1)),
                result_sha256=sha256(custom, "result_sha256"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GateError(
                f"the signed description of a delta is malformed ({type(error).__name__})",
                hint="The filter in use stays. Tell the publisher of the filter.",
            ) from None


def delta_path(release: ReleaseId) -> str:
    """Target path of the delta that leads to a release from the sequence before it, which `delta/*/*` allows:
    the role's own online key signs it. Sequences are contiguous and start at 1."""
    return f"delta/{release.epoch}/{release.sequence:06}.delta"


def delta_sequences(paths: Iterable[str], epoch: int) -> list[int]:
    """The sequences of an epoch among target paths, ascending. Other paths are nobody's delta."""
    found = (match for path in paths if (match := _PATH.fullmatch(path)))
    return sorted(int(match[2]) for match in found if int(match[1]) == epoch)
