"""Training data: a batch depends on (seed, step) and nothing else, and bad pictures are left out by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylize.errors import TrainingError
from stylize.training.data import (
    SHORT_SIDE,
    PictureFolders,
    batches,
    content_crop,
    random_crop,
    step_random,
    style_crop,
    to_tensor,
    vary_colour,
)

MakePicture = Callable[..., np.ndarray]
WritePicture = Callable[..., Path]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def crops_of(folders: list[Path], seed: int = 0) -> Callable[[int], np.ndarray]:
    pictures = PictureFolders(folders)

    def make(step: int) -> np.ndarray:
        random = step_random(seed, step)
        return np.stack([style_crop(random, pictures, 32), content_crop(random, pictures, 32)])

    return make


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (1, 4), (4, 1), (4, 8)])
def test_batches_do_not_depend_on_threads(photo_folder: Path, threads: int, ahead: int) -> None:
    expected = [crops_of([photo_folder])(step) for step in range(8)]
    found = list(batches(crops_of([photo_folder]), 0, 8, threads=threads, ahead=ahead))
    np.testing.assert_array_equal(found, expected)


def test_batches_do_not_depend_on_what_was_drawn_before(photo_folder: Path) -> None:
    make = crops_of([photo_folder])
    backwards = [make(step) for step in reversed(range(6))]
    np.testing.assert_array_equal(backwards[::-1], list(batches(crops_of([photo_folder]), 0, 6)))
    np.testing.assert_array_equal(backwards[2::-1], list(batches(crops_of([photo_folder]), 3, 6)))


def test_a_bad_picture_does_not_change_what_is_drawn_later(photo_folder: Path, folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"bad")
    used = crops_of([photo_folder, folder])
    for step in range(5):
        used(step)
    np.testing.assert_array_equal(used(7), crops_of([photo_folder, folder])(7))


def test_steps_and_seeds_differ(photo_folder: Path) -> None:
    make = crops_of([photo_folder])
    assert not np.array_equal(make(0), make(1))
    assert not np.array_equal(make(0), crops_of([photo_folder], seed=1)(0))


def test_batches_come_in_order_though_threads_finish_in_any() -> None:
    first_is_late = threading.Event()

    def make(step: int) -> int:
        if step == 0:
            first_is_late.wait(10)
        elif step == 1:
            first_is_late.set()
        return step

    assert list(batches(make, 0, 5)) == list(range(5))


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise TrainingError("no pictures")
        return step

    with pytest.raises(TrainingError, match="no pictures"):
        list(batches(make, 0, 5))


def test_no_steps_give_no_batches() -> None:
    assert list(batches(lambda step: step, 5, 5)) == []


def test_unusable_pictures_are_skipped_and_named(folder: Path, write_picture: WritePicture) -> None:
    write_picture(folder / "good.png")
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:300])
    (folder / "folder.png").mkdir()
    write_picture(folder / "small.png", np.zeros((200, 30, 3), np.uint8))
    pictures, random = PictureFolders([folder]), step_random(0, 0)
    for _ in range(60):
        assert pictures.draw(random).shape == (96, 128, 3)
    assert {path.name for path in pictures.skipped} == {"text.jpg", "cut.png", "folder.png", "small.png"}
    for path, reason in pictures.skipped.items():
        assert path.name in reason
    assert "30x200" in pictures.skipped[folder / "small.png"]


def test_only_files_with_a_pictures_suffix_are_opened(folder: Path, write_picture: WritePicture) -> None:
    write_picture(folder / "deep" / "inside" / "a.PNG")
    write_picture(folder / "b.jpg")
    for name in ("notes.txt", ".hidden.png", "c.safetensors"):
        (folder / name).write_bytes(b"nothing")
    pictures = PictureFolders([folder])
    assert [path.name for path in pictures.files[0]] == ["b.jpg", "a.PNG"]
    assert len(pictures) == 2


def test_each_folder_is_drawn_equally_often(tmp_path: Path, write_picture: WritePicture) -> None:
    for name, count, tone in (("large", 9, 0), ("small", 1, 255)):
        for k in range(count):
            write_picture(tmp_path / name / f"{k}.png", np.full((64, 64, 3), tone, np.uint8))
    pictures, random = PictureFolders([tmp_path / "large", tmp_path / "small"]), step_random(0, 0)
    drawn = [pictures.draw(random).mean() / 255 for _ in range(400)]
    assert 0.4 < np.mean(drawn) < 0.6


def test_every_picture_of_a_folder_is_drawn(folder: Path, write_picture: WritePicture) -> None:
    for k in range(5):
        write_picture(folder / f"{k}.png", np.full((64, 64, 3), 50 * k, np.uint8))
    pictures, random = PictureFolders([folder]), step_random(0, 0)
    assert {int(pictures.draw(random)[0, 0, 0]) for _ in range(100)} == {0, 50, 100, 150, 200}


def test_large_pictures_are_kept_reduced(folder: Path, write_picture: WritePicture, make_picture: MakePicture) -> None:
    write_picture(folder / "large.png", make_picture(SHORT_SIDE * 2, SHORT_SIDE * 3))
    assert PictureFolders([folder]).draw(step_random(0, 0)).shape == (SHORT_SIDE, SHORT_SIDE * 3 // 2, 3)


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "empty"])
def test_a_folder_without_pictures_is_a_training_error(tmp_path: Path, photo_folder: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "gone").mkdir()
    with pytest.raises(TrainingError, match="gone") as caught:
        PictureFolders([photo_folder, tmp_path / "gone"])
    assert caught.value.hint


def test_a_folder_of_bad_pictures_is_a_training_error(folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"bad")
    with pytest.raises(TrainingError, match="no usable picture") as caught:
        PictureFolders([folder]).draw(step_random(0, 0))
    assert "bad.png" in caught.value.hint


@pytest.mark.parametrize("shape", [(64, 64), (64, 400), (500, 70), (300, 300)])
@pytest.mark.parametrize("size", [32, 100])
def test_crops_are_square(
    rng: np.random.Generator, make_picture: MakePicture, shape: tuple[int, int], size: int
) -> None:
    picture = make_picture(*shape)
    for _ in range(20):
        crop = random_crop(rng, picture, size, zoom=(0.3, 2), aspect=0.3)
        assert crop.shape == (size, size, 3) and crop.dtype == np.uint8


@pytest.fixture
def slopes() -> np.ndarray:
    """(256, 256, 3): red rises down the rows, green along the columns."""
    rows, columns = np.mgrid[:256, :256].astype(np.uint8)
    return np.stack([rows, columns, rows], axis=2)


def directions(crop: np.ndarray) -> np.ndarray:
    """Where rows and columns of the picture ran to in a crop of ``slopes``: two steps (down, right) per pixel."""
    middle = slice(len(crop) // 4, -len(crop) // 4)
    tones = crop[middle, middle, :2].astype(float)
    return np.array([[np.diff(tones[..., c], axis=axis).mean() for axis in (0, 1)] for c in (0, 1)])


def test_crops_are_turned_and_mirrored(rng: np.random.Generator, slopes: np.ndarray) -> None:
    seen = [directions(random_crop(rng, slopes, 64, zoom=(1, 1), aspect=0)) for _ in range(400)]
    angles = np.degrees([np.arctan2(*step[0]) for step in seen]) + 5  # 5 more: the upright ones fall within a bin
    upright = [angle // 90 % 4 for angle in angles if angle % 90 < 10]
    slanted = [angle // 45 % 8 for angle in angles if angle % 90 > 10]
    assert 150 < len(upright) < 300  # half of all, and those that came near it by chance
    assert min(upright.count(quarter) for quarter in range(4)) > 25
    assert min(slanted.count(eighth) for eighth in range(8)) > 8
    mirrored = sum(np.linalg.det(step) < 0 for step in seen)
    assert 150 < mirrored < 250


def test_nothing_but_the_picture_is_in_a_crop(rng: np.random.Generator) -> None:
    white = np.full((60, 200, 3), 255, np.uint8)
    for _ in range(300):
        assert random_crop(rng, white, int(rng.integers(20, 90)), zoom=(0.3, 2), aspect=0.3).min() == 255


def test_zoom_is_in_output_pixels_per_picture_pixel(rng: np.random.Generator, slopes: np.ndarray) -> None:
    for _ in range(20):
        steps = directions(random_crop(rng, slopes, 100, zoom=(2, 2), aspect=0))
        assert np.linalg.norm(steps, axis=1) == pytest.approx([0.5, 0.5], abs=0.03)


def test_small_pictures_are_enlarged_but_not_squeezed(rng: np.random.Generator, slopes: np.ndarray) -> None:
    for _ in range(20):
        steps = directions(random_crop(rng, slopes[:90], 100, zoom=(0.5, 0.5), aspect=0))
        lengths = np.linalg.norm(steps, axis=1)
        assert lengths[0] == pytest.approx(lengths[1], rel=0.05) and lengths.max() < 1.3


def test_colours_are_varied_but_not_places(rng: np.random.Generator) -> None:
    left_dark = np.zeros((8, 8, 3), np.uint8)
    left_dark[:, 4:] = (200, 120, 60)
    looks = set()
    for _ in range(100):
        varied = vary_colour(rng, left_dark)
        assert varied.shape == (8, 8, 3) and varied.dtype == np.uint8
        assert len(np.unique(varied[:, :4].reshape(-1, 3), axis=0)) == 1
        assert len(np.unique(varied[:, 4:].reshape(-1, 3), axis=0)) == 1
        looks.add(tuple(varied[0, 7]))
    assert len(looks) > 20


def test_colours_are_varied_without_touching_the_cached_picture(rng: np.random.Generator) -> None:
    picture = np.full((8, 8, 3), 100, np.uint8)
    picture.flags.writeable = False
    for _ in range(50):
        vary_colour(rng, picture)


def test_photo_crops_have_something_in_them(folder: Path, write_picture: WritePicture) -> None:
    sky = np.full((200, 200, 3), 200, np.uint8)
    sky[:, 120:] = np.random.default_rng(0).integers(0, 256, (200, 80, 3))
    write_picture(folder / "sky.png", sky)
    pictures, random = PictureFolders([folder]), step_random(0, 0)
    plain = sum(content_crop(random, pictures, 64).std() < 4 for _ in range(40))
    assert plain == 0


def test_a_folder_of_plain_pictures_still_gives_crops(folder: Path, write_picture: WritePicture) -> None:
    write_picture(folder / "plain.png", np.full((100, 100, 3), 200, np.uint8))
    assert content_crop(step_random(0, 0), PictureFolders([folder]), 64).shape == (64, 64, 3)


def test_tensors_are_pictures_in_0_to_1() -> None:
    crops = [np.full((4, 4, 3), (0, 51, 255), np.uint8)] * 2
    batch = to_tensor(crops, torch.device("cpu"))
    assert batch.shape == (2, 3, 4, 4)
    torch.testing.assert_close(batch[1, :, 2, 3], torch.tensor([0.0, 0.2, 1.0]))


def test_colours_under_transparency_are_not_learnt(folder: Path) -> None:
    pixels = np.zeros((80, 80, 4), np.uint8)
    pixels[:40] = (200, 100, 50, 255)  # the rest is transparent, and black below
    Image.fromarray(pixels).save(folder / "cut-out.png")
    loaded = PictureFolders([folder]).load(folder / "cut-out.png")
    assert loaded is not None and loaded.min() > 40
