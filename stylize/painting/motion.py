"""Motion between two frames of a scene: where each pixel came from, where that can be trusted, how the camera moved.

    dense flow, both ways ─► where both agree ─► the camera's part ─► what is left of it, smoothed

The flow is that of dense inverse search (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016).
It is trusted where the way there and the way back cancel (Sundaram et al., "Dense Point Trajectories by GPU-accelerated
Large Displacement Optical Flow", ECCV 2010, eq. 5). Estimated pixel by pixel it trembles, and paint that is carried
along would tremble, too. So the camera's part, a similarity, is taken out, and the rest is smoothed: apart for what
goes with the camera and for what moves by itself, so that edges of moving things stay sharp.

Needs OpenCV, which the extra ``video`` brings.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize.images.colour_profile import to_8_bit
from stylize.images.reading import Pixels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FLOW_PIXELS = 150_000  # larger frames are looked at reduced to so many pixels
WITH_CAMERA = 0.7  # pixels of the reduced frame that what is said to go with the camera may differ from it
SMOOTH_CAMERA, SMOOTH_OTHER = 55, 17  # sides of the mean that smooths, in pixels of the reduced frame
INLIER = 0.5  # pixels that a point may be off the camera's motion while that is estimated
LEAST_POINTS = 20  # that a camera's motion is made of


class Motion(NamedTuple):
    """From a frame back to the one before it.

    Attributes:
        source: (H, W, 2), column and row in the frame before of what each pixel shows.
        reduced: (h, w, 2), the same for the reduced frame, see ``reduced``.
        trusted: (h, w), where that is so.
        camera: (3, 3), the similarity that takes pixels of this frame to the frame before; the identity if there is
            none.
    """

    source: Floats
    reduced: Floats
    trusted: Mask
    camera: NDArray[np.float64]


def motion_between(now: Pixels, before: Pixels) -> Motion:
    """How a frame came about: two frames, (H, W, 3) uint8 or uint16 of one size."""
    height, width = now.shape[:2]
    small_now, small_before = (cv2.cvtColor(reduced(frame), cv2.COLOR_RGB2GRAY) for frame in (now, before))
    size = small_now.shape[::-1]
    estimate = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimate.setFinestScale(0)  # of all that was tried this brings most: a third of the error
    there = _places(size) + estimate.calc(small_now, small_before, None)
    back = _places(size) + estimate.calc(small_before, small_now, None)
    trusted = _agree(there, back)
    camera = _similarity(there, trusted)
    source = _smoothed(there, trusted, camera)
    # From the reduced frame's pixels to the frame's: both have their centres half a pixel from the corner.
    ratio = np.array([width / size[0], height / size[1]], np.float32)
    full = cv2.resize(source, (width, height), interpolation=cv2.INTER_LINEAR) if size != (width, height) else source
    to_full = np.array([[ratio[0], 0, (ratio[0] - 1) / 2], [0, ratio[1], (ratio[1] - 1) / 2], [0, 0, 1]])
    return Motion((full + 0.5) * ratio - 0.5, source, trusted, to_full @ camera @ np.linalg.inv(to_full))


def reduced(frame: Pixels) -> Pixels:
    """The copy of a frame in which motion is looked for: (h, w, 3) uint8."""
    height, width = frame.shape[:2]
    scale = min(1.0, (FLOW_PIXELS / (height * width)) ** 0.5)
    small = to_8_bit(frame)
    if scale < 1:
        small = cv2.resize(small, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small)


def _places(size: tuple[int, int]) -> Floats:
    """(H, W, 2): each pixel's column and row."""
    return np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1).astype(np.float32)


def _agree(there: Floats, back: Floats) -> Mask:
    """Where the way there and the way back cancel, inside of the frame: (H, W).

    |w + w'|² < 0.01 (|w|² + |w'|²) + 0.5
    """
    height, width = there.shape[:2]
    places = _places((width, height))
    returned = cv2.remap(back - places, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = there - places
    inside = (there >= 0).all(axis=-1) & (there[..., 0] <= width - 1) & (there[..., 1] <= height - 1)
    most = 0.01 * (np.square(moved).sum(-1) + np.square(returned).sum(-1)) + 0.5
    return inside & (np.square(moved + returned).sum(-1) < most)


def _similarity(there: Floats, trusted: Mask) -> NDArray[np.float64]:
    """The turn, zoom and shift that most of the trusted pixels follow, (3, 3)."""
    grid = (slice(4, None, 12), slice(4, None, 12))
    here = _places(trusted.shape[::-1])[grid][trusted[grid]]
    if len(here) < LEAST_POINTS:
        return np.eye(3)
    found, _ = cv2.estimateAffinePartial2D(here, there[grid][trusted[grid]], ransacReprojThreshold=INLIER)
    return np.eye(3) if found is None else np.vstack([found, [0, 0, 1]])


def _smoothed(there: Floats, trusted: Mask, camera: NDArray[np.float64]) -> Floats:
    """The camera's motion and, smoothed, what differs from it."""
    places = _places(trusted.shape[::-1])
    moved = (places @ camera[:2, :2].T + camera[:2, 2]).astype(np.float32)
    rest = there - moved
    with_camera = np.square(rest).sum(-1) < WITH_CAMERA**2
    smooth = np.empty_like(rest)
    for part, side in ((with_camera, SMOOTH_CAMERA), (~with_camera, SMOOTH_OTHER)):
        share = (part & trusted).astype(np.float32)
        total = cv2.blur(share, (side, side))
        mean = cv2.blur(rest * share[..., None], (side, side)) / np.maximum(total, 1e-3)[..., None]
        smooth[part] = mean[part]
    return moved + smooth
