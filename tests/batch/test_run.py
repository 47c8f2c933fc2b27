"""The plan loses no photo and writes over none; whatever one file does, the others get done."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from conftest import WritePicture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stylize.batch import pipeline
from stylize.batch.inputs import find_photos
from stylize.batch.manifest import Entry, Known, Manifest
from stylize.batch.pipeline import Outcome, run_jobs
from stylize.batch.planning import Job, Plan, Sorted, plan_batch, shard_of, sort_out
from stylize.errors import InputError, OutputError
from stylize.files.atomic import refuse_same_file
from stylize.images import writing
from stylize.images.formats import SUFFIXES, output_name
from stylize.images.reading import Picture, read_image
from stylize.options import ImageOptions
from stylize.painting import photo as photo_stages

PNG, JPEG = b"\x89PNG\r\n\x1a\n" + bytes(8), b"\xff\xd8\xff\xe0" + bytes(12)
HEIC, TEXT = b"\0\0\0\x18ftypheic" + bytes(4), b"dear diary, today"
MAX_PIXELS = 10_000


def put(path: Path, raw: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def plan_of(inputs: Sequence[Path | str], output: Path, **options: Any) -> Plan:
    return plan_batch(find_photos(inputs, output=output), output, **options)


def planned(plan: Plan, output: Path) -> list[tuple[str, str]]:
    """(name of the photo, path of its output) of every job."""
    return [(job.photo.name, job.output.relative_to(output).as_posix()) for job in plan.jobs]


def invert(picture: Picture, job: Job) -> Picture:
    return replace(picture, pixels=255 - picture.pixels)


@dataclass
class Verdict:
    """What became of a batch: its outcomes by status, and what was left alone."""

    outcomes: list[Outcome]
    kept: Sorted

    @property
    def done(self) -> int:
        return [outcome.entry.status for outcome in self.outcomes].count("ok")

    @property
    def skipped(self) -> int:
        return len(self.kept.done) + len(self.kept.foreign)

    @property
    def failures(self) -> dict[str, str]:
        return {o.job.photo.name: o.entry.reason for o in self.outcomes if o.entry.status == "failed"}

    @property
    def order(self) -> list[str]:
        return [outcome.job.photo.name for outcome in self.outcomes]


def run(
    inputs: Sequence[Path | str], output: Path, stylise: Callable[[Picture, Job], Picture] = invert, **options: Any
) -> Verdict:
    """Plan, sort out and run a batch, as the command does, with a fingerprint of our own."""
    style = options.pop("fingerprint", "inverted")
    sorting = {name: options.pop(name) for name in ("overwrite", "redo", "retry_failed") if name in options}
    known = Known(output)
    jobs = plan_of(inputs, output, known=known).jobs
    kept = sort_out(jobs, known, lambda job: style, **sorting)
    with Manifest(output) as manifest:
        picture_options = ImageOptions(max_pixels=MAX_PIXELS, bit_depth="8")
        return Verdict([*run_jobs(kept.todo, stylise, manifest, options=picture_options, **options)], kept)


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder but the batch's own records, and the hash of what is in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".stylize" not in path.parts)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# The plan


def test_the_tree_is_mirrored(tmp_path: Path) -> None:
    tree, output = tmp_path / "tree", tmp_path / "out"
    for name in ("b.png", "a.jpg", "sub/a.png", "sub/deep/c.PNG"):
        put(tree / name, JPEG if name.endswith("jpg") else PNG)
    plan = plan_of([tree, put(tmp_path / "single.png")], output)
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
    outputs = [name for _, name in planned(plan_of([tree], output), output)]
    assert len(set(outputs)) == 4
    assert {PurePosixPath(name).suffix for name in outputs if name.startswith("a")} == {".jpg"}
    assert {PurePosixPath(name).suffix for name in outputs if name.startswith("b")} == {".png"}
    assert {"a.jpg", "b.png"} <= set(outputs)


def test_equal_names_from_several_inputs(tmp_path: Path) -> None:
    output = tmp_path / "out"
    inputs = [put(tmp_path / folder / "same.png").parent for folder in ("x", "y", "z")]
    outputs = [job.output for job in plan_of(inputs, output).jobs]
    assert len(set(outputs)) == 3
    assert outputs[0] == output / "same.png"
    outputs = [job.output for job in plan_of([folder / "same.png" for folder in inputs], output).jobs]
    assert len(set(outputs)) == 3


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="these names are one file there")
def test_case_does_not_tell_outputs_apart(tmp_path: Path) -> None:
    """The output folder may lie on a disk that ignores case."""
    tree, output = tmp_path / "tree", tmp_path / "out"
    for name in ("A.png", "a.png", "a.PNG", "Sub/x.png", "sub/X.png"):
        put(tree / name)
    outputs = [name.casefold() for _, name in planned(plan_of([tree], output), output)]
    assert len(outputs) == len(set(outputs)) == 5


def test_junk_is_counted(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    put(tree / "photo.png")
    for name in (".hidden.png", "Thumbs.db", "desktop.ini", "readme.txt", "sub/.DS_Store", "sub/empty"):
        put(tree / name, TEXT if name.endswith("txt") else PNG if name.endswith((".png", ".db")) else b"")
    plan = plan_of([tree], tmp_path / "out")
    assert ([job.photo.name for job in plan.jobs], plan.junk) == (["photo.png"], 6)


def test_a_file_that_is_named_is_never_junk(tmp_path: Path) -> None:
    """It fails by name instead of being passed over."""
    plan = plan_of([put(tmp_path / "readme.txt", TEXT), put(tmp_path / ".hidden.png")], tmp_path / "out")
    assert [job.photo.name for job in plan.jobs] == ["readme.txt", ".hidden.png"]


def test_content_and_name_both_count(tmp_path: Path) -> None:
    tree, output = tmp_path / "tree", tmp_path / "out"
    put(tree / "no-suffix", JPEG)
    put(tree / "png-called.jpg", PNG)
    put(tree / "text-called.jpg", TEXT)
    put(tree / "text.txt", TEXT)
    assert planned(plan_of([tree], output), output) == [
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
        assert [job.photo.name for job in plan_of([tree], output).jobs] == ["a.png", "photo.png"]
    (tmp_path / "link").symlink_to(tree / "out")
    assert [job.photo.name for job in plan_of([tree], tmp_path / "link").jobs] == ["a.png", "photo.png"]


def test_links(tmp_path: Path) -> None:
    """To files: read. To folders: not followed, they may lead round in circles. To nowhere: fail by name."""
    tree = tmp_path / "tree"
    put(tree / "a.png")
    put(tmp_path / "elsewhere/b.png")
    (tree / "file.png").symlink_to(tmp_path / "elsewhere/b.png")
    (tree / "folder").symlink_to(tmp_path / "elsewhere")
    (tree / "circle").symlink_to(tree)
    (tree / "broken.png").symlink_to(tmp_path / "gone.png")
    assert [job.photo.name for job in plan_of([tree], tmp_path / "out").jobs] == ["a.png", "broken.png", "file.png"]
    (tmp_path / "input").symlink_to(tree)  # one that is named is meant
    assert len(plan_of([tmp_path / "input"], tmp_path / "out").jobs) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_nothing_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    verdict = run([tmp_path], tmp_path / "out")
    assert verdict.done == 0
    assert verdict.failures == {"pipe.png": f"cannot read {tmp_path / 'pipe.png'}: not a regular file"}


def test_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone: no such file or folder"):
        plan_of([put(tmp_path / "a.png"), tmp_path / "gone"], tmp_path / "out")


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
        plan = plan_of(inputs, output)
        assert plan == plan_of(inputs, output)
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


def test_a_name_is_never_given_away(tmp_path: Path) -> None:
    """What a photo owns in the manifest stays its own, whoever comes later and sorts before it."""
    tree, output = tmp_path / "tree", tmp_path / "out"
    put(tree / "b.png")
    (first,) = plan_of([tree], output).jobs
    with Manifest(output) as manifest:
        manifest.append(Entry(str(tree / "b.png"), first.name, "failed"))
    put(tree / "b.jpg", PNG)
    put(tree / "B.PNG") if sys.platform not in ("darwin", "win32") else None
    names = dict(planned(plan_of([tree], output, known=Known(output)), output))
    assert names["b.png"] == "b.png"
    assert len({name.casefold() for name in names.values()}) == len(names)
    # another folder with a photo of the same name, in a run of its own
    put(tmp_path / "other/b.png", PNG + b"other")
    assert planned(plan_of([tmp_path / "other"], output, known=Known(output)), output) == [("b.png", "b.png.png")]


def test_shards_are_the_whole(tmp_path: Path) -> None:
    """Every photo belongs to one shard, whatever the others do; names are those of the whole."""
    tree, output = tmp_path / "tree", tmp_path / "out"
    for number in range(40):
        put(tree / f"{number % 4}/{number}.png")
    put(tree / "0/0.jpg", PNG)
    whole = planned(plan_of([tree], output), output)
    for count in (1, 3, 7):
        parts = [planned(plan_of([tree], output, shard=(k + 1, count)), output) for k in range(count)]
        assert sorted(job for part in parts for job in part) == sorted(whole)
        assert all(parts)
    assert shard_of(PurePosixPath("a/b.jpg"), 1000) == 369  # the same on every machine and in every version


def test_each_style_has_its_folder(tmp_path: Path) -> None:
    output = tmp_path / "out"
    plan = plan_of([put(tmp_path / "tree/sub/a.png").parent.parent], output, styles=("ink", "oil"))
    assert [(job.style, job.name) for job in plan.jobs] == [("ink", "ink/sub/a.png"), ("oil", "oil/sub/a.png")]


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
    verdict = run([tree], output)
    assert (verdict.done, verdict.skipped) == (3, 0)
    assert list(verdict.failures) == ["notes.png", "cut.png"]
    assert verdict.failures["notes.png"].startswith(f"cannot read {tree / 'notes.png'}: not an image")
    assert sorted(content(output)) == ["a.png", "sub/b.png", "sub/deep/c.tif"]
    assert content(tree) == before
    for name in content(output):
        assert (read_image(output / name).pixels == 255 - read_image(tree / name).pixels).all()


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (5, 1), (1, 4), (3, 2)])
def test_order_and_bytes_do_not_depend_on_workers(
    tmp_path: Path, write_picture: WritePicture, workers: int, at_once: int
) -> None:
    for seed in range(12):
        write_picture(tmp_path / f"in/{seed:02}.jpg", np.full((30 + 40 * (seed % 2), 50, 3), 9 * seed, np.uint8))
    expected = run([tmp_path / "in"], tmp_path / "one", workers=2)
    verdict = run([tmp_path / "in"], tmp_path / "two", workers=workers, at_once=lambda picture, job: at_once)
    assert verdict.order == expected.order == sorted(path.name for path in (tmp_path / "in").iterdir())
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_small_photos_are_painted_side_by_side_and_large_ones_alone(
    tmp_path: Path, write_picture: WritePicture
) -> None:
    """Three small ones wait for each other, which only threads can; a large one finds nothing else at work."""
    for number in range(12):
        side = 90 if number in (3, 4, 8) else 30
        write_picture(tmp_path / f"in/{number:02}.png", np.full((side, side, 3), number, np.uint8))
    three, guard = threading.Barrier(3, timeout=20), threading.Lock()
    at_work: list[str] = []
    most = 0

    def stylise(picture: Picture, job: Job) -> Picture:
        nonlocal most
        with guard:
            at_work.append(job.name)
            most = max(most, len(at_work))
        if len(picture.pixels) == 90:
            time.sleep(0.02)
            assert at_work == [job.name]
        else:
            three.wait()
        with guard:
            at_work.remove(job.name)
        return picture

    def at_once(picture: Picture, job: Job) -> int:
        return 1 if len(picture.pixels) == 90 else 3

    verdict = run([tmp_path / "in"], tmp_path / "out", stylise, at_once=at_once, workers=1)
    assert verdict.done == 12
    assert verdict.order == sorted(verdict.order)
    assert most == 3


def test_few_photos_are_held_at_a_time(tmp_path: Path, write_picture: WritePicture) -> None:
    """The queues between the stages are bounded, large photos weigh more."""
    for seed in range(30):
        write_picture(tmp_path / f"in/{seed:02}.png", np.full((50, 50, 3), seed, np.uint8))
    read: list[str] = []
    original = photo_stages.read_photo

    def counting(path: Path, options: ImageOptions) -> Picture:
        read.append(path.name)
        return original(path, options)

    ahead: list[int] = []

    def stylise(picture: Picture, job: Job) -> Picture:
        time.sleep(0.01)  # the slowest stage
        ahead.append(len(read) - len(ahead))
        return picture

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photo_stages, "read_photo", counting)
        assert run([tmp_path / "in"], tmp_path / "out", stylise, workers=3).done == 30
        assert 1 < max(ahead) <= 3 + 2
        patch.setattr(pipeline, "PIXELS_BETWEEN_STAGES", 2500)
        read.clear(), ahead.clear()
        assert run([tmp_path / "in"], tmp_path / "again", stylise, workers=3).done == 30
        assert max(ahead[6:]) <= 3


def test_a_second_run_goes_on(tree: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run([tree], output)
    (output / "a.png").write_bytes(b"edited")
    (output / "sub/b.png").unlink()
    os.utime(tree / "sub/deep/c.tif")  # touched, but the same
    verdict = run([tree], output)
    assert verdict.order == ["notes.png", "b.png", "cut.png"]
    assert [job.name for job in verdict.kept.done] == ["sub/deep/c.tif"]
    assert [job.name for job in verdict.kept.foreign] == ["a.png"]
    assert (output / "a.png").read_bytes() == b"edited"
    verdict = run([tree], output, overwrite=True)
    assert (verdict.done, verdict.skipped, len(verdict.failures)) == (1, 2, 2)
    assert read_image(output / "a.png").pixels.shape == (20, 30, 3)
    assert run([tree], output, redo=True).done == 3


def test_what_is_redone(tree: Path, tmp_path: Path, write_picture: WritePicture) -> None:
    """Other options: everything that is ours. Another photo: that one. What is not ours: never."""
    output = tmp_path / "out"
    put(output / "sub/b.png", b"not ours")
    assert run([tree], output).done == 2
    assert [job.name for job in run([tree], output).kept.foreign] == ["sub/b.png"]

    def darken(picture: Picture, job: Job) -> Picture:
        return replace(picture, pixels=picture.pixels // 2)

    verdict = run([tree], output, darken, fingerprint="dark")
    assert (verdict.done, verdict.skipped) == (2, 1)
    assert (read_image(output / "a.png").pixels == read_image(tree / "a.png").pixels // 2).all()
    assert (output / "sub/b.png").read_bytes() == b"not ours"

    write_picture(tree / "a.png", np.full((20, 30, 3), 77, np.uint8))
    (output / "sub/deep/c.tif").write_bytes(bytes((output / "sub/deep/c.tif").stat().st_size))  # changed by someone
    assert run([tree], output, darken, fingerprint="dark").order == ["a.png", "notes.png", "cut.png"]
    assert (read_image(output / "a.png").pixels == 77 // 2).all()
    verdict = run([tree], output, fingerprint="inverted")
    assert [job.name for job in verdict.kept.foreign] == ["sub/b.png", "sub/deep/c.tif"]


def test_a_moved_tree_is_not_redone(tree: Path, tmp_path: Path, write_picture: WritePicture) -> None:
    output = tmp_path / "out"
    run([tree], output)
    tree.rename(tmp_path / "moved")
    assert run([tmp_path / "moved"], output).order == ["notes.png", "cut.png"]
    # a photo of the same name but of other content is another photo
    write_picture(tmp_path / "second/a.png", np.zeros((20, 30, 3), np.uint8) + np.uint8(99))
    before = content(output)
    verdict = run([tmp_path / "second"], output)
    assert [outcome.entry.output for outcome in verdict.outcomes] == ["a.png.png"]
    assert {name: digest for name, digest in content(output).items() if name in before} == before


def test_odd_names_go_round(tmp_path: Path, write_picture: WritePicture) -> None:
    names = ["new\nline.png", "-o.png", "tab\t'\"$x.png", "ü\N{SNOWMAN}.png", "@list.png"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"\xff\xfe.png"))
    for name in names:
        write_picture(tmp_path / "in/\u00e9 \\" / name, np.zeros((9, 9, 3), np.uint8))
    assert run([tmp_path / "in"], tmp_path / "out").done == len(names)
    verdict = run([tmp_path / "in"], tmp_path / "out")
    assert sorted(job.photo.name for job in verdict.kept.done) == sorted(names)


def test_failures_can_be_left_alone(tree: Path, tmp_path: Path, write_picture: WritePicture) -> None:
    output = tmp_path / "out"
    run([tree], output)
    verdict = run([tree], output, retry_failed=False)
    assert verdict.order == []
    assert [job.photo.name for job, _ in verdict.kept.failed] == ["notes.png", "cut.png"]
    assert all(reason.startswith("cannot read ") for _, reason in verdict.kept.failed)
    write_picture(tree / "notes.png", np.zeros((9, 9, 3), np.uint8))  # mended
    assert run([tree], output, retry_failed=False).order == ["notes.png"]
    assert run([tree], output, retry_failed=False, fingerprint="other").done == 4


@pytest.mark.parametrize("moment", ["before writing", "after writing"])
@pytest.mark.parametrize("again", [False, True])
def test_killed_between_picture_and_manifest(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, again: bool
) -> None:
    """Whether the picture is there and is ours is known afterwards, also when it was being redone."""
    output = tmp_path / "out"
    if again:
        run([tree], output, lambda picture, job: picture, fingerprint="plain")
    write = writing.write_atomically

    def killed(target: Path, *arguments: Any, **options: Any) -> None:
        if moment != "before writing":
            write(target, *arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writing, "write_atomically", killed)
        run([tree], output, workers=1)
    verdict = run([tree], output)
    finished = [] if moment == "before writing" else ["a.png"]
    assert [job.name for job in verdict.kept.done] == finished
    assert verdict.done == 3 - len(finished)
    for name in content(output):
        assert (read_image(output / name).pixels == 255 - read_image(tree / name).pixels).all()
    assert run([tree], output).done == 0


@pytest.mark.parametrize("lines", [0.3, 1.0, 1.5, 1.99])
def test_a_manifest_that_was_cut_short(tmp_path: Path, write_picture: WritePicture, lines: float) -> None:
    """The line ``writing`` is enough to know our own; without it the picture is taken for somebody else's."""
    write_picture(tmp_path / "in/a.png", np.zeros((9, 9, 3), np.uint8))
    output = tmp_path / "out"
    run([tmp_path / "in"], output)
    manifest = output / ".stylize/manifest.jsonl"
    whole = manifest.read_bytes()
    first, second = whole.splitlines(keepends=True)
    manifest.write_bytes(whole[: round(len(first) * min(lines, 1) + len(second) * max(lines - 1, 0))])
    verdict = run([tmp_path / "in"], output)
    assert verdict.outcomes == []
    assert len(verdict.kept.done if lines >= 1 else verdict.kept.foreign) == 1
    write_picture(
        tmp_path / "in/b.png", np.zeros((9, 9, 3), np.uint8)
    )  # what comes after a line that was cut short is read again
    assert run([tmp_path / "in"], output).order == ["b.png"]
    assert "b.png" in [job.name for job in run([tmp_path / "in"], output).kept.done]


