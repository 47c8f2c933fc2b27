"""The moments of a style: means and covariances of VGG19's features, which fine painting matches.

The pictures of a style are looked at in several sizes, as ``stylize.painting.fine`` paints in several: at each, every
map of VGG19 leaves the mean of its channels, μ (C,), and their covariance, Σ (C, C), of which the triangle is kept in
half precision, about 0.8 MB in all. No picture can be read off them. Here they are plain arrays by name, so that a
style's file can carry them:

    moments.SIZE.LAYER.mean         (C,) float32
    moments.SIZE.LAYER.covariance   (C (C + 1) / 2,) float16, the upper triangle row by row

SIZE is the divisor of the picture's size, LAYER the number of the map: ``moments.4.1.mean`` is that of relu1_1 on a
quarter of the size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS = (64, 128, 256, 512)  # of relu1_1 to relu4_1
UNITS = dict(
    zip(CHANNELS, (20, 100, 100, 500), strict=True)
)  # so large features are in the mean: halves are exact to 0.1 %
LAYERS = {4: 4, 2: 4, 1: 3}  # divisor of the picture's size -> how many maps are looked at
PREFIX = "moments."

Moments = Mapping[str, NDArray[np.generic]]  # by the names above, without the prefix; empty: none


def names() -> Iterator[tuple[str, int]]:
    """All sizes and maps: ``4.1`` … and the channels there."""
    for size, layers in LAYERS.items():
        for layer in range(layers):
            yield f"{size}.{layer + 1}", CHANNELS[layer]


def packed(
    mean: NDArray[np.float32], covariance: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Mean (C,) and covariance (C, C) of a map as a file holds them."""
    unit = UNITS[len(mean)]
    most = float(np.finfo(np.float16).max)
    triangle = covariance[np.triu_indices(len(covariance))] / unit**2
    return mean / np.float32(unit), np.clip(triangle, -most, most).astype(np.float16)


def unpacked(moments: Moments, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (C,) and covariance (C, C) of the map ``4.1`` and the like."""
    mean = moments[f"{name}.mean"].astype(np.float32)
    unit = np.float32(UNITS[len(mean)])
    rows, columns = np.triu_indices(len(mean))
    covariance = np.empty((len(mean), len(mean)), np.float32)
    covariance[rows, columns] = covariance[columns, rows] = moments[f"{name}.covariance"]
    return mean * unit, covariance * unit**2


def weighted_mean(each: Sequence[Moments], shares: Sequence[float] | NDArray[np.float64]) -> Moments:
    """Σ share · moments, name by name: what lies between styles. Empty if one of them has none.

    Means and covariances are averaged alike. Pooling the pictures instead would add the spread of their means to the
    covariances: the variety of a collection, which no single painting of it has.
    """
    if not all(each):
        return {}
    total: dict[str, NDArray[np.generic]] = {}
    for name, first in each[0].items():
        values = sum(share * moments[name].astype(np.float64) for moments, share in zip(each, shares, strict=True))
        total[name] = np.asarray(values).astype(first.dtype)
    return total


def are_well_formed(moments: Moments) -> bool:
    """Whether arrays from a file have all names, types, shapes and signs that moments have, or are none at all."""
    if not moments:
        return True
    wanted: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
    for name, channels in names():
        wanted[f"{name}.mean"] = ((channels,), np.dtype(np.float32))
        wanted[f"{name}.covariance"] = ((channels * (channels + 1) // 2,), np.dtype(np.float16))
    if {name: (values.shape, values.dtype) for name, values in moments.items()} != wanted:
        return False
    # Features behind a ReLU are not negative, nor are variances.
    each = [unpacked(moments, name) for name, _ in names()]
    return all(bool((mean >= 0).all() and (np.diagonal(covariance) >= 0).all()) for mean, covariance in each)
