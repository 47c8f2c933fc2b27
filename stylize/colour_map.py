"""The palette of one photo and the map to a style's, in numpy: what ``stylize.palette`` is in torch, for training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PALETTE = 9  # mean and covariance of a picture's colours
REGULARISATION = 3e-4  # added to the variances: colours of a nearly grey photo are not amplified without bound

Floats = NDArray[np.float32]


def palette_of(pixels: NDArray[np.uint8 | np.uint16]) -> Floats:
    """The palette of pixels (…, 3): their mean colour and the six entries of their covariance, (9,)."""
    colours = pixels.reshape(-1, 3).astype(np.float32) / np.iinfo(pixels.dtype).max
    mean = colours.mean(0, dtype=np.float64)
    colours -= mean.astype(np.float32)
    covariance = colours.T @ colours / len(colours)
    return np.concatenate([mean, covariance[np.triu_indices(3)]]).astype(np.float32)


def colour_map(content: Floats, style: Floats) -> tuple[Floats, Floats]:
    """M (3, 3) and t (3,) of the map ``x -> M x + t`` from one palette (9,) to another, see ``stylize.palette``."""
    order = [[0, 1, 2], [1, 3, 4], [2, 4, 5]]
    c, s = (palette[3:].astype(np.float64)[order] + REGULARISATION * np.eye(3) for palette in (content, style))
    root, inverse = _power(c, 0.5), _power(c, -0.5)
    matrix = inverse @ _power(root @ s @ root, 0.5) @ inverse
    return matrix.astype(np.float32), (style[:3] - matrix @ content[:3]).astype(np.float32)


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """The power of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-8) ** exponent) @ vectors.T
