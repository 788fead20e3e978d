"""The proof of an installed release: the signed statements that it was installed by, kept beside it.

    <release>.proof   JSON: the texts of TUF's `targets` and, where there is one, `delta`

The pointer says what is installed, and nobody signed the pointer: who can write it can name any bytes. So
`iii-client filter verify` asks the proof, which hangs on the pinned root alone. Expiry is not looked at here:
how old a filter may be is the policy's business, and it is no reason to call it another one.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization import DeserializationError

from iii_client.errors import ConfigurationError, GateError, LengthOrHashError, SignatureError
from iii_client.model import Release
from iii_client.updates.pinning import vouches
from iii_client.updates.signed_base import SignedBase, base_path
from iii_client.updates.signed_delta import SignedDelta, delta_path
from iii_client.updates.trust import DELTA_ROLE, parse_root

#: Both texts, each at most what TUF fetches, and the quotes around them.
_MAX_PROOF_BYTES = 24 << 20

_HINT = (
    "Remove the file `current` in the folder `filter` of III_STATE_DIR, then run: iii-client filter update. "
    "Find out who could write there: the file was changed after it was installed."
)


def proof_of(metadata_dir: Path) -> bytes:
    """What TUF has just verified, as the proof of a release that it names."""
    texts = {
        role: path.read_text("utf-8")
        for role in ("targets", DELTA_ROLE)
        if (path := metadata_dir / f"{role}.json").exists()
    }
    return json.dumps(texts).encode()


def check_proof(release: Release, file: Path, *, root: bytes, metadata_dir: Path) -> None:
    """The keys of the pinned root, or of one that follows from it, signed exactly this release.

    Args:
        release: as the pointer describes it; that its files have these digests is checked elsewhere.
        file: its proof.
        root: bytes of the pinned root.
        metadata_dir: where TUF keeps the roots that followed.

    Raises:
        SignatureError: there is no proof, or no key of these signed it.
        LengthOrHashError: another release, other bytes or other withdrawals were signed.
        ConfigurationError: the pinned root is none.
    """
    try:
        with file.open("rb") as content:
            texts = json.loads(content.read(_MAX_PROOF_BYTES))
        targets = Metadata[Targets].from_bytes(texts["targets"].encode())
        if not any(_signed(one, "targets", targets) for one in _roots(root, metadata_dir)):
            raise SignatureError("no key of the pinned root signed the installed filter", hint=_HINT)
        base = targets.signed.targets[base_path(release.id.epoch)]
        signed = SignedBase.from_custom(base.unrecognized_fields.get("custom"))
        digest = signed.sha256
        if release.id.sequence:
            delta = Metadata[Targets].from_bytes(texts[DELTA_ROLE].encode())
            if not _signed(targets, DELTA_ROLE, delta):
                raise SignatureError("no key of the pinned root signed the installed deltas", hint=_HINT)
            target = delta.signed.targets[delta_path(release.id)]
            digest = SignedDelta.from_custom(target.unrecognized_fields.get("custom")).result_sha256
    except (
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        RecursionError,
        DeserializationError,
        GateError,
    ) as error:
        raise SignatureError(
            f"nothing here proves that the installed filter was signed ({type(error).__name__})", hint=_HINT
        ) from None
    near = {(target.sha256, target.size_bytes) for target in signed.near}
    if (
        (digest, base.length, signed.withdrawn) != (release.sha256, release.size_bytes, release.withdrawn)
        or signed.canaries != release.canaries
        # A host that fetches no near segments has none.
        or {(segment.sha256, segment.size_bytes) for segment in release.near} not in (near, set())
    ):
        raise LengthOrHashError("the installed filter is not the signed one", hint=_HINT)


def _roots(pinned: bytes, metadata_dir: Path) -> Iterator[Metadata[Root]]:
    """The pinned root, and each that its predecessor and itself signed."""
    root = parse_root(pinned)
    while True:
        yield root
        following = metadata_dir / "root_history" / f"{root.signed.version + 1}.root.json"
        try:
            later = parse_root(following.read_bytes())
        except (FileNotFoundError, ConfigurationError):
            return
        if later.signed.version != root.signed.version + 1 or not (
            vouches(root, later) and vouches(later, later)
        ):
            return
        root = later


def _signed(by: Metadata[Root] | Metadata[Targets], role: str, metadata: Metadata[Targets]) -> bool:
    try:
        by.signed.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True
