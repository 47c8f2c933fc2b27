"""Fine painting: the picture itself is optimised, coarse to fine, until its features have the style's moments.

The generator G paints in one pass what one pass can: colours, contrast, texture. How a style builds its forms comes in
by optimising the pixels (Gatys et al., CVPR 2016), in several sizes one after the other (Gatys et al., CVPR 2017), from
G's painting on. With φ_l the maps of VGG19, μ_l and Σ_l the means and covariances of their channels over all positions,
starred for the style (``stylize.styles.moments``), c the photo, and n(·) the last of the maps with each channel brought
to mean 0 and deviation 1, the painting x minimises

    L(x) = Σ_l ( ‖μ_l(x) − μ*_l‖² / ‖μ*_l‖²  +  ‖Σ_l(x) − Σ*_l‖² / ‖Σ*_l‖² )  +  λ · mean (n(x) − n(c))²

by Adam. The sum has the colours themselves as one more map, whose moments are the style's palette: VGG19 hardly sees
them. What is varied is a Laplacian pyramid of x (Burt & Adelson 1983), as in STROTSS (Kolkin et al., CVPR 2019): large
areas then change as quickly as details.

A photo is painted first as a copy of at most 512 × 512 pixels, whose strokes are as in the style's pictures at that
size, then, in fewer steps, in its own size. So strokes look alike, as a whole, on a photo and on its copies. How large
photos are done: ``stylize.painting.stroke_scale.fine_scales``. At the end ``stylize.painting.stylizer`` maps colours to
the style's palette: a grey style's covariances hardly change with a tint, which the eye sees at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from stylize.engines.device import autocast, channels_last, training_precision
from stylize.errors import UsageError
from stylize.extras import install
from stylize.images.palette import Floats, covariance_of
from stylize.images.reading import Pixels
from stylize.networks.moments import channel_products, mean_and_variance, mean_of
from stylize.networks.perceptual import has_vgg19, load_vgg19
from stylize.painting.stroke_scale import FINE_SIDE
from stylize.styles import moments as style_moments
from stylize.styles.moments import LAYERS, Moments

STEPS = {4: 50, 2: 30, 1: 12}  # at each size; half as many again brought 3 % of style
CONTENT = 0.5  # λ: less dissolves forms, more leaves the photo's own
RATE = 0.02  # Adam's
WARM_UP = 5  # steps until that
LEVELS = 5  # of the pyramid
FLAT = 0.003  # least size of covariances, in squared means: a plain colour has none, and no distance is relative to 0
OUTSIDE = 0.1  # of the gradient that values out of [0, 1] get: they must find back
MOST_GROWTH = 2.0  # from one size to the next
MACS = {3: 112.0, 4: 241.0}  # thousands of multiplications for each pixel up to relu3_1, relu4_1: what a step costs

Statistics = list[tuple[Tensor, Tensor]]  # mean (C,) and covariance (C, C) of each map


class Scale(NamedTuple):
    """A size at which a picture is painted.

    Attributes:
        height, width: of the copy.
        size: of the style's pictures, as their divisor, see ``stylize.styles.moments``.
        steps: of Adam.
    """

    height: int
    width: int
    size: int
    steps: int

    @property
    def cost(self) -> float:
        """What its steps cost, in thousands of multiplications."""
        return self.steps * self.height * self.width * MACS[LAYERS[self.size]]


class Progress(NamedTuple):
    """How far a painting is.

    Attributes:
        scale, scales: the size it is painted at now, counted from 1, and how many there are.
        step, steps: done at this size, and to be done.
        style: distance from the style's moments: 1 is as far as nothing.
        share: of the whole work, 0 to 1.
        seconds: about how long the whole work takes, by the pace of this machine.
    """

    scale: int
    scales: int
    step: int
    steps: int
    style: float
    share: float
    seconds: float


def scales_of(height: int, width: int, copy: float) -> list[Scale]:
    """The sizes at which a picture is painted, one after the other.

    Args:
        copy: by how much the copy is smaller whose strokes are as in the style's pictures, 1 or more.
    """
    factors = [(copy * size, size) for size in LAYERS]
    more = math.ceil(math.log(copy, MOST_GROWTH) - 0.25) if copy > 1 else 0  # what is hardly larger needs no steps
    factors += [(copy ** (1 - (k + 1) / more), 1) for k in range(more)]
    return [
        Scale(max(round(height / factor), FINE_SIDE), max(round(width / factor), FINE_SIDE), size, STEPS[size])
        for factor, size in factors
    ]


class Fine:
    """VGG19 on a device, what it sees in pictures, and how they are painted by it.

    Raises:
        UsageError: VGG19's weights are not installed.
    """

    def __init__(self, device: torch.device, threads: int | None = None) -> None:
        if not has_vgg19():  # the weights of torchvision are others: a style's moments would mean nothing to them
            raise UsageError("fine painting needs VGG19's weights", hint=install("torch"))
        if threads is not None:
            torch.set_num_threads(threads)
        self._pace: float | None = None
        self.device, self.precision = device, training_precision(device)
        self.network = channels_last(load_vgg19().to(device, self.precision)).requires_grad_(False)

    @torch.no_grad()
    def moments(self, picture: Pixels) -> Moments:
        """The moments of a style's picture (H, W, 3) uint8, at all sizes."""
        found: dict[str, NDArray[Any]] = {}
        whole = self._tensor(picture)
        for size, layers in LAYERS.items():
            small = _resized(whole, *(max(round(side / size), FINE_SIDE) for side in whole.shape[2:]))
            for layer, (mean, covariance) in enumerate(_statistics(self._maps(small, layers)), start=1):
                values = style_moments.packed(mean.cpu().numpy(), covariance.cpu().numpy())
                found[f"{size}.{layer}.mean"], found[f"{size}.{layer}.covariance"] = values
        return found

    @torch.no_grad()
    def paint(
        self,
        photo: Pixels,
        moments: Moments,
        palette: Floats,
        quick: Callable[[Pixels], Pixels],
        *,
        strength: float = 1.0,
        copy: float = 1.0,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> Pixels:
        """Paint a photo, (H, W, 3) uint8 or uint16.

        Args:
            moments: the style's.
            palette: the style's, (9,).
            quick: paints a picture in one pass, in the same style and strength.
            strength: 0 to 1: with less than 1, the moments are between the photo's own and the style's.
            copy: see ``scales_of``.
            report: called at the start, and after every step.

        Raises:
            MemoryError
            FloatingPointError: the moments are such that the picture became infinite.
        """
        height, width = photo.shape[:2]
        scales = scales_of(height, width, copy)
        whole, cost, done = self._tensor(photo), sum(scale.cost for scale in scales), 0.0
        seconds = self.expected_seconds(height, width, copy)
        report(Progress(1, len(scales), 0, scales[0].steps, math.nan, 0.0, seconds))
        first = scales[len(LAYERS) - 1]  # the size of the copy: the ones before it are reduced from there
        guide = self._tensor(quick(_pixels(_resized(whole, first.height, first.width), photo.dtype)))
        painting: Tensor | None = None
        for number, scale in enumerate(scales, start=1):
            content = _resized(whole, scale.height, scale.width)
            if number > len(LAYERS) and painting is not None:
                guide = self._tensor(quick(_pixels(_enlarged(painting, content), photo.dtype)))
            detail = _resized(guide, scale.height, scale.width)
            painting = detail if painting is None else _enlarged(painting, detail)

            def tell(step: int, style: float, scale: Scale = scale, number: int = number, done: float = done) -> None:
                share = (done + scale.cost * step / scale.steps) / cost
                report(Progress(number, len(scales), step, scale.steps, style, share, seconds))

            painting = self._optimised(painting, content, moments, palette, scale, strength, tell)
            done += scale.cost
        assert painting is not None
        return _pixels(_resized(painting, height, width), photo.dtype)  # a tiny photo was painted larger

    def expected_seconds(self, height: int, width: int, copy: float = 1.0) -> float:
        """About how long ``paint`` takes."""
        if self._pace is None:
            self._pace = self._measured_pace()
        return self._pace * sum(scale.cost for scale in scales_of(height, width, copy))

    def _measured_pace(self) -> float:
        """Seconds for each of the units of ``Scale.cost``."""
        scale = Scale(128, 128, min(LAYERS), 2)
        grey = torch.full((1, 3, scale.height, scale.width), 0.5, device=self.device)
        moments = self.moments(np.full((128, 128, 3), 128, np.uint8))
        paces = []
        for _ in range(2):  # the first has memory to find
            started = time.perf_counter()
            self._optimised(grey, grey, moments, np.full(9, 0.1, np.float32), scale, 1.0, lambda step, style: None)
            paces.append((time.perf_counter() - started) / scale.cost)
        return min(paces)

    def _optimised(
        self,
        painting: Tensor,
        content: Tensor,
        moments: Moments,
        palette: Floats,
        scale: Scale,
        strength: float,
        tell: Callable[[int, float], None],
    ) -> Tensor:
        """The painting (1, 3, H, W) after the steps at one size."""
        layers = LAYERS[scale.size]
        with torch.no_grad():
            maps = self._maps(content, layers)
            kept, own = _normalised(maps[-1]), _statistics([content, *maps])
            wanted = [
                (torch.lerp(own_mean, mean, strength), torch.lerp(own_covariance, covariance, strength))
                for (own_mean, own_covariance), (mean, covariance) in zip(
                    own, self._wanted(moments, palette, scale.size), strict=True
                )
            ]
            del maps, own
        with torch.enable_grad():
            levels = [level.requires_grad_() for level in pyramid(painting)]
            optimiser = torch.optim.Adam(levels, lr=RATE, betas=(0.9, 0.99))
            for step in range(scale.steps):
                optimiser.param_groups[0]["lr"] = _rate(step, scale.steps)
                picture = _Clamped.apply(collapsed(levels))
                maps = self._maps(picture, layers)
                style = style_distance(_statistics([picture, *maps]), wanted)
                loss = style + CONTENT * functional.mse_loss(_normalised(maps[-1]), kept)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                tell(step + 1, style.item() / (2 * len(wanted)))
        with torch.no_grad():
            painted = collapsed(levels)
        if not bool(painted.isfinite().all()):
            raise FloatingPointError("fine painting came to infinite numbers")
        return painted.clamp(0, 1)

    def _maps(self, pictures: Tensor, layers: int) -> list[Tensor]:
        """φ's maps of pictures (1, 3, H, W)."""
        with autocast(self.device, self.precision):
            maps: list[Tensor] = self.network(pictures.contiguous(memory_format=torch.channels_last), layers)
            return maps

    def _wanted(self, moments: Moments, palette: Floats, size: int) -> Statistics:
        """The colours and the moments of a style at a size, as they are compared."""
        colours = torch.from_numpy(covariance_of(palette).astype(np.float32))
        wanted = [(torch.from_numpy(palette[:3]).to(self.device), colours.to(self.device))]
        for layer in range(1, LAYERS[size] + 1):
            mean, covariance = style_moments.unpacked(moments, f"{size}.{layer}")
            wanted.append((torch.from_numpy(mean).to(self.device), torch.from_numpy(covariance).to(self.device)))
        return wanted

    def _tensor(self, pixels: Pixels) -> Tensor:
        """(H, W, 3) -> (1, 3, H, W) in [0, 1]"""
        values = torch.from_numpy(pixels.astype(np.float32)).to(self.device)
        return values.permute(2, 0, 1)[None] / float(np.iinfo(pixels.dtype).max)


def style_distance(found: Statistics, wanted: Statistics) -> Tensor:
    """How far moments are from those of the style: the sum over the maps in L, 2 for each map of nothing at all."""
    terms = []
    for (mean, covariance), (wanted_mean, wanted_covariance) in zip(found, wanted, strict=True):
        size = wanted_mean.square().sum().clamp_min(1e-6)
        spread = torch.maximum(wanted_covariance.square().sum(), (FLAT * size).square())
        terms.append((mean - wanted_mean).square().sum() / size)
        terms.append((covariance - wanted_covariance).square().sum() / spread)
    return torch.stack(terms).sum()


def pyramid(picture: Tensor) -> list[Tensor]:
    """A Laplacian pyramid of a picture (B, 3, H, W), from fine to coarse; ``collapsed`` gives the picture again."""
    levels = []
    for _ in range(LEVELS - 1):
        smaller = functional.avg_pool2d(picture, 2, ceil_mode=True, count_include_pad=False)
        levels.append(picture - _grown(smaller, picture))
        picture = smaller
    return [*levels, picture]


def collapsed(levels: Sequence[Tensor]) -> Tensor:
    """The picture (B, 3, H, W) of a Laplacian pyramid."""
    picture = levels[-1]
    for level in reversed(levels[:-1]):
        picture = level + _grown(picture, level)
    return picture


class _Clamped(Function):
    """The picture in [0, 1]. Values outside are told to come back by a part of the gradient."""

    @staticmethod
    def forward(ctx: Any, picture: Tensor) -> Tensor:
        ctx.save_for_backward((picture >= 0) & (picture <= 1))
        return picture.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return torch.where(inside, grad, OUTSIDE * grad)


def _rate(step: int, steps: int) -> float:
    """Of a step, counted from 0: it rises to ``RATE`` and falls to a tenth of it, along a cosine."""
    falling = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps))
    return RATE * min(1.0, (step + 1) / WARM_UP) * falling


