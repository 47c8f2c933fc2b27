"""How steady films are: ``python examples/studies/film_study.py [WIDTHxHEIGHT [FRAMES]] [--strip film.jpg] [STYLE...]``

A clip with known motion is made: over a photo the camera pans, zooms and turns, a piece of another photo turns on its
way across it, and every frame has its own noise. It is painted in three ways: each frame by itself; with the statistics
of the scene frozen; and along the motion, which is what ``stylize video`` and ``stylize batch --sequence`` do.

- *error*: mean difference, in levels of 255, between a frame and the one before it, moved by the known motion, where
  both show the same; the clip's own is in the first line;
- *sharpness*: mean squared gradient, as a part of that of frames painted by themselves;
- *style*: ``stylize evaluate``'s style distance, of some frames, likewise; needs the extra ``torch``;
- *time* of a frame, likewise.

The motion is never given to what paints: it is estimated, as in any film.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stylize import StyleCode, Stylizer, read_image, write_image
from stylize.images.reading import Pixels
from stylize.images.sheet import labelled_sheet
from stylize.painting.steady import Steady
from stylize.styles.library import styles
from stylize.training.evaluation import Judge, load_judge

EXAMPLES = Path(__file__).parent.parent
NAMES = ("gouache", "ink", "mosaic", "swirls", "watercolour", "woodcut")
PICTURES = {"gouache": "mine/1"}  # of a style, where it is called otherwise
NOISE = 1.5  # levels, the deviation of a camera's in good light
JUDGED = 3  # frames whose style is measured

Flow = NDArray[np.float32]
Mask = NDArray[np.bool_]
Clip = tuple[list[Pixels], list[Flow], list[Mask]]


def make_clip(width: int, height: int, count: int) -> Clip:
    """Frames (H, W, 3); and of all but the first, where in the frame before each pixel was (H, W, 2), and where that
    could be seen in both (H, W)."""
    random = np.random.default_rng(0)
    photo, other = (read_image(EXAMPLES / "photos" / f"{name}.jpg").pixels for name in ("coffee", "cat"))
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height), [1.0]), -1)[:, :, 0]  # (H, W, 3)
    frames: list[Pixels] = []
    flows: list[Flow] = []
    masks: list[Mask] = []
    before: tuple[Any, ...] | None = None
    for number in range(count):
        camera, object_ = _camera(number, width, height, photo), _object(number, width, height)
        ground, thing = ((grid @ matrix[:2].T).astype(np.float32) for matrix in (camera, object_))
        edge = np.hypot(thing[..., 0] / 1.3, thing[..., 1]) - height / 5
        centred = thing + np.array([other.shape[1] / 2, other.shape[0] / 2], np.float32)
        cover = np.clip(0.5 - edge, 0, 1)[..., None]
        clean = _look_up(photo, ground) * (1 - cover) + _look_up(other, centred) * cover
        frames.append(np.clip(np.rint(clean + random.normal(0, NOISE, clean.shape)), 0, 255).astype(np.uint8))
        matrices = (camera, object_)
        if before is not None:
            there = [
                (grid @ (np.linalg.inv(old) @ new)[:2].T).astype(np.float32)
                for old, new in zip(before, matrices, strict=False)
            ]
            flow = np.where((edge < 0)[..., None], there[1], there[0])
            was = cv2.remap(before[2], flow, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            inside = ((flow > 1) & (flow < (width - 2, height - 2))).all(-1)
            masks.append(inside & np.where(edge < 0, (edge < -2) & (was < -2), (edge > 2) & (was > 2)))
            flows.append(flow)
        before = (*matrices, edge)
    return frames, flows, masks


def _camera(number: int, width: int, height: int, photo: Pixels) -> Flow:
    """(3, 3): from the pixels of a frame to those of the photo. Its path trembles a little, as a hand does."""
    a = number / 110
    zoom = (0.62 + 0.12 * np.sin(2 * a)) * min(photo.shape[1] / width, photo.shape[0] / height)
    turn = np.deg2rad(5 * np.sin(3 * a))
    x = (0.42 + 0.16 * a + 0.0015 * np.sin(number * 2.1)) * photo.shape[1]
    y = (0.48 + 0.05 * np.sin(4 * a) + 0.0015 * np.cos(number * 1.7)) * photo.shape[0]
    c, s = np.cos(turn) * zoom, np.sin(turn) * zoom
    return np.array(
        [[c, -s, x - c * width / 2 + s * height / 2], [s, c, y - s * width / 2 - c * height / 2], [0, 0, 1]]
    )


def _object(number: int, width: int, height: int) -> Flow:
    """(3, 3): from the pixels of a frame to the coordinates of what moves in it."""
    a = number / 50
    x, y, turn = width * (0.15 + 0.7 * a), height * (0.62 + 0.12 * np.sin(5 * a)), np.deg2rad(20 * a)
    c, s = np.cos(turn), np.sin(turn)
    return np.array([[c, s, -(c * x + s * y)], [-s, c, s * x - c * y], [0, 0, 1]])


def _look_up(picture: Pixels, places: Flow) -> Flow:
    return cv2.remap(picture, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)


def error(outputs: Sequence[Pixels], clip: Clip) -> float:
    """Mean difference along the known motion, in levels."""
    differences = []
    for (before, now), flow, mask in zip(pairwise(outputs), clip[1], clip[2], strict=True):
        differences.append(np.abs(np.clip(_look_up(before, flow), 0, 255) - now)[mask].mean())
    return float(np.mean(differences))


def sharpness(outputs: Sequence[Pixels]) -> float:
    """Mean squared gradient of the lightness."""
    greys = [output.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) for output in outputs]
    return float(np.mean([np.square(np.diff(g, axis=0)).mean() + np.square(np.diff(g, axis=1)).mean() for g in greys]))


def timed(paint: Callable[[Pixels], Pixels], frames: Sequence[Pixels]) -> tuple[list[Pixels], float]:
    """The painted frames, and the seconds that one took, the first aside."""
    outputs = [paint(frames[0])]
    started = time.perf_counter()
    outputs += [paint(frame) for frame in frames[1:]]
    return outputs, (time.perf_counter() - started) / (len(frames) - 1)


def ways(stylizer: Stylizer, style: StyleCode, frames: Sequence[Pixels]) -> dict[str, Callable[[Pixels], Pixels]]:
    """What paints a frame, by itself, with frozen statistics, and along the motion."""
    frozen = stylizer.freeze(frames[:: max(len(frames) // 8, 1)], style)
    steady = Steady({None: frozen})
    return {
        "by itself": lambda frame: stylizer.transfer(frame, style),
        "frozen": frozen,
        "along the motion": lambda frame: steady(frame)[None],
    }


def main() -> None:
    """The table, and with ``--strip`` the picture."""
    words = sys.argv[1:]
    strip = Path(words.pop(words.index("--strip") + 1)) if "--strip" in words else None
    sizes = [word for word in words if word[0].isdigit()]
    width, height = map(int, sizes[0].split("x")) if sizes else (480, 272)
    clip = make_clip(width, height, int(sizes[1]) if len(sizes) > 1 else 24)
    own = error(clip[0], clip)
    print(f"{width}x{height} pixels, {len(clip[0])} frames, the clip's own error {own:.2f}\n")
    print("| style | painted | error | of the clip's own | sharpness | style | time |\n|---|---|---|---|---|---|---|")
    stylizer, rows = Stylizer(), []
    judge = Judge(load_judge("vgg19"), clip[0][:1], torch.device("cpu"))
    for name in [word for word in words if word in NAMES] or NAMES:
        picture = read_image(EXAMPLES / "styles" / f"{PICTURES.get(name, name)}.jpg").pixels
        target, usual = judge.look(picture), (1.0, 1.0, 1.0)
        cells = [("the film", clip[0])]
        for way, paint in ways(stylizer, StyleCode.load(styles()[name]), clip[0]).items():
            outputs, seconds = timed(paint, clip[0])
            some = range(2, len(outputs), max(len(outputs) // JUDGED, 1))
            distance = np.mean(
                [judge.score(judge.look(clip[0][k]), target, judge.look(outputs[k]))["style"] for k in some]
            )
            figures = (sharpness(outputs), float(distance), seconds)
            usual = figures if way == "by itself" else usual
            parts = " | ".join(f"{figure / whole:.2f}" for figure, whole in zip(figures, usual, strict=True))
            found = error(outputs, clip)
            print(f"| {name} | {way} | {found:.2f} | {found / own:.2f} | {parts} |", flush=True)
            cells.append((f"{name}, {way}", outputs))
        rows.append(cells)
    if strip is not None:
        write_strip(strip, rows[-1])


def write_strip(path: Path, cells: Sequence[tuple[str, Sequence[Pixels]]]) -> None:
    """Consecutive frames of the last style in columns: the film, painted by itself, and along the motion."""
    shown = [cells[0], cells[1], cells[-1]]
    numbers = range(10, 14)
    size = shown[0][1][0].shape[1::-1]
    sheet = [
        [(f"{label}, {number}", Image.fromarray(pictures[number])) for number in numbers] for label, pictures in shown
    ]
    write_image(path, labelled_sheet(sheet, size), quality=80, overwrite=True)


if __name__ == "__main__":
    main()
