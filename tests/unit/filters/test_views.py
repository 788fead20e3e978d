"""Orientations follow from the coefficients: checked against turning the picture itself."""

import numpy as np
import pytest
from numpy.typing import NDArray

from iii_client.filters.views import NearQueries, Orientation, orient

SIDE = 64


def pdq_coefficients(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows and columns 1 to 16 of the DCT-II of a 64x64 picture, as PDQ keeps them."""
    frequency = np.arange(1, 17)[:, None]
    matrix = np.cos(np.pi / 2 / SIDE * frequency * (2 * np.arange(SIDE) + 1))
    coefficients: NDArray[np.float64] = matrix @ picture @ matrix.T
    return coefficients


TURNED = {
    Orientation.UPRIGHT: lambda picture: picture,
    Orientation.MIRROR: lambda picture: picture[:, ::-1],
    Orientation.FLIP: lambda picture: picture[::-1],
    Orientation.ROTATE_90: lambda picture: np.rot90(picture, 1),
    Orientation.ROTATE_180: lambda picture: np.rot90(picture, 2),
    Orientation.ROTATE_270: lambda picture: np.rot90(picture, 3),
    Orientation.TRANSPOSE: lambda picture: picture.T,
    Orientation.ANTITRANSPOSE: lambda picture: picture[::-1, ::-1].T,
}


@pytest.mark.parametrize("orientation", list(Orientation))
def test_oriented_coefficients_are_those_of_the_turned_picture(orientation: Orientation) -> None:
    picture = np.random.default_rng(3).random((SIDE, SIDE))
    turned = pdq_coefficients(TURNED[orientation](picture))
    assert orient(pdq_coefficients(picture), orientation) == pytest.approx(turned)


def test_queries_are_picture_by_picture_and_set_half_of_the_bits() -> None:
    coefficients = np.random.default_rng(4).normal(size=(3, 16, 16))
    queries = NearQueries.from_coefficients(coefficients)
    assert queries.orientations == (Orientation.UPRIGHT, Orientation.MIRROR) * 3
    assert queries.bits.sum(axis=1).tolist() == [128] * 6
    median = np.sort(coefficients[1].ravel())[127]
    assert queries.bits[2].tolist() == (coefficients[1].ravel() > median).tolist()
    assert queries.margins[2] == pytest.approx(np.abs(coefficients[1].ravel() - median))


def test_negative_or_missing_margins_are_refused() -> None:
    bits = np.zeros((1, 256), np.uint8)
    for margin in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError):
            NearQueries.upright(bits, np.full((1, 256), margin))
    with pytest.raises(ValueError):
        NearQueries.upright(bits, np.zeros((1, 255)))
