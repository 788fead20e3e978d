"""The plugs: one verb each. Anything that fits the shape may be plugged in; nothing here is inherited."""

from collections.abc import Sequence
from typing import Protocol

from iii_client.model import (
    Algorithm,
    Candidate,
    Confirmation,
    Decision,
    Feedback,
    Fingerprint,
    Freshness,
    HashValue,
    LookUp,
    Notice,
    NoticeKind,
    Receipt,
    ReleaseId,
    Remembered,
    Ruling,
    UploadContext,
    Verdict,
)


class MembershipFilter(Protocol):
    """One pinned, read-only release of the filter."""

    @property
    def release(self) -> ReleaseId:
        """Which release this is."""
        ...

    @property
    def contents(self) -> str:
        """Names all that a look-up asks, by what is in it: a host may hold a release without all its parts,
        and two repositories may give two releases the same number."""
        ...

    @property
    def freshness(self) -> Freshness:
        """How old its metadata is now."""
        ...

    def look_up(self, fingerprints: Sequence[Fingerprint]) -> tuple[LookUp, ...]:
        """What the filter says about each fingerprint, aligned with the input."""
        ...


class FilterSource(Protocol):
    """Hands out the current filter. One scan pins one filter."""

    def current(self) -> MembershipFilter:
        """The newest installed release.

        Raises:
            FilterError: none is installed, or it is damaged.
        """
        ...


class Confirmer(Protocol):
    """Asks the central service about hashes that hit."""

    def supports(self, algorithm: Algorithm) -> bool:
        """Whether this service can answer for the algorithm at all."""
        ...

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        """Ask about hashes, answers aligned with them. Never raises for transport or service faults:
        those are `Unanswered` with a reason.

        Args:
            hashes: what to ask about.
            spent_s: seconds of the confirmer's budget that earlier questions about the same items took.
        """
        ...


class Policy(Protocol):
    """Turns a verdict into an action. Pure."""

    @property
    def version(self) -> str:
        """Changes whenever a verdict may be ruled otherwise."""
        ...

    def rule(self, verdict: Verdict, context: UploadContext) -> Ruling:
        """The action, and the name of the row that gave it."""
        ...


class Recorder(Protocol):
    """Writes down what must not be lost."""

    def record(self, decision: Decision, context: UploadContext) -> Receipt:
        """Store one decision durably: when this returns, what it returns is on disk.

        Raises:
            RecordError: it could not be stored.
        """
        ...


class Releaser(Protocol):
    """Gives back what was held, once it turns out to be innocent."""

    def release(self, encounter_id: str, *, by: str) -> None:
        """Put the held file of this encounter back to where it came from; nothing when none is held, when
        it is under legal hold, or when it has no place to go back to. Doing it twice is doing it once.

        Args:
            encounter_id: what the answer is about.
            by: who or what orders it, for the audit log.

        Raises:
            RecordError: it could not be given back now; it is still held.
        """
        ...


class AllowList(Protocol):
    """Digests that the hoster knows to be good, whatever lists say."""

    def allowed(self, digests: Sequence[HashValue]) -> frozenset[HashValue]:
        """Those of them that are on the list. Asked only about items that hit.

        Raises:
            RecordError: the list cannot be read.
        """
        ...


class HitGuard(Protocol):
    """Budgets of filter hits, against a bad list and against floods."""

    def exhausted(
        self, hits: Sequence[Sequence[Candidate]], contexts: Sequence[UploadContext]
    ) -> tuple[str, ...]:
        """For each item the name of the budget that is used up, empty when none is; aligned.

        Raises:
            RecordError: the counts cannot be read.
        """
        ...


class Memory(Protocol):
    """What may be forgotten at any time: fingerprints, and under which key "no match" was concluded.

    Never raises: a memory that fails is one that remembers nothing.
    """

    def recall(self, sha256: HashValue, *, recipe: str) -> Remembered | None:
        """What is known about these exact bytes."""
        ...

    def remember(self, fingerprint: Fingerprint) -> None:
        """Keep a fingerprint under its SHA-256 and recipe, if it may be kept at all."""
        ...

    def remember_no_match(self, fingerprint: Fingerprint, *, key: str) -> None:
        """Keep that "no match" was concluded under this key (release, recipe, policy version)."""
        ...


class Observer(Protocol):
    """Counts what happens, for metrics. Never raises, and takes microseconds: an upload waits for it."""

    def scanned(self, decision: Decision, *, seconds: float, recalled: bool) -> None:
        """One item was decided.

        Args:
            decision: about it.
            seconds: of looking up, asking and recording; a batch's share of it.
            recalled: its bytes were seen before, so nothing was hashed or decoded.
        """
        ...


class Courier(Protocol):
    """Tells the application what happened after an upload was decided."""

    @property
    def kinds(self) -> frozenset[NoticeKind]:
        """What it takes; other notices are not given to it."""
        ...

    def deliver(self, notice: Notice) -> None:
        """Hand over one notice: when this returns, the application has it. It may come twice, with the same
        id.

        Raises:
            NotifyError: it could not be handed over now.
        """
        ...


class FeedbackSender(Protocol):
    """Tells the service about one of its answers."""

    def send(self, feedback: Feedback) -> str:
        """Send one message and return the service's name for it. Sending it twice is sending it once.

        Raises:
            TransportError, ServiceError: it could not be handed over, or was refused.
        """
        ...
