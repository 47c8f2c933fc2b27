"""Fine painting: nearer to the style than one pass, as fine with a code as with its pictures, and the photo at 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylize.errors import RefusedError, UsageError
from stylize.images.reading import Picture
from stylize.options import Look
from stylize.painting import fine, look
from stylize.painting import stylizer as stylizer_module
from stylize.painting.fine import Fine, Progress, collapsed, pyramid, scales_of, style_distance
from stylize.painting.stroke_scale import FINE_PIXELS, FINE_STROKES, fine_scales
from stylize.painting.stylizer import Stylizer
from stylize.styles.mixing import mix
from stylize.styles.moments import LAYERS, unpacked
from stylize.styles.style_code import StyleCode

MakePicture = Callable[..., np.ndarray]
FINE = Look(effort="fine")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here holds after a few steps as well."""
    monkeypatch.setattr(fine, "STEPS", {4: 6, 2: 5, 1: 4})


@pytest.fixture(scope="module")
def network() -> Fine:
    return Fine(torch.device("cpu"))


@pytest.fixture(scope="module")
def pictures(make_picture: MakePicture) -> list[np.ndarray]:
    return [make_picture(64, 64, seed=seed) for seed in (100, 101)]


@pytest.fixture(scope="module")
def style(stylizer: Stylizer, pictures: list[np.ndarray]) -> StyleCode:
    return stylizer.encode_style(pictures[:1], fine=True)


@pytest.fixture(scope="module")
def photo(make_picture: MakePicture) -> np.ndarray:
    return make_picture(48, 56, seed=1)


def distance(network: Fine, picture: np.ndarray, style: StyleCode) -> float:
    """From the style's moments, over all sizes and maps."""
    found, wanted = (
        [tuple(map(torch.from_numpy, unpacked(moments, f"{size}.{layer}"))) for size in LAYERS for layer in (1, 2, 3)]
        for moments in (network.moments(picture), style.moments)
    )
    return float(style_distance(found, wanted))  # type: ignore[arg-type]


# Sizes


@settings(deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(1, 8))
def test_sizes_grow_to_that_of_the_picture(height: int, width: int, copy: float) -> None:
    scales = scales_of(height, width, copy)
    assert [scale.size for scale in scales[: len(LAYERS)]] == list(LAYERS)
    assert all(scale.size == 1 for scale in scales[len(LAYERS) :])
    for before, after in pairwise(scales):
        assert before.height <= after.height <= max(2.6 * before.height, before.height + 2)
    for scale in scales:
        assert scale.height >= 16 and scale.width >= 16
    last = max(height / copy * 1.25, 16) if copy < 1.3 else height
    assert scales[-1].height >= min(last, height) * 0.8


@settings(deadline=None)
@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.25, 4))
def test_a_photo_of_any_size_costs_a_megapixel_at_most(height: int, width: int, stroke: float) -> None:
    scale, copy = fine_scales(height, width, stroke)
    last = scales_of(max(round(height / scale), 1), max(round(width / scale), 1), copy)[-1]
    assert last.height * last.width <= FINE_PIXELS * 1.04  # sides are whole numbers
    assert copy >= 1
    strokes = height * width / scale**2 / copy**2  # pixels of the copy with strokes as in the style's pictures
    assert strokes <= FINE_STROKES / stroke**2 * 1.001
    if height * width >= FINE_STROKES and stroke >= 0.65 and max(height, width) < 100 * min(height, width):
        assert strokes == pytest.approx(FINE_STROKES / stroke**2, rel=1e-3)  # so a copy gets the same strokes


# What is varied


@settings(deadline=None, max_examples=20)
@given(st.integers(16, 70), st.integers(16, 70))
def test_a_pyramid_is_the_picture(height: int, width: int) -> None:
    picture = torch.rand(1, 3, height, width)
    torch.testing.assert_close(collapsed(pyramid(picture)), picture, atol=1e-5, rtol=0)


def test_the_distance_is_zero_from_itself_and_two_a_map_from_nothing() -> None:
    wanted = [(torch.rand(4), torch.rand(4, 4)), (torch.rand(8), torch.rand(8, 8))]
    nothing = [(torch.zeros(4), torch.zeros(4, 4)), (torch.zeros(8), torch.zeros(8, 8))]
    assert float(style_distance(wanted, wanted)) == 0
    assert float(style_distance(nothing, wanted)) == pytest.approx(4)


# Painting


