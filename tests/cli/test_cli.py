"""The command line as a whole: help, names, streams, stops and bugs.

Most tests call :func:`stylize.cli.main` in this process; a process of its own, three seconds each, is started only for
pipes, signals, environments and what gets imported.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from command import STYLIZE, Run, assert_refused, content, photos_in, pixels

from stylize import cli
from stylize.cli import process
from stylize.errors import OutputError
from stylize.painting import photo as photo_stages

PYPROJECT = (Path(__file__).parent.parent.parent / "pyproject.toml").read_text("utf-8")
COMMANDS = typer.main.get_command(cli.make_app()).commands  # type: ignore[attr-defined]


# Help


def test_help_imports_nothing_heavy() -> None:
    """Everything up to the work itself must answer at once: torch alone takes seconds."""
    program = """
import sys
heavy = ("torch", "numpy", "PIL", "safetensors")
sys.modules.update(dict.fromkeys(heavy))  # None: importing them raises
from stylize.cli import main
for arguments in (["--help"], *([command, "--help"] for command in sys.argv[1:]), ["transfer"], ["nonsense"]):
    sys.argv = ["stylize", *arguments]
    try:
        main()
    except SystemExit as end:
        print(end.code, file=sys.stderr)
"""
    command = [sys.executable, "-c", program, *COMMANDS]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    codes = [line for line in result.stderr.splitlines() if line.isdigit()]
    assert codes == ["0"] * (1 + len(COMMANDS)) + ["2", "2"], result.stderr
    assert all(name in result.stdout for name in COMMANDS)


def test_the_entry_point_is_main() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="stylize")
    assert entry.load().__name__ == "main"
    assert '[project.scripts]\nstylize = "stylize.__main__:main"\n' in PYPROJECT


def test_every_command_says_what_it_does() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name


@pytest.mark.parametrize("command", COMMANDS)
def test_common_options_mean_the_same_everywhere(command: str) -> None:
    by_name = {option: parameter for parameter in COMMANDS[command].params for option in parameter.opts}
    for short, long in {
        "-s": "--style",
        "-o": "--output",
        "-f": "--overwrite",
        "-q": "--quiet",
        "-v": "--verbose",
    }.items():
        assert by_name.get(short) is by_name.get(long)


@pytest.mark.parametrize(
    "arguments",
    [
        ("transfer", "photo.png", "-s", "style.png", "--mask", ""),
        ("transfer", "photo.png", "-s", "style.png", "--mask="),
        ("transfer", "", "-s", "style.png"),
        ("batch", "photo.png", "-s", "style.png", "-o", ""),
        ("encode-style", "style.png", "--save="),
    ],
)
def test_a_variable_that_the_shell_does_not_know(
    run: Run, tmp_path: Path, photo: Path, style: Path, arguments: tuple[str, ...]
) -> None:
    before = content(tmp_path)
    assert_refused(run(*arguments), 2, "empty", "variable of the shell")
    assert content(tmp_path) == before


def test_no_arguments_shows_the_help(run: Run) -> None:
    result = run()
    assert "Usage" in result.stdout.decode() + result.stderr
    assert result.code in (0, 2)  # which of them is typer's choice


# Names


NAMES = [
    "two words.png",
    "-dash.png",
    "new\nline.png",
    "😀 é.png",
    "x.y.z.png",
    "no-suffix",
    "LOUD.PNG",
    "[bold]%s{0}.png",
]


def test_strange_names(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(photo.read_bytes())
    result = run("transfer", "-s", style, "-o", "out/", "--json", "--no-recipe", "--", *NAMES)
    assert result.code == 0, result.stderr
    outputs = [name if "suffix" not in name else "no-suffix.png" for name in NAMES]
    assert [json.loads(line)["output"] for line in result.lines] == [f"out/{name}" for name in outputs]
    assert len(set(content(tmp_path / "out").values())) == 1


def test_strange_names_of_styles(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    for name in ("two words.png", "a/../b.png", "..png", "-.png"):
        path = tmp_path / Path(name).name
        path.write_bytes(style.read_bytes())
        (output,) = run("transfer", "photo.png", f"--style={path}", "-f").lines
        assert Path(output).parent == Path()
        assert re.fullmatch(r"photo_[\w.-]*\w\.png", output)


def test_errors_show_strange_names_safely(run: Run, style: Path) -> None:
    result = run("transfer", "red\x1b[31m\nnew.png", "-s", style)
    assert_refused(result, 1, r"cannot read red\x1b[31m\nnew.png")


def test_an_interrupt_is_quiet_from_the_first_moment() -> None:
    """Before the command has handlers of its own: while the command line is being imported."""
    program = """
import builtins, os, signal
import stylize.__main__ as entry
real = builtins.__import__
def interrupting(name, *arguments, **options):
    if name == "stylize.cli":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *arguments, **options)
