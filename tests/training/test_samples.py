"""The sample sheet of a training: upright, no picture twice, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from conftest import MakePicture, WritePicture
from PIL import Image

from stylize.images.sheet import GAP, LABEL
from stylize.networks.model import load_model
from stylize.options import TrainingOptions
from stylize.training.data import PictureFolders
from stylize.training.devices import World
from stylize.training.samples import different, sample_sheet
from stylize.training.step import Draw


def test_no_picture_is_shown_twice(tmp_path: Path, write_picture: WritePicture, make_picture: MakePicture) -> None:
    """Nor a copy of one, saved again, in another size; what cannot be read has no place."""
    for seed in range(4):
        write_picture(tmp_path / f"a/{seed}.png", make_picture(200, 260, seed))
    Image.fromarray(make_picture(200, 260, 2)).resize((520, 400)).save(tmp_path / "a/again.jpg")
    write_picture(tmp_path / "b/again.png", make_picture(200, 260, 3))
    (tmp_path / "a/bad.png").write_bytes(b"no picture")
    folders = PictureFolders([tmp_path / "a", tmp_path / "b"])
    found = different(folders, 10, 64, seed=5)
    assert len(found) == 4
    for place, (_, pixels) in enumerate(found):
        assert pixels.shape == (64, 64, 3)
        assert all(np.abs(pixels.astype(int) - other).mean() > 8 for _, other in found[:place])
    assert [name for name, _ in different(folders, 2, 64, seed=5)] == [name for name, _ in found[:2]]
    orders = {tuple(name for name, _ in different(folders, 4, 64, seed)) for seed in range(6)}
    assert len(orders) > 1  # chosen by the seed


def test_pictures_are_upright_and_whole(tmp_path: Path, make_picture: MakePicture) -> None:
    """A camera that was held upright writes lying pixels, and says so."""
    upright = make_picture(96, 96, seed=1)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "held.png", exif=exif)
    ((name, pixels),) = different(PictureFolders([tmp_path]), 1, 96, seed=0)
    assert name == "held"
    assert np.array_equal(pixels, upright)


def test_a_sheet_of_few_pictures(photo_folder: Path, style_folder: Path, tiny_model: Path) -> None:
    draw = Draw(
        TrainingOptions(), PictureFolders([photo_folder]), PictureFolders([style_folder]), World(torch.device("cpu"))
    )
    model = load_model(tiny_model)
    sheet = sample_sheet(model, draw, size=64)
    assert sheet.size == (4 * (64 + GAP) + GAP, 4 * (64 + LABEL + GAP) + GAP)
    assert np.array_equal(np.asarray(sheet), np.asarray(sample_sheet(model, draw, size=64)))
    rows = [np.asarray(sheet)[GAP + k * (64 + LABEL + GAP) :] for k in range(4)]
    for row in rows:
        assert row[64 : 64 + LABEL, 64 + 2 * GAP :].min() < 100  # labels
    photo = rows[1][:64, GAP : GAP + 64]
    for column in range(1, 4):
        left = GAP + column * (64 + GAP)
        assert np.abs(rows[1][:64, left : left + 64].astype(int) - photo).mean() > 2  # painted
