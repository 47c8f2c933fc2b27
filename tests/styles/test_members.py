"""The pictures of a style as a set: the odd one is named, near-duplicates count once, small ones are noticed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stylize.images.reading import read_image
from stylize.painting.stylizer import Stylizer
from stylize.styles.members import LEAST_SIDE, Member, examine

MakePicture = Callable[..., np.ndarray]
STYLES = Path(__file__).parent.parent.parent / "examples" / "styles"


def members(stylizer: Stylizer, pictures: list[np.ndarray]) -> list[Member]:
    found: list[Member] = []
    stylizer.encode_style(pictures, report=found.extend)
    assert len(found) == len(pictures)
    return found


def screenshot() -> np.ndarray:
    image = Image.new("RGB", (400, 300), (250, 250, 250))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 400, 20), fill=(60, 90, 160))
    for row in range(18):
        draw.text((20, 30 + row * 14), "The quick brown fox jumps over the lazy dog " * 2, fill=(20, 20, 20))
    return np.asarray(image)


def saved_again(pixels: np.ndarray, scale: float = 0.8) -> np.ndarray:
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale))).save(stream, "JPEG", quality=70)
    return np.asarray(Image.open(stream))


def test_a_screenshot_among_nine_paintings_is_named(shipped_stylizer: Stylizer) -> None:
    """The paintings: three of one hand, and two parts of each."""
    whole = [read_image(STYLES / f"mine/{number}.jpg").pixels for number in (1, 2, 3)]
    paintings = [part for picture in whole for part in (picture, picture[:300, :350], picture[-300:, -350:])]
    found = members(shipped_stylizer, [*paintings[:4], screenshot(), *paintings[4:]])
    assert [member.outlier for member in found] == [False] * 4 + [True] + [False] * 5
    assert not any(member.outlier for member in members(shipped_stylizer, paintings))


def test_near_duplicates_count_once(shipped_stylizer: Stylizer, make_picture: MakePicture) -> None:
    one, other = make_picture(200, 240, 1), make_picture(200, 240, 2)
    pictures = [one, other, saved_again(one), saved_again(one, 0.6), np.clip(other * 1.1, 0, 255).astype(np.uint8)]
    found = members(shipped_stylizer, pictures)
    assert [round(member.weight, 3) for member in found] == [0.333, 0.5, 0.333, 0.333, 0.5]
    firsts = [k if member.twin is None else member.twin for k, member in enumerate(found)]
    groups = {frozenset(k for k, first in enumerate(firsts) if first == chosen) for chosen in firsts}
    assert groups == {frozenset({0, 2, 3}), frozenset({1, 4})}
    both, many = (shipped_stylizer.encode_style(p) for p in ([one, other], [one, one, one, other]))
    np.testing.assert_allclose(many.code, both.code, atol=1e-4)
    np.testing.assert_allclose(many.palette, both.palette, atol=1e-6)


def test_pictures_of_the_same_things_in_other_places_are_no_duplicates(shipped_stylizer: Stylizer) -> None:
    picture = read_image(STYLES / "mosaic.jpg").pixels
    found = members(shipped_stylizer, [picture[:, :384], picture[:, 384:]])
    assert [member.weight for member in found] == [1, 1]


def test_small_pictures_are_noticed(stylizer: Stylizer, make_picture: MakePicture) -> None:
    small, large = members(stylizer, [make_picture(LEAST_SIDE - 1, 300), make_picture(LEAST_SIDE, 300)])
    assert (small.small, large.small) == ((300, LEAST_SIDE - 1), None)


def test_one_picture_has_no_rest(stylizer: Stylizer, make_picture: MakePicture) -> None:
    (alone,) = members(stylizer, [make_picture()])
    assert alone == Member(distance=None)


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1)])
def test_what_is_said_does_not_depend_on_the_order(
    stylizer: Stylizer, make_picture: MakePicture, order: tuple[int, ...]
) -> None:
    pictures = [make_picture(seed=1), make_picture(seed=2), saved_again(make_picture(seed=1)), make_picture(seed=3)]
    expected = members(stylizer, pictures)
    for place, member in zip(order, members(stylizer, [pictures[k] for k in order]), strict=True):
        assert member.distance == pytest.approx(expected[place].distance, rel=1e-5)
        assert member.weight == expected[place].weight


def test_distances() -> None:
    pictures = [np.full((100, 100, 3), tone, np.uint8) for tone in (0, 100, 200)]
    known = np.array([[0, 0], [0, 0], [3, 3]], np.float32)
    assert [member.distance for member in examine(pictures, known)] == [1.5, 1.5, 3.0]
