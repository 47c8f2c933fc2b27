"""The plan loses no photo and writes over none; whatever one file does, the others get done."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from conftest import WritePicture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stylize import batch
from stylize.batch import Job, Plan, output_name, plan_batch, run_batch
from stylize.errors import InputError, OutputError
from stylize.images import SUFFIXES, Picture, read_image, refuse_same_file
from stylize.options import ImageOptions

PNG, JPEG = b"\x89PNG\r\n\x1a\n" + bytes(8), b"\xff\xd8\xff\xe0" + bytes(12)
HEIC, TEXT = b"\0\0\0\x18ftypheic" + bytes(4), b"dear diary, today"
MAX_PIXELS = 10_000


def put(path: Path, raw: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def planned(plan: Plan, output: Path) -> list[tuple[str, str]]:
    """(name of the photo, path of its output) of every job."""
    return [(job.photo.name, job.output.relative_to(output).as_posix()) for job in plan.jobs]


def invert(picture: Picture, job: Job) -> Picture:
    return replace(picture, pixels=255 - picture.pixels)


def run(plan: Plan, **options: Any) -> tuple[batch.Verdict, list[tuple[str, str]]]:
    """Run a plan; the verdict, and what was said of every job: (name of the photo, status)."""
    said: list[tuple[str, str]] = []
    verdict = run_batch(
        plan,
        options.pop("stylise", invert),
        options=ImageOptions(max_pixels=MAX_PIXELS, bit_depth="8"),
        on_done=lambda job, status: said.append((job.photo.name, status)),
        **options,
    )
    return verdict, said


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, and the hash of what is in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# The plan


def test_the_tree_is_mirrored(tmp_path: Path) -> None:
    tree, output = tmp_path / "tree", tmp_path / "out"
    for name in ("b.png", "a.jpg", "sub/a.png", "sub/deep/c.PNG"):
        put(tree / name, JPEG if name.endswith("jpg") else PNG)
    plan = plan_batch([tree, put(tmp_path / "single.png")], output)
    assert planned(plan, output) == [
        ("a.jpg", "a.jpg"),
        ("b.png", "b.png"),
        ("a.png", "sub/a.png"),
        ("c.PNG", "sub/deep/c.PNG"),
        ("single.png", "single.png"),
    ]
    assert plan.junk == 0
    assert not output.exists()  # planning does nothing


@pytest.mark.parametrize(
    ("name", "format", "output"),
    [
        ("a.jpg", "JPEG", "a.jpg"),
        ("a.JPEG", "JPEG", "a.JPEG"),
        ("a.heic", "JPEG", "a.jpg"),
        ("a.b.heic", "JPEG", "a.b.jpg"),
        ("a.jpg", "PNG", "a.png"),
        ("no-suffix", "WEBP", "no-suffix.webp"),
        (".png", "PNG", ".png.png"),
    ],
)
def test_names_of_outputs(name: str, format: str, output: str) -> None:
    assert output_name(Path("folder") / name, format) == output


def test_clashes(tmp_path: Path) -> None:
    """HEIC is written as JPEG, a PNG that is called .jpg as .png: neither may take another photo's name."""
    tree, output = tmp_path / "tree", tmp_path / "out"
    put(tree / "a.heic", HEIC)
    put(tree / "a.jpg", JPEG)
    put(tree / "b.jpg", PNG)
    put(tree / "b.png", PNG)
    outputs = [name for _, name in planned(plan_batch([tree], output), output)]
    assert len(set(outputs)) == 4
    assert {PurePosixPath(name).suffix for name in outputs if name.startswith("a")} == {".jpg"}
    assert {PurePosixPath(name).suffix for name in outputs if name.startswith("b")} == {".png"}
    assert {"a.jpg", "b.png"} <= set(outputs)


