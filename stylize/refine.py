"""Refine: make a style code more like its pictures, by optimising it with the generator as it is.

The encoder guesses a code in one look. Here the code, and an extended code that asks every layer of G directly
(``stylize.extended_code``), are optimised so that G, on a handful of small photos, matches the Gram matrices of all
given pictures through the light φ that the model carries (the objective of Gatys et al. 2016, over 2,700 numbers
instead of pixels). The photos' content is fenced: the content loss may not grow beyond that of the plain code. The
model's weights stay as they are; the style's file grows by ten kilobytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from stylize import losses
from stylize.data import to_tensor
from stylize.device import memory_errors, pick_precision
from stylize.errors import DeviceError, InputError, UsageError
from stylize.extended_code import refinement_sizes
from stylize.generator import StyleConv, extend, flow, grain_at
from stylize.images import Pixels, read_image
from stylize.packaged import packaged_path
from stylize.palette import apply_colour_map, colour_map, palette_of
from stylize.perceptual import FeatureStatistics, feature_statistics
from stylize.style_code import StyleCode
from stylize.torch_engine import TorchEngine
from stylize.transfer import Stylizer, at_working_size

STEPS = 200
CROP, ZOOM = 192, 224  # pixels: side of the photos' windows, and the short side to which the photos are reduced
WINDOWS = 4  # of each photo
BATCH = 4  # windows per step
RATE = 0.05  # Adam's; it falls to a tenth
CHECK_EVERY, PATIENCE, LEAST_GAIN = 20, 3, 0.003  # steps; checks without a relative gain so large end the work
STYLE, MOMENTS, PALETTE, GRID, FENCE = 3.0, 3.0, 0.5, 10.0, 5.0  # weights of the terms
CONTENT_LAYERS = (2, 3)  # of φ, counted from 0: relu3_1 and relu4_1


@dataclass(frozen=True)
class Progress:
    """Where the optimisation is.

    Attributes:
        step: steps done.
        style: distance of the Gram matrices, relative: 0 is the style itself.
        content: content loss.
    """

    step: int
    style: float
    content: float


def refine(
    stylizer: Stylizer,
    style: StyleCode,
    pictures: Sequence[Pixels],
    *,
    weights: Sequence[float] | None = None,
    steps: int = STEPS,
    photos: Sequence[Pixels] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> StyleCode:
    """Optimise a style.

    Deterministic: the same pictures and photos give the same code on the same machine.

    Args:
        style: the code of the pictures, to start from.
        pictures: (H, W, 3) uint8 each.
        weights: of the pictures, by default equal.
        steps: at most; it ends earlier when nothing is gained any more.
        photos: to paint on; by default those that the package carries.
        report: called at the start, every ``CHECK_EVERY`` steps, and last with the step whose style is returned.

    Raises:
        UsageError: steps below 1, or no pictures.
        InputError: the package's photos are missing.
        RefusedError: the code belongs to another model.
        DeviceError: out of memory.
    """
    if steps < 1 or not pictures:
        raise UsageError("to refine a style takes at least one step and one picture")
    stylizer.check(style)
    shares = np.full(len(pictures), 1.0) if weights is None else np.asarray(weights, np.float64)
    # Sums of floats depend on their order: a fixed one makes equal sets give equal bytes.
    order = sorted(range(len(pictures)), key=lambda k: (pictures[k].shape, pictures[k].tobytes()))
    pictures, shares = [pictures[k] for k in order], shares[order] / shares.sum()
    engine = stylizer.torch_engine()
    try:
        with memory_errors(), torch.enable_grad():
            return _Refinement(engine, style, pictures, shares, photos or packaged_photos()).run(steps, report)
    except MemoryError as error:
        raise DeviceError(f"out of memory while refining a style on {engine}", hint="--device cpu") from error


def packaged_photos() -> list[Pixels]:
    """The small photos that the package carries, in the order of their names.

    Raises:
        InputError: there are none.
    """
    files = sorted(packaged_path("photos").glob("*.jpg"))
    if not files:
        raise InputError("the photos that styles are refined on are missing", hint="install stylize again")
    return [read_image(file).pixels for file in files]


class _Refinement:
    """The optimisation: what is wanted, what is varied, and how well they match."""

    def __init__(
        self,
        engine: TorchEngine,
        style: StyleCode,
        pictures: Sequence[Pixels],
        shares: NDArray[np.float64],
        photos: Sequence[Pixels],
    ) -> None:
        self.style, self.device = style, engine.device
        self.generator, self.perceptual = engine.model.generator, engine.model.encoder.perceptual
        half = pick_precision(self.device)
        self.precision = half if half == torch.bfloat16 else torch.float32  # fp16 would need its losses scaled
        with torch.no_grad():
            self.wanted = self._statistics_of(pictures, shares)
            self.palette = torch.from_numpy(style.palette).to(self.device)[None]
            windows = [window for photo in photos for window in photo_windows(photo)]
            self.photos = to_tensor(windows, self.device)  # (P, 3, CROP, CROP)
            colours = colour_map(palette_of(self.photos), self.palette.expand(len(windows), -1))
            self.canvas = functional.pixel_unshuffle(apply_colour_map(self.photos, *colours), 2)  # in cells
            self.grain = grain_at(
                self.generator.grain, [(0, 2 * k * CROP // 3) for k in range(len(windows))], (CROP, CROP)
            )
            with self._autocast():
                maps = self.perceptual(self.photos)
            self.content = [maps[k].float() for k in CONTENT_LAYERS]
        self.code = nn.Parameter(torch.tensor(style.code, device=self.device))
        old = style.refinement
        self.added = {
            name: nn.Parameter(torch.tensor(old.get(name, np.zeros(size, np.float32)), device=self.device))
            for name, size in refinement_sizes(engine.sizes).items()
        }
        with torch.no_grad():
            self.allowed = torch.stack([self._content_of(*self._paint([k]), [k]) for k in range(len(windows))])

    def run(self, steps: int, report: Callable[[Progress], None]) -> StyleCode:
        parameters = [self.code, *self.added.values()]
        optimiser = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99))
        best, best_progress, idle = self.style, self._check(0), 0
        report(best_progress)
        random = np.random.default_rng(0)
        for step in range(1, steps + 1):
            for group in optimiser.param_groups:
                group["lr"] = RATE * (1 - 0.9 * (step - 1) / steps)
            chosen = random.permutation(len(self.photos))[:BATCH].tolist()
            loss = self._loss(chosen)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            if step % CHECK_EVERY == 0 or step == steps:
                progress = self._check(step)
                report(progress)
                idle = idle + 1 if self._cost(progress) > self._cost(best_progress) * (1 - LEAST_GAIN) else 0
                if self._cost(progress) < self._cost(best_progress):
                    best, best_progress = self._kept(), progress
                if idle == PATIENCE:
                    break
        report(best_progress)
        return best

    def _paint(self, chosen: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The chosen windows in the style as it is now, and φ's maps of them."""
        wishes = extend(self.generator.modulations(self.code[None]), self.added)
        with self._autocast():
            cells = flow(
                lambda name, x: cast(StyleConv, self.generator.convs[name])(x, wishes[name]),
                self.canvas[chosen],
                self.grain[chosen],
            )
            output = functional.pixel_shuffle(cells, 2)
            return output, self.perceptual(output)

    def _content_of(self, output: Tensor, maps: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
        return losses.content_loss([maps[k] for k in CONTENT_LAYERS], [content[chosen] for content in self.content])

    def _loss(self, chosen: Sequence[int]) -> Tensor:
        output, maps = self._paint(chosen)
        found = [feature_statistics(f) for f in maps]
        wanted = [s.repeat(len(chosen)) for s in self.wanted]
        content = self._content_of(output, maps, chosen)
        return (
            STYLE * losses.style_loss(found, wanted)
            + MOMENTS * losses.moments_loss(found, wanted)
            + PALETTE * self._palette_loss(output)
            + GRID * losses.grid_loss(output.float())
            + FENCE * torch.relu(content / self.allowed[chosen].mean() - 1)
        )

    def _palette_loss(self, output: Tensor) -> Tensor:
        return 10 * (palette_of(output) - self.palette).square().sum(1).mean()

    @torch.no_grad()
    def _check(self, step: int) -> Progress:
        """How near the style and the content are, over all windows."""
        styles, contents = [], []
        for start in range(0, len(self.photos), BATCH):
            chosen = list(range(start, min(start + BATCH, len(self.photos))))
            output, maps = self._paint(chosen)
            found = [feature_statistics(f) for f in maps]
            styles.append(float(losses.style_loss(found, [s.repeat(len(chosen)) for s in self.wanted])))
            contents.append(float(self._content_of(output, maps, chosen)))
        return Progress(step, float(np.mean(styles)), float(np.mean(contents)))

    def _cost(self, progress: Progress) -> float:
        """The style distance; one that is paid for with content is no better."""
        return progress.style * (1 + FENCE * max(progress.content / float(self.allowed.mean()) - 1, 0.0))

    def _kept(self) -> StyleCode:
        """The style as it is now."""
        return replace(
            self.style,
            code=self.code.detach().cpu().numpy().copy(),
            refinement={name: values.detach().cpu().numpy().copy() for name, values in self.added.items()},
        )

    def _statistics_of(self, pictures: Sequence[Pixels], shares: NDArray[np.float64]) -> list[FeatureStatistics]:
        """φ's statistics over all pictures together, by their shares; a batch of one."""
        each = []
        for picture in pictures:
            maps = self.perceptual(to_tensor([at_working_size(picture)], self.device))
            each.append([feature_statistics(f) for f in maps])
        pooled = []
        for layer in zip(*each, strict=True):
            gram, mean = (
                sum(share * t for share, t in zip(shares, ts, strict=True)) for ts in list(zip(*layer, strict=True))[:2]
            )
            second = gram.diagonal(dim1=1, dim2=2) * gram.shape[1]
            pooled.append(FeatureStatistics(gram, mean, ((second - mean.square()).clamp_min(0) + 1e-5).sqrt()))
        return pooled

    def _autocast(self) -> torch.autocast | nullcontext[None]:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)


def photo_windows(photo: Pixels) -> list[Pixels]:
    """Windows at the corners of a photo that was reduced to ``ZOOM``: (CROP, CROP, 3) uint8 each."""
    height, width = photo.shape[:2]
    scale = ZOOM / min(height, width)
    size = (max(round(width * scale), CROP), max(round(height * scale), CROP))
    small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
    bottom, right = small.shape[0] - CROP, small.shape[1] - CROP
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    return [small[top : top + CROP, left : left + CROP] for top, left in corners[:WINDOWS]]