def test_it_comes_nearer_to_the_style_than_one_pass(
    stylizer: Stylizer, network: Fine, style: StyleCode, photo: np.ndarray
) -> None:
    fast, finely = (stylizer.paint(photo, style, look) for look in (Look(), FINE))
    assert distance(network, finely, style) < 0.7 * distance(network, fast, style)


def test_equal_runs_give_equal_pixels(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    painted = stylizer.paint(photo, style, FINE)
    assert painted.shape == photo.shape and painted.dtype == photo.dtype
    assert np.array_equal(painted, stylizer.paint(photo, style, FINE))


def test_a_kept_code_paints_what_its_pictures_paint(
    stylizer: Stylizer, pictures: list[np.ndarray], photo: np.ndarray, tmp_path: Path
) -> None:
    made = stylizer.encode_style(pictures, fine=True)
    made.save(tmp_path / "kept.safetensors")
    kept = StyleCode.load(tmp_path / "kept.safetensors")
    turned = stylizer.encode_style(pictures[::-1], fine=True)
    assert turned.to_bytes() == made.to_bytes()
    assert np.array_equal(stylizer.paint(photo, kept, FINE), stylizer.paint(photo, made, FINE))


def test_strength_goes_from_the_photo_to_the_style(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    painted = [stylizer.paint(photo, style, Look(effort="fine", strength=s)) for s in (0, 0.25, 0.5, 0.75, 1)]
    assert np.array_equal(painted[0], photo)
    away = [float(np.abs(p.astype(float) - photo).mean()) for p in painted]
    assert away == sorted(away) and len(set(away)) == len(away)


def test_fast_painting_does_not_look_at_moments(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    plain = replace(style, moments={})
    assert np.array_equal(stylizer.paint(photo, style, Look()), stylizer.paint(photo, plain, Look()))
    assert plain.content_hash() == style.content_hash()
    assert plain.content_hash(fine=True) != style.content_hash(fine=True)


def test_the_photos_colours_are_kept_if_asked_for(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    def chroma(picture: np.ndarray) -> np.ndarray:
        values = picture.astype(float)
        return values - (values @ [0.299, 0.587, 0.114])[..., None]

    kept = stylizer.paint(photo, style, Look(effort="fine", preserve_color=True))
    free = stylizer.paint(photo, style, FINE)
    off = [float(np.abs(chroma(p) - chroma(photo)).mean()) for p in (kept, free)]
    assert off[0] < 0.4 * off[1]
    assert not np.array_equal(kept, photo)


def test_a_grey_style_leaves_no_colour(stylizer: Stylizer, photo: np.ndarray, make_picture: MakePicture) -> None:
    grey = np.repeat(make_picture(64, 64, seed=7)[..., :1], 3, 2)
    painted = stylizer.paint(photo, stylizer.encode_style([grey], fine=True), FINE).astype(float)
    assert float(np.ptp(painted, axis=2).mean()) < 0.2 * float(np.ptp(photo.astype(float), axis=2).mean())


def test_sixteen_bits_look_like_eight(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    deep = stylizer.paint(photo.astype(np.uint16) * 257, style, FINE)
    assert deep.dtype == np.uint16
    assert len(np.unique(deep % 257)) > 100  # steps between those of 8 bits
    assert float(np.abs(deep / 257 - stylizer.paint(photo, style, FINE)).mean()) < 8


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 90), (90, 3), (33, 47)])
def test_any_shape_is_painted(
    stylizer: Stylizer, style: StyleCode, make_picture: MakePicture, shape: tuple[int, int]
) -> None:
    assert stylizer.paint(make_picture(*shape), style, FINE).shape == (*shape, 3)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 0, 0)])
def test_a_plain_colour_is_a_style_too(
    stylizer: Stylizer, photo: np.ndarray, colour: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine, "STEPS", {4: 20, 2: 10, 1: 10})
    plain = stylizer.encode_style([np.full((64, 64, 3), colour, np.uint8)], fine=True)
    painted = stylizer.paint(photo, plain, FINE)
    off, before = (float(np.abs(picture.mean((0, 1)) - colour).mean()) for picture in (painted, photo))
    assert off < 0.85 * before  # it was black, whatever the colour


