"""Stroke scale: the whole as of the reduced copy, crisp in detail, and nothing changed by painting nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylize.errors import UsageError
from stylize.images.reading import read_image
from stylize.painting import stroke_scale
from stylize.painting.stroke_scale import at_stroke_scale, auto_scale, without_lattice
from stylize.painting.stylizer import Stylizer

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MakePicture = Callable[..., np.ndarray]


def reduced(pixels: np.ndarray, scale: float) -> np.ndarray:
    size = (round(pixels.shape[1] / scale), round(pixels.shape[0] / scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)).astype(float)


def sharpness(pixels: np.ndarray) -> float:
    return float(np.abs(np.diff(pixels.astype(float).mean(-1), axis=1)).mean())


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (64, 96), (301, 40)])
def test_painting_nothing_changes_nothing(make_picture: MakePicture, scale: float, shape: tuple[int, int]) -> None:
    photo = make_picture(*shape)
    assert np.array_equal(at_stroke_scale(photo, scale, lambda pixels: pixels), photo)


def test_coarser_looks_like_the_reduced_copy_but_crisp(shipped_stylizer: Stylizer) -> None:
    photo = read_image(EXAMPLES / "photos/astronaut.jpg").pixels[:384, 100:484]
    style = shipped_stylizer.encode_style([read_image(EXAMPLES / "styles/ink.jpg").pixels])
    paint = partial(shipped_stylizer.transfer, style=style)
    small = paint(reduced(photo, 2).astype(np.uint8))
    plain, coarse = paint(photo), at_stroke_scale(photo, 2, paint)
    apart = [np.abs(reduced(picture, 2) - small).mean() for picture in (coarse, plain)]
    assert apart[0] < 0.4 * apart[1]
    enlarged = np.asarray(Image.fromarray(small).resize((384, 384), Image.Resampling.BICUBIC))
    assert sharpness(coarse) > 1.2 * sharpness(enlarged)


def test_finer_paints_an_enlarged_copy(make_picture: MakePicture) -> None:
    sizes: list[tuple[int, ...]] = []

    def paint(pixels: np.ndarray) -> np.ndarray:
        sizes.append(pixels.shape)
        return 255 - pixels

    photo = make_picture(20, 30)
    assert np.abs(at_stroke_scale(photo, 0.5, paint).astype(int) - (255 - photo)).mean() < 12
    assert sizes == [(40, 60, 3)]


@pytest.mark.parametrize(("shape", "scale"), [((100, 100), 1), ((1000, 1000), 1), ((2000, 2000), 2), ((9000, 9000), 4)])
def test_the_automatic_scale(shape: tuple[int, int], scale: float) -> None:
    photo = np.broadcast_to(np.zeros(3, np.uint8), (*shape, 3))
    assert auto_scale(photo) == pytest.approx(scale, rel=1e-3)


def test_an_enlarged_copy_has_its_limit(make_picture: MakePicture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stroke_scale, "MOST_PIXELS", 5000)
    with pytest.raises(UsageError, match="120x80"):
        at_stroke_scale(make_picture(20, 30), 0.25, lambda pixels: pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_alternates_from_pixel_to_pixel_is_not_enlarged(make_picture: MakePicture, dtype: type) -> None:
    board = (np.indices((8, 10)).sum(0) % 2)[..., None].repeat(3, 2)
    stripes = np.full((8, 10, 3), 100, dtype) + 50 * (np.arange(10) % 2)[:, None].astype(dtype)
    for pattern in (stripes, (100 + 50 * board).astype(dtype)):
        assert (without_lattice(pattern, 1.0) == pattern).all()
        rests = [np.ptp(without_lattice(pattern, scale)[1:-1, 1:-1].astype(int)) for scale in (1.0, 1.2, 1.5, 2.0, 4.0)]
        assert rests[0] == 50 > rests[1] > rests[2] > rests[3] == rests[4] == 0
    plain = np.full((5, 4, 3), 77, dtype)
    assert (without_lattice(plain, 4.0) == plain).all()
    photo = make_picture()
    large = without_lattice(photo, 4.0)
    assert (large.shape, large.dtype) == (photo.shape, photo.dtype)
    assert np.abs(large.mean((0, 1)) - photo.mean((0, 1))).max() < 0.5
