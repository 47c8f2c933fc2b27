"""The pictures of a style as a set: which of them are unlike the rest, nearly the same as another, or too small.

Distances are taken between what E knows of the pictures, its standardised statistics: 0 for the same picture, about
0.3 for two halves of one painting, about 1 within one hand, 1.4 (√2) between any two pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stylize.images.reading import Pixels

LEAST_SIDE = 96  # pixels of the short side; smaller pictures are enlarged so much that little brushwork is left to see
LEAST_SET = 4  # pictures: among fewer, nobody can say which is the odd one
OUTLIER, OUTLIER_RATIO = 1.3, 1.5  # of the distance to the rest: at least, and against the median of the others
TWIN_DISTANCE, TWIN_LIKENESS, TWIN_ERROR = 0.65, 0.96, 6.0  # of near-duplicates; see ``_are_twins``
_MINIATURE = 16  # pixels


@dataclass(frozen=True)
class Member:
    """One picture of a set.

    Attributes:
        distance: to the mean of the others; None if it is alone.
        weight: 1, or 1/n for each of n near-duplicates, which together count as one picture.
        outlier: whether it is unlike the rest.
        twin: the first picture of the set that it is nearly the same as, or None.
        small: its size in pixels, width and height, if that is too small.
    """

    distance: float | None
    weight: float = 1.0
    outlier: bool = False
    twin: int | None = None
    small: tuple[int, int] | None = None


def examine(pictures: Sequence[Pixels], statistics: NDArray[np.float32]) -> list[Member]:
    """What is to be said of each picture.

    Args:
        pictures: N of (H, W, 3) uint8.
        statistics: E's standardised statistics of them, (N, D).
    """
    distances = _distances_to_the_rest(statistics)
    firsts = _first_twins(pictures, statistics)
    members = []
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        others = np.delete(distances, index)
        distance = float(distances[index]) if len(others) else None
        members.append(
            Member(
                distance=distance,
                weight=1 / firsts.count(firsts[index]),
                outlier=distance is not None
                and len(pictures) >= LEAST_SET
                and distance > max(OUTLIER, OUTLIER_RATIO * float(np.median(others))),
                twin=firsts[index] if firsts[index] != index else None,
                small=(width, height) if min(width, height) < LEAST_SIDE else None,
            )
        )
    return members


def _distances_to_the_rest(statistics: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, D) -> (N,): root mean square difference of each to the mean of the others."""
    count = max(len(statistics) - 1, 1)
    rest = (statistics.sum(0, dtype=np.float64) - statistics) / count
    distances: NDArray[np.float64] = np.sqrt(np.square(statistics - rest).mean(1))
    return distances


def _first_twins(pictures: Sequence[Pixels], statistics: NDArray[np.float32]) -> list[int]:
    """For each picture the first one that it is a near-duplicate of, in however many steps; itself if there is none."""
    miniatures = [_miniature(picture) for picture in pictures]
    firsts = list(range(len(pictures)))
    for i in range(len(pictures)):
        for k in range(i):
            if firsts[i] != firsts[k] and _are_twins(statistics[i] - statistics[k], miniatures[i], miniatures[k]):
                old, new = max(firsts[i], firsts[k]), min(firsts[i], firsts[k])
                firsts = [new if first == old else first for first in firsts]
    return firsts


def _are_twins(difference: NDArray[np.float32], one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two pictures are nearly the same: painted alike, and everything where it is in the other.

    Saving again, resizing, trimming and a change of exposure leave the miniatures alike. Two plain pictures have
    nothing to correlate; they are compared by value.
    """
    if np.sqrt(np.square(difference).mean()) > TWIN_DISTANCE:
        return False
    if np.abs(one - other).mean() < TWIN_ERROR:
        return True
    a, b = one - one.mean(), other - other.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return norms > 0 and float((a * b).sum()) / norms > TWIN_LIKENESS


def _miniature(picture: Pixels) -> NDArray[np.float32]:
    image = Image.fromarray(picture).resize((_MINIATURE, _MINIATURE), Image.Resampling.BOX)
    return np.asarray(image, np.float32)
