"""Folding changes nothing but the speed, the folded generator is local, code and palette choose the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stylize.images import palette as in_numpy
from stylize.networks.colour_transfer import apply_colour_map, colour_map, mean_and_covariance, palette_of, square_roots
from stylize.networks.generator import (
    CANVAS_EPSILON,
    EPSILON,
    FINISH_FLOOR,
    ColourMap,
    FoldedGenerator,
    Generator,
    Mixed,
    StyleConv,
    convolve,
    fitted,
    flow,
    grain_at,
    recolour,
)
from stylize.networks.model import Model
from stylize.networks.plan import BORDER, GRAIN_PERIOD, MARGIN, STRIDE, Layer, layers_of

CODE = 16
WIDTHS = (16, 16, 16, 16)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(1)
    return Generator(CODE, WIDTHS, bank=3).requires_grad_(False)


@pytest.fixture(scope="module")
def code() -> Tensor:
    return torch.randn(1, CODE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def palette() -> Tensor:
    """That of a picture in many colours, around (0.6, 0.5, 0.3)."""
    colours = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    return palette_of(colours * torch.tensor([0.8, 0.6, 0.4])[:, None, None] + 0.1)


AROUND = (MARGIN, MARGIN, MARGIN, MARGIN)


@pytest.fixture(scope="module")
def surroundings(make_picture: Callable[..., np.ndarray]) -> Tensor:
    """Two windows of 64x32 pixels with more around them than their margins."""
    border = 2 * (MARGIN + STRIDE)
    pictures = np.stack([make_picture(64 + border, 32 + border, seed) for seed in (3, 4)])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def windows(surroundings: Tensor) -> Tensor:
    """The same with their margins."""
    return inner(surroundings, STRIDE)


@pytest.fixture(scope="module")
def folded(generator: Generator, code: Tensor, palette: Tensor, windows: Tensor) -> FoldedGenerator:
    mixed = generator.mixed(generator.modulations(code))
    return generator.fold(canvas_of(windows, palette), mixed, palette, margin=MARGIN)[0]


def canvas_of(content: Tensor, palette: Tensor) -> Tensor:
    """Photos in the colours of a style, in cells."""
    matrix, offset = colour_map(palette_of(inner(content), pooled=True), palette)
    return recolour(functional.pixel_unshuffle(content, 2), matrix[0], offset[0])


def picture_of(cells: Tensor) -> Tensor:
    return functional.pixel_shuffle(cells, 2)


def inner(images: Tensor, margin: int = MARGIN) -> Tensor:
    return images[..., margin:-margin, margin:-margin]


def unfolded(generator: Generator, content: Tensor, code: Tensor, palette: Tensor, extra: int) -> Tensor:
    """Recolour, mix, convolve, normalise, modulate, finish, one after the other, by the statistics of the inner parts.

    ``extra`` pixels of the content lie beyond the margin.
    """
    modulations, margin = generator.modulations(code), MARGIN + extra

    def conv(name: str, x: Tensor) -> Tensor:
        style_conv, (mix, scale, shift, _) = generator.convs[name], modulations[name]
        layer = style_conv.layer
        kernel = sum(a * w for a, w in zip(mix[0], style_conv.weight, strict=True))
        if layer.enlarge:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        y = functional.conv2d(x, kernel, stride=layer.stride, padding=1)
        if layer.adain:
            counted = inner(y, margin // (layer.spacing * layer.stride)).transpose(0, 1).flatten(1)  # (C, positions)
            y = (y - counted.mean(1)[:, None, None]) / (counted.var(1, correction=0) + EPSILON).sqrt()[:, None, None]
        y = scale[0][:, None, None] * y + shift[0][:, None, None]
        return y.relu() if layer.relu else y

    pixels = inner(content, margin).transpose(0, 1).flatten(1)[None, ..., None]  # of both, as one picture
    grain = grain_at(generator.grain, [(-extra, -extra)] * len(content), content.shape[2:])
    canvas = functional.pixel_unshuffle(apply_colour_map(content, *colour_map(palette_of(pixels), palette)), 2)
    painted = picture_of(flow(conv, canvas, grain))
    counted = inner(painted, margin).transpose(0, 1).flatten(1)[None, ..., None]
    return apply_colour_map(painted, *colour_map(palette_of(counted), palette, FINISH_FLOOR))


@pytest.mark.parametrize("extra", [0, STRIDE])
def test_folded_equals_unfolded_whatever_lies_beyond_the_margin(
    generator: Generator,
    code: Tensor,
    palette: Tensor,
    surroundings: Tensor,
    windows: Tensor,
    extra: int,
) -> None:
    content = windows if extra == 0 else surroundings
    expected = inner(unfolded(generator, content, code, palette, extra), MARGIN + extra)
    assert expected.std() > 0.05  # there is a picture to compare
    canvas = canvas_of(windows, palette)
    folded, painted = generator.fold(canvas, generator.mixed(generator.modulations(code)), palette, margin=MARGIN)
    torch.testing.assert_close(picture_of(folded(canvas, margins=AROUND)), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(picture_of(painted), expected, atol=1e-4, rtol=0)


def test_training_form_and_folded_form_agree_far_from_the_border(
    generator: Generator, code: Tensor, palette: Tensor, make_picture: Callable[..., np.ndarray]
) -> None:
    # Not exactly: one counts the border in its statistics, the other does not.
    picture = torch.from_numpy(make_picture(768, 768, 5)).permute(2, 0, 1)[None].float() / 255
    trained_form = inner(generator(picture, code, palette))
    canvas = canvas_of(picture, palette)
    folded_form = picture_of(
        generator.fold(canvas, generator.mixed(generator.modulations(code)), palette, margin=MARGIN)[1]
    )
    assert (trained_form - folded_form).abs().mean() < 0.15 * folded_form.std()


@pytest.fixture(scope="module")
def shipped_work(
    shipped_model: Model, make_picture: Callable[..., np.ndarray]
) -> tuple[Tensor, dict[str, Mixed], Tensor]:
    """A photo in the colours of a style, in cells, the shipped model's layers for that style, and its palette."""
    style, content = (
        torch.from_numpy(make_picture(*shape)).permute(2, 0, 1)[None].float() / 255
        for shape in ((96, 128, 1), (480, 416, 6))
    )
    code, palette = shipped_model.encoder(style)
    generator = shipped_model.generator
    return canvas_of(content, palette), generator.mixed(generator.modulations(code)), palette


