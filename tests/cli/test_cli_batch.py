"""``stylize batch``: folders of photos."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from command import STYLIZE, Run, assert_refused, content, photos_in, pixels
from conftest import MakePicture, WritePicture

from stylize.batch.manifest import locked
from stylize.files.packaged import packaged_path


@pytest.fixture
def tree(tmp_path: Path, photo: Path, style: Path, write_picture: WritePicture, make_picture: MakePicture) -> Path:
    """Three good photos, two bad ones, and two files that are no photos."""
    root = tmp_path / "tree"
    write_picture(root / "a.png", make_picture(30, 40, 1))
    write_picture(root / "sub/b.jpg", make_picture(40, 30, 2))
    write_picture(root / "sub/deep/c.webp", make_picture(33, 35, 3))
    (root / "sub/cut.png").write_bytes((root / "a.png").read_bytes()[:700])
    (root / "notes.png").write_text("dear diary")
    (root / "readme.txt").write_text("dear reader")
    (root / ".DS_Store").write_text("")
    return root


def pictures(folder: Path) -> list[str]:
    """What a batch wrote, but for its own records."""
    return [name for name in content(folder) if not name.startswith(".stylize/")]


def test_a_batch_from_end_to_end(run: Run, tmp_path: Path, tree: Path, style: Path) -> None:
    before = content(tree)
    result = run("batch", "tree", "-s", style, "-o", "out")
    assert result.code == 1
    assert sorted(result.lines) == ["out/a.png", "out/sub/b.jpg", "out/sub/deep/c.webp"]
    *said, summary = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in said if line.startswith("error")] == [
        ["error", "cannot read tree/notes.png"],
        ["error", "cannot read tree/sub/cut.png"],
    ]
    assert [line for line in said if "--allow-truncated" in line] == [said[-1]]  # the hint of the last
    assert summary.startswith("done: 3 ok, 2 failed, 0 skipped, 2 no")
    assert summary.endswith("; failures: out/.stylize/failures.txt")
    failures = Path("out/.stylize/failures.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in failures] == ["tree/notes.png", "tree/sub/cut.png"]
    assert pictures(tmp_path / "out") == ["a.png", "sub/b.jpg", "sub/deep/c.webp"]
    assert content(tree) == before

    # the same as one by one
    assert run("transfer", "tree/sub/b.jpg", "-s", style, "-o", "single.jpg").code == 0
    assert Path("single.jpg").read_bytes() == Path("out/sub/b.jpg").read_bytes()

    # again: what is done is left alone, what was changed too, what is missing is done
    Path("out/a.png").write_text("touched")
    Path("out/sub/b.jpg").unlink()
    again = run("batch", "tree", "-s", style, "-o", "out")
    assert again.lines == ["out/sub/b.jpg"]
    assert "done: 1 ok, 2 failed, 2 skipped (1 done before; 1 exist, --overwrite replaces them)" in again.stderr
    assert Path("out/a.png").read_text() == "touched"
    assert run("batch", "tree", "-s", style, "-o", "out", "--overwrite").lines == ["out/a.png"]
    assert pixels(Path("out/a.png")).shape == (30, 40, 3)
    assert len(run("batch", "tree", "-s", style, "-o", "out", "--redo").lines) == 3


def test_one_format_for_all(run: Run, tree: Path, style: Path) -> None:
    (tree / "a.webp").write_bytes((tree / "sub/deep/c.webp").read_bytes())
    result = run("batch", "tree/a.png", "tree/a.webp", "tree/sub/b.jpg", "-s", style, "-o", "out", "--format", "png")
    assert (result.code, sorted(result.lines)) == (0, ["out/a.png", "out/a.webp.png", "out/b.png"])
    assert all(Path(name).read_bytes().startswith(b"\x89PNG") for name in result.lines)
    recipes = [json.loads(run("inspect", f"out/{name}.png", "--json").stdout)["recipe"] for name in ("a", "b")]
    assert [recipe.endswith("--format png") for recipe in recipes] == [False, True]  # a was a PNG before
    again = run("batch", "tree/a.png", "tree/sub/b.jpg", "-s", style, "-o", "out", "--format", "png")
    assert (again.code, again.lines) == (0, [])
    assert run("batch", "tree/sub/b.jpg", "-s", style, "-o", "out").lines == ["out/b.jpg"]  # both are its own
    assert_refused(run("batch", "tree", "-s", style, "-o", "out", "--format", "psd"), 2, "--format psd")


def test_hints_are_given_once(run: Run, tree: Path, style: Path) -> None:
    (tree / "cut2.png").write_bytes((tree / "sub/cut.png").read_bytes())
    result = run("batch", "tree", "-s", style, "-o", "out")
    assert result.stderr.count("is truncated") == 2
    assert result.stderr.count("hint: ") == result.stderr.count("--allow-truncated") == 1


def test_what_other_batches_wrote_is_no_photo(run: Run, tree: Path, style: Path) -> None:
    assert run("batch", "tree/a.png", "-s", style, "-o", "tree/painted").code == 0
    result = run("batch", "tree", "-s", style, "-o", "out", "-n")
    assert "out/a.png" in result.lines and "out/painted/a.png" not in result.lines
    again = run("batch", "tree/painted", "-s", style, "-o", "twice")  # but one may insist
    assert (again.code, again.lines) == (0, ["twice/a.png"])
    assert "was painted by stylize already" in again.stderr


def test_failures_are_listed_when_nothing_else_was_found(run: Run, tmp_path: Path, style: Path) -> None:
    (tmp_path / "list.txt").write_text("gone.png\nlost.png\n")
    result = run("batch", "@list.txt", "-s", style, "-o", "out")
    assert result.code == 1
    assert len(Path("out/.stylize/failures.txt").read_text().splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_mask_without_end(run: Run, photo: Path, style: Path) -> None:
    result = run("batch", photo, "-s", style, "--mask", "/dev/zero", "-o", "out")
    assert result.code == 1
    assert "not a regular file" in result.stderr


def test_other_options_redo_and_equal_ones_do_not(run: Run, tree: Path, style: Path, code_file: Path) -> None:
    common = ("batch", "tree", "-o", "out", "--exclude", "notes.png", "--exclude", "*/cut.*")
    assert len(run(*common, "-s", code_file).lines) == 3
    for same in (["--workers", 1], ["--threads", 1], ["--tile", 16], ["--engine", "torch"], ["--strength", "1.0"]):
        result = run(*common, "-s", code_file, *same)
        assert (result.code, result.lines) == (0, []), same
    for other in (["--strength", 0.5], ["--quality", 80], ["--no-recipe"]):
        assert len(run(*common, "-s", code_file, *other).lines) == 3, other
    assert len(run(*common, "-s", style).lines) == 3


def test_a_good_batch_and_an_empty_one(run: Run, tmp_path: Path, tree: Path, style: Path) -> None:
    result = run("batch", tree / "sub/deep", tree / "a.png", "-s", style, "-o", "new/out")
    assert (result.code, sorted(result.lines)) == (0, ["new/out/a.png", "new/out/c.webp"])
    assert run("batch", tree / "sub/deep", tree / "a.png", "-s", style, "-o", "new/out").code == 0
    assert not Path("new/out/.stylize/failures.txt").exists()
    (tmp_path / "empty").mkdir()
    result = run("batch", "empty", "-s", style, "-o", "out")
    assert (result.code, result.lines) == (0, [])
    assert result.stderr.startswith("warning: no photos found\ndone: 0 ok, 0 failed")
    assert not (tmp_path / "out").exists()


def test_batches_that_cannot_start(run: Run, tmp_path: Path, tree: Path, style: Path) -> None:
    before = content(tmp_path)
    assert_refused(run("batch", "gone", "-s", style, "-o", "out"), 1, "cannot read gone")
    assert_refused(run("batch", "@gone", "-s", style, "-o", "out"), 1, "cannot read the list gone")
    assert_refused(run("batch", tree, "-s", "gone.png", "-o", "out"), 1, "cannot read gone.png")
    assert_refused(run("batch", tree, "-s", style, "-o", "photo.png"), 4, "cannot write into photo.png: not a folder")
    for shard in ("0/3", "4/3", "1/0", "1", "a/b", "-1/3", "1/2/3"):
        assert_refused(run("batch", tree, "-s", style, "-o", "out", "--shard", shard), 2, "--shard")
    twice = run("batch", tree, "-s", style, "-s", tree / "../style.png", "-o", "out", "--each-style")
    assert_refused(twice, 2, "two styles are called style")
    assert content(tmp_path) == before


def test_dry_run(run: Run, tmp_path: Path, tree: Path, style: Path) -> None:
    before = content(tmp_path)
    result = run("batch", "tree", "-s", style, "-o", "out", "--dry-run")
    assert result.code == 0
    assert result.lines == [
        f"out/{name}" for name in ("a.png", "notes.png", "sub/b.jpg", "sub/cut.png", "sub/deep/c.webp")
    ]
    assert "5 to do" in result.stderr
    assert content(tmp_path) == before
    assert not Path("out").exists()
    assert run("batch", "tree/a.png", "-s", style, "-o", "out").code == 0
    statuses = run("batch", "tree", "-s", style, "-o", "out", "-n", "--json").lines
    assert [json.loads(line)["status"] for line in statuses] == ["done", "to do", "to do", "to do", "to do"]


def test_when_to_give_up(run: Run, tree: Path, style: Path) -> None:
    for name in ("0", "1", "2"):
        (tree / f"{name}.png").write_text("no picture")
    result = run("batch", tree, "-s", style, "-o", "out", "--fail-fast", "--workers", 1)
    assert (result.code, result.lines) == (1, [])
    assert result.stderr.count("error: ") < 4
    assert " left" in result.stderr
    limited = run("batch", tree, "-s", style, "-o", "out", "--max-failures", 4, "--workers", 1)
    assert limited.stderr.count("error: ") >= 4
    assert run("batch", tree, "-s", style, "-o", "out", "--max-failures", 6).lines
    silent = run("batch", tree, "-s", style, "-o", "out", "--no-retry-failed")
    assert (silent.code, silent.lines) == (1, [])
    assert silent.stderr.count("error: ") == 5


def test_lists_of_photos(run: Run, tmp_path: Path, tree: Path, style: Path) -> None:
    names = ["tree/a.png", f"{tree}/sub/b.jpg", "../" + tmp_path.name + "/tree/sub/deep", "gone.png", ""]
    Path("list.txt").write_text("\r\n".join(names))
    result = run("batch", "@list.txt", "-s", style, "-o", "out")
    assert result.code == 1
    assert "error: cannot read gone.png: no such file" in result.stderr
    expected = ["tree/a.png", (tree / "sub/b.jpg").as_posix().lstrip("/"), f"{tmp_path.name}/tree/sub/deep/c.webp"]
    assert pictures(tmp_path / "out") == sorted(expected)
    piped = run("batch", "-", "-s", style, "-o", "piped", stdin="\0".join(names[:2]).encode())
    assert (piped.code, piped.lines) == (0, [f"piped/{name}" for name in expected[:2]])
    # results are not painted again
    again = run("batch", "-", "-s", style, "-o", "piped", stdin=b"tree/a.png\npiped/tree/a.png\n")
    assert (again.code, again.lines) == (0, [])
    assert "1 not images" in again.stderr


def test_a_picture_in_each_style(run: Run, tmp_path: Path, tree: Path, style: Path, code_file: Path) -> None:
    result = run("batch", tree, "-s", style, "-s", code_file, "-o", "out", "--each-style", "--include", "*.png")
    assert result.code == 1
    assert pictures(tmp_path / "out") == ["style/a.png", "waves/a.png"]
    assert "4 failed" in result.stderr
    for name, source in (("style", style), ("waves", code_file)):
        run("transfer", tree / "a.png", "-s", source, "-o", f"single-{name}.png")
        assert Path(f"single-{name}.png").read_bytes() == Path(f"out/{name}/a.png").read_bytes()


def test_shards_together_are_the_batch(run: Run, tmp_path: Path, tree: Path, style: Path) -> None:
    assert run("batch", tree, "-s", style, "-o", "whole").code == 1
    for part in (1, 2, 3):
        run("batch", tree, "-s", style, "-o", "parts", "--shard", f"{part}/3")
        assert Path(f"parts/.stylize/manifest-{part}-of-3.jsonl").exists()
    assert pictures(tmp_path / "parts") == pictures(tmp_path / "whole")
    for name in pictures(tmp_path / "whole"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    result = run("batch", tree, "-s", style, "-o", "parts")  # knows what all of them did
    assert (result.code, result.lines) == (1, [])
    assert "3 done before" in result.stderr


def test_a_second_batch_on_the_same_folder(run: Run, tree: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize.batch.manifest.LOCK_PATIENCE", 0.1)
    common = ("batch", tree, "-s", style, "-o", "out")
    with locked(Path("out")):
        assert_refused(run(*common), 4, "another batch is at work in out", f"process {os.getpid()} ")
        assert_refused(run(*common, "--shard", "1/2"), 4, "another batch")
        assert run(*common, "--dry-run").code == 0
    with locked(Path("out"), "-1-of-2"):
        assert_refused(run(*common), 4, "another batch")
        assert_refused(run(*common, "--shard", "1/2"), 4, "another batch")
        assert_refused(run(*common, "--shard", "1/3"), 4, "another batch")
        assert run(*common, "--shard", "2/2").code in (0, 1)
    assert run(*common).code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo terminals")
def test_in_a_terminal_the_bar_stands_for_the_pictures(tmp_path: Path, environment: dict[str, str]) -> None:
    """Their paths are for what reads stdout, or for who asks for them."""
    photos_in(tmp_path / "in", 5)
    code = packaged_path("styles") / "swirls.safetensors"

    def in_terminal(output: str, *options: str, piped: bool = False) -> tuple[str, str]:
        """What the terminal got, and what went into a pipe."""
        import pty

        command = [*STYLIZE, "batch", "in", "-s", str(code), "-o", output, "--device", "cpu", *options]
        main, terminal = pty.openpty()
        stdout = subprocess.PIPE if piped else terminal
        with subprocess.Popen(command, stdout=stdout, stderr=terminal, cwd=tmp_path, env=environment) as process:
            os.close(terminal)
            seen = b""
            with suppress(OSError):  # which ends a pseudo terminal on Linux
                while more := os.read(main, 4096):
                    seen += more
            os.close(main)
            told = process.stdout.read().decode() if process.stdout else ""
        assert process.returncode == 0, seen
        return seen.decode(), told

    paths = [f"{{}}/{number:03}.png" for number in range(5)]
    seen, _ = in_terminal("a")
    assert "5/5" in seen and "done: 5 ok" in seen and "a/000.png" not in seen
    seen, told = in_terminal("b", piped=True)
    assert told.splitlines() == [path.format("b") for path in paths]
    assert "5/5" in seen
    for options in (["--verbose"], ["--quiet"], ["--json"], ["--dry-run"]):
        output = options[0].strip("-")
        seen, _ = in_terminal(output, *options)
        assert all(path.format(output) in seen for path in paths), options


@pytest.mark.parametrize("moments", [3, pytest.param(50, marks=pytest.mark.corpus)])
def test_killed_at_any_moment(tmp_path: Path, environment: dict[str, str], moments: int) -> None:
    """Run again, every picture is there and whole, and what was finished was not touched."""
    photos = photos_in(tmp_path / "in", 40 * moments)
    random = np.random.default_rng(moments)
    code = packaged_path("styles") / "swirls.safetensors"
    arguments = [*STYLIZE, "batch", tmp_path / "in", "-s", code, "-o", tmp_path / "out", "-q", "--device", "cpu"]
    finished: dict[str, tuple[str, int]] = {}

    def look() -> dict[str, tuple[str, int]]:
        files = [path for path in (tmp_path / "out").glob("*.png")]
        return {path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}

    for _ in range(moments):
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is at work
            time.sleep(random.uniform(0, 0.3))
            process.kill()
        now = look()
        assert finished.items() <= now.items()
        for name in now.keys() - finished.keys():
            assert pixels(tmp_path / "out" / name).shape == (30, 45, 3)
        finished = now
    done = subprocess.run(arguments, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert finished.items() <= look().items()
    assert done.stdout.count(b"\n") == len(photos) - len(finished)
    assert look().keys() == {path.name for path in photos}
