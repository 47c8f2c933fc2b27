"""A program that uses the library: several photos, without the command line."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylize.errors import InputError, OutputError, StylizeError, UsageError
from stylize.images.reading import read_image
from stylize.painting.look import Look
from stylize.painting.recipe import recipe_of
from stylize.painting.stylizer import Stylizer
from stylize.painting.transfer import transfer

MakePicture = Callable[..., np.ndarray]


@pytest.fixture
def photos(tmp_path: Path, make_picture: MakePicture) -> list[Path]:
    """Two photos, and between them a file that is none."""
    paths = [tmp_path / name for name in ("a.png", "bad.png", "c.png")]
    for seed, path in enumerate(paths):
        Image.fromarray(make_picture(30, 40, seed)).save(path)
    paths[1].write_text("no picture")
    return paths


def test_bad_photos_do_not_keep_the_others_from_being_done(
    stylizer: Stylizer, code_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    outcomes = list(transfer(photos, [code_file], output=f"{tmp_path}/out/", stylizer=stylizer))
    assert [outcome.photo for outcome in outcomes] == [str(photo) for photo in photos]
    assert [outcome.output for outcome in outcomes] == [tmp_path / "out/a.png", None, tmp_path / "out/c.png"]
    assert [type(outcome.failure) for outcome in outcomes] == [type(None), InputError, type(None)]
    assert outcomes[0].size == (40, 30)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]


def test_a_look_and_a_format(stylizer: Stylizer, code_file: Path, photos: list[Path], tmp_path: Path) -> None:
    (outcome,) = transfer(photos[:1], [code_file], Look(strength=0), format="tif", stylizer=stylizer)
    assert outcome.output == tmp_path / "a_waves.tif"
    painted = read_image(outcome.output)
    assert np.array_equal(painted.pixels, read_image(photos[0]).pixels)
    recipe = recipe_of(painted.xmp)
    assert recipe is not None and "--strength 0" in str(recipe)


def test_streams(stylizer: Stylizer, code_file: Path, photos: list[Path]) -> None:
    stream = io.BytesIO()
    (outcome,) = transfer(
        ["-"], [code_file], output=stream, stylizer=stylizer, stdin=io.BytesIO(photos[0].read_bytes()), recipe=False
    )
    assert outcome.failure is None and outcome.output is None
    assert read_image(stream.getvalue()).pixels.shape == (30, 40, 3)


def test_the_networks_are_opened_by_the_first_photo_and_once(
    stylizer: Stylizer, code_file: Path, photos: list[Path], tmp_path: Path
) -> None:
    opened = []

    def open_networks() -> Stylizer:
        opened.append(1)
        return stylizer

    outcomes = transfer(photos, [code_file], output=f"{tmp_path}/out/", stylizer=open_networks)
    assert opened == []
    assert sum(outcome.failure is None for outcome in outcomes) == 2
    assert opened == [1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"output": "one.png"}, UsageError),
        ({"output": io.BytesIO()}, UsageError),
        ({"format": "xcf"}, UsageError),
        ({"look": Look(feather=3)}, UsageError),
        ({"look": Look(mask="gone.png")}, InputError),
        ({"styles": ["nobody"]}, StylizeError),
    ],
    ids=["one file", "one stream", "format", "feather", "mask", "style"],
)
def test_what_is_wrong_for_all_is_told_before_the_work(
    stylizer: Stylizer, code_file: Path, photos: list[Path], options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        transfer(photos, **{"styles": [code_file], "stylizer": stylizer, **options})  # type: ignore[arg-type]


def test_no_photo_is_written_over(stylizer: Stylizer, code_file: Path, photos: list[Path], tmp_path: Path) -> None:
    before = photos[0].read_bytes()
    (outcome,) = transfer(photos[:1], [code_file], output=f"{tmp_path}/", overwrite=True, stylizer=stylizer)
    assert isinstance(outcome.failure, OutputError)
    assert photos[0].read_bytes() == before
