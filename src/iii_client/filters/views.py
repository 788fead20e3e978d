"""Views: the ways of looking at one picture that near match tries, and the queries that they give.

A mirrored or turned picture has the DCT coefficients of the upright one, transposed or with the signs
of odd frequencies changed, so that every orientation follows exactly from the 16x16 coefficients that
the fingerprint keeps. Each view costs a query's time and adds to the false rate; every published rate
is for a picture over all the views that are enabled.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from iii_client.filters.ring_chain import HASH_BITS

SIDE: Final = 16
#: PDQ keeps rows and columns 1 to 16 of its DCT, so index 0 is the odd frequency 1.
_SIGNS = np.where(np.arange(1, SIDE + 1) % 2 == 0, 1.0, -1.0)


class Orientation(StrEnum):
    """The eight ways to lay a picture, named by what turns the query into it (turns are anticlockwise)."""

    UPRIGHT = "upright"
    MIRROR = "mirror"
    FLIP = "flip"
    ROTATE_90 = "rotate-90"
    ROTATE_180 = "rotate-180"
    ROTATE_270 = "rotate-270"
    TRANSPOSE = "transpose"
    ANTITRANSPOSE = "antitranspose"


#: What a picture is asked as unless the recipe says otherwise, under each convention (`pdq`, `pdq-512`)
#: of which the release has a segment. Mirroring is the one orientation that people do not notice.
DEFAULT_ORIENTATIONS: Final = (Orientation.UPRIGHT, Orientation.MIRROR)

#: (transpose first, then change signs of odd rows, of odd columns)
_STEPS = {
    Orientation.UPRIGHT: (False, False, False),
    Orientation.MIRROR: (False, False, True),
    Orientation.FLIP: (False, True, False),
    Orientation.ROTATE_180: (False, True, True),
    Orientation.TRANSPOSE: (True, False, False),
    Orientation.ROTATE_90: (True, True, False),
    Orientation.ROTATE_270: (True, False, True),
    Orientation.ANTITRANSPOSE: (True, True, True),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NearQueries:
    """Queries under one convention, as arrays of n rows.

    Attributes:
        bits: (n, 256) zeros and ones; index i belongs to coefficient (i // 16, i % 16).
        margins: (n, 256) distance of each coefficient from the median, in any unit, not negative.
        orientations: the view of each row.

    Raises:
        ValueError: shapes that do not fit, or margins that are negative or not finite.
    """

    bits: NDArray[np.uint8]
    margins: NDArray[np.floating]
    orientations: tuple[Orientation, ...]

    def __post_init__(self) -> None:
        shape = (len(self.orientations), HASH_BITS)
        if self.bits.shape != shape or self.margins.shape != shape:
            raise ValueError(f"{shape[0]} queries with bits {self.bits.shape}, margins {self.margins.shape}")
        if not (self.margins >= 0).all() or not np.isfinite(self.margins).all():
            raise ValueError("margins are finite and not negative")

    def __len__(self) -> int:
        return len(self.orientations)

    @classmethod
    def upright(cls, bits: NDArray[np.uint8], margins: NDArray[np.floating]) -> "NearQueries":
        """Pictures as they are: (n, 256) bits and margins."""
        return cls(bits=bits, margins=margins, orientations=(Orientation.UPRIGHT,) * len(bits))

    @classmethod
    def from_coefficients(
        cls,
        coefficients: NDArray[np.floating],
        orientations: tuple[Orientation, ...] = DEFAULT_ORIENTATIONS,
    ) -> "NearQueries":
        """All views of pictures from their coefficients (n, 16, 16): picture by picture, n·views rows."""
        views = np.stack([orient(coefficients, orientation) for orientation in orientations], axis=1)
        rows = views.reshape(-1, HASH_BITS)
        # PDQ's median is the lower middle value, so that an untied picture sets exactly 128 bits.
        median = np.partition(rows, HASH_BITS // 2 - 1, axis=1)[:, HASH_BITS // 2 - 1, None]
        return cls(
            bits=(rows > median).astype(np.uint8),
            margins=np.abs(rows - median),
            orientations=orientations * len(coefficients),
        )


def orient(coefficients: NDArray[np.floating], orientation: Orientation) -> NDArray[np.floating]:
    """The coefficients (…, 16, 16) of the same picture in another orientation."""
    transposed, rows, columns = _STEPS[orientation]
    oriented = np.swapaxes(coefficients, -1, -2) if transposed else coefficients
    if rows:
        oriented = oriented * _SIGNS[:, None]
    return oriented * _SIGNS if columns else oriented
