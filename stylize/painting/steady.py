"""Steady painting: the frames of a scene, painted so that the strokes stay on the things that they paint.

Painted by itself, each frame gets other strokes: the network sees the picture in cells of 16 pixels, and a step of one
pixel already changes which stroke falls where. Two things help.

1. *Paint in the scene's coordinates.* The camera's motion since the scene began is undone before the network paints,
   and done again after it. What only the camera moves then lies on the same cells and the same grain in all frames.
2. *Carry the paint.* The last painting is moved along with what it shows (``stylize.painting.motion``), and stays, as
   long as the photo under it stays. Only what comes into view is painted anew:

       O_t = W + b (P − W),   M_t = V + b (I − V)

   with P what the network makes of the frame I; W and V the last painting O and the photo M under it, both moved; and b
   the share of new paint: 1 where the motion is not trusted or V and I differ, else 0.

(Blending P and W everywhere, as Bonneel et al., "Blind Video Temporal Consistency", SIGGRAPH Asia 2015, and Ruder et
al., "Artistic style transfer for videos", GCPR 2016, in their ways do, was measured to halve the sharpness here:
strokes that differ cancel.)

Both are nudged towards the new frame in their coarse colours, so that light may change without new strokes. When the
camera has turned or zoomed far, the scene gets new coordinates, and within ``RENEWAL`` frames new paint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stylize.images.reading import Pixels
from stylize.networks.plan import STRIDE
from stylize.painting.motion import Motion, motion_between, reduced

Floats = NDArray[np.float32]
Paint = Callable[..., Pixels]  # a picture (and where its upper left corner lies in the scene) -> painted

CHANGED = 10.0  # levels: a photo that differs by more under the paint, in its details, is painted anew
CUT = 0.3  # a frame of which less than this share is seen before begins a scene
FOLLOWING = 0.1  # share by which coarse colours go to those of the new frame
RENEWAL = 12  # frames in which paint is renewed
MOST_ZOOM, MOST_TURN = 1.25, 0.35  # of the camera in one scene's coordinates; radians


@dataclass
class Layer:
    """One painting that is carried: O, (H, W, 3) of the frames' type, and M, reduced, (h, w, 3) uint8."""

    painting: Pixels
    photo: Pixels


class Steady:
    """Paints the frames of a film one after the other; a cut begins anew.

    Args:
        painters: by layer, what paints a picture with the scene's frozen statistics, see ``Stylizer.freeze``.
        in_place: they can be told where in the scene a picture lies.

    Attributes:
        before: the last frame.
        layers: what is carried, by layer.
        place: (3, 3), from the last frame's pixels to the scene's coordinates.
        renewing: frames in which the paint will be new.
    """

    def __init__(self, painters: Mapping[str | None, Paint], *, in_place: bool = True) -> None:
        self.painters, self.in_place = painters, in_place
        self.before: Pixels | None = None
        self.layers: dict[str | None, Layer] = {}
        self.place = np.eye(3)
        self.renewing = 0

    def __call__(self, frame: Pixels) -> dict[str | None, Pixels]:
        """The frame, (H, W, 3), painted by each layer's painter."""
        motion = self._motion(frame)
        if motion is None:
            self.layers, self.place, self.renewing = {}, np.eye(3), 0
        else:
            self._follow(motion.camera)
        for name, paint in self.painters.items():
            fresh = _painted_in_place(paint, frame, self.place) if self.in_place else paint(frame)
            if motion is None or name not in self.layers:
                self.layers[name] = Layer(fresh, reduced(frame))
            else:
                self.layers[name] = _carry(self.layers[name], fresh, frame, motion, self.renewing)
        self.before, self.renewing = frame, max(self.renewing - 1, 0)
        return {name: layer.painting for name, layer in self.layers.items()}

    def go_on(self, frame: Pixels, painting: Pixels) -> None:
        """Paint on from a frame that was painted elsewhere; there can be one layer only."""
        (name,) = self.painters
        if frame.shape == painting.shape and frame.dtype == painting.dtype:
            self.before, self.place, self.renewing = frame, np.eye(3), 0
            self.layers = {name: Layer(painting, reduced(frame))}

    def _motion(self, frame: Pixels) -> Motion | None:
        """From the frame before; None at a cut."""
        if self.before is None or self.before.shape != frame.shape or min(frame.shape[:2]) < STRIDE:
            return None
        motion = motion_between(frame, self.before)
        there = _moved(reduced(self.before), motion.reduced)
        return motion if (motion.trusted & _alike(reduced(frame), there)).mean() >= CUT else None

    def _follow(self, camera: NDArray[np.float64]) -> None:
        """Keep to the scene's coordinates while the camera moves; take new ones when it has moved far."""
        self.place = self.place @ camera
        zoom, turn = np.hypot(*self.place[:2, 0]), np.arctan2(self.place[1, 0], self.place[0, 0])
        if not 1 / MOST_ZOOM < zoom < MOST_ZOOM or abs(turn) > MOST_TURN:
            self.place, self.renewing = np.eye(3), RENEWAL