def _statistics(maps: Sequence[Tensor]) -> Statistics:
    """Mean (C,) and covariance (C, C) of the channels of each map (1, C, H, W)."""
    statistics = []
    for each in maps:
        mean = mean_of(each)[0]
        statistics.append((mean, channel_products(each)[0] - torch.outer(mean, mean)))
    return statistics


def _normalised(maps: Tensor) -> Tensor:
    """Each channel of maps (1, C, H, W) at mean 0 and deviation 1."""
    mean, variance = mean_and_variance(maps)
    return (maps.float() - mean[..., None, None]) * (variance[..., None, None] + 1e-5).rsqrt()


def _enlarged(painting: Tensor, detail: Tensor) -> Tensor:
    """A painting at the size of a larger picture, with that picture's detail."""
    smooth = _grown(_resized(detail, *painting.shape[2:]), detail)
    return (_grown(painting, detail) + detail - smooth).clamp(0, 1)


def _grown(picture: Tensor, like: Tensor) -> Tensor:
    """A picture (B, 3, ·, ·) at the size of another, by linear interpolation."""
    return functional.interpolate(picture, size=like.shape[2:], mode="bilinear", align_corners=False)


def _resized(picture: Tensor, height: int, width: int) -> Tensor:
    """A picture (1, 3, ·, ·) at another size, smoothed before it is reduced; itself if it has that size."""
    if (height, width) == tuple(picture.shape[2:]):
        return picture
    size = (height, width)
    return functional.interpolate(picture, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _pixels(picture: Tensor, dtype: np.dtype[Any]) -> Pixels:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3)"""
    steps = (picture[0].permute(1, 2, 0) * float(np.iinfo(dtype).max)).round()
    return steps.to(torch.int32).cpu().numpy().astype(dtype)
