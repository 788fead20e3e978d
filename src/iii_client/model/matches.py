"""Filter hits, the service's answers about them, and confirmed matches."""

from dataclasses import dataclass

from iii_client.model.hashes import HashValue
from iii_client.model.verdicts import Reason

#: Scheme and code under which the shipped test picture is listed in every release.
TEST_CATEGORY_SCHEME = "iii-test"
TEST_CATEGORY_CODE = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A filter hit, unconfirmed.

    Attributes:
        hash: the hash that hit (for a closed ring: the reconstructed listed hash).
        section: filter section, e.g. `sha256` or `near/1`.
        frame: frame of the picture, 0 for digests.
        chain_length, flips, distance_bits: of a near-match chain; 0 for exact membership.
        view: which view of the picture hit: an orientation, `upright` unless said otherwise, with
            `trimmed-` before it when the picture was looked at without its border.
        own: the picture's own hash in that view, near a listed one. Asked about only after the listed hash
            itself, which a closed ring gives, was denied or when the ring stayed open.
    """

    hash: HashValue
    section: str
    frame: int = 0
    chain_length: int = 0
    flips: int = 0
    distance_bits: int = 0
    view: str = "upright"
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """What the filter says about one fingerprint.

    Attributes:
        candidates: its hits.
        reasons: why this may not be all (`PROBE_OVERFLOW`).
    """

    candidates: tuple[Candidate, ...] = ()
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A category kept as published: a code means nothing without its scheme and its source."""

    scheme: str
    code: str
    source: str

    @property
    def is_test(self) -> bool:
        """Whether this is the category of the shipped, harmless test picture."""
        return (self.scheme, self.code) == (TEST_CATEGORY_SCHEME, TEST_CATEGORY_CODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A candidate that the service confirmed.

    Attributes:
        hash: the hash that was asked about.
        distance_bits: between it and the listed hash; 0 for digests.
        exact: the bytes are the listed bytes (a digest matched). Equal perceptual hashes are not exact:
            a picture with a chosen hash is easy to make.
        sources: names of the lists or bodies that list it; empty when the service tells none (v1).
        categories: as published; empty when the service tells none (v1).
        list_version: as published, or empty.
    """

    hash: HashValue
    distance_bits: int
    exact: bool
    sources: tuple[str, ...] = ()
    categories: tuple[Category, ...] = ()
    list_version: str = ""

    @property
    def is_test(self) -> bool:
        """Whether every category is the test category (and there is one)."""
        return bool(self.categories) and all(category.is_test for category in self.categories)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The service lists this hash. `cache_s` is how long the answer may be kept."""

    hash: HashValue
    matches: tuple[Match, ...]
    cache_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NotListed:
    """The service does not list this hash, or withdrew it."""

    hash: HashValue
    withdrawn: bool = False
    cache_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """No usable answer: the service was not asked, could not be reached, or made no sense.

    Attributes:
        hash: what was to be asked about.
        reason: why there is no answer.
        detail: for a log; no hash, no address.
        retry_after_s: how long the service asked to be left alone.
        failed: the other side failed (no connection, too late, status 5xx, nonsense), and so will probably
            the next call; not set when it refused, asked to wait, or cannot answer about this hash.
    """

    hash: HashValue
    reason: Reason
    detail: str = ""
    retry_after_s: float = 0.0
    failed: bool = False


Answer = Listed | NotListed | Unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Answers of one call, aligned with the hashes asked, and how many distinct hashes left the process.

    Attributes:
        answers: one for each hash.
        hashes_sent: a hash counts as sent as soon as a request that carries it was handed to the network,
            answered or not.
        confirm_id: names this confirmation in later feedback.
        minimum_wait_s: how long the service asks to be left alone before the next call.
        recalled: of the hashes asked, those whose answers were remembered from an earlier call.
    """

    answers: tuple[Answer, ...] = ()
    hashes_sent: int = 0
    confirm_id: str = ""
    minimum_wait_s: float = 0.0
    recalled: frozenset[HashValue] = frozenset()
