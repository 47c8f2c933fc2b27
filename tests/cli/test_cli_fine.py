"""Fine painting from the command line: kept codes, recipes, batches that go on, and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from command import Run, assert_refused, pixels

from stylize.cli.arguments import show_fine
from stylize.cli.progress import nothing
from stylize.cli.terminal import Terminal
from stylize.painting import fine
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine, "STEPS", {4: 3, 2: 3, 1: 2})


@pytest.fixture
def code(run: Run, style: Path, tmp_path: Path) -> Path:
    """A code for fine painting, whose picture is gone."""
    result = run("encode-style", style, "--fine", "-o", "mine.safetensors", "--json")
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["fine"] is True
    style.rename(tmp_path / "away.png")
    return tmp_path / "mine.safetensors"


def test_a_code_outlives_its_picture(run: Run, photo: Path, code: Path, tmp_path: Path) -> None:
    assert run("transfer", photo, "--style", code, "--effort", "fine", "-o", "kept.png").code == 0
    assert run("transfer", photo, "--style", "away.png", "--effort", "fine", "-o", "seen.png").code == 0
    assert run("transfer", photo, "--style", code, "-o", "fast.png").code == 0
    kept, seen, fast = (pixels(tmp_path / f"{name}.png") for name in ("kept", "seen", "fast"))
    assert np.array_equal(kept, seen)
    assert not np.array_equal(kept, fast)
    assert "fine         yes" in run("inspect", code).stdout.decode()


def test_the_recipe_makes_it_again(run: Run, photo: Path, code: Path, tmp_path: Path) -> None:
    assert run("transfer", photo, "-s", code, "--effort", "fine", "--strength", "0.6", "-o", "a.png").code == 0
    recipe = json.loads(run("inspect", "a.png", "--json").stdout)["recipe"]
    words = shlex.split(recipe)
    assert words[:2] == ["stylize", "transfer"] and "fine" in words
    assert run(*words[1:], "-o", "b.png").code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_pipe_gives_the_same_bytes(run: Run, photo: Path, code: Path, tmp_path: Path) -> None:
    piped = run("transfer", "-", "--style", code, "--effort", "fine", "--no-recipe", stdin=photo.read_bytes())
    assert piped.code == 0, piped.stderr
    assert run("transfer", photo, "-s", code, "--effort", "fine", "--no-recipe", "-o", "a.png").code == 0
    assert piped.stdout == (tmp_path / "a.png").read_bytes()


def test_a_batch_goes_on(run: Run, photo: Path, code: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(photo.read_bytes())
    batch = ("batch", "in", "--style", code, "--output", "out")
    assert run(*batch, "--effort", "fine").code == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")}
    (tmp_path / "out" / "1.png").unlink()
    again = run(*batch, "--effort", "fine")
    assert again.code == 0 and "1 ok" in again.stderr and "2 skipped" in again.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")} == first
    other = run(*batch)  # another effort: other pictures
    assert "3 ok" in other.stderr


def test_what_is_long_is_said_before(run: Run, photo: Path, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stylizer, "expected_seconds", lambda self, sizes, look: 400.0 * len(list(sizes)))
    planned = run("batch", photo, "--style", code, "--output", "out", "--effort", "fine", "--dry-run")
    assert planned.code == 0
    assert "about 7 min" in planned.stderr


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_says_nothing_of_long_work(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    beginning = fine.Progress(scale=1, scales=3, step=0, steps=100, style=1.0, share=0.0, seconds=120.0)
    show_fine(nothing, "paint x.jpg", beginning, Terminal(quiet=quiet))
    assert capsys.readouterr().err == ("" if quiet else "paint x.jpg: about 2 min\n")


def test_preview_takes_it(run: Run, photo: Path, code: Path, tmp_path: Path) -> None:
    sheet = ("preview", photo, "--style", code, "--size", "32", "--strengths", "1")
    assert run(*sheet, "--effort", "fine", "-o", "fine.png").code == 0
    assert run(*sheet, "-o", "fast.png").code == 0
    assert not np.array_equal(pixels(tmp_path / "fine.png"), pixels(tmp_path / "fast.png"))


def test_a_code_without_moments_is_refused(run: Run, photo: Path, code_file: Path, style_code: StyleCode) -> None:
    result = run("transfer", photo, "--style", code_file, "--effort", "fine", "-o", "out.png")
    assert_refused(result, 3, "waves.safetensors", "no moments", "--fine")
    mixed = run("transfer", photo, "-s", f"{code_file}:1", "-s", f"{code_file}:2", "--effort", "fine", "-o", "out.png")
    assert_refused(mixed, 3, "no moments")


def test_a_code_without_moments_is_no_trouble_where_it_does_not_count(
    run: Run, photo: Path, code: Path, code_file: Path, tmp_path: Path
) -> None:
    result = run("transfer", photo, "-s", code_file, "--effort", "fine", "--strength", "0", "-o", "same.png")
    assert result.code == 0, result.stderr
    assert np.array_equal(pixels(tmp_path / "same.png"), pixels(photo))
    result = run("transfer", photo, "-s", f"{code}:1", "-s", f"{code_file}:0", "--effort", "fine", "-o", "mixed.png")
    assert result.code == 0, result.stderr


def test_sequences_are_refused(run: Run, photo: Path, code: Path) -> None:
    result = run("batch", photo, "--style", code, "--output", "out", "--effort", "fine", "--sequence")
    assert_refused(result, 2, "--effort", "flickers")


def test_other_efforts_are_refused(run: Run, photo: Path, style: Path) -> None:
    assert_refused(run("transfer", photo, "--style", style, "--effort", "finest"), 2, "--effort")
