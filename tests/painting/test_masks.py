"""Masks: black keeps the photo's bytes, white is painted, and softening an edge never reaches into the black."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from stylize.errors import InputError, UsageError
from stylize.images.reading import Picture
from stylize.painting.look import Look, paint
from stylize.painting.masks import composite, feathered, read_mask
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode

MakePicture = Callable[..., np.ndarray]
MASK = np.zeros((40, 60), np.uint8)
MASK[:, 30:] = 255
MASK[10:20, 25:35] = 100


def picture(pixels: np.ndarray, alpha: np.ndarray | None = None) -> Picture:
    return Picture(pixels, alpha, "PNG")


@settings(deadline=None)
@given(*[arrays.arrays(np.uint8, (5, 4, 3))] * 2, arrays.arrays(np.uint8, (5, 4)))
def test_a_composite_lies_between_and_is_exact_at_both_ends(
    below: np.ndarray, above: np.ndarray, mask: np.ndarray
) -> None:
    output = composite(below, above, mask)
    assert (output[mask == 0] == below[mask == 0]).all()
    assert (output[mask == 255] == above[mask == 255]).all()
    assert (output >= np.minimum(below, above)).all() and (output <= np.maximum(below, above)).all()


def test_a_composite_of_many_rows(make_picture: MakePicture) -> None:
    below, above = make_picture(600, 8, 1), make_picture(600, 8, 2)
    mask = np.random.default_rng(0).integers(0, 256, (600, 8), dtype=np.uint8)
    exact = below + (above.astype(float) - below) * mask[..., None] / 255
    assert np.abs(composite(below, above, mask) - exact).max() <= 0.5


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.uint8, (24, 24), elements=st.sampled_from([0, 128, 255])), st.floats(0, 30))
def test_feathering_takes_only_away(mask: np.ndarray, radius: float) -> None:
    assert (feathered(mask, radius) <= mask).all()


def test_a_feathered_edge_rises_inwards() -> None:
    mask = np.zeros((50, 200), np.uint8)
    mask[:, 100:] = 255
    edge = feathered(mask, 20)[25]
    assert (np.diff(edge.astype(int)) >= 0).all()
    assert edge[99] == 0 and edge[105] < 200 < edge[125] and edge[150] == 255
    assert (feathered(mask, 0) == mask).all()


def test_lightness_or_the_alpha_of_a_cut_out(tmp_path: Path, make_picture: MakePicture) -> None:
    photo = picture(make_picture(40, 60))
    Image.fromarray(MASK).save(tmp_path / "grey.png")
    cut_out = Image.fromarray(make_picture(40, 60))
    cut_out.putalpha(Image.fromarray(MASK))
    cut_out.save(tmp_path / "cut-out.png")
    for name in ("grey.png", "cut-out.png"):
        assert (read_mask(str(tmp_path / name), photo, "x.jpg", max_pixels=10_000) == MASK).all()


def test_the_photos_alpha(make_picture: MakePicture) -> None:
    assert (read_mask("alpha", picture(make_picture(40, 60), MASK), "x.png", max_pixels=10_000) == MASK).all()
    assert (read_mask("alpha", picture(make_picture(40, 60)), "x.png", max_pixels=10_000) == 255).all()


def test_a_folder_of_masks(tmp_path: Path, make_picture: MakePicture) -> None:
    photo = picture(make_picture(40, 60))
    Image.fromarray(MASK).save(tmp_path / "x.png")
    assert (read_mask(str(tmp_path), photo, "photos/x.jpg", max_pixels=10_000) == MASK).all()
    with pytest.raises(InputError, match=r"no mask for y\.jpg"):
        read_mask(str(tmp_path), photo, "photos/y.jpg", max_pixels=10_000)


def test_a_mask_that_is_put_into_a_folder_later_is_found(tmp_path: Path, make_picture: MakePicture) -> None:
    photo = picture(make_picture(40, 60))
    os.utime(tmp_path, (0, 0))  # clocks of files may tick slowly
    with pytest.raises(InputError, match=r"no mask for x\.jpg"):
        read_mask(str(tmp_path), photo, "x.jpg", max_pixels=10_000)
    Image.fromarray(MASK).save(tmp_path / "x.png")
    assert (read_mask(str(tmp_path), photo, "x.jpg", max_pixels=10_000) == MASK).all()


def test_a_mask_has_the_shape_of_the_photo(tmp_path: Path, make_picture: MakePicture) -> None:
    Image.fromarray(MASK).resize((30, 20)).save(tmp_path / "half.png")
    half = read_mask(str(tmp_path / "half.png"), picture(make_picture(40, 60)), "x", max_pixels=10_000)
    assert half.shape == (40, 60)
    assert np.abs(half.astype(int) - MASK).mean() < 12
    with pytest.raises(InputError, match="30x20 pixels, the photo 40x60"):
        read_mask(str(tmp_path / "half.png"), picture(make_picture(60, 40)), "x", max_pixels=10_000)


def test_several_styles_with_a_mask_each(
    stylizer: Stylizer, style_code: StyleCode, make_picture: MakePicture, tmp_path: Path
) -> None:
    photo, other = picture(make_picture(40, 60)), stylizer.encode_style([make_picture(seed=7)])
    left, right = str(tmp_path / "left.png"), str(tmp_path / "right.png")
    Image.fromarray(255 - MASK).save(left)
    Image.fromarray(MASK).save(right)
    one, two = (stylizer.transfer(photo.pixels, style) for style in (style_code, other))
    output = paint(stylizer, photo, {None: style_code, right: other}, Look(), photo="x")
    assert (output[MASK == 0] == one[MASK == 0]).all() and (output[MASK == 255] == two[MASK == 255]).all()
    only = paint(stylizer, photo, {right: other}, Look(), photo="x")
    assert (only[MASK == 0] == photo.pixels[MASK == 0]).all() and (only[MASK == 255] == two[MASK == 255]).all()
    bounded = paint(stylizer, photo, {right: other}, Look(mask=left, feather=3), photo="x")
    assert (bounded[MASK == 255] == photo.pixels[MASK == 255]).all()
    inverted = paint(stylizer, photo, {None: other}, Look(mask=left, invert_mask=True), photo="x")
    assert (inverted == only).all()


def test_what_no_mask_shows_is_not_painted(
    tmp_path: Path, make_picture: MakePicture, style_code: StyleCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = picture(make_picture(64, 48, seed=1))
    none = str(tmp_path / "none.png")
    Image.new("L", (48, 64)).save(none)
    idle = cast(Stylizer, object())  # paints nothing: it could not
    for layers, look in [({none: style_code}, Look()), ({None: style_code}, Look(mask=none))]:
        assert np.array_equal(paint(idle, photo, layers, look, photo="x"), photo.pixels)


@pytest.mark.parametrize("options", [{"invert_mask": True}, {"feather": -1.0}, {"feather": float("nan")}])
def test_looks_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Look(**options)  # type: ignore[arg-type]


def test_a_photo_is_not_its_own_mask(tmp_path: Path, make_picture: MakePicture) -> None:
    photo = make_picture(40, 60)
    Image.fromarray(photo).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"no mask for a\.jpg"):
        read_mask(str(tmp_path), picture(photo), str(tmp_path / "a.jpg"), max_pixels=10_000)
    Image.fromarray(MASK).save(tmp_path / "a.png")
    os.utime(tmp_path, (0, 0))  # as if the folder had changed some time ago
    found = read_mask(str(tmp_path), picture(photo), str(tmp_path / "a.jpg"), max_pixels=10_000)
    assert (found == MASK).all()
