"""The generator G(content, z): the style code chooses the network, the photo only flows through it.

Each convolution owns a bank of K kernels, which the code mixes into one, ``W(z) = Σₖ aₖ(z) Wₖ`` (dynamic convolution,
Chen et al., CVPR 2020, with the style instead of the input as the condition). Its output is normalised and modulated
channel by channel, ``γ(z) (y − μ) / σ + β(z)``: AdaIN (Huang & Belongie, ICCV 2017, eq. 8) with γ, β from the code.
Capacity grows with K, the cost per pixel does not.

With the code known and the statistics μ, σ *frozen*, mix and AdaIN are one affine map per channel and fold into the
kernel: ``Generator.fold`` returns a plain stack of convolutions and ReLUs. It has no global operation left, so tiles
with a halo of ``MARGIN`` pixels give the pixels of the whole picture.

G paints on the photo after it was given the style's colours (``stylize.networks.colour_transfer``), the *canvas*: its
last layer adds to that picture, in logits, so that no output leaves [0, 1]. Paint changes the colours again, and most
where the photo had little of them; so the painting is given the style's palette once more, by an affine map, its
*finish*.

Beside the photo, G sees a *grain*: fixed random patterns, from dots to blotches, bound to positions. A clear sky has
nothing that a convolution could turn into strokes; the grain gives it something (as the noise of Texture Networks,
Ulyanov et al., ICML 2016).

The order of the layers is written once, in ``flow``; both forms of the network run through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stylize.images.palette import FINISH_FLOOR
from stylize.networks.colour_transfer import apply_colour_map, colour_map, palette_of
from stylize.networks.moments import mean_and_variance
from stylize.networks.plan import BORDER, GRAIN_BLUR, GRAIN_PERIOD, PLAN, Cut, Layer, Position, cuts_of, layers_of
from stylize.processor import has_bf16_instructions

ROUNDING = 1e-4  # relative; smaller deviations of a single-precision convolution mean nothing
CANVAS_EPSILON = 0.02  # the canvas is kept so far from black and white, where paint would not show
EPSILON = 1e-3  # of the variance; a flat crop must not have its noise blown up


class Modulation(NamedTuple):
    """What the code asks of one layer, for S styles."""

    mix: Tensor  # a, (S, K)
    scale: Tensor  # γ, (S, C); ones where the layer has no AdaIN
    shift: Tensor  # β, (S, C)
    added: Tensor | None = None  # ΔW, (C_out, C_in, 3, 3): what the refinement of a style (S = 1) adds to its kernel


def extend(
    modulations: Mapping[str, Modulation], refinement: Mapping[str, Tensor | NDArray[np.float32]]
) -> dict[str, Modulation]:
    """The modulations of a code (S = 1), with a refinement (``stylize.styles.refinement``) added."""
    extended = dict(modulations)
    for name, delta in refinement.items():
        layer, part = name.rsplit(".", 1)
        modulation = extended[layer]
        added = torch.as_tensor(delta, device=modulation.mix.device, dtype=modulation.mix.dtype)
        if part == "left":
            right = torch.as_tensor(refinement[f"{layer}.right"], device=added.device, dtype=added.dtype)
            extended[layer] = modulation._replace(added=(added @ right).unflatten(1, (-1, 3, 3)))
        elif part != "right":
            extended[layer] = modulation._replace(**{part: getattr(modulation, part) + added})
    return extended


class Mixed(NamedTuple):
    """One layer of one style: the bank mixed into a kernel, and what AdaIN makes of its output."""

    kernel: Tensor  # W(z), (C_out, C_in, 3, 3)
    scale: Tensor  # γ, (C_out,)
    shift: Tensor  # β, (C_out,)


def flow(
    conv: Callable[[str, Tensor], Tensor],
    canvas: Tensor,
    grain: Tensor,
    cut: Callable[[str, Tensor], Tensor] = lambda name, x: x,
) -> Tensor:
    """The wiring of G, whatever a convolution is: ``conv(name, x)`` applies the layer of that name.

    Pictures are in *cells*: the 2×2 pixels of a cell lie in 12 channels, as ``pixel_unshuffle`` puts them.

    Args:
        canvas: the photo in the style's colours, (B, 12, H/2, W/2) in [0, 1], H and W multiples of ``STRIDE``.
        grain: (B, 4, H/2, W/2), see ``grain_at``.
        cut: ``cut(name, x)`` cuts away what no longer matters of a picture's surroundings, as
            ``stylize.networks.plan.cuts_of`` says. The layers ``up`` and ``out`` are then to convolve without padding,
            which takes one position from each side. By default there are none.

    Returns:
        (B, 12, H/2, W/2) in [0, 1], without the surroundings.
    """

    def block(name: str, x: Tensor) -> Tensor:
        return x + conv(f"{name}_1", conv(f"{name}_0", x))

    half = conv("stem", torch.cat([(canvas * 2 - 1).to(grain.dtype), grain], dim=1))  # (B, ·, H/2, W/2)
    quarter = conv("down4", half)  # (B, ·, H/4, W/4)
    eighth = conv("down8", quarter)  # (B, ·, H/8, W/8)
    x = block("block16", conv("down16", eighth))  # (B, ·, H/16, W/16)
    x = conv("up8", cut("block16", x)) + cut("eighth", eighth)
    x = block("block8a", x)
    x = block("block8b", cut("block8a", x))
    x = conv("up4", cut("block8b", x)) + cut("quarter", quarter)
    x = block("block4", x)
    x = conv("up2", cut("block4", x)) + cut("half", half)
    paint = conv("out", x).float()  # (B, 12, H/2, W/2)
    canvas = cut("canvas", canvas).clamp(CANVAS_EPSILON, 1 - CANVAS_EPSILON)
    return torch.sigmoid(torch.logit(canvas) + paint)


def cutting(cuts: Mapping[str, Cut | Tensor]) -> Callable[[str, Tensor], Tensor]:
    """What ``flow`` takes as ``cut``, by the slices that ``stylize.networks.plan.cuts_of`` gives."""

    def cut(name: str, x: Tensor) -> Tensor:
        top, bottom, left, right = cuts[name]
        return x[..., top:bottom, left:right]

    return cut


def convolve(layer: Layer, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """One layer's convolution in a surrounded picture, see ``flow``; kernel and bias as ``fold`` returns them.

    The bias may be in a higher precision than picture and kernel. ``functional.conv2d`` wants one precision for all.
    """
    padding = 1 if layer.adain and not layer.enlarge else 0
    if bias is None or bias.dtype == kernel.dtype:
        y = functional.conv2d(x, kernel, bias, layer.stride, padding)
    elif x.device.type != "cpu":
        y = functional.conv2d(x, kernel, None, layer.stride, padding).add_(bias[:, None, None])
    elif kernel.dtype == torch.bfloat16 and has_bf16_instructions():
        # Adds it to the fp32 sums before they are rounded, in the same pass.
        y = torch.mkldnn_convolution(x, kernel, bias, [padding] * 2, [layer.stride] * 2, [1, 1], 1)
    else:  # the same sums, and the same rounding at the end
        y = functional.conv2d(x.float(), kernel.float(), bias, layer.stride, padding).to(x.dtype)
    return functional.pixel_shuffle(y, 2) if layer.enlarge else y


def fitted(layer: Layer, kernel: Tensor) -> Tensor:
    """The kernel that ``convolve`` takes.

    A 3×3 kernel on an enlarged picture sees each position of the original in one, two or four of its taps. Summed up,
    it is four 2×2 kernels on the original, one for each of the pixels that a position becomes: 4/9 of the work.
    Without padding, the first pixel of the result is the lower right one of its position.

    Args:
        kernel: (C_out, C_in, 3, 3).

    Returns:
        the same, or, for a layer that enlarges, (4 C_out, C_in, 2, 2), for ``pixel_shuffle``.
    """
    if not layer.enlarge:
        return kernel
    # By pixel (second, first) and tap of the original: which taps of the enlarged picture fall on it.
    taps = torch.tensor([[[1.0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], device=kernel.device)
    return torch.einsum("aty,bux,oiyx->oabitu", taps, taps, kernel).flatten(0, 2)


def recolour(cells: Tensor, matrix: Tensor, offset: Tensor, most: float = 1) -> Tensor:
    """A colour map ``x -> M x + t`` over pixels in cells, in one pass.

    Args:
        cells: (B, 12, h, w), uint8, uint16, or floats in [0, 1].
        matrix, offset: M (3, 3) and t (3,).
        most: white in the result.

    Returns:
        (B, 12, h, w) in [0, ``most``].
    """
    pixels = torch.eye(4, device=matrix.device)  # each of a cell's four by itself
    kernel = (matrix[:, None, :, None] * pixels[:, None]).reshape(12, 12, 1, 1)
    if not cells.is_floating_point():
        kernel = kernel / torch.iinfo(cells.dtype).max
    return functional.conv2d(cells.float(), kernel, offset.repeat_interleave(4)).clamp_(0, most)


def finished(painted: Tensor, palette: Tensor) -> Tensor:
    """Paintings with their finish, each by its own colours: (B, 3, H, W) in [0, 1] and wanted palettes (B, 9)."""
    with torch.autocast(painted.device.type, enabled=False):
        return apply_colour_map(painted, *finish_of(palette_of(painted), palette.float()))


def finish_of(found: Tensor, palette: Tensor) -> tuple[Tensor, Tensor]:
    """The finish of a painting with the palette ``found``, (B, 9) both: M (B, 3, 3) and t (B, 3)."""
    return colour_map(found, palette, FINISH_FLOOR)


def _make_grain() -> Tensor:
    """Random patterns (4, P/2, P/2) of mean 0 and deviation 1 that repeat without a seam, from dots to blotches."""
    size = GRAIN_PERIOD // 2
    white = torch.randn(len(GRAIN_BLUR), size, size, generator=torch.Generator().manual_seed(0))
    frequency = torch.fft.fftfreq(size).square()
    distance = frequency[:, None] + frequency[None, : size // 2 + 1]
    blur = torch.exp(-2 * (torch.pi * torch.tensor(GRAIN_BLUR)[:, None, None]) ** 2 * distance)  # a Gaussian's spectrum
    grain = torch.fft.irfft2(torch.fft.rfft2(white) * blur, s=(size, size))
    grain = grain - grain.mean((1, 2), keepdim=True)
    return grain / grain.std((1, 2), keepdim=True)


def grain_at(grain: Tensor, origins: Sequence[Position], shape: Sequence[int]) -> Tensor:
    """The grain under windows of a picture.

    Args:
        grain: (4, P/2, P/2), a generator's.
        origins: row and column of each window's upper left pixel, even; they may be negative.
        shape: height and width of the windows in pixels, even.

    Returns:
        (B, 4, H/2, W/2), channels last in memory.
    """
    windows, patterns = [], grain.permute(1, 2, 0)
    for top, left in origins:
        rows = torch.arange(top // 2, (top + shape[0]) // 2, device=grain.device) % grain.shape[1]
        columns = torch.arange(left // 2, (left + shape[1]) // 2, device=grain.device) % grain.shape[2]
        windows.append(patterns[rows[:, None], columns])
    return torch.stack(windows).permute(0, 3, 1, 2)


class StyleConv(nn.Module):
    """A bank of K kernels and the linear maps by which a code mixes and modulates them."""

    def __init__(self, layer: Layer, code_size: int, bank: int) -> None:
        super().__init__()
        self.layer = layer
        self.weight = nn.Parameter(torch.empty(bank, layer.channels_out, layer.channels_in, 3, 3))
        self.mix = nn.Linear(code_size, bank)
        self.modulate = nn.Linear(code_size, layer.channels_out * (2 if layer.adain else 1))
        for kernel in self.weight:
            nn.init.kaiming_normal_(kernel, nonlinearity="relu")
        nn.init.normal_(self.mix.weight, std=0.3 / code_size**0.5)
        nn.init.constant_(self.mix.bias, bank**-0.5)
        nn.init.normal_(self.modulate.weight, std=0.3 / code_size**0.5)
        nn.init.zeros_(self.modulate.bias)
        if not layer.adain:
            # ICNR (Aitken et al. 2017): the four phases of the pixel shuffle start out equal, without a 2-px grid.
            with torch.no_grad():
                self.weight.copy_(self.weight[:, ::4].repeat_interleave(4, dim=1) * 0.2)
                self.modulate.weight.copy_(self.modulate.weight[::4].repeat_interleave(4, dim=0))

    def modulation(self, code: Tensor) -> Modulation:
        """The modulations of the codes (S, Z) for this layer."""
        mix, affine = self.mix(code), self.modulate(code)
        if not self.layer.adain:
            return Modulation(mix, torch.ones_like(affine), affine)
        scale, shift = affine.chunk(2, dim=1)
        return Modulation(mix, 1 + scale, shift)

    def kernel(self, mix: Tensor, added: Tensor | None = None) -> Tensor:
        """W(z) = Σₖ aₖ Wₖ, and ΔW of a refined style: (S, K) -> (S, C_out, C_in, 3, 3)."""
        mixed = torch.einsum("sk,koihw->soihw", mix, self.weight)
        return mixed if added is None else mixed + added

    def forward(self, x: Tensor, modulation: Modulation) -> Tensor:
        """Convolve, normalise by each picture's own statistics, modulate.

        Args:
            x: (S·n, C_in, H, W): the n pictures of the first style, then those of the second, …

        The border is padded by reflection here: training crops are too small for a margin, and zeros would enter the
        statistics.
        """
        layer = self.layer
        styles = modulation.mix.shape[0]
        if layer.enlarge:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = functional.pad(x, (1, 1, 1, 1), mode="reflect" if min(x.shape[-2:]) > 1 else "replicate")
        kernels = self.kernel(modulation.mix, modulation.added)
        y = torch.cat(
            [functional.conv2d(part, w, stride=layer.stride) for part, w in zip(x.chunk(styles), kernels, strict=True)]
        )
        scale, shift = (_per_picture(m, y) for m in (modulation.scale, modulation.shift))
        if layer.adain:
            mean, variance = mean_and_variance(y)  # (B, C)
            scale = scale * (variance + EPSILON).rsqrt()
            shift = shift - scale * mean
        # One multiply-add, in the precision of the activations.
        y = torch.addcmul(shift.to(y.dtype)[..., None, None], y, scale.to(y.dtype)[..., None, None])
        return functional.relu(y) if layer.relu else y


def _per_picture(values: Tensor, pictures: Tensor) -> Tensor:
    """(S, C) -> (S·n, C)"""
    return values.float().repeat_interleave(pictures.shape[0] // values.shape[0], dim=0)


class Generator(nn.Module):
    """G(content, z).

    Args:
        code_size: length of the style code.
        widths: channels at 1/2, 1/4, 1/8, 1/16 of the resolution; multiples of 16 suit the machines' vector units.
        bank: K, kernels per layer.
    """

    grain: Tensor

    def __init__(self, code_size: int, widths: tuple[int, ...], bank: int) -> None:
        super().__init__()
        self.code_size, self.widths, self.bank = code_size, tuple(widths), bank
        self.convs = nn.ModuleDict(
            {name: StyleConv(layer, code_size, bank) for name, layer in layers_of(self.widths).items()}
        )
        self.register_buffer("grain", _make_grain())

    def forward(
        self, content: Tensor, code: Tensor, palette: Tensor, origins: Sequence[Position] | None = None
    ) -> Tensor:
        """Stylise pictures, each normalised by its own statistics (the form that is trained).

        Args:
            content: (S·n, 3, H, W) in [0, 1], H and W multiples of 16; n pictures for each code, style by style.
            code: (S, Z).
            palette: (S, 9), the style's colours.
            origins: where each picture's upper left corner lies on the grain, by default at 0, 0.

        Returns:
            (S·n, 3, H, W) in [0, 1].
        """
        grain = grain_at(self.grain, origins or [(0, 0)] * len(content), content.shape[2:])
        modulations = self.modulations(code)
        wanted = palette.repeat_interleave(len(content) // len(palette), dim=0)
        with torch.no_grad(), torch.autocast(content.device.type, enabled=False):
            canvas = apply_colour_map(content, *colour_map(palette_of(content), wanted.float()))
        cells = functional.pixel_unshuffle(canvas, 2)
        painted = flow(lambda name, x: self.convs[name](x, modulations[name]), cells, grain)
        return finished(functional.pixel_shuffle(painted, 2), wanted)

    def modulations(self, code: Tensor) -> dict[str, Modulation]:
        """What the codes (S, Z) ask of every layer: the *extended code*. In fp32, also in training."""
        with torch.autocast(code.device.type, enabled=False):
            return {name: cast(StyleConv, conv).modulation(code.float()) for name, conv in self.convs.items()}

    def mixed(self, modulations: Mapping[str, Modulation]) -> dict[str, Mixed]:
        """Every layer's kernel, scale and shift for one style (S = 1)."""
        layers = {}
        for name, modulation in modulations.items():
            kernel = cast(StyleConv, self.convs[name]).kernel(modulation.mix.float(), modulation.added)[0]
            layers[name] = Mixed(kernel, modulation.scale[0].float(), modulation.shift[0].float())
        return layers

    @torch.inference_mode()
    def fold(
        self,
        canvas: Tensor,
        mixed: Mapping[str, Mixed],
        palette: Tensor,
        origins: Sequence[Position] | None = None,
        margin: int = BORDER,
    ) -> tuple[FoldedGenerator, Tensor]:
        """Freeze the statistics of one photo, and fold style and statistics into plain convolutions.

        Args:
            canvas: (n, 12, h, w) in [0, 1], n windows of one photo in the style's colours, in cells. The outer
                ``margin`` pixels of each are its surroundings: they are seen, but not counted.
            mixed: the layers of one style.
            palette: (1, 9), the style's colours.
            origins: where each window's upper left pixel lies on the grain, by default at 0, 0.

        Returns:
            the folded generator, and what it makes of these windows: (n, 12, h − ``margin``, w − ``margin``).
        """
        painted, measured = measure(mixed, canvas, grain_under(self.grain, canvas, origins), margin)
        found = palette_of(painted.reshape(len(painted), 3, -1), pooled=True)  # of a colour, 4 channels
        matrix, offset = finish_of(found, palette)
        finish = ColourMap(matrix[0], offset[0])
        kernels = {name: layer.kernel for name, layer in mixed.items()}
        folded = FoldedGenerator(fold(kernels, measured.gains, measured.biases), finish, self.grain)
        return folded, recolour(painted, *finish)


