"""Hashes of one item, and the fingerprint that holds them.

Everything here is a frozen value. Bytes inside, hex at the edge; a `repr` never shows a whole hash,
because a hash of listed material in a log is itself sensitive.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from iii_client.model.verdicts import Reason

_REPR_HEX_DIGITS = 8


class Algorithm(StrEnum):
    """Hash algorithms by their name on the wire, in lists and in filter sections.

    `PDQ` and `PDQ_512` are two conventions of one algorithm and therefore two names: `pdq` hashes the
    full-size picture (what existing lists hold), `pdq-512` the picture pre-scaled to 512x512. Mixing
    them costs a median of 10 bits of distance.
    """

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    PDQ = "pdq"
    PDQ_512 = "pdq-512"
    PHASH = "phash"

    @property
    def width_bits(self) -> int:
        """Length of a value in bits."""
        return _WIDTH_BITS[self]

    @property
    def is_digest(self) -> bool:
        """Whether this is a cryptographic hash of the exact bytes."""
        return self in DIGEST_ALGORITHMS


_WIDTH_BITS = {
    Algorithm.MD5: 128,
    Algorithm.SHA1: 160,
    Algorithm.SHA256: 256,
    Algorithm.PDQ: 256,
    Algorithm.PDQ_512: 256,
    Algorithm.PHASH: 64,
}

#: Strongest first: the order in which a digest that hit is chosen for confirmation.
DIGEST_ALGORITHMS = (Algorithm.SHA256, Algorithm.SHA1, Algorithm.MD5)
PERCEPTUAL_ALGORITHMS = (Algorithm.PDQ, Algorithm.PDQ_512, Algorithm.PHASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class HashValue:
    """One hash as lists, filters and the wire know it: an algorithm and its bytes.

    A digest is a `HashValue` whose `algorithm.is_digest`.

    Raises:
        ValueError: `value` has not the algorithm's width.
    """

    algorithm: Algorithm
    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) * 8 != self.algorithm.width_bits:
            raise ValueError(
                f"{self.algorithm} takes {self.algorithm.width_bits} bits, got {len(self.value) * 8}"
            )

    @classmethod
    def from_hex(cls, algorithm: Algorithm, text: str) -> "HashValue":
        """Parse exactly the algorithm's width in hexadecimal digits, nothing else.

        Raises:
            ValueError: not hexadecimal, or not of the algorithm's width.
        """
        if len(text) * 4 != algorithm.width_bits or not text.isascii() or not text.isalnum():
            raise ValueError(f"{algorithm} takes {algorithm.width_bits // 4} hexadecimal digits")
        return cls(algorithm=algorithm, value=bytes.fromhex(text))

    @property
    def hex(self) -> str:
        """Lower-case hexadecimal text, the key of the exact filter sections and the wire form."""
        return self.value.hex()

    def __repr__(self) -> str:
        return f"HashValue({self.algorithm}:{self.hex[:_REPR_HEX_DIGITS]}…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerceptualHash:
    """A hash of appearance, compared by `distance_bits`.

    Attributes:
        algorithm: one of `PERCEPTUAL_ALGORITHMS`.
        value: 32 bytes for PDQ in the canonical (published hex) order, 8 for pHash.
        quality: PDQ's picture quality after a luma stretch, 0 (flat) to 100. pHash has none of its own
            and carries that of its frame.
        coefficients: the 16x16 DCT coefficients that the bits came from, quantised as the recipe says
            (margins derive from them; only the owner of the picture has them). Empty for pHash, which
            is looked up exactly and needs no margins.
        frame: index of the frame in the file, from 0.
        gates: why this hash must not be probed for near matches (`LOW_QUALITY`, `LOW_MARGIN`);
            empty when it may be.
        trimmed: made of the frame without its plain border, beside the hash of the whole frame. Only
            for near matches, so never gated, and never what a list should hold of a picture.
    """

    algorithm: Algorithm
    value: bytes = field(repr=False)
    quality: int
    coefficients: bytes = field(repr=False, default=b"")
    frame: int = 0
    gates: tuple[Reason, ...] = ()
    trimmed: bool = False

    @property
    def hash_value(self) -> HashValue:
        """The hash as filters and the wire know it."""
        return HashValue(algorithm=self.algorithm, value=self.value)


class Decoding(StrEnum):
    """How pixels are made for the perceptual hashes.

    EXACT decodes every pixel in RGB; its PDQ equals `pdqhash` bit for bit on photographs. FAST lets the
    JPEG decoder reduce (luma, not below 256 pixels) and folds the reduction into the hash: several
    times faster and at most a few bits off. A picture below the quality gate is hashed EXACT in both.
    """

    EXACT = "exact"
    FAST = "fast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named, versioned set of hashers with their settings.

    Two fingerprints can be compared, cached and re-checked only under one recipe `id`.

    Attributes:
        trims_borders: a frame with a plain border is also hashed as if it had been trimmed.
    """

    name: str
    version: int
    decoding: Decoding
    algorithms: tuple[Algorithm, ...]
    max_frames: int = 10
    trims_borders: bool = False

    @property
    def id(self) -> str:
        """Name and version, e.g. `fast-v1`."""
        return f"{self.name}-v{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded frame.

    Attributes:
        index: position in the file, from 0.
        width_px, height_px: full size after EXIF orientation.
        reduction: 1 when every pixel was decoded, else the decoder's scale (2, 4 or 8).
    """

    index: int
    width_px: int
    height_px: int
    reduction: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something that was not computed, and why. `what` is `pixels`, `frames`, `digests` or an algorithm."""

    what: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """All digests and perceptual hashes of one item under one recipe.

    Attributes:
        recipe: `Recipe.id` that made it.
        size_bytes: length of the content.
        kind: type found in the content itself (`jpeg`, `png`, …), `unknown` when it is none we know.
        digests: MD5, SHA-1 and SHA-256 of the exact bytes; empty only when the content could not be read
            (then `skipped` says why).
        perceptual: hashes of appearance over all sampled frames.
        frames: the frames that were decoded.
        skipped: what could not be computed. Empty means that everything was looked at.
    """

    recipe: str
    size_bytes: int
    kind: str
    digests: tuple[HashValue, ...] = ()
    perceptual: tuple[PerceptualHash, ...] = ()
    frames: tuple[Frame, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def is_picture(self) -> bool:
        """Whether the content is a picture by its own bytes, decoded or not."""
        return self.kind != "unknown" and all(s.reason is not Reason.NOT_A_PICTURE for s in self.skipped)

    def hash_values(self) -> tuple[HashValue, ...]:
        """Every distinct hash of this item, digests first."""
        return tuple(dict.fromkeys((*self.digests, *(p.hash_value for p in self.perceptual))))

    def digest(self, algorithm: Algorithm) -> HashValue:
        """The digest of one algorithm.

        Raises:
            KeyError: it was not computed.
        """
        for value in self.digests:
            if value.algorithm is algorithm:
                return value
        raise KeyError(algorithm)


def hamming_distance(a: HashValue, b: HashValue) -> int:
    """Count the differing bits of two hashes of one algorithm.

    Returns:
        Distance in bits, from 0 (same appearance) to the algorithm's width.

    Raises:
        ValueError: the hashes come from different algorithms.
    """
    if a.algorithm is not b.algorithm:
        raise ValueError(f"cannot compare {a.algorithm} with {b.algorithm}")
    return (int.from_bytes(a.value) ^ int.from_bytes(b.value)).bit_count()
