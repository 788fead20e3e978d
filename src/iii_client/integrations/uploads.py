"""What the thin adapters share: scan one uploaded file, refuse it, hold it.

Promises: the file object comes back as it was found, open and at its position, and a large one is never
held in memory whole; what cannot be read or rewound is UNSCANNABLE, never "no match"; building connects to
nothing, so it may be done before a server forks.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, Protocol, Self, cast

from iii_client.config import Config
from iii_client.content import Content
from iii_client.errors import RecordError
from iii_client.integrations.rejection import UploadRejected
from iii_client.model import ANONYMOUS, Decision, UploadContext
from iii_client.parts import Parts
from iii_client.protocols import Observer
from iii_client.scanner import Scanner


class Scans(Protocol):
    """What is needed of a `Scanner`."""

    def scan(self, content: Content, *, context: UploadContext = ANONYMOUS) -> Decision:
        """Look at one item and decide."""
        ...


class Holds(Protocol):
    """What is needed of a `Quarantine`."""

    def hold(self, content: Content, encounter_id: str, origin: str = "") -> str:
        """Seal a copy; returns its id."""
        ...


class Uploads:
    """Scans the uploads of one application. Thread-safe, and safe after a fork.

    Args:
        scanner: decides.
        quarantine: holds what the application wants held.
        contact: what a refused uploader is told to turn to.
    """

    def __init__(self, scanner: Scans, *, quarantine: Holds, contact: str = "") -> None:
        self._scanner = scanner
        self._quarantine = quarantine
        self._contact = contact

    @classmethod
    def from_config(cls, config: Config, *, observers: Sequence[Observer] = ()) -> Self:
        """Build with the library's own parts.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        parts = Parts.from_config(config)
        return cls(
            Scanner.from_parts(parts, observers=observers),
            quarantine=parts.quarantine,
            contact=config.contact,
        )

    def scan(self, file: BinaryIO, *, context: UploadContext = ANONYMOUS) -> Decision:
        """Decide about one upload. Raises nothing for content, filter, network or recording."""
        with borrowed(file) as content:
            return self._scanner.scan(content, context=context)

    def check(self, file: BinaryIO, *, context: UploadContext = ANONYMOUS) -> Decision:
        """The same, and refuse what the policy does not allow.

        Raises:
            UploadRejected: it is not to be stored.
        """
        decision = self.scan(file, context=context)
        if not decision.allowed:
            raise UploadRejected(decision, contact=self._contact)
        return decision

    def hold(self, file: BinaryIO, decision: Decision, *, origin: str = "") -> str:
        """Seal a copy of an upload that was not allowed, where nobody sees it.

        Args:
            file: the upload.
            decision: about it.
            origin: absolute path or fsspec address that it goes to when a late answer clears it; empty for
                none: then a person restores it.

        Returns:
            Id of the held file, for `iii-client quarantine`.

        Raises:
            RecordError: the decision was not recorded, or the copy could not be sealed.
            ContentError: the upload cannot be read.
        """
        if not decision.encounter_id:
            raise RecordError(
                "nothing can be held for a decision that is not recorded",
                hint="Refuse the upload; the log says why it could not be recorded.",
            )
        with borrowed(file) as content:
            return self._quarantine.hold(content, decision.encounter_id, origin)


def borrowed(file: BinaryIO) -> Content:
    """The content of an uploaded file that its owner needs afterwards.

    One that is closed or cannot be rewound is not read, because reading would leave nothing to store: it is
    unreadable, an outcome of its own.
    """
    can_rewind = False
    with suppress(Exception):  # the boundary to foreign file objects, which raise types of their own
        can_rewind = file.seekable()
    return Content.from_file(file if can_rewind else cast(BinaryIO, _Unreadable()))


class _Unreadable(io.RawIOBase):
    """Stands for a file that is closed or cannot be rewound."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def readinto(self, _buffer: object) -> int:
        raise io.UnsupportedOperation("cannot be rewound")
