"""``stylize transfer``: what it writes, what it must never touch, what it refuses."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import STYLIZE, Result, Run, assert_refused, content, pixels
from conftest import MakePicture, WritePicture
from PIL import Image
from profiles import DISPLAY_P3

from stylize.files.packaged import packaged
from stylize.styles.style_code import StyleCode

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


def test_a_format_and_the_suffix_of_another(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    result = run("transfer", photo, "-s", style, "-o", "out.png", "--format", "jpg")
    assert_refused(result, 2, "--format jpg: out.png has the suffix of another format")
    assert run("transfer", photo, "-s", style, "-o", "out.jpeg", "--format", "jpg").code == 0


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
    monkeypatch.setattr("stylize.painting.tiles.WHOLE_PROXY", 0)  # else a photo so small is done at once
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


def test_the_photos_modification_time_if_asked(run: Run, photo: Path, style: Path) -> None:
    os.utime(photo, (1_600_000_000, 1_600_000_000))
    for command in ("transfer", "batch"):
        assert run(command, photo, "-s", style, "-o", f"{command}-now/").code == 0
        assert run(command, photo, "-s", style, "-o", f"{command}-then/", "--times").code == 0
        assert Path(f"{command}-now", photo.name).stat().st_mtime > 1_700_000_000
        assert Path(f"{command}-then", photo.name).stat().st_mtime == 1_600_000_000


def test_text_that_a_format_cannot_hold_is_told(run: Run, photo: Path, style: Path) -> None:
    Image.open(photo).convert("RGB").save("said.jpg", comment=b"by Jane")
    assert run("transfer", "said.jpg", "-s", style, "-o", "said.png").stderr == ""
    result = run("transfer", "said.jpg", "-s", style, "-o", "said.webp")
    assert (result.code, result.stderr) == (0, "warning: said.jpg: WEBP cannot hold its comment: left out\n")


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
        with Image.open("transfer-keep/p3.jpg") as image:
            assert b"compositeWithTrainedAlgorithmicMedia" in image.info["xmp"]
    assert run("transfer", "p3.jpg", "-s", style, "-o", "same.tif", "--strength", 0).code == 0
    assert b"compositeWithTrained" not in Path("same.tif").read_bytes()  # it is the photo
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
    result = run("transfer", photo, "in/photo.png", "-s", style, "-o", "in/", "-f")
    assert (result.code, result.stdout) == (4, b"")
    assert result.stderr.count("output is the input in/photo.png") == 2
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
    assert_refused(run(*command), 2, option)


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
    ("strength", "hint"), [(70, "--strength 0.7"), (1.5, "1: the full style"), (-1, "1: the full")]
)
def test_a_strength_in_per_cent_is_understood_but_not_taken(
    run: Run, photo: Path, style: Path, strength: float, hint: str
) -> None:
    assert_refused(run("transfer", photo, "-s", style, f"--strength={strength}"), 2, "not between 0 and 1", hint)


@pytest.mark.parametrize(
    ("arguments", "code", "near"),
    [
        (["transfer", "photo.png", "-s", "style.png", "--mask", "mazk.png"], 1, "mask.png"),
        (["transfer", "photo.png", "-s", "cod.safetensors"], 1, "code.safetensors"),
        (["transfer", "photo.png", "-s", "style.png", "--model", "modle.safetensors"], 1, "model.safetensors"),
        (["batch", "phots", "-s", "style.png", "-o", "out"], 1, "photos"),
    ],
)
def test_a_name_that_is_nearly_right(
    run: Run, tmp_path: Path, photo: Path, style: Path, arguments: list[str], code: int, near: str
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("mask.png", "code.safetensors", "model.safetensors"):
        (tmp_path / name).touch()
    assert_refused(run(*arguments), code, f"hint: did you mean {near}?")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phoot.png", "cannot read phoot.png: no such file\nhint: did you mean photo.png?"),
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
    assert_refused(run("transfer", photo, "-s", style), 1, "nowhere.safetensors", "hint: STYLIZE_MODEL names it")
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
    (tmp_path / "masks").mkdir()
    (tmp_path / "sky.png").rename(tmp_path / "masks/photo.png")
    assert run("batch", photo, "-s", style, "-o", "many", "--mask", "masks", "--feather", 2).code == 0
    facts = json.loads(run("inspect", "many/photo.png", "--json").stdout)
    assert facts["recipe"].endswith("--mask masks --feather 2.0")


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


# transfer: several photos, streams


def test_several_photos_into_a_folder(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "second.jpg").write_bytes(photo.read_bytes())  # a PNG by content
    assert_refused(run("transfer", photo, "second.jpg", "-s", style, "-o", "new"), 2, "2 photos need a folder")
    assert not (tmp_path / "new").exists()
    result = run("transfer", photo, "second.jpg", "-s", style, "-o", "new/")
    assert (result.code, result.lines) == (0, ["new/photo.png", "new/second.png"])
    assert run("transfer", photo, "-s", style, "-o", "new", "-f").lines == ["new/photo.png"]
    assert (pixels(tmp_path / "new/photo.png") == pixels(tmp_path / "new/second.png")).all()


def test_what_exists_keeps_no_other_photo_from_being_done(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "photo_style.png").write_text("precious")
    (tmp_path / "second.png").write_bytes(photo.read_bytes())
    result = run("transfer", photo, "second.png", "-s", style)
    assert (result.code, result.lines) == (4, ["second_style.png"])
    assert "photo_style.png exists" in result.stderr
    assert (tmp_path / "photo_style.png").read_text() == "precious"


@pytest.mark.parametrize("wrong", [("-s", "gone.png"), ("-s", "style.png", "--model", "gone.safetensors")])
def test_what_is_wrong_for_all_photos_is_said_once(run: Run, photo: Path, style: Path, wrong: tuple[str, ...]) -> None:
    assert_refused(run("transfer", photo, style, *wrong, "-o", "out/"), 1, "gone")


def test_a_photo_that_failed_leaves_its_name_to_another(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (50, 50)).save(tmp_path / "a/photo.png")  # of another shape than the mask
    Image.fromarray(np.full((45, 60), 255, np.uint8)).save(tmp_path / "mask.png")
    result = run("transfer", "a/photo.png", photo, "-s", style, "--mask", "mask.png", "-o", "out/")
    assert (result.code, result.lines) == (1, ["out/photo.png"])
    assert "exists" not in result.stderr and "just written" not in result.stderr


def test_a_picture_that_was_painted_before_is_told(run: Run, photo: Path, style: Path) -> None:
    assert run("transfer", photo, "-s", style, "-o", "once.png").stderr == ""
    assert "once.png: was painted by stylize already" in run("transfer", "once.png", "-s", style).stderr


def test_a_link_gives_the_output_its_own_name(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "mine.png").symlink_to(style)
    assert run("transfer", photo, "-s", "mine.png").lines == [str(photo.with_name("photo_mine.png"))]


def test_a_broken_torch_fails_the_photos_that_need_it(
    run: Run,
    tmp_path: Path,
    photo: Path,
    style: Path,
    monkeypatch: pytest.MonkeyPatch,
    set_bf16: Callable[[bool], None],
) -> None:
    monkeypatch.setenv("STYLIZE_MODEL", str(packaged("default")))  # which runs without torch
    monkeypatch.setitem(sys.modules, "stylize.engines.torch", None)
    Image.fromarray(np.full((20, 30), 9000, np.uint16)).save(tmp_path / "deep.png")
    assert_refused(run("transfer", "deep.png", "-s", style), 5, "cannot load torch: ", "stylize doctor")
    assert_refused(run("transfer", photo, "-s", style, "--engine", "torch"), 5, "cannot load torch: ", "stylize doctor")
    result = run("batch", "deep.png", photo, "-s", style, "-o", "out", "--device", "cpu")
    assert (result.code, result.lines) == (1, ["out/photo.png"])
    monkeypatch.setattr("stylize.engines.choice.LARGE_PHOTO", 1)  # for which torch would be faster
    set_bf16(True)
    monkeypatch.setattr("stylize.engines.choice.free_memory", lambda: None)
    result = run("transfer", photo, "-s", style, "--device", "cpu")
    assert result.code == 0
    assert "warning: cannot load torch" in result.stderr


def test_torch_paints_16_bits_whatever_was_asked_for_and_says_so(
    run: Run, tmp_path: Path, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLIZE_MODEL", str(packaged("default")))
    Image.fromarray(np.full((20, 30), 9000, np.uint16)).save(tmp_path / "deep.png")
    result = run("transfer", "deep.png", "-s", style, "--engine", "onnx")
    assert result.code == 0
    assert "16-bit pixels are painted by torch" in result.stderr


def test_a_picture_that_cannot_be_written_does_not_keep_the_others_from_it(
    run: Run, tmp_path: Path, photo: Path, style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (16_400, 1)).save("wide.png")
    result = run("transfer", "wide.png", photo, "-s", style, "-o", "out/", "--format", "webp")
    assert (result.code, result.lines) == (4, ["out/photo.webp"])
    assert "error: WEBP cannot hold 16400x1 pixels" in result.stderr


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


def test_results_as_json_lines(run: Run, photo: Path, style: Path) -> None:
    """By the same names as those of batch."""
    result = run("transfer", "gone.png", photo, "-s", style, "-o", "out/", "--json")
    assert result.code == 1
    failed, done = map(json.loads, result.lines)
    assert failed == {
        "schema": 1, "photo": "gone.png", "status": "failed", "reason": "cannot read gone.png: no such file"
    }  # fmt: skip
    assert (done["photo"], done["output"], done["status"]) == (str(photo), "out/photo.png", "ok")
    alone = run("transfer", "gone.png", "-s", style, "--json")
    assert (alone.code, [json.loads(line) for line in alone.lines]) == (1, [failed])
    assert run("transfer", "gone.png", "-s", style, "-o", "-", "--json").stdout == b""


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


# What is refused before the work


@pytest.mark.parametrize("command", ["transfer", "batch"])
def test_a_size_that_the_format_cannot_hold_is_refused_before_painting(
    run: Run, tmp_path: Path, style: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def unwanted(*arguments: object, **options: object) -> None:
        raise AssertionError("painted")

    monkeypatch.setattr("stylize.painting.stylizer.Stylizer.transfer", unwanted)
    Image.new("RGB", (16_384, 2), "teal").save(tmp_path / "long.png")
    output = ["-o", "out"] if command == "batch" else []
    result = run(command, "long.png", "-s", style, "--format", "webp", *output)
    assert result.code == (1 if command == "batch" else 4)
    assert "WEBP cannot hold 16384x2 pixels: its longest side is 16383" in result.stderr
    assert "hint: write a .png or .tif file" in result.stderr


def test_a_style_of_nothing_is_refused(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    Image.new("RGBA", (64, 48), (200, 30, 20, 0)).save(tmp_path / "clear.png")
    assert_refused(run("transfer", photo, "-s", "clear.png"), 1, "clear.png: every pixel is transparent")
    assert_refused(run("encode-style", "clear.png", "-o", "x.safetensors"), 1, "every pixel is transparent")
    (tmp_path / "several").mkdir()
    (tmp_path / "clear.png").rename(tmp_path / "several/clear.png")
    (tmp_path / "several/style.png").write_bytes(style.read_bytes())
    result = run("transfer", photo, "-s", "several")
    assert result.code == 0
    assert "clear.png: every pixel is transparent; left out" in result.stderr


@pytest.mark.parametrize("command", ["transfer", "batch"])
def test_a_link_to_nothing_says_where_it_leads(run: Run, tmp_path: Path, style: Path, command: str) -> None:
    (tmp_path / "photo.jpg").symlink_to("moved.jpg")
    result = run(command, "photo.jpg", "-s", style, *(["-o", "out"] if command == "batch" else []))
    assert result.code == 1
    assert "error: cannot read photo.jpg: no such file" in result.stderr
    assert "hint: it is a link to moved.jpg, where nothing is" in result.stderr


def test_pictures_that_are_not_read_are_called_by_their_names(run: Run, tmp_path: Path, style: Path) -> None:
    (tmp_path / "a.psd").write_bytes(b"8BPS\0\1" + bytes(20))
    assert_refused(run("transfer", "a.psd", "-s", style), 1, "cannot read a.psd: it is a Photoshop file")
    (tmp_path / "a.CR3").write_bytes(b"\0\0\0\x18ftypcrx " + bytes(20))
    assert_refused(run("transfer", "a.CR3", "-s", style), 1, "cannot read a.CR3: it is a camera raw file", "export it")


def test_the_colours_of_a_camera_that_writes_adobe_rgb(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    tags = Image.Exif()
    tags.get_ifd(0x8769).update({0xA001: 65_535, 0xA005: {1: "R03", 2: b"0100"}})
    with Image.open(photo) as image:
        image.convert("RGB").save(tmp_path / "_DSC1.png", exif=tags.tobytes())
    assert run("transfer", "_DSC1.png", "-s", style, "--strength", "0", "-o", "out.png").code == 0
    with Image.open(tmp_path / "out.png") as image:
        assert b"A\0d\0o\0b\0e\0 \0R\0G\0B" in image.info["icc_profile"]
    assert np.array_equal(pixels(tmp_path / "out.png"), pixels(tmp_path / "_DSC1.png"))
