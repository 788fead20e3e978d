"""What a near-match query finds: candidates, or that the search was cut off."""

from dataclasses import dataclass, field
from enum import StrEnum

from iii_client.filters.ring_chain import BLOCKS
from iii_client.filters.views import Orientation


class Overflow(StrEnum):
    """Which cap cut a search off. It stands for UNCONFIRMED (`PROBE_OVERFLOW`), never for "no match"."""

    SURVIVORS = "survivors"
    PAIRS = "pairs"
    EDGES = "edges"
    EXTENSION = "extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCandidate:
    """A listed hash that a query is near to, unconfirmed.

    Attributes:
        segment: number n of the section `near/<n>`.
        chain_length: consecutive blocks that chain, 4 to 8.
        flips: bits in which those blocks differ from the query.
        orientation: the view that hit.
        reconstructed: the listed hash (32 bytes) when the ring closed, which it does for 93 % of true
            hits; None when it stayed open.
    """

    segment: int
    chain_length: int
    flips: int
    orientation: Orientation
    reconstructed: bytes | None = field(default=None, repr=False)

    @property
    def closed(self) -> bool:
        """Whether the ring closed, so that the listed hash and its distance are known."""
        return self.reconstructed is not None

    @property
    def distance_bits(self) -> int | None:
        """Distance to the listed hash, 0 to 256; None when the ring stayed open."""
        return self.flips if self.closed else None

    @property
    def gravity(self) -> tuple[bool, int, int]:
        """Sort key, best first: closed before open, long before short, few flips before many."""
        return (not self.closed, BLOCKS - self.chain_length, self.flips)


@dataclass(frozen=True, slots=True, kw_only=True)
class NearResult:
    """The answer to one query.

    Attributes:
        candidates: best first; one for each listed hash whose ring closed, or else, per segment, the
            best open chain.
        overflows: caps that cut the search off. Candidates found until then stand; with none, the
            picture is UNCONFIRMED.
    """

    candidates: tuple[NearCandidate, ...] = ()
    overflows: tuple[Overflow, ...] = ()
