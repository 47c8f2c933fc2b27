"""What people see of long work: on a terminal, however narrow, and without one."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from stylize.cli import progress
from stylize.cli.progress import lines, span

fcntl, termios = (pytest.importorskip(name, reason="no pseudo terminals here") for name in ("fcntl", "termios"))

# Commands in one process, which has imported torch once: each begins with its name on a line.
DRIVER = """
import json, sys
import torch
from stylize import cli
from stylize.networks.perceptual import VGG19_WIDTHS, PerceptualNetwork
from stylize.training import distillation, refine
distillation.load_vgg19 = lambda: PerceptualNetwork(VGG19_WIDTHS)  # without its weights
distillation.CALIBRATION_BATCHES = 2
photos = refine.packaged_photos
refine.packaged_photos = lambda: photos()[:1]
torch.set_num_threads(1)
for name, arguments in json.load(open(sys.argv[1])).items():
    print(f"=== {name}", flush=True)
    sys.argv = ["stylize", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        print(f"code {end.code or 0}", flush=True)
"""


def in_a_terminal(
    columns: int, folder: Path, command: list[str], environment: dict[str, str], rows: int = 24
) -> list[str]:
    """What a terminal of that size is told: the lines of all its states, without colours and movements."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**environment, "TERM": "xterm", "PYTHONUTF8": "1"}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=folder, start_new_session=True
    ) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # nobody has it open any more
                break
            if not part:
                break
            told += part
        process.wait()
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.decode())
    return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def in_a_terminal_each(
    columns: int, folder: Path, tiny_model: Path, photo_folder: Path, style_folder: Path
) -> dict[str, list[str]]:
    """What every command with progress tells a terminal."""
    folders = ["--content", photo_folder, "--style", style_folder]
    photos, style = sorted(photo_folder.iterdir()), style_folder / "style0.png"
    small = ["--crop", 32, "--style-crop", 32, "--styles-per-step", 1, "--photos-per-style", 1, "--log-every", 1]
    train = ["train", *folders, "-o", "run", "--init", tiny_model, *small]
    commands = {
        "train": [*train, "--steps", 3],
        "resume": [*train, "--steps", 5, "--resume"],
        "refine": ["encode-style", style, "--refine", "--perceptual", "light", "--refine-steps", 2, "--save", "mine"],
        "distill": ["distill", *folders, "-o", "light.safetensors", "--steps", 2, "--batch-size", 2, "--crop", 64],
        "evaluate": ["evaluate", *folders, "--perceptual", "light", "--size", 64, "--pairs", 2],
        "batch": ["batch", photo_folder, "-s", style, "-o", "batch"],
        "transfer": ["transfer", *photos, "-s", style, "-o", "painted/"],
        "preview": ["preview", photos[0], "-s", style, "--strengths", "0.5,1", "-o", "sheet.png"],
    }  # fmt: skip
    script, list_ = folder / "driver.py", folder / "commands.json"
    script.write_text(DRIVER)
    list_.write_text(json.dumps({name: list(map(str, words)) for name, words in commands.items()}))
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "STYLIZE_MODEL": str(tiny_model), "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    found: dict[str, list[str]] = {}
    for line in in_a_terminal(columns, folder, [sys.executable, str(script), str(list_)], environment):
        if line.startswith("=== "):
            found[line[4:]] = []
        else:
            found[next(reversed(found))].append(line)
    assert list(found) == list(commands)
    return found


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_what_every_command_tells_a_terminal(
    columns: int, tmp_path: Path, tiny_model: Path, photo_folder: Path, style_folder: Path
) -> None:
    told = in_a_terminal_each(columns, tmp_path, tiny_model, photo_folder, style_folder)
    totals = {  # steps, pairs, photos, cells
        "train": 3, "resume": 5, "refine": 2, "distill": 2, "evaluate": 2, "batch": 3, "transfer": 3, "preview": 2,
    }  # fmt: skip
    phases = {"resume": "train", "batch": "stylize"}  # that the commands are not named after
    for command, total in totals.items():
        seen, phase = told[command], phases.get(command, command)
        assert "code 0" in seen
        bars = [line for line in seen if "━" in line]
        assert all(len(line) <= columns and "…" not in line for line in bars)
        states = [line for line in bars if line.startswith(f"{phase} ")]
        for line in states:  # name, bar, count and time are always there
            assert re.match(rf"{phase} [━╸╺]{{24}} \d/{total} (\? left|[\dhmins ]+ left|in \d+ s)( |$)", line), line
        assert f" {total}/{total} " in states[-1]  # to the end

    assert any(re.fullmatch(r"estimate: 3 steps .* GB", line) for line in told["train"])  # not folded
    counts = [re.search(r"(\d)/5", line) for line in told["resume"] if line.startswith("train ")]
    assert {count[1] for count in counts if count} <= {"3", "4", "5"}  # it begins where it was
    last = [line for line in told["train"] if line.startswith("train ")][-1]
    facts = re.sub(r"train ━+ 3/3 (in \d+ s|\d+ s left)", "", last).strip()
    whole = r"\d+\.\d images/s(, [a-z]+ \d+\.\d{3})*"  # facts are whole or not there
    assert re.fullmatch(whole if columns == 120 else rf"({whole})?", facts)


