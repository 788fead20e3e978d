"""Releases of the filter: identity, sections, coverage and freshness."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from iii_client.model.hashes import Algorithm, HashValue
from iii_client.model.mappings import CategoryMapping


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ReleaseId:
    """(epoch, sequence): a base and its deltas so far. Caches and stored checks are keyed by it."""

    epoch: int
    sequence: int

    def __str__(self) -> str:
        return "none" if self == NO_RELEASE else f"{self.epoch}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "ReleaseId":
        """Read what `str()` wrote.

        Raises:
            ValueError: anything else.
        """
        if text == "none":
            return NO_RELEASE
        epoch, dot, sequence = text.partition(".")
        if not dot:
            raise ValueError(f"not a release: {text!r}")
        return cls(epoch=int(epoch), sequence=int(sequence))


#: Stands for "no filter is installed"; epochs of real releases start at 1.
NO_RELEASE = ReleaseId(epoch=0, sequence=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionInfo:
    """One exact section of a release, as signed: a Bloom filter of one algorithm's hashes.

    Attributes:
        name: algorithm name for exact sections.
        count: keys in the section.
        capacity: keys it was sized for.
        error_rate: declared false-positive rate at capacity, as a ratio.
        size_bytes: bytes of the section in the bundle.
    """

    name: str
    count: int
    capacity: int
    error_rate: float
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NearInfo:
    """One near segment of a release, as signed. It is immutable: what a name stands for never changes.

    Attributes:
        algorithm: the convention of its hashes, `PDQ` or `PDQ_512`.
        number: from 1, within its convention.
        count: hashes in it.
        size_bytes: of its file.
        practice: it may hold so few hashes that they could be read back: harmless pictures only.
        sha256: of its file, hexadecimal.
    """

    algorithm: Algorithm
    number: int
    count: int
    size_bytes: int
    practice: bool
    sha256: str

    @property
    def name(self) -> str:
        """The section that its hits name, e.g. `near/pdq/1`."""
        return f"near/{self.algorithm}/{self.number}"


class ListKind(StrEnum):
    """What a list is about; the publisher says so in each release, and a policy may tell them apart."""

    CHILD_ABUSE = "child-abuse"
    #: Intimate material of adults, spread without their consent.
    INTIMATE = "intimate"
    OTHER = "other"
    #: Harmless: for trying the path.
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What one body's hashes of one algorithm on one list contribute to a release, as signed with its base.

    Attributes:
        list_name: the list.
        kind: what the list is about.
        source: the body that put the hashes there.
        algorithm: of the hashes; for PDQ this names the convention, too.
        hashes: distinct hashes.
        near: those of them that near segments find, by themselves or by a relative within 10 bits.
        waiting: those of them that are for a near segment, and in none yet: not found at all.
    """

    list_name: str
    kind: ListKind
    source: str
    algorithm: Algorithm
    hashes: int
    near: int = 0
    waiting: int = 0

    @property
    def can_near_match(self) -> bool:
        """Whether near copies of these pictures are found."""
        return self.near > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One signed, published version of the filter.

    Attributes:
        id: epoch and sequence.
        sections: the exact sections.
        size_bytes, sha256: of the bundle that holds the exact sections.
        signed_at, expires_at: of the newest metadata that vouches for it.
        near: its near segments, by convention and number; each is a file of its own.
        withdrawn: SHA-256 of hashes in near segments that are listed no more, ascending.
        canaries: hashes that its exact sections list, as signed: those of the test picture.
        coverage: what it is made of, by list, source and algorithm; empty when its publisher does not say.
        mappings: how the publisher relates category schemes to each other.
    """

    id: ReleaseId
    sections: tuple[SectionInfo, ...]
    size_bytes: int
    sha256: str
    signed_at: datetime
    expires_at: datetime
    near: tuple[NearInfo, ...] = ()
    withdrawn: tuple[bytes, ...] = field(default=(), repr=False)
    canaries: tuple[HashValue, ...] = field(default=(), repr=False)
    coverage: tuple[Coverage, ...] = field(default=(), repr=False)
    mappings: tuple[CategoryMapping, ...] = field(default=(), repr=False)

    def kind_of(self, list_name: str) -> ListKind | None:
        """What a list is about, as signed with this release; None when it says nothing of the list."""
        kinds = {row.kind for row in self.coverage if row.list_name == list_name}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def is_practice(self) -> bool:
        """Whether part of it was made for practice and must not be relied on."""
        return any(segment.practice for segment in self.near)


class Freshness(StrEnum):
    """Age of the installed filter. Staleness is a state, never a deletion."""

    FRESH = "fresh"
    STALE = "stale"
    EXPIRED = "expired"
    NONE = "none"


#: A release whose metadata was signed longer ago than this is stale: warn.
STALE_AFTER_S = 24 * 3600
#: ... and longer ago than this is expired: the policy decides.
EXPIRED_AFTER_S = 7 * 24 * 3600
#: A release cannot be signed in the future, so a clock is wrong. Clocks that nobody sets drift by seconds a
#: day, and an hour also forgives a wrongly taken summer time; updates refuse metadata from later than this.
CLOCK_TOLERANCE_S = 3600


def freshness(signed_at: datetime, *, now: datetime) -> Freshness:
    """Age class of metadata that was signed at `signed_at` (both aware UTC).

    Metadata from the future (by more than `CLOCK_TOLERANCE_S`) is expired: this machine's clock is behind,
    its true age is unknown, and a clock that stands still would keep it fresh for ever.
    """
    age_s = (now - signed_at).total_seconds()
    if age_s > EXPIRED_AFTER_S or age_s < -CLOCK_TOLERANCE_S:
        return Freshness.EXPIRED
    return Freshness.STALE if age_s > STALE_AFTER_S else Freshness.FRESH
