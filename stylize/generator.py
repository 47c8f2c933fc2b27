"""The generator G(content, z): the style code chooses the network, the photo only flows through it.

Each convolution owns a bank of K kernels, which the code mixes into one, ``W(z) = Σₖ aₖ(z) Wₖ`` (dynamic convolution,
Chen et al., CVPR 2020, with the style instead of the input as the condition). Its output is normalised and modulated
channel by channel, ``γ(z) (y − μ) / σ + β(z)``: AdaIN (Huang & Belongie, ICCV 2017, eq. 8) with γ, β from the code.
Capacity grows with K, the cost per pixel does not.

With the code known and the statistics μ, σ *frozen*, mix and AdaIN are one affine map per channel and fold into the
kernel: ``Generator.fold`` returns a plain stack of convolutions and ReLUs. It has no global operation left, so tiles
with a halo of ``MARGIN`` pixels give the pixels of the whole picture.

G paints on the photo after it was given the style's colours (``stylize.palette``): its last layer adds to that picture,
in logits, so that no output leaves [0, 1].

Beside the photo, G sees a *grain*: fixed random patterns, from dots to blotches, bound to positions. A clear sky has
nothing that a convolution could turn into strokes; the grain gives it something (as the noise of Texture Networks,
Ulyanov et al., ICML 2016).

The order of the layers is written once, in ``flow``; both forms of the network run through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylize.palette import apply_colour_map, colour_map, palette_of

STRIDE = 16  # pixels per position of the coarsest layer: heights and widths must be multiples of it
ROUNDING = 1e-4  # relative; smaller deviations of a single-precision convolution mean nothing
CANVAS_EPSILON = 0.02  # the canvas is kept so far from black and white, where paint would not show
EPSILON = 1e-3  # of the variance; a flat crop must not have its noise blown up
GRAIN_PERIOD = 512  # pixels after which the grain repeats
GRAIN_BLUR = (0.0, 1.0, 2.5, 6.0)  # deviation of the Gaussian that smooths each of its patterns, in steps of 2 pixels


Position = tuple[int, int]  # row and column of a pixel, for placing pictures on the grain


@dataclass(frozen=True)
class Layer:
    """One 3×3 convolution of G, followed by AdaIN and ReLU unless said otherwise.

    ``spacing`` is the distance, in pixels of the picture, between neighbouring positions of its input.
    """

    channels_in: int
    channels_out: int
    spacing: int
    stride: int = 1
    relu: bool = True
    adain: bool = True


class Modulation(NamedTuple):
    """What the code asks of one layer, for S styles."""

    mix: Tensor  # a, (S, K)
    scale: Tensor  # γ, (S, C); ones where the layer has no AdaIN
    shift: Tensor  # β, (S, C)


def layers_of(widths: tuple[int, ...]) -> dict[str, Layer]:
    """The convolutions of G by name, in the order in which ``flow`` runs them.

    Args:
        widths: channels at 1/2, 1/4, 1/8 and 1/16 of the resolution.
    """
    half, quarter, eighth, sixteenth = widths
    return {
        "stem": Layer(12 + len(GRAIN_BLUR), half, 2),
        "down4": Layer(half, quarter, 2, stride=2),
        "down8": Layer(quarter, eighth, 4, stride=2),
        "down16": Layer(eighth, sixteenth, 8, stride=2),
        "block16_0": Layer(sixteenth, sixteenth, 16),
        "block16_1": Layer(sixteenth, sixteenth, 16, relu=False),
        "up8": Layer(sixteenth, eighth, 8),
        "block8a_0": Layer(eighth, eighth, 8),
        "block8a_1": Layer(eighth, eighth, 8, relu=False),
        "block8b_0": Layer(eighth, eighth, 8),
        "block8b_1": Layer(eighth, eighth, 8, relu=False),
        "up4": Layer(eighth, quarter, 4),
        "block4_0": Layer(quarter, quarter, 4),
        "block4_1": Layer(quarter, quarter, 4, relu=False),
        "up2": Layer(quarter, half, 2),
        "out": Layer(half, 12, 2, relu=False, adain=False),
    }


def flow(conv: Callable[[str, Tensor], Tensor], canvas: Tensor, grain: Tensor) -> Tensor:
    """The wiring of G, whatever a convolution is: ``conv(name, x)`` applies the layer of that name.

    Args:
        canvas: the photo in the style's colours, (B, 3, H, W) in [0, 1], H and W multiples of ``STRIDE``.
        grain: (B, 4, H/2, W/2), see ``grain_at``.

    Returns:
        (B, 3, H, W) in [0, 1].
    """

    def block(name: str, x: Tensor) -> Tensor:
        return x + conv(f"{name}_1", conv(f"{name}_0", x))

    def enlarge(x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")

    cells = functional.pixel_unshuffle(canvas * 2 - 1, 2)  # (B, 12, H/2, W/2)
    half = conv("stem", torch.cat([cells, grain], dim=1))  # (B, ·, H/2, W/2)
    quarter = conv("down4", half)  # (B, ·, H/4, W/4)
    eighth = conv("down8", quarter)  # (B, ·, H/8, W/8)
    x = block("block16", conv("down16", eighth))  # (B, ·, H/16, W/16)
    x = conv("up8", enlarge(x)) + eighth
    x = block("block8b", block("block8a", x))
    x = conv("up4", enlarge(x)) + quarter
    x = block("block4", x)
    x = conv("up2", enlarge(x)) + half
    paint = functional.pixel_shuffle(conv("out", x), 2)  # (B, 3, H, W)
    return torch.sigmoid(torch.logit(canvas, eps=CANVAS_EPSILON) + paint.float())


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
        (B, 4, H/2, W/2).
    """
    windows = []
    for top, left in origins:
        rows = torch.arange(top // 2, (top + shape[0]) // 2, device=grain.device) % grain.shape[1]
        columns = torch.arange(left // 2, (left + shape[1]) // 2, device=grain.device) % grain.shape[2]
        windows.append(grain[:, rows[:, None], columns])
    return torch.stack(windows)


def _margin() -> int:
    """The receptive field's radius in pixels, rounded up to whole positions of the coarsest layer.

    A 3×3 kernel reaches one position to each side; the shuffle looks one pixel aside.
    """
    reach = 1 + sum(layer.spacing for layer in layers_of((1, 1, 1, 1)).values())
    return -(-reach // STRIDE) * STRIDE


MARGIN = _margin()


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
        """The wishes of the codes (S, Z) for this layer."""
        mix, affine = self.mix(code), self.modulate(code)
        if not self.layer.adain:
            return Modulation(mix, torch.ones_like(affine), affine)
        scale, shift = affine.chunk(2, dim=1)
        return Modulation(mix, 1 + scale, shift)

    def kernel(self, mix: Tensor) -> Tensor:
        """W(z) = Σₖ aₖ Wₖ: (S, K) -> (S, C_out, C_in, 3, 3)."""
        return torch.einsum("sk,koihw->soihw", mix, self.weight)

    def forward(self, x: Tensor, modulation: Modulation) -> Tensor:
        """Convolve, normalise by each picture's own statistics, modulate.

        Args:
            x: (S·n, C_in, H, W): the n pictures of the first style, then those of the second, …

        The border is padded by reflection here: training crops are too small for a margin, and zeros would enter the
        statistics.
        """
        layer = self.layer
        styles = modulation.mix.shape[0]
        x = functional.pad(x, (1, 1, 1, 1), mode="reflect" if min(x.shape[-2:]) > 1 else "replicate")
        kernels = self.kernel(modulation.mix)
        y = torch.cat(
            [functional.conv2d(part, w, stride=layer.stride) for part, w in zip(x.chunk(styles), kernels, strict=True)]
        )
        scale, shift = (_per_picture(m, y) for m in modulation[1:])
        if layer.adain:
            mean = y.mean((2, 3), dtype=torch.float32)  # (B, C)
            second = y.square().mean((2, 3), dtype=torch.float32)
            scale = scale * ((second - mean.square()).clamp_min(0) + EPSILON).rsqrt()
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
        return flow(lambda name, x: self.convs[name](x, modulations[name]), canvas, grain)

    def modulations(self, code: Tensor) -> dict[str, Modulation]:
        """What the codes (S, Z) ask of every layer: the *extended code*."""
        return {name: cast(StyleConv, conv).modulation(code) for name, conv in self.convs.items()}

    @torch.inference_mode()
    def fold(
        self,
        content: Tensor,
        modulations: dict[str, Modulation],
        palette: Tensor,
        origins: Sequence[Position] | None = None,
    ) -> FoldedGenerator:
        """Freeze the statistics of one photo, and fold style and statistics into plain convolutions.

        The photo is pushed through once; each layer's statistics are measured and frozen before the next layer sees
        its output.

        Args:
            content: (n, 3, H, W), n windows of one photo, over all of which the statistics are pooled. The outer
                ``MARGIN`` pixels of each are its surroundings: they are seen, but not counted.
            modulations: of one style (S = 1).
            palette: its colours, (1, 9).
            origins: where each window's upper left corner lies on the grain, by default at 0, 0.
        """
        inner = content[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        colours = colour_map(palette_of(inner, pooled=True), palette)
        weights: dict[str, Tensor] = {}
        biases: dict[str, Tensor] = {}

        def measure(name: str, x: Tensor) -> Tensor:
            conv = cast(StyleConv, self.convs[name])
            mix, scale, shift = modulations[name]
            weight = conv.kernel(mix.float())[0]
            layer = conv.layer
            y = functional.conv2d(x, weight, padding=1, stride=layer.stride)
            bias = shift[0].float()
            if layer.adain:
                mean, var = _inner_statistics(y, MARGIN // (layer.spacing * layer.stride))
                gain = scale[0].float() * (var + EPSILON).rsqrt()
                # A plain photo has no deviation: what is measured is rounding, and must not be amplified.
                gain = torch.where(var.sqrt() > ROUNDING * (1 + mean.abs()), gain, 0.0)
                weight = weight * gain[:, None, None, None]
                bias = bias - gain * mean
                y = y * gain[:, None, None]
            y = y + bias[:, None, None]
            weights[name], biases[name] = weight, bias
            return functional.relu(y) if layer.relu else y

        grain = grain_at(self.grain, origins or [(0, 0)] * len(content), content.shape[2:])
        flow(measure, apply_colour_map(content, *colours), grain)
        return FoldedGenerator(layers_of(self.widths), weights, biases, colours, self.grain)


def _inner_statistics(y: Tensor, margin: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (C,) of each channel over all windows (n, C, h, w) without their margins."""
    inner = y[..., margin:-margin, margin:-margin]
    var, mean = torch.var_mean(inner.transpose(0, 1).flatten(1), dim=1, correction=0)
    return mean, var


class FoldedGenerator:
    """G for one style and one photo: a colour map, convolutions, biases and ReLUs, nothing else.

    Local: an output pixel depends on the input within ``MARGIN`` pixels only, and padding with zeros at the border
    changes nothing further inside.
    """

    def __init__(
        self,
        layers: dict[str, Layer],
        weights: dict[str, Tensor],
        biases: dict[str, Tensor],
        colours: tuple[Tensor, Tensor],
        grain: Tensor,
    ) -> None:
        self.layers, self.weights, self.biases, self.colours, self.grain = layers, weights, biases, colours, grain

    def to(self, dtype: torch.dtype) -> FoldedGenerator:
        """The same network in another precision, kernels laid out channels-last.

        The last layer stays in fp32: 8 bits of mantissa would show as bands in a smooth sky.
        """
        types = {name: dtype if layer.adain else torch.float32 for name, layer in self.layers.items()}
        weights = {k: w.to(types[k], memory_format=torch.channels_last) for k, w in self.weights.items()}
        biases = {k: b.to(types[k]) for k, b in self.biases.items()}
        return FoldedGenerator(self.layers, weights, biases, self.colours, self.grain)

    @torch.inference_mode()
    def __call__(self, content: Tensor, origins: Sequence[Position] | None = None) -> Tensor:
        """(B, 3, H, W) in [0, 1], H and W multiples of 16, surrounded by ``MARGIN`` pixels -> the same shape.

        ``origins`` say where each window's upper left corner lies on the grain, by default at 0, 0.
        """

        def conv(name: str, x: Tensor) -> Tensor:
            layer = self.layers[name]
            weight = self.weights[name]
            y = functional.conv2d(x.to(weight.dtype), weight, self.biases[name], padding=1, stride=layer.stride)
            return functional.relu_(y) if layer.relu else y

        grain = grain_at(self.grain, origins or [(0, 0)] * len(content), content.shape[2:])
        return flow(conv, apply_colour_map(content, *self.colours), grain)
