"""Training pictures: folders of files in, augmented crops out.

Every crop is a pure function of (seed, step, its place in the batch): its random numbers come from a generator seeded
with these. Training therefore resumes exactly, without any state of the data to save; threads may prepare batches ahead
in any order, and each of several processes draws only its own part. Pictures are decoded once, when first drawn or
checked (``stylize.training.data_check``), and then kept, reduced, as bytes in memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.random import Generator as Random
from PIL import Image
from torch import Tensor

from stylize.engines.device import free_memory
from stylize.errors import InputError, TrainingError, shown
from stylize.images.formats import READABLE_FILES, READABLE_SUFFIXES
from stylize.images.reading import fill_transparent, read_image
from stylize.painting.recipe import recipe_of

T = TypeVar("T")

SHORT_SIDE = 512  # pixels; larger pictures are reduced to it when loaded
LEAST_CONTRAST = 8.0  # standard deviation of a photo crop, of 255
CACHE_BYTES = 8 << 30  # decoded pictures of one kind kept in memory, at most
CACHE_SHARE = 4  # and at most this part of the memory that is free: two kinds, and as much again for the networks

NamedPicture = tuple[str, np.ndarray]  # its name, (side, side, 3) uint8


class PictureFolders:
    """The pictures below some folders; each folder is drawn from equally often, whatever its size.

    Args:
        folders: searched recursively. Files without a picture's suffix are passed over.
        least: pixels a short side must have; smaller pictures are skipped and named.

    Attributes:
        folders: as given.
        files: the pictures of each folder, in order of their names.
        skipped: path -> reason, of every picture that could not be used so far.
        small: those among them that are readable, but too small: path -> width and height.
        painted: pictures that stylize itself painted, of those loaded so far: path -> by which command.

    Raises:
        TrainingError: a folder is missing or holds no picture.
    """

    def __init__(self, folders: Sequence[Path], *, least: int = 64) -> None:
        self.folders, self.least = tuple(folders), least
        self.skipped: dict[Path, str] = {}
        self.small: dict[Path, tuple[int, int]] = {}
        self.painted: dict[Path, str] = {}
        self._cache_bytes = min(CACHE_BYTES, (free_memory() or CACHE_BYTES * CACHE_SHARE) // CACHE_SHARE)
        self._cache: dict[Path, np.ndarray] = {}
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self.files: list[list[Path]] = []
        for folder in folders:
            if not os.path.isdir(folder):
                raise TrainingError(f"no folder {shown(folder)}", hint="give a folder of pictures")
            files = (p for p in folder.rglob("*") if not p.name.startswith("."))
            found = sorted(p for p in files if p.suffix.lower() in READABLE_SUFFIXES)
            if not found:
                raise TrainingError(f"no pictures in {shown(folder)}", hint=READABLE_FILES)
            self.files.append(found)

    def __len__(self) -> int:
        return sum(len(files) for files in self.files)

    def leave_out(self, unwanted: Sequence[Container[Path]]) -> None:
        """From now on draw from the other pictures only.

        Args:
            unwanted: of each folder; one folder may lie in another, where the same picture is wanted.

        Raises:
            TrainingError: a folder has no others.
        """
        for index, (files, those) in enumerate(zip(self.files, unwanted, strict=True)):
            self.files[index] = [path for path in files if path not in those]
            if not self.files[index]:
                reason = self.skipped.get(files[0], "")
                raise TrainingError(f"no usable picture in {shown(self.folders[index])}", hint=reason)

    def draw(self, random: Random) -> np.ndarray:
        """A random picture, (H, W, 3) uint8. One that cannot be used is noted in ``skipped``; another takes its place.

        Raises:
            TrainingError: a hundred draws in a row met no usable picture.
        """
        for _ in range(100):
            files = self.files[random.integers(len(self.files))]
            path = files[random.integers(len(files))]
            pixels = self.load(path)
            if pixels is not None:
                return pixels
        raise TrainingError(f"no usable picture among {len(self)}", hint=next(iter(self.skipped.values()), ""))

    def load(self, path: Path) -> np.ndarray | None:
        """One picture, (H, W, 3) uint8; None for one that cannot be used, which is noted in ``skipped``."""
        if path in self.skipped:
            return None
        if path in self._cache:
            return self._cache[path]
        try:
            picture = read_image(path)
            image = Image.fromarray(fill_transparent(picture.pixels, picture.alpha))
        except InputError as error:
            self.skipped[path] = error.message
            return None
        if recipe := recipe_of(picture.xmp):
            self.painted[path] = str(recipe)
        short = min(image.size)
        if short < self.least:
            self.small[path] = image.size
            self.skipped[path] = f"{shown(path)} is too small: {image.width}x{image.height} pixels"
            return None
        if short > SHORT_SIDE:
            scale = SHORT_SIDE / short
            size = (round(image.width * scale), round(image.height * scale))
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        pixels = np.asarray(image)
        with self._lock:
            if path not in self._cache and self._cached_bytes + pixels.nbytes <= self._cache_bytes:
                self._cache[path] = pixels
                self._cached_bytes += pixels.nbytes
        return pixels


def random_crop(random: Random, pixels: np.ndarray, size: int, zoom: tuple[float, float], aspect: float) -> np.ndarray:
    """A random window, resized to (size, size, 3), mirrored half of the time, in one of two ways turned.

    Half of the windows take one of the eight positions of a square; the others are turned by any angle. Photos and
    paintings are full of lines along rows and columns: from those alone G learns to draw such lines in every style.

    Args:
        zoom: bounds of the scale in output pixels per picture pixel, drawn log-uniformly; a window never leaves the
            picture, so small pictures are enlarged more.
        aspect: largest |log| of the change of aspect ratio.
    """
    height, width = pixels.shape[:2]
    angle = random.uniform(0, 360) if random.random() < 0.5 else 90.0 * random.integers(4)
    room = abs(np.cos(np.radians(angle))) + abs(np.sin(np.radians(angle)))  # side of the square around a turned one
    scale = np.exp(random.uniform(np.log(zoom[0]), np.log(zoom[1])))
    stretch = np.exp(random.uniform(-aspect, aspect) / 2)
    window_w, window_h = size / scale * stretch * room, size / scale / stretch * room
    shrink = min(1.0, width / window_w, height / window_h)
    window_w, window_h = min(window_w * shrink, width), min(window_h * shrink, height)  # rounding
    left, top = random.uniform(0, width - window_w), random.uniform(0, height - window_h)
    box = (left, top, left + window_w, top + window_h)
    side = int(np.ceil(size * room))
    around = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box=box)
    edge = (side - size) // 2
    crop = np.asarray(around.rotate(angle, Image.Resampling.BICUBIC))[edge : edge + size, edge : edge + size]
    return crop[:, ::-1] if random.random() < 0.5 else crop


def vary_colour(random: Random, pixels: np.ndarray) -> np.ndarray:
    """Multiply the diversity of styles: exchange channels, change gain and gamma, seldom invert. uint8 -> uint8."""
    if random.random() < 0.4:
        pixels = pixels[..., random.permutation(3)]
    if random.random() < 0.06:
        pixels = 255 - pixels
    if random.random() < 0.5:
        gain = random.uniform(0.75, 1.25, size=3)
        gamma = np.exp(random.uniform(-0.35, 0.35))
        table = np.clip((np.arange(256)[:, None] / 255) ** gamma * gain, 0, 1) * 255  # (256, 3)
        pixels = np.stack([table[pixels[..., c], c] for c in range(3)], axis=-1).astype(np.uint8)
    return pixels


def content_crop(random: Random, pictures: PictureFolders, size: int) -> np.ndarray:
    """A window of a photo, (size, size, 3) uint8, with something in it.

    A plain sky has no deviation to divide by: normalisation would blow up its gradient in layer after layer.
    """
    for _ in range(8):
        crop = random_crop(random, pictures.draw(random), size, zoom=(0.5, 1.8), aspect=0.1)
        if crop.std() >= LEAST_CONTRAST:
            break
    return crop


def style_crop(random: Random, pictures: PictureFolders, size: int) -> np.ndarray:
    """A window of a style picture, (size, size, 3) uint8, its colours varied half of the time."""
    crop = random_crop(random, pictures.draw(random), size, zoom=(0.7, 1.8), aspect=0.25)
    return vary_colour(random, crop) if random.random() < 0.5 else crop


def to_tensor(crops: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """(size, size, 3) uint8 crops -> (B, 3, size, size) float in [0, 1], channels last in memory."""
    batch = torch.from_numpy(np.stack(crops)).to(device, non_blocking=True)
    return (batch.float() / 255).permute(0, 3, 1, 2)


def step_random(seed: int, step: int, *place: int) -> Random:
    """The random numbers of one place in the batch of one training step: a function of (seed, step, place) alone."""
    return np.random.default_rng((seed, step, *place))


def batches(make: Callable[[int], T], start: int, stop: int, *, ahead: int = 4, threads: int = 2) -> Iterator[T]:
    """``make(step)`` for each step in order, computed by threads up to ``ahead`` steps before it is needed."""
    with ThreadPoolExecutor(threads) as pool:
        pending: dict[int, Future[T]] = {}
        try:
            for step in range(start, stop):
                for future in range(step, min(step + ahead, stop)):
                    if future not in pending:
                        pending[future] = pool.submit(make, future)
                yield pending.pop(step).result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
