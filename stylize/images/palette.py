"""The palette of one photo and the map to a style's, in numpy.

``stylize.networks.colour_transfer`` is the same in torch, for training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue: Y of YCbCr
PALETTE = 9  # mean and covariance of a picture's colours
FINISH_FLOOR = 1e-2  # of a painting's variances: what was painted in hardly any colours is not blown up
CHUNK = 1 << 16  # pixels that are added up at a time, in the processor's cache
REGULARISATION = 3e-4  # added to the variances: colours of a nearly grey photo are not amplified without bound
ITERATIONS = 100  # at most, for a palette among others; a dozen is usual

Floats = NDArray[np.float32]

ORDER = [[0, 1, 2], [1, 3, 4], [2, 4, 5]]  # of a covariance's entries in a palette


def palette_of_pixels(pixels: NDArray[np.uint8 | np.uint16]) -> Floats:
    """The palette of pixels (…, 3): their mean colour and the six entries of their covariance, (9,)."""
    colours = pixels.reshape(-1, 3)
    return _palette(
        (colours[start : start + CHUNK].T for start in range(0, len(colours), CHUNK)), np.iinfo(pixels.dtype).max
    )


def palette_of_cells(cells: Floats) -> Floats:
    """The palette of floats in cells, (n, 12, h, w) in [0, 1]: of a colour, 4 channels."""
    colours = cells.reshape(len(cells), 3, -1)
    return _palette(
        colours[n, :, start : start + CHUNK] for n in range(len(cells)) for start in range(0, colours.shape[2], CHUNK)
    )


def _palette(chunks: Iterable[NDArray[Any]], scale: float = 1) -> Floats:
    """Colours (3, N) each, in steps of 1 / ``scale``; summed up in single precision, the chunks in double."""
    count, sums, products = 0, np.zeros(3), np.zeros((3, 3))
    middle = None  # near the mean: sums of squares around it lose no digits
    for chunk in chunks:
        colours = chunk.astype(np.float32, order="C")
        if middle is None:
            middle = colours[:, :: len(colours.T) // 100 + 1].mean(1, keepdims=True)
        colours -= middle
        count += colours.shape[1]
        sums += colours.sum(1)
        products += colours @ colours.T
    assert middle is not None
    mean = sums / count
    covariance = (products / count - np.outer(mean, mean)) / scale**2
    mean = (mean + middle[:, 0]) / scale
    return np.concatenate([mean, covariance[np.triu_indices(3)]]).astype(np.float32)


def palette_map(content: Floats, style: Floats, floor: float = REGULARISATION) -> tuple[Floats, Floats]:
    """M (3, 3) and t (3,) of the map ``x -> M x + t`` from one palette (9,) to another; see the module in torch."""
    c, s = (covariance_of(palette) + floor * np.eye(3) for palette in (content, style))
    root, inverse = _power(c, 0.5), _power(c, -0.5)
    matrix = inverse @ _power(root @ s @ root, 0.5) @ inverse
    return matrix.astype(np.float32), (style[:3] - matrix @ content[:3]).astype(np.float32)


def palette_among(palettes: Sequence[Floats], shares: Sequence[float] | NDArray[np.float64]) -> Floats:
    """The palette (9,) among N palettes (9,), nearer to those of larger shares; the shares sum to 1.

    Between two it is that of a picture each of whose pixels went its share of the way from its own colour to the other
    palette (McCann, Advances in Mathematics 1997): contrast changes evenly. A weighted mean of covariances would keep
    two thirds of a photo's contrast at half of the way to a plain grey. Among more, it is their barycentre by the same
    distance, by the iteration of Álvarez-Esteban et al., J. Math. Anal. Appl. 2016, eq. 7.
    """
    covariances = [_covariance(palette) for palette in palettes]
    middle = _weighted(covariances, shares)
    for _ in range(ITERATIONS):
        before, root, inverse = middle, _power(middle, 0.5), _power(middle, -0.5)
        step = _weighted([_power(root @ covariance @ root, 0.5) for covariance in covariances], shares)
        middle = inverse @ step @ step @ inverse
        if np.abs(middle - before).max() < 1e-9:
            break
    mean = _weighted([palette[:3].astype(np.float64) for palette in palettes], shares)
    covariance = middle - REGULARISATION * np.eye(3)
    return np.concatenate([mean, covariance[np.triu_indices(3)]]).astype(np.float32)


def _weighted(
    arrays: Sequence[NDArray[np.float64]], shares: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.tensordot(np.asarray(shares, np.float64), np.stack(arrays), axes=1)


def covariance_of(palette: Floats) -> NDArray[np.float64]:
    """The covariance (3, 3) in a palette (9,)."""
    return palette[3:].astype(np.float64)[ORDER]


def _covariance(palette: Floats) -> NDArray[np.float64]:
    return covariance_of(palette) + REGULARISATION * np.eye(3)


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """The power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-8) ** exponent) @ vectors.T