builtins.__import__ = interrupting
entry.main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert result.returncode in (-signal.SIGINT, 130)
    assert result.stderr == b""


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are Unicode there")
def test_any_locale_and_no_home(photo: Path, style: Path, environment: dict[str, str]) -> None:
    """Names that are no text, no UTF-8 anywhere, no HOME: photos are done and named by their very bytes."""
    names = [b"\xff\xfe.png", "é😀.png".encode()]
    for name in names:
        Path(os.fsdecode(os.fsencode(photo.parent) + b"/" + name)).write_bytes(photo.read_bytes())
    usual = environment | {"PYTHONUTF8": "1"}
    environment |= {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "PYTHONIOENCODING"):
        environment.pop(name, None)
    command = [*STYLIZE, "transfer", *names, b"gone\xff.png", "-s", style.name]
    result = subprocess.run(command, capture_output=True, env=environment, cwd=photo.parent)
    assert result.stderr.startswith(b"error: cannot read gone\\udcff.png: no such file\n")
    assert result.returncode == 1
    outputs = [name.replace(b".png", b"_style.png") for name in names]
    assert result.stdout.splitlines() == outputs
    for name in outputs:
        assert os.path.exists(os.path.join(os.fsencode(photo.parent), name))
    batch = [*STYLIZE, "batch", *names, "-s", style.name, "-o", "out"]
    assert subprocess.run(batch, capture_output=True, env=usual, cwd=photo.parent).returncode == 0
    again = subprocess.run(batch, capture_output=True, env=environment, cwd=photo.parent)
    assert b"2 done before" in again.stderr


# What is said


