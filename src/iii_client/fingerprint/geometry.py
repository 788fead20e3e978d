"""How the pixels at hand relate to the full-size, upright picture: reduction and orientation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iii_client.fingerprint.borders import Border

#: EXIF orientation -> (flip stored rows, flip stored columns, then transpose).
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the picture.

    Attributes:
        length: full-size pixels.
        reduction: full-size pixels in each pixel at hand.
        missing: pixels that the first one at hand lacks of `reduction`. Where the reduction does not divide
            the length, the decoder's last pixel is partial; after a flip that is the first one.
    """

    length: int
    reduction: int = 1
    missing: int = 0

    @property
    def reduced(self) -> int:
        """Pixels at hand."""
        return -(-self.length // self.reduction)

    def trimmed(self, first: int, stop: int) -> "Axis":
        """The part from pixel `first` at hand to `stop`, which is not included."""
        missing = self.missing if first == 0 else 0
        behind = self.reduced * self.reduction - self.missing - self.length if stop == self.reduced else 0
        return Axis((stop - first) * self.reduction - missing - behind, self.reduction, missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """The axes of a picture that is already upright."""

    columns: Axis
    rows: Axis

    @classmethod
    def of_pixels(cls, pixels: NDArray[np.uint8]) -> "Geometry":
        """Pixels (H, W, …) at full size."""
        return cls(columns=Axis(pixels.shape[1]), rows=Axis(pixels.shape[0]))

    @classmethod
    def of_decoded(cls, width_px: int, height_px: int, *, reduction: int, orientation: int) -> "Geometry":
        """A picture stored with this full size, decoded at 1/`reduction`, then `upright`."""
        flip_rows, flip_columns, transposed = _TURNS[orientation]
        columns, rows = _axis(width_px, reduction, flip_columns), _axis(height_px, reduction, flip_rows)
        return cls(columns=rows, rows=columns) if transposed else cls(columns=columns, rows=rows)

    def trimmed(self, border: Border) -> "Geometry":
        """The same picture without its border."""
        return Geometry(
            columns=self.columns.trimmed(border.left, border.right),
            rows=self.rows.trimmed(border.top, border.bottom),
        )


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Stored pixels (H, W, …) turned as their EXIF orientation (1 to 8) says. A view, nothing is copied."""
    flip_rows, flip_columns, transposed = _TURNS[orientation]
    pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return pixels.swapaxes(0, 1) if transposed else pixels


def _axis(length: int, reduction: int, flipped: bool) -> Axis:
    axis = Axis(length, reduction)
    return Axis(length, reduction, axis.reduced * reduction - length) if flipped else axis