@pytest.fixture(params=[True, False], ids=["instructions", "none"])
def bf16(request: pytest.FixtureRequest, set_bf16: Callable[[bool], None]) -> None:
    """With and without bf16 instructions."""
    if request.param and torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("oneDNN has no bf16 here, not even emulated")
    set_bf16(request.param)


@pytest.mark.usefixtures("bf16")
def test_half_precision_is_within_two_grey_levels(
    shipped_model: Model, shipped_work: tuple[Tensor, dict[str, Mixed], Tensor]
) -> None:
    canvas, *style = shipped_work
    folded = shipped_model.generator.fold(canvas, *style)[0]
    exact, rounded = folded(canvas), folded.to(torch.bfloat16)(canvas)
    assert rounded.dtype == torch.float32
    assert 0 < torch.quantile((exact - rounded).abs().flatten(), 0.999) < 2 / 255


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("name", ["stem", "down4", "block4_1", "up8"])
def test_a_bias_keeps_its_precision_beside_a_half_precise_kernel(generator: Generator, name: str) -> None:
    """Here it takes most of the convolution away again, as a mean does, and what is left is small."""
    layer = layers_of(WIDTHS)[name]
    x = torch.rand(1, layer.channels_in, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    kernel = fitted(layer, generator.convs[name].weight[0] + 1).bfloat16()
    bias = -convolve(layer, x.float(), kernel.float()).mean() * torch.ones(len(kernel))
    exact = convolve(layer, x.float(), kernel.float(), bias)
    rounded = convolve(layer, x, kernel, bias)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize(("distance", "seen"), [(MARGIN, False), (MARGIN // 2, True)])
def test_margin_is_how_far_the_network_sees(folded: FoldedGenerator, distance: int, seen: bool) -> None:
    random = torch.Generator().manual_seed(0)
    size = 2 * MARGIN + 3 * STRIDE
    content, changed = torch.rand(2, 1, 3, size, size, generator=random)
    low, high = MARGIN + STRIDE, MARGIN + 2 * STRIDE  # one position of the coarsest layer
    near = slice(low - distance, high + distance)
    changed[..., near, near] = content[..., near, near]
    middle = slice(STRIDE, 2 * STRIDE)
    before, after = (
        picture_of(folded(functional.pixel_unshuffle(x, 2), margins=AROUND))[..., middle, middle]
        for x in (content, changed)
    )
    assert torch.equal(before, after) != seen


@pytest.mark.parametrize("around", [MARGIN, BORDER])
def test_a_tile_gives_the_pixels_of_the_whole(folded: FoldedGenerator, around: int) -> None:
    """In the middle of a picture with 2·160 pixels of it on each side, or at its upper left corner."""
    random = torch.Generator().manual_seed(0)
    size = 160 + 32 + (160 if around == MARGIN else 0)
    canvas = torch.rand(1, 12, size + BORDER, size + BORDER, generator=random)
    whole = folded(canvas)
    start = 160 if around == MARGIN else 0  # cells
    first, last = start + BORDER // 2 - around // 2, start + 32 + BORDER // 2 + MARGIN // 2
    tile = folded(canvas[..., first:last, first:last], [(2 * first, 2 * first)], (around, MARGIN, around, MARGIN))
    torch.testing.assert_close(tile, whole[..., start : start + 32, start : start + 32], atol=1e-5, rtol=0)


def test_what_lies_beyond_a_pictures_border_hardly_matters(
    shipped_model: Model, shipped_work: tuple[Tensor, dict[str, Mixed], Tensor]
) -> None:
    """``BORDER`` pixels of it stand for ``MARGIN``: the strokes at the border change, nothing goes dark."""
    canvas, *style = shipped_work
    folded = shipped_model.generator.fold(canvas, *style, margin=MARGIN)[0]
    full = picture_of(folded(canvas, margins=AROUND))
    cut = MARGIN - BORDER
    less = picture_of(folded(canvas[..., cut // 2 : -cut // 2, cut // 2 : -cut // 2], [(cut, cut)]))
    strip = torch.ones(full.shape[2:], dtype=torch.bool)
    strip[16:-16, 16:-16] = False
    assert (less - full)[..., strip].abs().mean() < 0.03
    assert (less - full)[..., strip].mean().abs() < 0.01
    assert (less - full)[..., 64:-64, 64:-64].abs().max() < 2 / 255


def test_a_layer_that_enlarges_convolves_the_enlarged_picture() -> None:
    torch.manual_seed(0)
    x, kernel, bias = torch.randn(2, 5, 7, 6), torch.randn(8, 5, 3, 3), torch.randn(8)
    layer = Layer(5, 8, 4, enlarge=True)
    expected = functional.conv2d(functional.interpolate(x, scale_factor=2, mode="nearest"), kernel, bias)
    found = convolve(layer, x, fitted(layer, kernel), bias.repeat_interleave(4))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [
        Layer(5, 8, 4),
        Layer(5, 8, 4, relu=False),
        Layer(5, 8, 4, stride=2),
        Layer(5, 8, 4, relu=False, adain=False),
    ],
    ids=["plain", "no relu", "stride", "no adain"],
)
def test_style_conv_is_convolution_adain_relu(layer: Layer) -> None:
    torch.manual_seed(0)
    conv = StyleConv(layer, CODE, bank=2)
    codes, x = torch.randn(2, CODE), torch.randn(6, 5, 12, 10)  # three pictures of each of two styles
    modulation = conv.modulation(codes)
    found = conv(x, modulation)
    for k, picture in enumerate(x):
        style = k // 3
        kernel = conv.kernel(modulation.mix)[style]
        y = functional.conv2d(functional.pad(picture[None], (1, 1, 1, 1), mode="reflect"), kernel, stride=layer.stride)
        if layer.adain:
            y = functional.instance_norm(y, eps=EPSILON)
        y = modulation.scale[style][:, None, None] * y + modulation.shift[style][:, None, None]
        torch.testing.assert_close(found[k], (y.relu() if layer.relu else y)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("k", range(3))
def test_a_code_that_asks_for_one_kernel_gets_it(generator: Generator, k: int) -> None:
    for conv in generator.convs.values():
        torch.testing.assert_close(conv.kernel(torch.eye(3)[k : k + 1])[0], conv.weight[k])


def test_kernels_mix_linearly(generator: Generator) -> None:
    conv = generator.convs["up8"]
    a, b = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(conv.kernel(2 * a - b), 2 * conv.kernel(a) - conv.kernel(b), atol=1e-5, rtol=1e-5)


def test_the_code_decides(generator: Generator, palette: Tensor) -> None:
    random = torch.Generator().manual_seed(0)
    content = torch.rand(1, 3, 64, 64, generator=random)
    one, other = (generator(content, z[None], palette) for z in torch.randn(2, CODE, generator=random))
    assert (one - other).abs().mean() > 0.02


def test_each_style_of_a_batch_meets_its_own_photos(generator: Generator) -> None:
    random = torch.Generator().manual_seed(0)
    content, codes = torch.rand(4, 3, 32, 48, generator=random), torch.randn(2, CODE, generator=random)
    palettes = palette_of(torch.rand(2, 3, 4, 4, generator=random))
    separate = [generator(content[2 * k : 2 * k + 2], codes[k : k + 1], palettes[k : k + 1]) for k in range(2)]
    torch.testing.assert_close(generator(content, codes, palettes), torch.cat(separate), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(16, 16), (16, 64), (48, 32)])
def test_output_is_a_picture_of_the_same_size(
    generator: Generator, code: Tensor, palette: Tensor, shape: tuple[int, int]
) -> None:
    output = generator(torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0)), code, palette)
    assert output.shape == (1, 3, *shape)
    assert 0 <= output.min() < output.max() <= 1


@pytest.mark.parametrize("name", layers_of(WIDTHS))
def test_every_layer_matters(generator: Generator, code: Tensor, name: str) -> None:
    content = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    modulations = generator.modulations(code)
    other = modulations | {name: modulations[name]._replace(mix=-modulations[name].mix)}
    grain = grain_at(generator.grain, [(0, 0)], content.shape[2:])
    cells = functional.pixel_unshuffle(content, 2)
    before, after = (flow(lambda n, x, m=m: generator.convs[n](x, m[n]), cells, grain) for m in (modulations, other))
    assert (before - after).abs().max() > 1e-3


def test_the_last_kernels_start_equal_for_the_four_phases(generator: Generator) -> None:
    phases = generator.convs["out"].weight.unflatten(1, (3, 4))  # (K, colour, phase, ...)
    assert torch.equal(phases, phases[:, :, :1].expand_as(phases))
    assert phases.std() > 0


def test_a_new_network_paints_no_grid(generator: Generator, code: Tensor, palette: Tensor) -> None:
    output = generator(torch.full((1, 3, 32, 32), 0.4), code, palette)
    cells = functional.pixel_unshuffle(output, 2).unflatten(1, (3, 4))
    assert (cells.amax(2) - cells.amin(2)).max() < 1e-3


def test_without_paint_the_photo_is_shown_in_the_styles_colours(
    folded: FoldedGenerator, palette: Tensor, windows: Tensor
) -> None:
    bare = {"out": tuple(torch.zeros_like(t) for t in folded.folded["out"])}
    canvas = canvas_of(windows, palette)
    none = ColourMap(torch.eye(3), torch.zeros(3))
    painted = picture_of(FoldedGenerator({**folded.folded, **bare}, none, folded.grain)(canvas, margins=AROUND))
    expected = inner(picture_of(canvas))
    torch.testing.assert_close(painted, expected.clamp(CANVAS_EPSILON, 1 - CANVAS_EPSILON))
    torch.testing.assert_close(expected.mean((0, 2, 3)), palette[0, :3], atol=0.05, rtol=0)


def colours_of(images: Tensor) -> tuple[Tensor, Tensor]:
    flat = images.flatten(2)[0]
    return flat.mean(1), torch.cov(flat, correction=0)


def test_the_colour_map_gives_a_picture_the_wanted_colours(windows: Tensor, palette: Tensor) -> None:
    matrix, offset = colour_map(palette_of(windows[:1]), palette)
    mapped = torch.einsum("ij,bjhw->bihw", matrix[0], windows[:1]) + offset[0][:, None, None]
    mean, covariance = colours_of(mapped)
    torch.testing.assert_close(mean, palette[0, :3], atol=1e-4, rtol=0)
    torch.testing.assert_close(covariance, mean_and_covariance(palette)[1][0], atol=2e-3, rtol=0)


def test_a_palette_is_mean_and_covariance(windows: Tensor) -> None:
    mean, covariance = mean_and_covariance(palette_of(windows[:1]))
    for found, expected in zip((mean[0], covariance[0]), colours_of(windows[:1]), strict=True):
        torch.testing.assert_close(found, expected)


def test_roots_of_matrices() -> None:
    torch.manual_seed(0)
    factors = torch.randn(50, 3, 3, dtype=torch.float64) * torch.logspace(0, -3, 50)[:, None, None]
    factors[:, :, 0] *= 1e-3  # far from round
    matrices = factors @ factors.transpose(1, 2) + 1e-9 * torch.eye(3)
    root, inverse = square_roots(matrices)
    torch.testing.assert_close(root @ root, matrices, atol=1e-12, rtol=1e-6)
    torch.testing.assert_close(root @ inverse, torch.eye(3, dtype=torch.float64).expand(50, 3, 3), atol=1e-5, rtol=0)


def test_roots_have_a_gradient_where_eigenvalues_are_equal() -> None:
    matrix = torch.eye(3, dtype=torch.float64)[None].requires_grad_()
    square_roots(matrix)[0].sum().backward()
    torch.testing.assert_close(matrix.grad, torch.full((1, 3, 3), 0.5, dtype=torch.float64))  # of (1 + x)^½


def test_a_painting_has_the_styles_colours(
    generator: Generator, code: Tensor, palette: Tensor, make_picture: Callable[..., np.ndarray]
) -> None:
    """Paint alone changes them; the finish brings them back."""
    canvas = canvas_of(torch.from_numpy(make_picture(320, 352, 5)).permute(2, 0, 1)[None].float() / 255, palette)
    painted = picture_of(generator.fold(canvas, generator.mixed(generator.modulations(code)), palette)[1])
    torch.testing.assert_close(palette_of(painted), palette, atol=0.01, rtol=0)


def test_equal_palettes_leave_a_picture_alone(windows: Tensor) -> None:
    own = palette_of(windows)
    torch.testing.assert_close(apply_colour_map(windows, *colour_map(own, own)), windows, atol=1e-4, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_colours_move_evenly(make_picture: Callable[..., np.ndarray], share: float) -> None:
    pixels = make_picture(48, 64, seed=3)
    own, other = in_numpy.palette_of_pixels(pixels), in_numpy.palette_of_pixels(make_picture(48, 64, seed=8) // 3)
    matrix, offset = in_numpy.palette_map(own, other)
    there = pixels @ matrix.T + 255 * offset
    between = pixels + share * (there - pixels)
    expected = np.concatenate([between.mean((0, 1)) / 255, np.cov(between.reshape(-1, 3).T / 255)[np.triu_indices(3)]])
    np.testing.assert_allclose(in_numpy.palette_among([own, other], [1 - share, share]), expected, atol=1e-3)


def test_a_palette_among_three_has_the_least_total_distance_to_them(make_picture: Callable[..., np.ndarray]) -> None:
    palettes = [
        in_numpy.palette_of_pixels(make_picture(48, 64, seed=seed) // divisor) for seed, divisor in enumerate((1, 2, 4))
    ]
    shares = [0.2, 0.5, 0.3]

    def total(candidate: np.ndarray) -> float:
        distances = []
        for palette in palettes:
            moved = in_numpy.palette_map(candidate, palette)[0] - np.eye(3)
            covariance = candidate[3:][in_numpy.ORDER] + in_numpy.REGULARISATION * np.eye(3)
            distances.append(np.trace(moved @ covariance @ moved.T) + np.square(palette[:3] - candidate[:3]).sum())
        return float(np.dot(shares, distances))

    among = in_numpy.palette_among(palettes, shares)
    for direction in np.eye(9, dtype=np.float32) * 1e-3:
        assert total(among) < min(total(among + direction), total(among - direction))
    assert total(among) < total(np.average(palettes, axis=0, weights=shares))


def test_numpy_and_torch_make_the_same_colour_map(make_picture: Callable[..., np.ndarray], palette: Tensor) -> None:
    for picture in (make_picture(seed=1), np.full((4, 4, 3), 7, np.uint8)):
        images = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        found, expected = in_numpy.palette_of_pixels(picture), palette_of(images)
        np.testing.assert_allclose(found, expected[0], atol=1e-6)
        maps = in_numpy.palette_map(found, palette[0].numpy()), colour_map(expected, palette)
        for ours, theirs in zip(*maps, strict=True):
            np.testing.assert_allclose(ours, theirs[0], atol=1e-4)


@pytest.mark.parametrize("covariance", [0.0, 0.25])
def test_the_most_extreme_palettes_give_finite_colours(windows: Tensor, covariance: float) -> None:
    hostile = torch.tensor([[1.0, 0.0, 1.0] + [covariance] * 6])
    mapped = apply_colour_map(windows, *colour_map(palette_of(windows), hostile.expand(2, 9)))
    assert torch.isfinite(mapped).all()


def test_the_grain_is_bound_to_positions_and_repeats_without_a_seam(generator: Generator) -> None:
    whole = grain_at(generator.grain, [(-64, -32)], (128, 96))
    part = grain_at(generator.grain, [(-10, 4)], (20, 30))
    assert torch.equal(part, whole[..., 27:37, 18:33])
    again = grain_at(generator.grain, [(GRAIN_PERIOD - 64, -32 - GRAIN_PERIOD)], (128, 96))
    assert torch.equal(again, whole)
    steps = whole.diff(dim=2).abs().mean((0, 3))  # (pattern, row): across the seam as anywhere
    assert (steps[:, 31] < 2 * steps.mean(1)).all()
    for pattern in generator.grain:
        assert abs(pattern.mean()) < 1e-3 and abs(pattern.std() - 1) < 1e-3


def test_a_plain_photo_is_painted_on(generator: Generator, code: Tensor, palette: Tensor) -> None:
    content = torch.full((1, 3, 64, 64), 0.4)
    output = generator(content, code, palette)
    assert output.std((2, 3)).max() > 0.01
    elsewhere = generator(content, code, palette, [(100, 40)])
    assert not torch.allclose(output, elsewhere)