@pytest.mark.parametrize("overwrite", [False, True])
def test_sources_are_not_written_to(tree: Path, tmp_path: Path, overwrite: bool) -> None:
    """Not even when the output folder holds links to them, or is their own folder."""
    output = tmp_path / "out"
    output.mkdir()
    (output / "a.png").hardlink_to(tree / "a.png")
    (output / "sub").symlink_to(tree / "sub")
    before = content(tree)
    assert run([tree], output, overwrite=overwrite).done == 0
    run([tree], tree, overwrite=overwrite)
    assert content(tree) == before


def test_too_large_a_picture_is_a_failure(tmp_path: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "in/large.png", np.zeros((101, 100, 3), np.uint8))
    verdict = run([tmp_path / "in"], tmp_path / "out")
    assert verdict.done == 0
    assert "over the limit" in verdict.failures["large.png"]


def test_alpha_and_warnings(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = Image.new("RGBA", (9, 9), (10, 20, 30, 40))
    image.save(tmp_path / "in/alpha.png")
    Image.fromarray(np.full((9, 9), 1000, np.uint16)).save(tmp_path / "in/deep.png")
    verdict = run([tmp_path / "in"], tmp_path / "out")
    notes = [note for outcome in verdict.outcomes for note in outcome.notes]
    assert notes == [f"{tmp_path / 'in/deep.png'}: 16-bit colour read as 8-bit"]
    with Image.open(tmp_path / "out/alpha.png") as written:
        assert written.getpixel((0, 0)) == (245, 235, 225, 40)


def test_a_name_taken_by_something_else(tree: Path, tmp_path: Path) -> None:
    """A folder where a picture should be, a file where a folder should be: both are failures of these photos only."""
    output = tmp_path / "out"
    (output / "a.png").mkdir(parents=True)
    (output / "sub").write_text("a file")
    before = content(output)
    verdict = run([tree], output, overwrite=True)
    assert (verdict.done, len(verdict.failures)) == (0, 5)
    assert content(output) == before


def test_a_bug_is_no_failure_of_a_photo(tree: Path, tmp_path: Path) -> None:
    def broken(picture: Picture, job: Job) -> Picture:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run([tree], tmp_path / "out", broken)
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Going on would only fail on every file. The photo is not to blame: it is tried again."""
    for seed in range(30):
        path = tmp_path / f"in/{seed:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9), (seed, 0, 0)).save(path)
    written: list[Path] = []
    write = writing.write_atomically

    def full_after_one(target: Path, *arguments: Any, **options: Any) -> None:
        if written:
            raise OutputError("no space left") from OSError(code, os.strerror(code))
        written.append(target)
        write(target, *arguments, **options)

    seen: list[str] = []

    def stylise(picture: Picture, job: Job) -> Picture:
        seen.append(job.name)
        return picture

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="no space left"):
        patch.setattr(writing, "write_atomically", full_after_one)
        run([tmp_path / "in"], tmp_path / "out", stylise, workers=2)
    assert len(seen) < 10
    assert len(content(tmp_path / "out")) == 1
    assert run([tmp_path / "in"], tmp_path / "out", retry_failed=False).done == 29


def test_a_full_disk_for_the_manifest_stops_it_too(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OutputError, match=r"manifest\.jsonl: no space left"):
        patch.setattr("stylize.batch.manifest.os.write", full)
        run([tree], tmp_path / "out")
    assert content(tmp_path / "out") == {}


def test_other_trouble_with_writing_does_not(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OutputError("permission denied") from OSError(errno.EACCES, "permission denied")

    monkeypatch.setattr("stylize.images.writing.write_atomically", refuse)
    verdict = run([tree], tmp_path / "out")
    assert (verdict.done, len(verdict.failures)) == (0, 5)


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_stop_finishes_what_is_painted(tmp_path: Path, write_picture: WritePicture, at_once: int) -> None:
    for seed in range(20):
        write_picture(tmp_path / f"in/{seed:02}.png", np.full((9, 9, 3), seed, np.uint8))
    painted: list[str] = []

    def stylise(picture: Picture, job: Job) -> Picture:
        painted.append(job.name)
        return picture

    verdict = run(
        [tmp_path / "in"], tmp_path / "out", stylise,
        stopping=lambda: len(painted) >= 5, at_once=lambda picture, job: at_once,
    )  # fmt: skip
    assert verdict.done == len(painted) == len(content(tmp_path / "out"))
    assert 5 <= verdict.done < 5 + at_once  # what was in hand
    assert run([tmp_path / "in"], tmp_path / "out").done == 20 - verdict.done


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