@pytest.mark.filterwarnings("ignore:overflow")
def test_moments_that_no_picture_has_are_refused(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    huge = {name: np.full_like(values, np.finfo(values.dtype).max) for name, values in style.moments.items()}
    with pytest.raises(RefusedError, match="infinite"):
        stylizer.paint(photo, replace(style, moments=huge), FINE)


def test_out_of_memory_on_a_gpu_it_goes_on_with_the_processor(
    stylizer: Stylizer, style: StyleCode, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    mine = Stylizer(stylizer.path, "cpu", engine="torch", on_warning=warnings.append)
    monkeypatch.setattr(type(mine.engine), "on_cpu", property(lambda self: bool(warnings)))
    paint = Fine.paint

    def full(self: Fine, *args: object, **options: object) -> np.ndarray:
        if not warnings:
            raise torch.OutOfMemoryError("out of memory")
        return paint(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Fine, "paint", full)
    mine.paint(photo, style, FINE)
    assert any("goes on with the processor" in warning for warning in warnings)


@pytest.mark.parametrize("width", [0.5, 2.0])
def test_strokes_have_other_widths(stylizer: Stylizer, style: StyleCode, photo: np.ndarray, width: float) -> None:
    painted = stylizer.paint(photo, style, Look(effort="fine", style_scale=width))
    assert painted.shape == photo.shape
    assert not np.array_equal(painted, stylizer.paint(photo, style, FINE))


def test_a_large_photo_looks_like_its_copy(
    stylizer: Stylizer, style: StyleCode, make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setattr(stylizer_module, "fine_scales", partial(_small_scales, strokes=48 * 48, painted=64 * 64))
    large = np.asarray(Image.fromarray(make_picture(64, 64, seed=1)).resize((192, 192), Image.Resampling.BICUBIC))
    copy = np.asarray(Image.fromarray(large).resize((64, 64), Image.Resampling.LANCZOS))
    painted = np.asarray(Image.fromarray(stylizer.paint(large, style, FINE)).resize((64, 64), Image.Resampling.LANCZOS))
    of_copy = stylizer.paint(copy, style, FINE)
    alike = float(np.abs(painted.astype(float) - of_copy).mean())
    unpainted = float(np.abs(copy.astype(float) - of_copy).mean())
    assert alike < 0.35 * unpainted


def _small_scales(height: int, width: int, stroke: float, strokes: int, painted: int) -> tuple[float, float]:
    pixels = height * width
    painted = min(pixels, painted)
    return (pixels / painted) ** 0.5, max((painted / strokes) ** 0.5, 1.0)


def test_progress_goes_from_nothing_to_all(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    seen: list[Progress] = []
    before, stylizer.on_progress = stylizer.on_progress, seen.append
    try:
        stylizer.paint(photo, style, FINE)
    finally:
        stylizer.on_progress = before
    shares = [now.share for now in seen]
    assert shares[0] == 0 and shares[-1] == pytest.approx(1) and shares == sorted(shares)
    assert [now.step for now in seen[1:]] == [step + 1 for steps in (6, 5, 4) for step in range(steps)]
    assert seen[0].seconds > 0


# What is asked for on top


def test_a_mask_bounds_it(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[:20] = 255
    painted = look.paint(
        stylizer, Picture(photo, None, "PNG"), {None: style}, Look(effort="fine", mask="m.png"), mask=mask
    )
    assert np.array_equal(painted[20:], photo[20:])
    assert not np.array_equal(painted[:20], photo[:20])


def test_mixtures_of_codes_have_moments_between(stylizer: Stylizer, pictures: list[np.ndarray]) -> None:
    a, b = (stylizer.encode_style([picture], fine=True) for picture in pictures)
    mixed = mix([(a, 1.0), (b, 3.0)], "both")
    assert mix([(b, 3.0), (a, 1.0)], "both").to_bytes() == mixed.to_bytes()
    for name, values in mixed.moments.items():
        between = 0.25 * a.moments[name].astype(float) + 0.75 * b.moments[name].astype(float)
        np.testing.assert_allclose(values.astype(float), between, rtol=1e-3, atol=1e-6)


def test_a_style_without_moments_is_refused(stylizer: Stylizer, style: StyleCode, photo: np.ndarray) -> None:
    plain = replace(style, moments={})
    assert not mix([(style, 1.0), (replace(plain, code=-plain.code), 1.0)], "half").moments
    with pytest.raises(RefusedError, match="no moments"):
        stylizer.paint(photo, plain, FINE)


def test_there_are_two_efforts() -> None:
    with pytest.raises(UsageError, match="effort"):
        Look(effort="finest")  # type: ignore[arg-type]


def test_without_the_weights_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine, "has_vgg19", lambda: False)
    with pytest.raises(UsageError, match="VGG19"):
        Fine(torch.device("cpu"))
