"""From what is here to what is offered: the newest bundle from a base, or from the installed one, and deltas.

The installed file is only read, because readers have it mapped; what results is a new file whose SHA-256 is
the signed one. Nothing here decides whether it is plausible: that is for the gates.
"""

import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from iii_client.errors import FilterFormatError, GateError, LengthOrHashError
from iii_client.filters.delta import Delta, decode_delta
from iii_client.filters.patching import apply_deltas
from iii_client.model import ReleaseId
from iii_client.updates.signed_delta import SignedDelta

_STAYS = "The filter in use stays. Tell the publisher of the filter."


def read_delta(file: Path, signed: SignedDelta) -> Delta:
    """A verified delta file, which must be the one step that its description says.

    Raises:
        GateError: signed, but no delta, or another one.
    """
    try:
        delta = decode_delta(file.read_bytes())
    except FilterFormatError as error:
        raise GateError(f"a signed delta is none: {error}", hint=error.hint or _STAYS) from error
    release = signed.release
    if (delta.epoch, delta.from_sequence, delta.to_sequence) != (
        release.epoch,
        release.sequence - 1,
        release.sequence,
    ):
        raise GateError(f"the signed delta to release {release} leads elsewhere", hint=_STAYS)
    return delta


def assemble(start: Path, deltas: Sequence[Delta], into: Path, *, release: ReleaseId, sha256: str) -> None:
    """Write the bundle that results from `start` and the deltas.

    Raises:
        GateError: the deltas do not fit; or `start` is damaged.
        LengthOrHashError: what results is not what was signed.
        OSError: the disk refused.
    """
    with start.open("rb") as source:
        try:
            view = memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:
            raise GateError(f"there is nothing to make release {release} from", hint=_STAYS) from None
    digest = hashlib.sha256()
    with os.fdopen(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        try:
            for piece in apply_deltas(view, deltas):
                digest.update(piece)
                file.write(piece)
        except FilterFormatError as error:
            raise GateError(f"the deltas to release {release} do not fit: {error}", hint=_STAYS) from error
    if digest.hexdigest() != sha256:
        raise LengthOrHashError(f"the deltas do not give the signed release {release}", hint=_STAYS)
