"""Refine: make a style code more like its pictures, by optimising it with the generator as it is.

The encoder guesses a code in one look. Here the code, and an extended code that asks every layer of G directly
(``stylize.styles.refinement``), are optimised so that G, on windows of a few photos, matches the statistics of all
given pictures, over 50,000 numbers instead of pixels: Gram matrices (Gatys et al. 2016), means and deviations (Huang &
Belongie 2017) of a judge's features, the covariances of colours in every octave of detail, and means and deviations of
random filters (``stylize.networks.random_filters``). The judge is VGG19, or the light φ that the model carries. The
photos' content has a price, which follows how much of it is lost: the content loss may not grow beyond that of the
plain code. One window of every photo is not painted on but kept to decide, at the end, which step was the best. The
model's weights stay as they are; the style's file grows by 0.2 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from stylize.engines.device import autocast, channels_last, memory_errors, training_precision
from stylize.engines.torch import TorchEngine
from stylize.errors import DeviceError, InputError, UsageError
from stylize.files.packaged import packaged_path
from stylize.images.reading import Pixels, read_image
from stylize.networks.colour_transfer import apply_colour_map, colour_map, palette_of
from stylize.networks.generator import StyleConv, extend, finish_of, flow, grain_at
from stylize.networks.perceptual import (
    FeatureStatistics,
    PerceptualNetwork,
    feature_statistics,
    has_vgg19,
    load_vgg19,
    style_statistics,
    with_deviations,
)
from stylize.networks.random_filters import RandomNetwork, octaves_within
from stylize.options import PERCEPTUAL_NETWORKS, REFINE_STEPS, ModelSizes, check_perceptual
from stylize.painting.stylizer import Stylizer, at_working_size
from stylize.styles.refinement import refinement_shapes
from stylize.styles.style_code import FACTORS, StyleCode
from stylize.training import losses
from stylize.training.data import to_tensor

CROP, ZOOM = 256, 512  # pixels: side of the photos' windows, and the short side to which the photos are brought
ZOOMS = (1.0, 0.75, 1.25, 0.875, 1.5)  # of that short side, in turn: four photos must stand for all
WINDOWS = 12  # of each photo; the last is kept to check
BATCH = 1  # windows per step
RATE, KERNEL_RATE = 0.03, 0.02  # Adam's; they fall to a tenth
CHECK_EVERY, PATIENCE, LEAST_GAIN = 20, 6, 0.003  # steps; checks without a relative gain so large end the work
WEIGHTS = (3.0, 3.0, 3.0, 3.0)  # of the distances: style, moments, colours, patterns
GRID, FINISH = 10.0, 30.0  # weights of faults
PRICE, PRICE_RATE = 0.25, 0.1  # of content: at the start, in parts of the distance; and how fast it follows
DAMPING = 3.0  # how much dearer what is lost just now is: without, price and content swing around what is wanted
FENCE = 5.0  # what content that is lost counts when steps are compared
PERCEPTUAL = ("auto", *PERCEPTUAL_NETWORKS)
AIM = 0.98  # of the plain code's content loss: on photos never painted on, a little more is lost
CONTENT_LAYERS = (3, 4)  # of φ, counted from 0: relu4_1 and relu5_1


@dataclass(frozen=True)
class Progress:
    """Where the optimisation is, measured on the windows that are not painted on.

    Attributes:
        step: steps done.
        style: distance of the Gram matrices, relative: 0 is the style itself.
        moments: squared distance of the channels' means and deviations.
        colours: relative distance of the colours' covariances, octave by octave.
        patterns: squared distance of the random filters' means and deviations.
        content: content loss.
        kept: content loss against the plain code's, the worse of raw and normalised features: above 1 means lost.
    """

    step: int
    style: float
    moments: float
    colours: float
    patterns: float
    content: float
    kept: float

    @property
    def distance(self) -> float:
        """From the style, all in all."""
        distances = (self.style, self.moments, self.colours, self.patterns)
        return sum(weight * distance for weight, distance in zip(WEIGHTS, distances, strict=True))


def refine(
    stylizer: Stylizer,
    style: StyleCode,
    pictures: Sequence[Pixels],
    *,
    weights: Sequence[float] | None = None,
    steps: int = REFINE_STEPS,
    photos: Sequence[Pixels] | None = None,
    perceptual: str = "auto",
    report: Callable[[Progress], None] = lambda progress: None,
) -> StyleCode:
    """Optimise a style.

    Deterministic: the same pictures, photos and φ give the same code on the same machine.

    Args:
        style: the code of the pictures, to start from.
        pictures: (H, W, 3) uint8 each.
        weights: of the pictures, by default equal.
        steps: at most; it ends earlier when nothing is gained any more.
        photos: to paint on; by default those that the package carries.
        perceptual: φ, the judge: ``vgg19``, ``light``, or ``auto``, see ``chosen``.
        report: called at the start, every ``CHECK_EVERY`` steps, and last with the step whose style is returned.

    Raises:
        UsageError: steps below 1, no pictures, no such φ, or VGG19 is asked for and not there.
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
            work = _Refinement(engine, style, pictures, shares, photos or packaged_photos(), chosen(perceptual))
            return work.run(steps, report)
    except MemoryError as error:
        hint = "end other programs" if engine.device.type == "cpu" else "`device` cpu"
        raise DeviceError(f"out of memory while refining a style on {engine}", hint=hint) from error