def grain_under(grain: Tensor, cells: Tensor, origins: Sequence[Position] | None) -> Tensor:
    """``grain_at`` for windows in cells, by default at 0, 0."""
    return grain_at(grain, origins or [(0, 0)] * len(cells), [2 * side for side in cells.shape[2:]])


class ColourMap(NamedTuple):
    """``x -> M x + t``"""

    matrix: Tensor  # M (3, 3)
    offset: Tensor  # t (3,)


class Measured(NamedTuple):
    """The statistics of one photo in one style."""

    gains: dict[str, Tensor]  # by layer, γ/σ and β − μ γ/σ, (C,): what AdaIN comes down to
    biases: dict[str, Tensor]


def measure(mixed: Mapping[str, Mixed], canvas: Tensor, grain: Tensor, margin: int = BORDER) -> tuple[Tensor, Measured]:
    """Run G over windows of one photo, each layer normalised by its statistics over all of them.

    Each layer's statistics are measured and frozen before the next layer sees its output.

    Args:
        mixed: the layers of one style.
        canvas, grain: see ``flow``; surrounded by ``margin`` pixels on every side.

    Returns:
        the painted windows without the margin and the finish, and what was measured.
    """
    gains: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}

    def conv(name: str, x: Tensor) -> Tensor:
        layer = PLAN[name]
        kernel, scale, shift = mixed[name]
        y = convolve(layer, x, fitted(layer, kernel))
        gain, bias = torch.ones_like(shift), shift
        if layer.adain:
            mean, var = _inner_statistics(y, layer.margin_within(margin) // (layer.spacing * layer.stride))
            gain = scale * (var + EPSILON).rsqrt()
            # A plain photo has no deviation: what is measured is rounding, and must not be amplified.
            gain = torch.where(var.sqrt() > ROUNDING * (1 + mean.abs()), gain, torch.zeros_like(gain))
            bias = shift - gain * mean
        gains[name], biases[name] = gain, bias
        y = torch.addcmul(bias[:, None, None], y, gain[:, None, None])
        return functional.relu(y) if layer.relu else y

    painted = flow(conv, canvas, grain, cutting(cuts_of([margin] * 4)))
    return painted, Measured(gains, biases)


def _inner_statistics(y: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of each channel over all windows (n, C, h, w) without their margins."""
    inner = y[..., margin:-margin, margin:-margin]
    mean = inner.mean((0, 2, 3))
    return mean, (inner - mean[:, None, None]).square().mean((0, 2, 3))


def fold(
    kernels: Mapping[str, Tensor], gains: Mapping[str, Tensor], biases: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """By layer, the kernel and bias that convolve, normalise and modulate at once; see ``measure`` and ``paint``."""
    folded = {}
    for name, layer in PLAN.items():
        kernel, bias = kernels[name] * gains[name][:, None, None, None], biases[name]
        folded[name] = (fitted(layer, kernel), bias.repeat_interleave(4) if layer.enlarge else bias)
    return folded


def paint(
    folded: Mapping[str, tuple[Tensor, Tensor]], canvas: Tensor, grain: Tensor, cuts: Mapping[str, Cut | Tensor]
) -> Tensor:
    """The folded network without the finish: convolutions, biases and ReLUs. See ``flow``."""

    def conv(name: str, x: Tensor) -> Tensor:
        kernel, bias = folded[name]
        y = convolve(PLAN[name], x.to(kernel.dtype), kernel, bias)
        return functional.relu_(y) if PLAN[name].relu else y

    return flow(conv, canvas, grain, cutting(cuts))


class FoldedGenerator:
    """G for one style and one photo.

    Local: an output pixel depends on the input within ``MARGIN`` pixels only, and padding with zeros at the border
    changes nothing further inside.
    """

    def __init__(self, folded: Mapping[str, tuple[Tensor, Tensor]], finish: ColourMap, grain: Tensor) -> None:
        self.folded, self.finish, self.grain = folded, finish, grain

    def to(self, dtype: torch.dtype) -> FoldedGenerator:
        """The same network with its kernels in another precision, laid out channels-last.

        The last layer stays in fp32: 8 bits of mantissa would show as bands in a smooth sky. So do all biases: what
        AdaIN takes away can be many times what it leaves, and an error there shifts a channel everywhere.
        """
        folded = {}
        for name, (kernel, bias) in self.folded.items():
            kind = dtype if PLAN[name].adain else torch.float32
            folded[name] = (kernel.to(kind, memory_format=torch.channels_last), bias)
        return FoldedGenerator(folded, self.finish, self.grain.to(dtype))

    @torch.inference_mode()
    def __call__(
        self,
        canvas: Tensor,
        origins: Sequence[Position] | None = None,
        margins: Sequence[int] = (BORDER, BORDER, BORDER, BORDER),
    ) -> Tensor:
        """(B, 12, h, w) in [0, 1], in cells -> the same without the surroundings.

        Args:
            origins: where each window's upper left pixel lies on the grain, by default at 0, 0.
            margins: how many pixels at the top, bottom, left and right are surroundings: ``MARGIN`` where the picture
                goes on, ``BORDER`` beyond its border.
        """
        grain = grain_under(self.grain, canvas, origins)
        return recolour(paint(self.folded, canvas, grain, cuts_of(margins)), *self.finish)