def test_json_lines(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    result = run("transfer", photo, style, "-s", style, "-o", "out/", "--json")
    first, second = (json.loads(line) for line in result.lines)
    seconds = (first.pop("seconds"), second.pop("seconds"))
    assert all(isinstance(s, float) and s >= 0 for s in seconds)
    assert first == {
        "schema": 1,
        "photo": str(photo),
        "output": "out/photo.png",
        "status": "ok",
        "width": 60,
        "height": 45,
        "style": "style",
    }
    (encoded,) = (json.loads(line) for line in run("encode-style", style, "-o", "s.safetensors", "--json").lines)
    assert (encoded["schema"], encoded["output"], encoded["title"], encoded["images"]) == (1, "s.safetensors", "s", 1)
    (tmp_path / "bad.png").touch()
    done = run("batch", photo, "bad.png", "-s", style, "-o", "many", "--json")
    assert done.code == 1
    records = [json.loads(line) for line in done.lines]
    assert [(r["schema"], r["photo"], r["output"]) for r in records] == [
        (1, str(photo), "many/photo.png"),
        (1, "bad.png", "many/bad.png"),
    ]
    assert [r["status"] == "ok" for r in records] == [True, False]


def test_quiet_and_verbose(run: Run, photo: Path, style: Path) -> None:
    assert run("transfer", photo, "-s", style).stderr == ""
    result = run("transfer", photo, "-s", style, "-f", "--verbose")
    assert "device cpu, torch" in result.stderr
    assert "60x45 pixels" in result.stderr
    assert len(result.lines) == 1
    assert run("batch", photo, "-s", style, "-o", "out", "--quiet").stderr == ""
    assert "no such file" in run("transfer", "gone.png", "-s", style, "--quiet").stderr


def test_the_doctor(run: Run, tiny_model: Path) -> None:
    result = run("doctor")
    assert (result.code, result.stderr) == (0, "")
    assert result.lines[-1] == "all is well"
    assert f"model: {tiny_model}" in result.lines
    (record,) = (json.loads(line) for line in run("doctor", "--json").lines)
    assert (record["schema"], record["problems"]) == (1, [])
    assert [name.rpartition(",")[0] for name in record["engines"]] == ["cpu, torch"]
    result = run("doctor", "--model", "gone.safetensors")
    assert result.code == 1
    assert result.lines[-1] == "problem: cannot read gone.safetensors: no such file"


def test_threads_do_not_change_the_picture(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    for threads in (1, 2, 5):
        assert run("transfer", photo, "-s", style, "-o", f"{threads}.png", "--threads", threads).code == 0
    # Not the files' bytes: torch sums in another order, and a code that differs in the last bit has another hash.
    assert len({pixels(tmp_path / f"{threads}.png").tobytes() for threads in (1, 2, 5)}) == 1


def test_stdin_has_a_limit(run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize.painting.transfer.MAX_STDIN_BYTES", 2 << 20)
    endless = photo.read_bytes() + bytes(3 << 20)
    assert_refused(run("transfer", "-", "-s", style, stdin=endless), 1, "cannot read <stdin>: more than 2 MB")


# Stops and bugs


def broken(*arguments: object, **options: object) -> None:
    raise ZeroDivisionError("a number\nby nothing")


def out_of_memory(*arguments: object, **options: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    "where",
    ["stylize.painting.look.composite", "stylize.painting.photo.encode_image", "stylize.painting.photo.read_photo"],
)
def test_lack_of_memory_is_no_bug(
    run: Run, tmp_path: Path, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(where, out_of_memory)
    assert_refused(run("transfer", photo, "-s", style, "--mask", photo), 5, "out of memory", "hint: a smaller copy")
    masks = tmp_path / "masks"
    masks.mkdir()
    for file in (photo, style):
        (masks / file.name).write_bytes(file.read_bytes())
    result = run("batch", photo, style, "-s", style, "--mask", masks, "-o", "many")
    assert result.code == 1
    assert result.stderr.count("error: out of memory") == 2  # the second one is tried, too
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("stage", ["read_photo", "encode_image"])
@pytest.mark.parametrize("command", ["transfer", "batch"])
def test_lack_of_memory_costs_one_photo(
    run: Run, tmp_path: Path, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch, stage: str, command: str
) -> None:
    real, calls = getattr(photo_stages, stage), []

    def fails_once(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError
        return real(*arguments, **options)

    monkeypatch.setattr(photo_stages, stage, fails_once)
    result = run(command, photo, style, "-s", style, "-o", "out/")
    assert result.code == (5 if command == "transfer" else 1)
    assert len(result.lines) == len(list((tmp_path / "out").glob("*.png"))) == 1
    assert result.stderr.count("error: out of memory while") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["transfer", "batch"])
def test_a_full_disk_ends_it(run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    tried = []

    def full(target: Path, data: bytes, *, overwrite: bool, modified: int | None) -> None:
        tried.append(target)
        raise OutputError("cannot write: no space left") from OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("stylize.images.writing.write_atomically", full)
    result = run(command, photo, style, "-s", style, "-o", "out/", *(["--workers", 1] if command == "batch" else []))
    assert (result.code, result.stdout) == (4, b"")
    assert len(tried) == 1 or command == "batch"  # whose next one may be on its way already
    assert "error: cannot write: no space left\nhint: free some space" in result.stderr


def test_a_bug_is_one_line_and_a_log(
    run: Run, tmp_path: Path, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize.painting.stylizer.Stylizer.paint", broken)
    result = run("transfer", photo, "-s", style)
    assert_refused(result, 70, "a bug in stylize: ZeroDivisionError: a number by nothing", "please report it")
    assert "Traceback" not in result.stderr
    (log,) = re.findall(r"\S+\.log", result.stderr)
    assert "Traceback" in Path(log).read_text()
    Path(log).unlink()
    assert sorted(content(tmp_path)) == ["photo.png", "style.png"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert_refused(run("transfer", photo, "-s", style), 70, "STYLIZE_DEBUG=1")


def test_a_broken_package_is_no_bug(run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stylize.painting.stylizer", None)
    assert_refused(run("transfer", photo, "-s", style), 5, "cannot load the network: ", "hint: stylize doctor")


@pytest.mark.parametrize("way", ["variable", "option"])
def test_debugging_shows_tracebacks(
    run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("stylize.painting.stylizer.Stylizer.paint", broken)
    if way == "variable":
        monkeypatch.setenv(process.DEBUG_VARIABLE, "1")
    result = run(*(["--debug"] if way == "option" else []), "transfer", photo, "-s", style)
    assert result.code == 70
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    ("number", "command"), [(signal.SIGINT, "batch"), (signal.SIGTERM, "transfer"), (signal.SIGKILL, "batch")]
)
def test_a_stop_leaves_whole_files_only(
    tmp_path: Path, photo: Path, style: Path, environment: dict[str, str], number: signal.Signals, command: str
) -> None:
    photos = [tmp_path / "in" / f"{k:03}.png" for k in range(400)]
    photos[0].parent.mkdir()
    for path in photos:
        path.hardlink_to(photo)
    sources: Sequence[Path] = [tmp_path / "in"] if command == "batch" else photos
    (tmp_path / "out").mkdir()
    arguments = [*STYLIZE, command, *sources, "-s", style, "-o", tmp_path / "out"]
    with subprocess.Popen(  # unbuffered: "communicate" would lose what "readline" has read ahead
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, bufsize=0
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is at work
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    killed = number == signal.SIGKILL
    assert process.returncode == (-number if killed else 128 + number)
    said = stderr.decode().splitlines()
    if command == "batch" and not killed:
        assert said[0] == "finishing what is in hand; once more ends at once"
        assert re.fullmatch(r"done: [0-9]+ ok, 0 failed, 0 skipped, 0 not images, [0-9]+ left, .*", said[1])
        assert len(said) == 2
    else:
        assert said == []
    written = [path for path in (tmp_path / "out").iterdir() if path.name != ".stylize"]
    if killed:  # what it was writing then may be left, but under no name of ours
        written = [path for path in written if not path.name.startswith(".stylize-")]
    assert 0 < len(written) < len(photos)
    assert not [path.name for path in written if path.name.startswith(".")]
    assert {pixels(path).shape for path in written} == {(45, 60, 3)}
    unsaid = len(written) - 1 - stdout.count(b"\n")
    assert 0 <= unsaid <= (9 if killed else command == "transfer")  # written while another was announced


def test_a_second_stop_ends_at_once(tmp_path: Path, style: Path, environment: dict[str, str]) -> None:
    photos_in(tmp_path / "in", 300)
    arguments = [*STYLIZE, "batch", tmp_path / "in", "-s", style, "-o", tmp_path / "out", "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    assert not list((tmp_path / "out").glob(".stylize-*"))


@pytest.mark.parametrize("command", ["transfer", "batch"])
@pytest.mark.parametrize("pause", [0.0, 0.02, 0.1])
def test_two_interrupts_at_any_moment_show_no_traceback(
    tmp_path: Path, style: Path, environment: dict[str, str], command: str, pause: float
) -> None:
    photos = photos_in(tmp_path / "in", 100)
    (tmp_path / "out").mkdir()
    sources: Sequence[Path] = [tmp_path / "in"] if command == "batch" else photos
    arguments = [*STYLIZE, command, *sources, "-s", style, "-o", tmp_path / "out", "-f"]
    for wait in (0.2, 0.6, 1.2):  # while it is imported, while it begins, while it works
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            time.sleep(wait)
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(pause)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode in (0, 130, -signal.SIGINT)
        assert b"Traceback" not in stderr and b"ignored" not in stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_python_ends_is_silent(number: signal.Signals) -> None:
    program = f"""
import atexit, os, sys
atexit.register(os.kill, os.getpid(), {int(number)})
sys.argv = ["stylize", "--version"]
from stylize.cli import main
main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (result.returncode, result.stderr) == (-number, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no device that is full")
def test_an_error_that_cannot_be_told_keeps_its_code(tmp_path: Path, environment: dict[str, str]) -> None:
    with open("/dev/full", "wb") as full:
        command = [*STYLIZE, "transfer", tmp_path / "photo.png", "--style", ""]
        assert subprocess.run(command, stderr=full, env=environment).returncode == 2
        command = [*STYLIZE, "transfer", tmp_path / "photo.png", "--nothing"]
        assert subprocess.run(command, stderr=full, env=environment).returncode == 2


def test_a_stop_does_its_work_though_nobody_reads_what_it_says() -> None:
    """As in ``stylize train … 2>&1 | tee log``, where Ctrl-C ends ``tee``, too."""
    program = """
import os, signal, sys
import typer
from stylize.cli import process
app = typer.Typer()
@app.command()
def train():
    stopped = process.stop_gently()
    os.kill(os.getpid(), signal.SIGINT)
    os.write(1, b"saved")
    raise typer.Exit(128 + stopped[0])
sys.argv = ["stylize"]
process.run(app)
"""
    theirs, ours = os.pipe()
    os.close(theirs)
    result = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=ours)
    os.close(ours)
    assert (result.returncode, result.stdout) == (130, b"saved")


COMPLETIONS = {
    "bash": {"COMP_WORDS": "stylize {}", "COMP_CWORD": "4"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "stylize {}"},
    "fish": {"_TYPER_COMPLETE_ARGS": "stylize {}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.mark.parametrize("shell", COMPLETIONS)
@pytest.mark.parametrize("command", ["transfer", "batch", "preview"])
def test_names_of_styles_complete(tmp_path: Path, environment: dict[str, str], shell: str, command: str) -> None:
    for name in ("nightfall", "night-sky", "day"):
        (tmp_path / f"{name}.safetensors").touch()
    (tmp_path / "night.png").touch()
    environment |= {"STYLIZE_STYLES": str(tmp_path), "_STYLIZE_COMPLETE": f"complete_{shell}"}
    environment |= {name: text.format(f"{command} a.jpg --style ni") for name, text in COMPLETIONS[shell].items()}
    result = subprocess.run(STYLIZE, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in ("nightfall", "night-sky", "night.png"))
    assert "day" not in result.stdout


def test_a_closed_pipe_ends_silently(tmp_path: Path, photo: Path, style: Path, environment: dict[str, str]) -> None:
    """As in ``stylize transfer … | head -1``."""
    photos = [tmp_path / f"{k:03}.png" for k in range(40)]
    for path in photos:
        path.hardlink_to(photo)
    arguments = [*STYLIZE, "transfer", *photos, "-s", style, "-o", f"{tmp_path}/out/"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < len(photos)
    assert not [path.name for path in written if path.name.startswith(".")]
