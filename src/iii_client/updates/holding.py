"""A release that waits for a human: held by a gate, or rolled back by an operator.

    <state>/filter/hold   JSON: the release, the SHA-256 of its bundle, why, since when, when it was accepted

While a hold stands, the release and what builds on it within its epoch are not installed, so that an update
does not undo a rollback within the hour. A base of a later epoch, which the offline key signs, ends it; and
so does `iii-client filter accept`, for exactly the release and the bytes that were held.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from iii_client.errors import ConfigurationError, FilterFormatError, HeldReleaseError, RollbackError
from iii_client.model import Release, ReleaseId
from iii_client.updates.durable import replace_durably, sync_directory
from iii_client.updates.fields import moment, number, sha256, text

_MAX_FILE_BYTES = 4096
_VERSION = 1


class HeldBecause(StrEnum):
    """Why a release is held."""

    NEGATIVES = "negatives"
    ROLLED_BACK = "rolled-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One held release.

    Attributes:
        release, sha256: which, and the digest of its bundle.
        because: why.
        since: when it was first held.
        accepted_at: when a human let it go; None while it waits.
    """

    release: ReleaseId
    sha256: str
    because: HeldBecause
    since: datetime
    accepted_at: datetime | None = None

    def keeps_back(self, offered: ReleaseId) -> bool:
        """Whether this stands in the way of an offered release."""
        same_line = offered.epoch == self.release.epoch and offered >= self.release
        return same_line and self.accepted_at is None and self.because is HeldBecause.ROLLED_BACK

    def lets_pass(self, offered: ReleaseId, digest: str) -> bool:
        """Whether a human has accepted exactly this release."""
        return self.accepted_at is not None and (offered, digest) == (self.release, self.sha256)


class Holds:
    """The hold of one state directory; at most one stands. Change it under the store's lock."""

    def __init__(self, filter_dir: Path) -> None:
        self._path = filter_dir / "hold"

    def read(self) -> Hold | None:
        """What is held.

        Raises:
            FilterFormatError: the file is damaged. It is not passed over: it may stand for a rollback.
        """
        try:
            with self._path.open("rb") as file:
                tree = json.loads(file.read(_MAX_FILE_BYTES))
            if number(tree, "version", 1) != _VERSION:
                raise ValueError("another version")
            return Hold(
                release=ReleaseId.parse(text(tree, "release")),
                sha256=sha256(tree, "sha256"),
                because=HeldBecause(text(tree, "because")),
                since=moment(tree, "since"),
                accepted_at=moment(tree, "accepted_at") if "accepted_at" in tree else None,
            )
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise FilterFormatError(
                f"the note of a held release is damaged ({type(error).__name__})",
                hint="Remove the file `hold` in the folder `filter` of III_STATE_DIR, then update again.",
            ) from None

    def hold(self, release: ReleaseId, digest: str, because: HeldBecause, *, now: datetime) -> Hold:
        """Hold a release; one that is held for the same reason already stays as it is.

        Raises:
            OSError: it could not be written.
        """
        held = self.read()
        if held is None or (held.release, held.sha256, held.because) != (release, digest, because):
            held = Hold(release=release, sha256=digest, because=because, since=now)
            self._write(held)
        return held

    def hold_back(self, release: Release, *, now: datetime) -> Hold:
        """Hold a release that is rolled back. After a second rollback the first, newer one stays held.

        Raises:
            OSError: it could not be written.
        """
        held = self.read()
        if held and held.because is HeldBecause.ROLLED_BACK and held.release > release.id:
            return held
        # Also when it was accepted once: this is a new decision.
        held = Hold(release=release.id, sha256=release.sha256, because=HeldBecause.ROLLED_BACK, since=now)
        self._write(held)
        return held

    def waiting(self, release: ReleaseId) -> Hold:
        """The hold of this release.

        Raises:
            ConfigurationError: it is not the one that is held.
        """
        held = self.read()
        if held is None:
            raise ConfigurationError(
                "no release is held", hint="`iii-client filter status` shows what is installed and held."
            )
        if held.release != release:
            raise ConfigurationError(
                f"release {release} is not held, {held.release} is",
                hint=f"To accept that one: iii-client filter accept {held.release}",
            )
        return held

    def accept(self, release: ReleaseId, *, now: datetime) -> Hold:
        """Let a held release go; the next update installs it.

        Raises:
            ConfigurationError: it is not the one that is held.
            OSError: it could not be written.
        """
        accepted = replace(self.waiting(release), accepted_at=now)
        self._write(accepted)
        return accepted

    def forget(self) -> None:
        """Nothing is held any more."""
        if self._path.exists():
            self._path.unlink(missing_ok=True)
            sync_directory(self._path.parent)

    def _write(self, hold: Hold) -> None:
        tree = {
            "version": _VERSION,
            "release": str(hold.release),
            "sha256": hold.sha256,
            "because": str(hold.because),
            "since": hold.since.isoformat(),
        }
        if hold.accepted_at:
            tree["accepted_at"] = hold.accepted_at.isoformat()
        replace_durably(self._path, json.dumps(tree).encode())


def check_hold(hold: Hold | None, offered: ReleaseId) -> None:
    """Keep a release back that an operator rolled back, and refuse an older one than that.

    Raises:
        HeldReleaseError: it waits for a human.
        RollbackError: it is older than what was seen.
    """
    if hold is None or hold.because is not HeldBecause.ROLLED_BACK:
        return
    if offered < hold.release:
        raise RollbackError(
            f"the repository offers release {offered}, {hold.release} was seen",
            hint="The filter in use stays.",
        )
    if hold.keeps_back(offered):
        raise HeldReleaseError(
            f"release {hold.release} was rolled back here, and {offered} is or builds on it",
            release=str(hold.release),
            hint="The filter in use stays until the publisher's next base, or until: "
            f"iii-client filter accept {hold.release}",
        )