def _painted_in_place(paint: Paint, frame: Pixels, place: NDArray[np.float64]) -> Pixels:
    """A frame painted in the scene's coordinates, to which ``place`` leads, and brought back: (H, W, 3).

    The picture that is painted begins at a corner of the network's coarsest cells.
    """
    if np.array_equal(place, np.eye(3)):
        return paint(frame)
    height, width = frame.shape[:2]
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]) @ place[:2].T
    left, top = (int(corner) for corner in np.floor(corners.min(0) / STRIDE) * STRIDE)
    right, bottom = (int(corner) for corner in np.ceil(corners.max(0)) + 1)
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ place
    scene = cv2.warpAffine(
        frame, shift[:2], (right - left, bottom - top), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    painted = paint(scene, (top, left))
    return cv2.warpAffine(painted, shift[:2], (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def _carry(layer: Layer, fresh: Pixels, frame: Pixels, motion: Motion, renewing: int) -> Layer:
    """O and M of this frame, from those of the last one and the new painting."""
    painting = _moved(layer.painting, motion.source, sharper=_detail(layer.painting) < _detail(fresh))
    now = reduced(frame)
    photo = _moved(layer.photo, motion.reduced)
    towards = FOLLOWING * _coarse(fresh, painting)
    photo = photo + FOLLOWING * _coarse(now, photo)
    stays = motion.trusted & _alike(now, photo)
    # Uncertain by a pixel, as motion is at edges; soft, so that no seam shows.
    stays = cv2.blur(cv2.erode(stays.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32), (5, 5))
    share = np.maximum(1 - stays, np.float32(1 / renewing if renewing else 0))
    photo = cv2.blendLinear(photo, now.astype(np.float32), 1 - share, share)
    if share.shape != frame.shape[:2]:
        share = cv2.resize(share, frame.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    painting = cv2.blendLinear(cv2.add(painting, towards, dtype=cv2.CV_32F), fresh.astype(np.float32), 1 - share, share)
    return Layer(_rounded(painting, fresh.dtype), _rounded(photo, now.dtype))


def _moved(picture: Pixels, source: Floats, *, sharper: bool = True) -> Pixels:
    """A picture of the frame before, moved to where its parts are in this frame.

    Of the two kernels one softens a little, time and again, and one sharpens: ``sharper`` says which.
    """
    kernel = cv2.INTER_CUBIC if sharper else cv2.INTER_LANCZOS4
    return cv2.remap(picture, source, None, kernel, borderMode=cv2.BORDER_REPLICATE)


def _detail(picture: Pixels) -> float:
    """Mean difference of neighbours, of some of the rows."""
    rows = picture[::4].astype(np.int32)
    return float(np.abs(rows[:, 1:] - rows[:, :-1]).mean()) if picture.shape[1] > 1 else 0.0


def _alike(now: Pixels, photo: NDArray[Any]) -> NDArray[np.bool_]:
    """Where two reduced photos show the same details, whatever the light: (h, w)."""
    change = cv2.subtract(now, photo, dtype=cv2.CV_32F)
    detail = cv2.blur(change, (5, 5)) - _coarse(now, photo)
    return cv2.blur(np.abs(detail).max(-1), (5, 5)) < CHANGED


def _coarse(one: NDArray[Any], other: NDArray[Any]) -> Floats:
    """The difference of two pictures without what is finer than some forty pixels."""
    height, width = one.shape[:2]
    size = (max(width // 8, 1), max(height // 8, 1))
    one, other = (cv2.resize(each, size, interpolation=cv2.INTER_AREA).astype(np.float32) for each in (one, other))
    return cv2.resize(cv2.blur(one - other, (5, 5)), (width, height), interpolation=cv2.INTER_LINEAR)


def _rounded(picture: Floats, dtype: np.dtype[Any]) -> Pixels:
    """The nearest values of a type."""
    if dtype == np.uint8:
        return cv2.convertScaleAbs(cv2.max(picture, 0))  # rounds, and stops at 255
    return np.clip(np.rint(picture), 0, np.iinfo(dtype).max).astype(dtype)