def test_the_bar_is_seen_after_more_phases_than_the_terminal_has_lines(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    program = """
import time
from stylize.cli import progress
progress.SHORT = 0.0
with progress.bars() as show:
    for photo in range(9):
        show(f"paint {photo}.jpg", 0, 100)
        show(f"paint {photo}.jpg", 50, 100)
        time.sleep(0.3)
"""
    told = in_a_terminal(80, tmp_path, [sys.executable, "-c", program], environment, rows=6)
    assert any(re.match(r"paint 8\.jpg .* 50/100 .* left", line) for line in told)
    ended = [line.split()[1] for line in told if re.search(r"in \d+ s$", line)]
    assert ended == [f"{photo}.jpg" for photo in range(9)]  # a line for each, once


def test_a_terminal_that_goes_away_ends_nothing(tmp_path: Path) -> None:
    """As after ``disown``, when the window is closed."""
    program = """
import signal, sys, time
import typer
from stylize.cli import process, progress
progress.SHORT = 0.0
signal.signal(signal.SIGHUP, signal.SIG_IGN)
app = typer.Typer()
@app.command()
def work():
    with progress.bars() as show:
        show("begin")
        sys.stdin.read()  # until the terminal is gone
        for step in range(3):
            show("work", step, 3)
            time.sleep(0.3)  # drawn meanwhile, too
        show("save")
    open("saved", "w").close()
sys.argv = ["stylize"]
process.run(app)
"""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, cwd=tmp_path
    ) as process:
        os.close(theirs)
        assert process.stdin is not None
        os.read(ours, 1)  # something is drawn
        os.close(ours)
        process.stdin.close()
        assert process.wait(60) == 0
    assert (tmp_path / "saved").exists()


# without a terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """``clock[0]`` is the time."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_a_line_comes_every_ten_seconds(clock: list[float]) -> None:
    said: list[str] = []
    with lines(said.append) as show:
        for step in range(16):
            show("train", 71 + step, 20_000, "11.9 images/s")
            clock[0] += 2
        show("save")
    assert said == [
        "train: 76 of 20000, 11 h left, 11.9 images/s",
        "train: 81 of 20000, 11 h left, 11.9 images/s",
        "train: 86 of 20000, 11 h left, 11.9 images/s",
    ]


def test_the_time_left_ends_with_the_time_allowed(clock: list[float]) -> None:
    said: list[str] = []
    with lines(said.append, until=160) as show:
        show("check pictures", 0, 1000)
        clock[0] += 20
        show("check pictures", 10, 1000)
        clock[0] += 20
        show("start")
    assert said == ["check pictures: 10 of 1000, 40 s left", "start: 20 s left"]


def test_a_phase_that_goes_on_is_measured_from_where_it_began(clock: list[float]) -> None:
    said: list[str] = []
    with lines(said.append) as show:
        show("train", 900, 1000)
        clock[0] += 10
        show("train", 950, 1000)
    assert said == ["train: 950 of 1000, 10 s left"]


def test_what_begins_anew_under_its_name_is_measured_anew(clock: list[float]) -> None:
    said: list[str] = []
    with lines(said.append) as show:
        show("paint", 0, 100)
        clock[0] += 100
        show("paint", 100, 100)
        show("paint", 0, 100)  # the next layer
        clock[0] += 10
        show("paint", 50, 100)
    assert said == ["paint: 100 of 100, 0 s left", "paint: 50 of 100, 10 s left"]


def test_spans() -> None:
    spans = {0: "0 s", 90: "90 s", 130: "2 min", 3600: "1 h", 8220: "2 h 17 min", 36_000: "10 h", 90_000: "25 h"}
    assert {seconds: span(seconds) for seconds in spans} == spans
