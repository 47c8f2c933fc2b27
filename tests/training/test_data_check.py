"""The check of training pictures: every fault is found and named, nothing usable is lost, and it is remembered."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylize.errors import TrainingError
from stylize.painting.recipe import Recipe, with_recipe
from stylize.training.data import PictureFolders, step_random
from stylize.training.data_check import (
    NAMED,
    FolderCheck,
    check_pictures,
    leave_out,
    recall,
    refuse_bad,
    to_json,
)

WritePicture = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write_picture: WritePicture) -> Path:
    """Two good pictures, and every fault."""
    folder = tmp_path / "pictures"
    write_picture(folder / "a.png", seed=1)
    write_picture(folder / "below" / "b.png", seed=2)
    Image.open(folder / "a.png").save(folder / "z.tif", dpi=(300, 300))  # other bytes, the same pixels
    write_picture(folder / "thin.png", np.zeros((200, 30, 3), np.uint8))
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:3000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "page.jpg").write_text("<html>not found</html>")
    (folder / "folder.png").mkdir()
    (folder / "gone.png").symlink_to("nowhere.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")  # must not block
    return folder


def test_every_fault_is_found(folder: Path) -> None:
    (check,) = check_pictures(PictureFolders([folder]))
    bad = {"cut.png", "empty.jpg", "page.jpg", "folder.png", "gone.png"} | (
        {"pipe.png"} if hasattr(os, "mkfifo") else set()
    )
    assert set(check.bad) == bad
    assert check.bad["cut.png"] == "file is truncated"
    assert check.small == {"thin.png": "30x200"}
    assert check.copies == {"z.tif": "a.png"}
    assert check.usable == 2 and check.pictures == 2 + len(bad) + 2


def test_paintings_are_no_photos(folder: Path, write_picture: WritePicture) -> None:
    recipe = Recipe(("stylize", "transfer", "c.png", "--style", "ink.jpg"), "0.1", "0" * 64, ("0" * 64,))
    with Image.open(write_picture(folder / "c.png", seed=3)) as image:
        image.save(folder / "c_ink.jpg", xmp=with_recipe(None, recipe))
    (photos,) = check_pictures(pictures := PictureFolders([folder]), photos=True)
    assert photos.painted == {"c_ink.jpg": "stylize transfer c.png --style ink.jpg"} and photos.usable == 3
    leave_out(pictures, [photos])
    assert {path.name for path in pictures.files[0]} == {"a.png", "b.png", "c.png"}
    (styles,) = check_pictures(PictureFolders([folder]))
    assert styles.painted == {} and styles.usable == 4


def test_only_usable_pictures_are_drawn_from(folder: Path) -> None:
    pictures = PictureFolders([folder])
    leave_out(pictures, check_pictures(pictures))
    assert [path.name for path in pictures.files[0]] == ["a.png", "b.png"]
    skipped = dict(pictures.skipped)
    for step in range(20):
        pictures.draw(step_random(0, step))
    assert pictures.skipped == skipped


def test_what_was_decoded_is_not_decoded_again(folder: Path) -> None:
    pictures = PictureFolders([folder])
    leave_out(pictures, check_pictures(pictures))
    for path in pictures.files[0]:
        path.unlink()
    assert pictures.draw(step_random(0, 0)).shape == (96, 128, 3)


def test_the_same_is_found_with_any_number_of_threads_and_told_of_each(folder: Path) -> None:
    told: list[int] = []
    one = check_pictures(PictureFolders([folder]), lambda: told.append(1), threads=1)
    assert len(told) == one[0].pictures
    assert check_pictures(PictureFolders([folder]), threads=8) == one


def test_copies_count_within_one_folder_only(tmp_path: Path, write_picture: WritePicture) -> None:
    for name in ("one", "two"):
        write_picture(tmp_path / name / "same.png")
    checks = check_pictures(PictureFolders([tmp_path / "one", tmp_path / "two"]))
    assert [check.usable for check in checks] == [1, 1]


def test_a_copy_counts_within_a_folder_that_lies_in_another(tmp_path: Path, write_picture: WritePicture) -> None:
    original = write_picture(tmp_path / "all.png", seed=1)
    (tmp_path / "best").mkdir()
    copy = tmp_path / "best" / "copy.png"
    copy.write_bytes(original.read_bytes())
    pictures = PictureFolders([tmp_path, tmp_path / "best"])
    leave_out(pictures, check_pictures(pictures))
    assert pictures.files == [[original], [copy]]


def test_who_stops_need_not_wait_for_the_rest(folder: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_pictures(PictureFolders([folder]), stop)


def test_a_folder_of_faults_is_a_training_error(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    pictures = PictureFolders([tmp_path])
    with pytest.raises(TrainingError, match="no usable picture in") as caught:
        leave_out(pictures, check_pictures(pictures))
    assert "bad.png" in caught.value.hint


@pytest.mark.parametrize(("bad", "refused"), [(0, False), (2, False), (3, True), (20, True)])
def test_more_than_a_tenth_of_bad_pictures_is_refused(bad: int, refused: bool) -> None:
    checks = [FolderCheck(50, "", {}), FolderCheck(20, "", {f"{k}.png": "damaged" for k in range(bad)})]
    folders = [Path("good"), Path("other")]
    if refused:
        with pytest.raises(TrainingError, match=f"{bad} of 20 pictures cannot be read: other"):
            refuse_bad(folders, checks, "")
    else:
        refuse_bad(folders, checks, "")


def test_faults_are_told_in_a_line_each(folder: Path) -> None:
    check = FolderCheck(30, "", {f"{k}\n.png": "file is truncated" for k in range(9)}, {"s.png": "8x8"})
    bad, small = check.faults()
    assert bad.startswith("9 of 30 cannot be read: ") and bad.count("truncated") == NAMED and bad.endswith("…")
    assert "\n" not in bad
    assert small == "1 of 30 are too small: s.png (8x8)"
    assert not list(FolderCheck(3, "").faults())


def test_findings_are_recalled_while_the_folders_list_the_same(
    folder: Path, tmp_path: Path, write_picture: WritePicture
) -> None:
    checks = check_pictures(PictureFolders([folder]))
    path = tmp_path / "data.json"
    path.write_bytes(to_json({"content": checks, "style": checks}))
    assert recall(path, "content", PictureFolders([folder])) == checks
    assert str(tmp_path) not in path.read_text()
    write_picture(folder / "new.png", seed=9)
    assert recall(path, "content", PictureFolders([folder])) is None
    assert recall(path, "style", PictureFolders([folder, folder])) is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content": 3}',
        b'{"content": [3]}',
        b'{"content": [{"usable": 1}]}',
        b"\xff",
        b"[" * 100000,
    ],
)
def test_damaged_findings_are_found_anew(folder: Path, tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "data.json").write_bytes(damage)
    assert recall(tmp_path / "data.json", "content", PictureFolders([folder])) is None


def test_findings_that_were_tampered_with_are_found_anew(folder: Path, tmp_path: Path) -> None:
    checks = check_pictures(PictureFolders([folder]))
    for wrong in ([1, 2], {"a.png": 3}, None):
        entries = json.loads(to_json({"content": [replace(checks[0])]}))
        entries["content"][0]["bad"] = wrong
        (tmp_path / "data.json").write_text(json.dumps(entries))
        assert recall(tmp_path / "data.json", "content", PictureFolders([folder])) is None