def chosen(perceptual: str) -> str:
    """``vgg19`` or ``light``; ``auto`` is VGG19 where its weights are installed: nothing is downloaded.

    Raises:
        UsageError: there is no such network.
    """
    check_perceptual(perceptual, PERCEPTUAL)
    if perceptual == "auto":
        return "vgg19" if has_vgg19() else "light"
    return perceptual


def packaged_photos() -> list[Pixels]:
    """The small photos that the package carries, in the order of their names.

    Raises:
        InputError: there are none.
    """
    files = sorted(packaged_path("photos").glob("*.jpg"))
    if not files:
        raise InputError("the photos that styles are refined on are missing", hint="reinstall the package")
    return [read_image(file).pixels for file in files]


class _Painted(NamedTuple):
    """Windows of photos, painted."""

    output: Tensor  # (B, 3, CROP, CROP)
    maps: list[Tensor]  # φ's
    finish: Tensor  # M of each, (B, 3, 3)


class _Refinement:
    """The optimisation: what is wanted, what is varied, and how well they match."""

    def __init__(
        self,
        engine: TorchEngine,
        style: StyleCode,
        pictures: Sequence[Pixels],
        shares: NDArray[np.float64],
        photos: Sequence[Pixels],
        perceptual: str,
    ) -> None:
        self.style, self.device = style, engine.device
        self.generator, self.perceptual = engine.model.generator, engine.model.encoder.perceptual
        self.precision = training_precision(self.device)
        windows = [photo_windows(photo) for photo in photos]
        self.photos = to_tensor([window for each in windows for window in each], self.device)  # (P, 3, CROP, CROP)
        last = WINDOWS - 1
        self.painted, self.kept = ([k for k in range(len(self.photos)) if (k % WINDOWS == last) == b] for b in (0, 1))
        with torch.no_grad():
            tensors = [to_tensor([at_working_size(picture)], self.device) for picture in pictures]
            if perceptual == "vgg19":
                self.perceptual = self._vgg19(tensors)
            self.wanted = _pooled_statistics([style_statistics(self._look(picture)) for picture in tensors], shares)
            self.random_network = channels_last(RandomNetwork().to(self.device))
            self.random_network.normalise([*self.photos.split(1), *tensors])
            self.octaves = octaves_within(self.photos, *tensors)
            self.patterns = _pooled_statistics([self._patterns_of(picture) for picture in tensors], shares)
            colours = [losses.octave_covariances(picture) for picture in tensors]
            self.colours = [_pooled(each, shares) for each in zip(*colours, strict=True)]
            self.palette = torch.from_numpy(style.palette).to(self.device)[None]
            to_palette = colour_map(palette_of(self.photos), self.palette.expand(len(self.photos), -1))
            self.canvas = functional.pixel_unshuffle(apply_colour_map(self.photos, *to_palette), 2)  # in cells
            places = [(0, 2 * k * CROP // 3) for k in range(len(self.photos))]
            self.grain = grain_at(self.generator.grain, places, (CROP, CROP))
            self.content = [self._deep(self._look(photo[None])) for photo in self.photos]
        self.code = nn.Parameter(torch.tensor(style.code, device=self.device))
        self.added = {name: nn.Parameter(values.to(self.device)) for name, values in self._start(engine.sizes)}
        with torch.no_grad():
            allowed, finishes = [], []
            for k in range(len(self.photos)):
                painted = self._paint([k])
                allowed.append(self._content_of(painted.maps, [k]))
                finishes.append(painted.finish)
            self.allowed, self.finish = allowed, torch.cat(finishes)  # of each window; (P, 3, 3)
        self.plain = self._check(0)
        self.weights = torch.tensor(WEIGHTS, device=self.device)
        # Of content, normalised and raw. A style that is nearly met must not be lost for a little content.
        self.price = torch.full((2,), PRICE * self.plain.distance, device=self.device)

    def _start(self, sizes: ModelSizes) -> Iterator[tuple[str, Tensor]]:
        """What is added at first: as the style has it; else nothing, by a product whose left factor is zero."""
        random = torch.Generator().manual_seed(0)
        for name, shape in refinement_shapes(sizes).items():
            if name in self.style.refinement:
                yield name, torch.tensor(self.style.refinement[name])
            elif name.endswith(".right"):
                bank = cast(StyleConv, self.generator.convs[name.removesuffix(".right")]).weight
                yield name, torch.randn(shape, generator=random) * float(bank.std())
            else:
                yield name, torch.zeros(shape)

    def run(self, steps: int, report: Callable[[Progress], None]) -> StyleCode:
        kernels = [values for name, values in self.added.items() if name.endswith(FACTORS)]
        vectors = [self.code, *(values for name, values in self.added.items() if not name.endswith(FACTORS))]
        rates = [(vectors, RATE), (kernels, KERNEL_RATE)]
        optimiser = torch.optim.Adam([{"params": p, "lr": rate} for p, rate in rates], betas=(0.9, 0.99))
        best, best_progress, idle = self.style, self.plain, 0
        report(best_progress)
        random = np.random.default_rng(0)
        left: list[int] = []
        for step in range(1, steps + 1):
            for group, (_, rate) in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - 0.9 * (step - 1) / steps)
            if len(left) < BATCH:
                left = random.permutation(self.painted).tolist()
            loss = self._loss([left.pop() for _ in range(BATCH)])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*vectors, *kernels], 1.0)
            optimiser.step()
            if step % CHECK_EVERY == 0 or step == steps:
                progress = self._check(step)
                report(progress)
                idle = idle + 1 if _cost(progress) > _cost(best_progress) * (1 - LEAST_GAIN) else 0
                if _cost(progress) < _cost(best_progress):
                    best, best_progress = self._now(), progress
                if idle == PATIENCE:
                    break
        report(best_progress)
        return best

    def _paint(self, chosen: Sequence[int]) -> _Painted:
        """The chosen windows in the style as it is now."""
        modulations = extend(self.generator.modulations(self.code[None]), self.added)
        with self._autocast():
            cells = flow(
                lambda name, x: cast(StyleConv, self.generator.convs[name])(x, modulations[name]),
                self.canvas[chosen],
                self.grain[chosen],
            )
        bare = functional.pixel_shuffle(cells, 2).float()
        finish = finish_of(palette_of(bare), self.palette.expand(len(chosen), -1))
        output = apply_colour_map(bare, *finish)
        return _Painted(output, self._look(output), finish[0])

    def _look(self, pictures: Tensor) -> list[Tensor]:
        """φ's maps of pictures (B, 3, H, W)."""
        with self._autocast():
            maps: list[Tensor] = self.perceptual(pictures)
            return maps

    def _patterns_of(self, pictures: Tensor) -> list[FeatureStatistics]:
        """Statistics of the random network's maps of pictures (B, 3, H, W)."""
        with self._autocast():
            return [feature_statistics(f) for f in self.random_network(pictures, self.octaves)]

    @staticmethod
    def _deep(maps: Sequence[Tensor]) -> list[Tensor]:
        return [maps[k] for k in CONTENT_LAYERS]

    def _content_of(self, maps: Sequence[Tensor], chosen: Sequence[int]) -> Tensor:
        """The content losses of painted windows, of features normalised and as they are: (2,)."""
        found = self._deep(maps)
        content = [torch.cat(layer) for layer in zip(*(self.content[k] for k in chosen), strict=True)]
        return torch.stack([losses.content_loss(found, content), losses.feature_distance(found, content)])

    def _allowed(self, chosen: Sequence[int]) -> Tensor:
        """The content losses of the plain code, (2,)."""
        return torch.stack([self.allowed[k] for k in chosen]).mean(0)

    def _distances(self, painted: _Painted) -> Tensor:
        """How far painted windows are from the style: Gram matrices, moments, colours and patterns, (4,)."""
        times = len(painted.output)
        found, wanted = style_statistics(painted.maps), [s.repeat(times) for s in self.wanted]
        patterns = self._patterns_of(painted.output)
        return torch.stack(
            [
                losses.style_loss(found, wanted),
                losses.moments_distance(found, wanted),
                losses.octaves_distance(losses.octave_covariances(painted.output), self.colours),
                losses.moments_distance(patterns, [s.repeat(times) for s in self.patterns]),
            ]
        )

    def _loss(self, chosen: Sequence[int]) -> Tensor:
        """The distance from the style, and content at a price that rises while too much of it is lost.

        The prices are the multipliers of the constraints "content ≤ AIM · that of the plain code", found while the rest
        is optimised, and damped (Platt & Barr, NIPS 1987).
        """
        painted = self._paint(chosen)
        content = self._content_of(painted.maps, chosen) / self._allowed(chosen)  # (2,)
        lost = content.detach() - AIM
        price = self.price * torch.exp(DAMPING * lost)
        self.price = self.price * torch.exp(PRICE_RATE * lost)
        # φ hardly sees colour: mottled colours, which the finish scales to the right amount, would cost nothing.
        mottled = functional.mse_loss(painted.finish, self.finish[chosen])
        fault = GRID * losses.grid_loss(painted.output) + FINISH * mottled
        return self.weights @ self._distances(painted) + fault + (price * content).sum()

    @torch.no_grad()
    def _check(self, step: int) -> Progress:
        """How near the style and the content are, over the windows that are not painted on."""
        rows = []
        for k in self.kept:
            painted = self._paint([k])
            rows.append(torch.cat([self._distances(painted), self._content_of(painted.maps, [k])]))
        style, moments, colours, patterns, content, raw = torch.stack(rows).mean(0).tolist()
        normalised_allowed, raw_allowed = self._allowed(self.kept).tolist()
        kept = max(content / normalised_allowed, raw / raw_allowed)
        return Progress(step, style, moments, colours, patterns, content, kept)

    def _now(self) -> StyleCode:
        """The style as it is now."""
        return replace(
            self.style,
            code=self.code.detach().cpu().numpy().copy(),
            refinement={name: values.detach().cpu().numpy().copy() for name, values in self.added.items()},
        )

    def _vgg19(self, pictures: Sequence[Tensor]) -> PerceptualNetwork:
        """VGG19, normalised on the photos and the style's pictures."""
        network = channels_last(load_vgg19().to(self.device)).eval().requires_grad_(False)
        with self._autocast():
            network.normalise([*self.photos.split(1), *pictures])
        # Autocast would convert the frozen weights again at every call.
        return network.to(self.precision)

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.device, self.precision)