def test_equal_names_from_several_inputs(tmp_path: Path) -> None:
    output = tmp_path / "out"
    inputs = [put(tmp_path / folder / "same.png").parent for folder in ("x", "y", "z")]
    outputs = [job.output for job in plan_batch(inputs, output).jobs]
    assert len(set(outputs)) == 3
    assert outputs[0] == output / "same.png"
    outputs = [job.output for job in plan_batch([folder / "same.png" for folder in inputs], output).jobs]
    assert len(set(outputs)) == 3


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="these names are one file there")
def test_case_does_not_tell_outputs_apart(tmp_path: Path) -> None:
    """The output folder may lie on a disk that ignores case."""
    tree, output = tmp_path / "tree", tmp_path / "out"
    for name in ("A.png", "a.png", "a.PNG", "Sub/x.png", "sub/X.png"):
        put(tree / name)
    outputs = [name.casefold() for _, name in planned(plan_batch([tree], output), output)]
    assert len(outputs) == len(set(outputs)) == 5


def test_junk_is_counted(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    put(tree / "photo.png")
    for name in (".hidden.png", "Thumbs.db", "desktop.ini", "readme.txt", "sub/.DS_Store", "sub/empty"):
        put(tree / name, TEXT if name.endswith("txt") else PNG if name.endswith((".png", ".db")) else b"")
    plan = plan_batch([tree], tmp_path / "out")
    assert ([job.photo.name for job in plan.jobs], plan.junk) == (["photo.png"], 6)


def test_a_file_that_is_named_is_never_junk(tmp_path: Path) -> None:
    """It fails by name instead of being passed over."""
    plan = plan_batch([put(tmp_path / "readme.txt", TEXT), put(tmp_path / ".hidden.png")], tmp_path / "out")
    assert [job.photo.name for job in plan.jobs] == ["readme.txt", ".hidden.png"]


def test_content_and_name_both_count(tmp_path: Path) -> None:
    tree, output = tmp_path / "tree", tmp_path / "out"
    put(tree / "no-suffix", JPEG)
    put(tree / "png-called.jpg", PNG)
    put(tree / "text-called.jpg", TEXT)
    put(tree / "text.txt", TEXT)
    assert planned(plan_batch([tree], output), output) == [
        ("no-suffix", "no-suffix.jpg"),
        ("png-called.jpg", "png-called.png"),
        ("text-called.jpg", "text-called.jpg"),  # will fail by name
    ]


def test_an_output_folder_inside_an_input_is_not_searched(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    put(tree / "a.png")
    put(tree / "out/old.png")
    put(tree / "sub/out/photo.png")  # only called like it
    for output in (tree / "out", tree / "sub" / ".." / "out"):
        assert [job.photo.name for job in plan_batch([tree], output).jobs] == ["a.png", "photo.png"]
    (tmp_path / "link").symlink_to(tree / "out")
    assert [job.photo.name for job in plan_batch([tree], tmp_path / "link").jobs] == ["a.png", "photo.png"]


def test_links(tmp_path: Path) -> None:
    """To files: read. To folders: not followed, they may lead round in circles. To nowhere: fail by name."""
    tree = tmp_path / "tree"
    put(tree / "a.png")
    put(tmp_path / "elsewhere/b.png")
    (tree / "file.png").symlink_to(tmp_path / "elsewhere/b.png")
    (tree / "folder").symlink_to(tmp_path / "elsewhere")
    (tree / "circle").symlink_to(tree)
    (tree / "broken.png").symlink_to(tmp_path / "gone.png")
    assert [job.photo.name for job in plan_batch([tree], tmp_path / "out").jobs] == ["a.png", "broken.png", "file.png"]
    (tmp_path / "input").symlink_to(tree)  # one that is named is meant
    assert len(plan_batch([tmp_path / "input"], tmp_path / "out").jobs) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_nothing_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    plan = plan_batch([tmp_path], tmp_path / "out")
    verdict, said = run(plan)
    assert (verdict.done, len(verdict.failures)) == (0, 1)
    assert said == [("pipe.png", f"cannot read {tmp_path / 'pipe.png'}: not a regular file")]


def test_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone: no such file or folder"):
        plan_batch([put(tmp_path / "a.png"), tmp_path / "gone"], tmp_path / "out")


FILE_NAMES = st.builds(
    str.__add__,
    st.sampled_from(["a", "A", "b", "a.jpg", ".a", "ß", "ss", "é", "thumbs"]),
    st.sampled_from(["", ".jpg", ".JPG", ".jpeg", ".png", ".heic", ".txt", ".db", ".jpg.jpg", "-1.jpg"]),
)
FOLDERS = st.lists(st.sampled_from(["x", "X", "y z"]), max_size=2).map("/".join)
TREES = st.dictionaries(
    st.tuples(st.sampled_from(["one", "two"]), FOLDERS, FILE_NAMES),
    st.sampled_from([PNG, JPEG, HEIC, TEXT, b""]),
    max_size=14,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=TREES)
def test_no_photo_is_lost_in_any_tree(tree: dict[tuple[str, str, str], bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root, output = Path(name), Path(name) / "out"
        inputs = [root / "one", root / "two"]
        for folder in inputs:
            folder.mkdir()
        for (top, folder, file), raw in tree.items():
            put(root / top / folder / file, raw)
        before = content(root)
        plan = plan_batch(inputs, output)
        assert plan == plan_batch(inputs, output)
        assert content(root) == before
        assert not output.exists()

        assert len({job.photo for job in plan.jobs}) == len(plan.jobs)
        assert len(plan.jobs) + plan.junk == len(before)
        pictures = {
            path
            for path in (root / name for name in before)
            if path.read_bytes() in (PNG, JPEG, HEIC)
            or path.suffix.lower() in (*SUFFIXES, ".heic")  # broken: to be named, not passed over
        }
        pictures = {path for path in pictures if path.name[0] != "." and path.name != "thumbs.db"}
        assert {job.photo for job in plan.jobs} == pictures

        outputs = Counter(str(job.output).casefold() for job in plan.jobs)
        assert not [path for path, count in outputs.items() if count > 1]
        for job in plan.jobs:
            source = next(folder for folder in inputs if folder in job.photo.parents)
            assert job.output.parent == output / job.photo.parent.relative_to(source)
            wrong = JPEG if SUFFIXES[job.output.suffix.lower()] == "PNG" else PNG
            assert job.photo.read_bytes() != wrong


# The run


@pytest.fixture
def tree(tmp_path: Path, write_picture: WritePicture) -> Path:
    """Three photos, a damaged one and a text that claims to be one."""
    root = tmp_path / "tree"
    for seed, name in enumerate(("a.png", "sub/b.png", "sub/deep/c.tif")):
        write_picture(root / name, np.full((20 + seed, 30, 3), 40 * seed, np.uint8))
    put(root / "sub/cut.png", (root / "a.png").read_bytes()[:50])
    put(root / "notes.png", TEXT)
    return root


def test_bad_files_do_not_stop_the_others(tree: Path, tmp_path: Path) -> None:
    before = content(tree)
    output = tmp_path / "out"
    verdict, said = run(plan_batch([tree], output))
    assert (verdict.done, verdict.skipped) == (3, 0)
    assert [path.name for path, _ in verdict.failures] == ["notes.png", "cut.png"]
    assert [status for _, status in said].count("ok") == 3
    assert dict(said)["notes.png"].startswith(f"cannot read {tree / 'notes.png'}: not an image")
    assert sorted(content(output)) == ["a.png", "sub/b.png", "sub/deep/c.tif"]
    assert content(tree) == before
    for name in content(output):
        assert (read_image(output / name).pixels == 255 - read_image(tree / name).pixels).all()


def test_a_second_run_goes_on(tree: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    plan = plan_batch([tree], output)
    run(plan)
    (output / "a.png").write_bytes(b"edited")
    (output / "sub/b.png").unlink()
    verdict, said = run(plan_batch([tree], output))
    assert (verdict.done, verdict.skipped, len(verdict.failures)) == (1, 2, 2)
    assert dict(said)["b.png"] == "ok"
    assert (output / "a.png").read_bytes() == b"edited"
    verdict, _ = run(plan, overwrite=True)
    assert (verdict.done, verdict.skipped, len(verdict.failures)) == (3, 0, 2)
    assert read_image(output / "a.png").pixels.shape == (20, 30, 3)


@pytest.mark.parametrize("overwrite", [False, True])
def test_sources_are_not_written_to(tree: Path, tmp_path: Path, overwrite: bool) -> None:
    """Not even when the output folder holds links to them, or is their own folder."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "a.png").hardlink_to(tree / "a.png")
    (output / "sub").symlink_to(tree / "sub")
    before = content(tree)
    verdict, _ = run(plan_batch([tree], output), overwrite=overwrite)
    assert verdict.done == 0
    run(plan_batch([tree], tree), overwrite=overwrite)
    assert content(tree) == before


def test_too_large_a_picture_is_a_failure(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "in/large.png", np.zeros((101, 100, 3), np.uint8))
    verdict, said = run(plan_batch([tmp_path / "in"], tmp_path / "out"))
    assert (verdict.done, len(verdict.failures)) == (0, 1)
    assert "over the limit" in said[0][1]


def test_alpha_and_warnings(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = Image.new("RGBA", (9, 9), (10, 20, 30, 40))
    image.save(tmp_path / "in/alpha.png")
    Image.fromarray(np.full((9, 9), 1000, np.uint16)).save(tmp_path / "in/deep.png")
    warnings: list[str] = []
    run(plan_batch([tmp_path / "in"], tmp_path / "out"), on_warning=warnings.append)
    assert warnings == [f"{tmp_path / 'in/deep.png'}: 16-bit colour read as 8-bit"]
    with Image.open(tmp_path / "out/alpha.png") as written:
        assert written.getpixel((0, 0)) == (245, 235, 225, 40)


def test_a_name_taken_by_something_else(tree: Path, tmp_path: Path) -> None:
    """A folder where a picture should be, a file where a folder should be: both are failures of these photos only."""
    output = tmp_path / "out"
    (output / "a.png").mkdir(parents=True)
    (output / "sub").write_text("a file")
    before = content(output)
    verdict, _ = run(plan_batch([tree], output), overwrite=True)
    assert (verdict.done, len(verdict.failures)) == (0, 5)
    assert content(output) == before


def test_a_bug_is_no_failure_of_a_photo(tree: Path, tmp_path: Path) -> None:
    def broken(picture: Picture, job: Job) -> Picture:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(plan_batch([tree], tmp_path / "out"), stylise=broken)
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_batch(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Going on would only fail on every file."""
    written: list[Path] = []
    write = batch.write_image

    def full_after_one(target: Path, *arguments: Any, **options: Any) -> tuple[str, ...]:
        if written:
            raise OutputError("no space left") from OSError(code, os.strerror(code))
        written.append(target)
        return write(target, *arguments, **options)

    monkeypatch.setattr(batch, "write_image", full_after_one)
    seen: list[str] = []

    def stylise(picture: Picture, job: Job) -> Picture:
        seen.append(str(picture.pixels.shape))
        return picture

    with pytest.raises(OutputError, match="no space left"):
        run(plan_batch([tree], tmp_path / "out"), stylise=stylise)
    assert len(seen) == 2
    assert list(content(tmp_path / "out")) == ["a.png"]


def test_other_trouble_with_writing_does_not(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> tuple[str, ...]:
        raise OutputError("permission denied") from OSError(errno.EACCES, "permission denied")

    monkeypatch.setattr(batch, "write_image", refuse)
    verdict, _ = run(plan_batch([tree], tmp_path / "out"))
    assert (verdict.done, len(verdict.failures)) == (0, 5)


def test_the_same_file_by_any_name(tmp_path: Path) -> None:
    photo = put(tmp_path / "photo.png")
    (tmp_path / "hard.png").hardlink_to(photo)
    (tmp_path / "soft.png").symlink_to(photo)
    other = put(tmp_path / "other.png")  # equal content is another file
    for output in (photo, tmp_path / "hard.png", tmp_path / "soft.png", tmp_path / ".." / tmp_path.name / "photo.png"):
        with pytest.raises(OutputError, match="output is the input"):
            refuse_same_file(photo, output)
    refuse_same_file(photo, other)
    refuse_same_file(photo, tmp_path / "new.png")


def test_an_empty_plan() -> None:
    verdict, said = run(Plan(junk=3))
    assert (verdict.done, verdict.skipped, verdict.failures, said) == (0, 0, [], [])


def test_jobs_are_told_in_order(tree: Path, tmp_path: Path) -> None:
    plan = plan_batch([tree], tmp_path / "out")
    _, said = run(plan)
    assert [name for name, _ in said] == [job.photo.name for job in plan.jobs]
    assert all(isinstance(job, Job) for job in plan.jobs)
