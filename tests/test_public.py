"""What a program that uses the package meets: its names, and paths as text or as objects."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import stylize
from stylize.batch.inputs import find_photos
from stylize.batch.manifest import Known, Manifest, hash_file, locked, look_at
from stylize.batch.planning import plan_batch
from stylize.errors import InputError, OutputError
from stylize.files.atomic import write_atomically
from stylize.files.model_file import read_model
from stylize.files.packaged import packaged
from stylize.images.formats import format_of, sniff_format
from stylize.images.reading import read_photo
from stylize.inspection import inspect_file
from stylize.networks.model import load_model
from stylize.options import ImageOptions

Convert = Callable[[Path], "str | os.PathLike[str]"]


class Entry:
    """A path as other libraries have them: all that it can do is to say its text."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __fspath__(self) -> str:
        return self.path


@pytest.fixture(params=[str, Path, Entry])
def of(request: pytest.FixtureRequest) -> Convert:
    convert: Convert = request.param
    return convert


@pytest.fixture
def style(stylizer: stylize.Stylizer, make_picture: Callable[..., np.ndarray]) -> stylize.StyleCode:
    return stylizer.encode_style([make_picture(64, 64)])


def test_every_public_name_is_there() -> None:
    assert all(getattr(stylize, name) is not None for name in stylize.__all__)
    assert {"StyleCode", "Stylizer", "Look", "mix", "paint", "refine", "read_image", "read_mask", "write_image"} < set(
        stylize.__all__
    )
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = stylize.colour


def test_styles_are_kept_and_read(of: Convert, style: stylize.StyleCode, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    style.save(of(path))
    assert stylize.StyleCode.load(of(path)).to_bytes() == style.to_bytes()
    with pytest.raises(OutputError, match="exists"):
        style.save(of(path))
    with pytest.raises(InputError, match="no such file"):
        stylize.StyleCode.load(of(tmp_path / "none.safetensors"))


def test_pictures_are_read_painted_in_part_and_written(
    of: Convert,
    stylizer: stylize.Stylizer,
    style: stylize.StyleCode,
    tmp_path: Path,
    make_picture: Callable[..., np.ndarray],
) -> None:
    half = np.zeros((48, 64, 3), np.uint8)
    half[:, 32:] = 255
    stylize.write_image(of(tmp_path / "photo.png"), make_picture(48, 64))
    stylize.write_image(of(tmp_path / "mask.png"), half)
    photo = stylize.read_image(of(tmp_path / "photo.png"))
    assert np.array_equal(read_photo(of(tmp_path / "photo.png"), ImageOptions()).pixels, photo.pixels)
    mask = stylize.read_mask(of(tmp_path / "mask.png"), photo)
    both = stylize.mix([(style, 1.0), (style, 2.0)])
    look = stylize.Look(strength=0.8)
    painted = stylize.paint(stylizer, photo, {None: both}, look, photo=of(tmp_path / "photo.png"), mask=mask)
    assert np.array_equal(painted[:, :32], photo.pixels[:, :32])
    assert not np.array_equal(painted[:, 32:], photo.pixels[:, 32:])
    assert np.array_equal(stylize.paint(stylizer, photo, {None: both}, look, mask=mask), painted)
    assert (format_of(of(tmp_path / "x.jpg")), sniff_format(of(tmp_path / "photo.png"))) == ("JPEG", "PNG")


def test_models_are_read(of: Convert) -> None:
    path = packaged("default")
    assert read_model(of(path)).hash == load_model(of(path)).hash == stylize.Stylizer(of(path), "cpu").engine.hash
    assert inspect_file(of(path), max_pixels=1, model=of(path))["kind"] == "model"


def test_a_batch_is_planned(of: Convert, tmp_path: Path, make_picture: Callable[..., np.ndarray]) -> None:
    photo, output = tmp_path / "in" / "a.png", tmp_path / "out"
    photo.parent.mkdir()
    stylize.write_image(photo, make_picture(8, 8))
    (job,) = plan_batch(find_photos([of(photo.parent)], output=of(output)), of(output)).jobs
    assert (job.photo, job.output) == (photo, output / "a.png")
    seen = look_at(of(photo))
    assert seen is not None and seen.sha256 == hash_file(of(photo))
    with locked(of(output)), Manifest(of(output)):
        assert list(Known(of(output)).outputs()) == []
    write_atomically(of(output / "b"), b"b", overwrite=False)
    assert (output / "b").read_bytes() == b"b"