def _pooled_statistics(
    each: Sequence[Sequence[FeatureStatistics]], shares: NDArray[np.float64]
) -> list[FeatureStatistics]:
    """Statistics over all pictures together, by their shares, from those of each; a batch of one."""
    pooled = []
    for layer in zip(*each, strict=True):
        gram, mean = (_pooled(kind, shares) for kind in list(zip(*layer, strict=True))[:2])
        pooled.append(with_deviations(gram, mean))
    return pooled


def _pooled(each: Sequence[Tensor], shares: NDArray[np.float64]) -> Tensor:
    """Statistics of several pictures -> those of all together, by their shares."""
    return torch.stack([share * values for share, values in zip(shares.tolist(), each, strict=True)]).sum(0)


def _cost(progress: Progress) -> float:
    """The distance from the style; one that is paid for with content is no better."""
    return progress.distance * (1 + FENCE * max(progress.kept - 1, 0.0))


def photo_windows(photo: Pixels) -> list[Pixels]:
    """Windows of a photo, the same every time: (CROP, CROP, 3) uint8 each.

    In different places, sizes, and positions of a square; the last, by which steps are judged, upright and as photos
    are painted.
    """
    random = np.random.default_rng(0)
    height, width = photo.shape[:2]
    windows = []
    for k in range(WINDOWS):
        last = k == WINDOWS - 1
        scale = ZOOM * (1.0 if last else ZOOMS[k % len(ZOOMS)]) / min(height, width)
        size = (max(round(width * scale), CROP), max(round(height * scale), CROP))
        small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
        top, left = (int(random.integers(side - CROP + 1)) for side in small.shape[:2])
        window = small[top : top + CROP, left : left + CROP]
        if not last:
            window = window.transpose(1, 0, 2) if random.random() < 0.5 else window
            rows, columns = random.choice((-1, 1), size=2)
            window = window[::rows, ::columns]
        windows.append(window)
    return windows
