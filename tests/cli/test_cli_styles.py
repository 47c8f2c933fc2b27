"""``stylize encode-style``, ``inspect`` and ``preview``: styles as files and by name, recipes, sheets."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Run, assert_refused, content, pixels
from conftest import MakePicture, WritePicture
from PIL import Image

from stylize.files.packaged import packaged
from stylize.options import RefineOptions
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode
from stylize.training import refine as refining
from stylize.training.refine_objective import Objective

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


@pytest.mark.parametrize("option", ["--refine-steps=5", "--perceptual=light"])
def test_options_of_refining_without_it(run: Run, style: Path, option: str) -> None:
    assert_refused(run("encode-style", style, "--save", "mine", option), 2, f"{option.split('=')[0]} needs --refine")


def test_names_that_mean_something_already_are_told(run: Run, tmp_path: Path, style: Path, code_file: Path) -> None:
    (tmp_path / "built-in").mkdir()
    code_file.rename(tmp_path / "built-in/ink.safetensors")
    assert '"ink" is hidden by yours' in run("encode-style", style, "--save", "ink").stderr
    (tmp_path / "drawings").mkdir()
    assert '"drawings" is a path here' in run("encode-style", style, "--save", "drawings").stderr
    saved = run("encode-style", style, "--save", "mine.safetensors")
    assert (saved.lines, saved.stderr) == ([str(tmp_path / "library/mine.safetensors")], "")
    assert "built-in" not in run("inspect").stdout.decode()
    (tmp_path / "library/ink.safetensors").unlink()
    assert any(line.startswith("ink\t") and line.endswith("\tbuilt-in") for line in run("inspect").lines)


def test_a_name_that_is_also_a_path_is_not_guessed(run: Run, photo: Path, style: Path) -> None:
    assert run("encode-style", style, "--save", "ink").code == 0
    Path("ink").mkdir()
    assert_refused(run("transfer", photo, "-s", "ink"), 2, '"ink" is a style of your library, and a path here', "./ink")
    (Path("ink") / "a.png").write_bytes(style.read_bytes())
    assert run("transfer", photo, "-s", "./ink", "-o", "folder.png").code == 0
    assert run("transfer", photo, "-s", "library/ink.safetensors", "-o", "code.png").code == 0
    assert run("preview", photo, "--size", 32).code == 0


@pytest.mark.parametrize("name", ["a/b", "..", "a:1", "a@b", ".hidden", "nul", "x" * 120, "trailing "])
def test_names_that_no_style_can_have(run: Run, tmp_path: Path, style: Path, name: str) -> None:
    before = content(tmp_path)
    assert_refused(run("encode-style", style, f"--save={name}"), 2, "cannot be the name of a style")
    assert content(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    before = content(tmp_path)
    assert_refused(run("transfer", photo, "-s", style, "--device", "cuda"), 5, "--device cuda", "hint: --device auto")
    assert content(tmp_path) == before


@pytest.mark.parametrize("device", ["gpu", "CPU", "meta"])
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
        (["train", "--content", ".", "--style", ".", "-o", "run", "--max-time", "6"], ["--max-time 6", "6h"]),
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
    assert_refused(run(*arguments), 2, *words)
    assert content(tmp_path) == before
    assert not Path("run").exists()


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


@pytest.fixture
def refine(monkeypatch: pytest.MonkeyPatch, style: Path) -> list[object]:
    """A command that refines on a few small windows, of which any step is a gain."""
    small = {
        "crop": 64, "zoom": 64, "windows": 4, "check_every": 4, "rate": 0.02, "kernel_rate": 0.0005, "price": 0.0,
        "fence": 0.0,
    }  # fmt: skip
    real = refining.refine

    def refine(*arguments: Any, options: RefineOptions, **more: Any) -> StyleCode:
        return real(*arguments, options=replace(options, **small), **more)

    monkeypatch.setattr(refining, "refine", refine)
    return ["encode-style", style, "--refine", "--perceptual", "light", "-o", "mine.safetensors"]


def test_refine(run: Run, refine: list[object], photo: Path, style: Path, code_file: Path) -> None:
    arguments = [*refine, "--refine-steps", 12]
    result = run(*arguments, "--json")
    (facts,) = json.loads(result.stdout)["refined"]
    assert 0 < facts["steps"] <= 12 and len(facts["style"]) == len(facts["content"]) == 2
    assert facts["perceptual"] == "light"
    *_, told = result.stderr.splitlines()  # on a slow machine, lines of progress come first
    assert re.fullmatch(r"refined in \d+ steps with light: style distance [\d.]+ -> [\d.]+, content .+", told)
    first = Path("mine.safetensors").read_bytes()
    assert run(*arguments, "--overwrite").code == 0
    assert Path("mine.safetensors").read_bytes() == first
    assert json.loads(run("inspect", "mine.safetensors", "--json").stdout)["refined"]
    assert run("transfer", photo, "-s", "mine.safetensors:0.5", "-s", code_file, "-o", "out.png").code == 0
    weighted = run(*arguments[:1], f"{style}:2", f"{photo}:1", *arguments[2:], "-f", "--json")
    assert len(json.loads(weighted.stdout)["refined"]) == 2
    refused = run("encode-style", style, code_file, "--refine", "-o", "no.safetensors")
    assert_refused(refused, 2, "--refine needs pictures")
    refused = run("encode-style", style, "--refine", "--perceptual", "vgg16", "-o", "no.safetensors")
    assert_refused(refused, 2, "--perceptual vgg16: no such network")
    assert not Path("no.safetensors").exists()


def test_a_stop_keeps_the_best_style_so_far(
    run: Run, refine: list[object], style: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = count(1)
    loss = Objective.loss

    def interrupted(self: Objective, *arguments: Any) -> torch.Tensor:
        if next(steps) == 13:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, *arguments)

    monkeypatch.setattr(Objective, "loss", interrupted)
    result = run(*refine, "--refine-steps", 100)
    assert (result.code, result.lines) == (130, ["mine.safetensors"])
    assert "keeping the best style so far; once more ends at once" in result.stderr.splitlines()
    end = r"^stopped at 13 of 100 steps after .+, about .+ left; the best style so far is kept, that of step \d+$"
    assert re.search(end, result.stderr, re.M)
    assert json.loads(run("inspect", "mine.safetensors", "--json").stdout)["refined"]


def test_a_stop_before_the_first_step_keeps_nothing(
    run: Run, refine: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Objective, "__init__", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    result = run(*refine)
    assert (result.code, result.stdout) == (130, b"")
    assert result.stderr.splitlines()[-1] == "stopped; no style is kept"
    assert not Path("mine.safetensors").exists()


def test_refining_until_the_time_is_up(run: Run, refine: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(*refine, "--max-time", "0s", "--quiet")
    assert_refused(result, 1, "the time is up before the first step: ", "more --max-time")
    assert not Path("mine.safetensors").exists()
    monkeypatch.setattr("stylize.cli.encode_style.SAVING", 3600.0)  # no time for a second step
    result = run(*refine, "--max-time", "1h")
    assert (result.code, result.lines) == (0, ["mine.safetensors"])
    assert re.search(r"^stopped at 1 of \d+ steps after ", result.stderr, re.M)
    refused = run("encode-style", refine[1], "--max-time", "1h", "-o", "x.safetensors")
    assert_refused(refused, 2, "--max-time needs --refine")


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


def test_a_recipe_stays_where_a_place_has_to_go(run: Run, tmp_path: Path, style: Path) -> None:
    xmp = b'<x:xmpmeta><rdf:RDF><rdf:Description other:GPSLatitude="1"/></rdf:RDF></x:xmpmeta>'
    Image.new("RGB", (30, 20), "red").save(tmp_path / "walk.jpg", xmp=xmp)
    result = run("transfer", "walk.jpg", "-s", style, "-o", "out.jpg", "--metadata", "no-gps")
    assert result.code == 0
    assert "walk.jpg" in json.loads(run("inspect", "out.jpg", "--json").stdout)["recipe"]
    assert b"GPSLatitude" not in Path("out.jpg").read_bytes()


def test_a_recipe_names_the_engine_that_was_asked_for(run: Run, photo: Path, style: Path) -> None:
    assert run("transfer", photo, "-s", style, "-o", "a.png", "--engine", "torch").code == 0
    assert run("batch", photo, "-s", style, "-o", "out", "--engine", "torch").code == 0
    for file in ("a.png", "out/photo.png"):
        assert json.loads(run("inspect", file, "--json").stdout)["recipe"].endswith(" --engine torch")


def test_a_recipe_tells_the_threads_that_were_asked_for(run: Run, photo: Path, style: Path) -> None:
    """What ``inspect`` prints makes the same bytes again, by ``transfer`` as by ``batch``."""
    threads = ("--threads", 1)
    assert run("batch", photo, "-s", style, "-o", "out", *threads).code == 0
    assert run("transfer", photo, "-s", style, "-o", "a.png", *threads).code == 0
    assert run("batch", photo, "-s", style, "-o", "again", *threads).code == 0
    command = shlex.split(json.loads(run("inspect", "out/photo.png", "--json").stdout)["recipe"])
    assert command[-2:] == ["--threads", "1"]
    assert run(*command[1:], "-o", "b.png").code == 0
    for file in ("again/photo.png", "a.png", "b.png"):
        assert Path(file).read_bytes() == Path("out/photo.png").read_bytes()


def test_the_packaged_model_by_its_name(run: Run, tmp_path: Path, photo: Path, tiny_model: Path, style: Path) -> None:
    """Whatever STYLIZE_MODEL says, and whatever is called so here; ``./packaged`` is that."""
    shutil.copy(tiny_model, "packaged")
    packaged_hash = json.loads(run("inspect", "packaged", "--json").stdout)["sha256"]
    assert packaged_hash == Stylizer("packaged", "cpu").engine.hash
    for place, model, recipe in (("name", "packaged", "packaged"), ("file", tmp_path / "packaged", "./packaged")):
        assert run("transfer", photo, "-s", style, "-o", f"{place}.png", "--model", model).code == 0
        facts = json.loads(run("inspect", f"{place}.png", "--json").stdout)
        assert facts["recipe"].endswith(f" --model {recipe}")
        assert (facts["model"] == packaged_hash) == (place == "name")
        replay = shlex.split(facts["recipe"])[1:]
        assert run(*replay, "-o", "again.png", "-f").code == 0
        assert Path("again.png").read_bytes() == Path(f"{place}.png").read_bytes()
    assert run("batch", photo, "-s", style, "-o", "out", "--model", "packaged").code == 0
    assert run("preview", photo, "-s", style, "-o", "sheet.png", "--size", 32, "--model", "packaged").code == 0
    assert run("encode-style", style, "-o", "code.safetensors", "--model", "packaged", "--json").code == 0
    assert json.loads(run("inspect", "code.safetensors", "--json", "--model", "packaged").stdout)["fits"]


def test_a_folder_called_alpha_is_not_the_alpha(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "masks/alpha").mkdir(parents=True)
    Image.new("L", (60, 45)).save(tmp_path / "masks/alpha/photo.png")
    assert run("transfer", photo, "-s", style, "-o", "out.png", "--mask", "masks/alpha").code == 0
    assert run("transfer", photo, "-s", f"{style}@masks/alpha", "-o", "layer.png").code == 0
    assert "--mask ./alpha" in json.loads(run("inspect", "out.png", "--json").stdout)["recipe"]
    assert "style.png@./alpha" in json.loads(run("inspect", "layer.png", "--json").stdout)["recipe"]


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
    assert (result.code, [json.loads(line)["kind"] for line in result.lines]) == (2, ["picture", "style code"])


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


def test_a_style_is_shown_as_large_as_the_photo(
    run: Run, tmp_path: Path, style: Path, write_picture: WritePicture, make_picture: MakePicture
) -> None:
    """Its code holds a picture of 128 pixels only: enlarged, it reaches two edges of its cell, or all four."""
    photo = write_picture(tmp_path / "large.png", make_picture(300, 400))
    assert run("preview", photo, "-s", style, "--strengths", "1", "--size", 400).code == 0
    cell = pixels(tmp_path / "large_preview.png")[8 : 8 + 300, 8 : 8 + 400].astype(int)
    paper = np.array((250, 250, 250))
    painted = np.abs(cell - paper).max(2) > 20
    assert painted[:, 200].all() and painted[0].mean() > 0.9


def test_a_preview_under_a_name_that_is_too_long(run: Run, photo: Path, style: Path) -> None:
    assert_refused(run("preview", photo, "-s", style, "-o", "x" * 300 + ".png"), 4, "name too long")


def test_a_preview_into_a_folder(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    (tmp_path / "sheets").mkdir()
    result = run("preview", photo, "-s", style, "--strengths", "1", "--size", 32, "-o", "sheets")
    assert (result.code, result.lines) == (0, ["sheets/photo_preview.png"])


def test_a_preview_as_transfer_would_paint(run: Run, tmp_path: Path, photo: Path, style: Path) -> None:
    """The photo is small enough to be painted as it is."""
    look = ["--style-scale", "0.5", "--engine", "torch"]
    assert run("preview", photo, "-s", style, "--strengths", "1", "--size", 60, *look).code == 0
    assert run("transfer", photo, "-s", style, "-o", "whole.png", *look).code == 0
    assert run("transfer", photo, "-s", style, "-o", "coarse.png").code == 0
    height, width, _ = pixels(tmp_path / "whole.png").shape
    cell = pixels(tmp_path / "photo_preview.png")[8 : 8 + height, 8 + 2 * (width + 8) :][:, :width]
    assert (cell == pixels(tmp_path / "whole.png")).all()
    assert (cell != pixels(tmp_path / "coarse.png")).any()


def test_a_preview_paints_where_the_mask_is_white(
    run: Run, tmp_path: Path, style: Path, make_picture: MakePicture
) -> None:
    photo, mask = make_picture(90, 601), np.zeros((90, 601), np.uint8)
    mask[:, 301:] = 255
    Image.fromarray(photo).save("wide.png")
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(np.dstack([photo, mask])).save("cutout.png")
    arguments = ("-s", style, "--strengths", "1", "--size", 60, "-f", "-o", "sheet.png")
    painted = {}
    for name, *masked in (
        ("wide.png", "--mask", "mask.png"),
        ("wide.png", "--mask", "mask.png", "--feather", "100"),
        ("cutout.png", "--mask", "alpha"),
    ):
        assert run("preview", name, *arguments, *masked).code == 0
        sheet = pixels(Path("sheet.png"))[8 : 8 + 9]
        before, after = (sheet[:, 8 + k * 68 :][:, :60].astype(int) for k in (1, 2))
        assert (after[:, :29] == before[:, :29]).all()
        painted[masked[-1]] = np.abs(after - before).mean((0, 2))
    assert painted["mask.png"][31:].min() > 0 and painted["alpha"][31:].min() > 0
    ratio = painted["100"][30:] / painted["mask.png"][30:]  # rises over ten of these pixels
    assert ratio[1] < 0.5 and ratio[12:].min() > 0.95
    assert_refused(run("preview", "wide.png", *arguments, "--feather", "4"), 2, "--feather needs a mask")
    assert_refused(run("preview", "wide.png", *arguments, "--mask", "gone.png"), 1, "cannot read the mask gone.png")
    assert_refused(run("preview", "wide.png", *arguments, "--mask", style), 1, "the photo 601x90")


def test_a_preview_of_the_library(run: Run, photo: Path, style: Path) -> None:
    assert_refused(run("preview", photo), 2, "no styles to show", "--save")
    assert run("encode-style", style, "--save", "ink").code == 0
    assert json.loads(run("preview", photo, "--size", 32, "-o", "sheet.jpg", "--json").stdout)["styles"] == ["ink"]
    Path("library/friend's (1).safetensors").write_bytes(Path("library/ink.safetensors").read_bytes())
    Path("library/broken.safetensors").write_bytes(Path("library/ink.safetensors").read_bytes()[:500])
    result = run("preview", photo, "--size", 32, "-o", "all.png", "--json")
    assert json.loads(result.stdout)["styles"] == ["friend's (1)", "ink"]
    assert "broken.safetensors" in result.stderr and "left out" in result.stderr
    assert run("transfer", photo, "-s", "friend's (1)", "-o", "friend.png").code == 0
    refused = run("preview", photo, "--model", "packaged", "-o", "none.png", "--quiet")
    assert_refused(refused, 3, "none of your styles")
    told = run("preview", photo, "--model", "packaged", "-o", "none.png").stderr
    assert told.count("made for another model") == 1  # of all together
    assert "left out: friend's (1), ink\n" in told
    assert_refused(run("preview", photo, "-o", "sheet.jpg"), 4, "exists")
    assert_refused(run("preview", photo, "-o", photo, "-f"), 4, "output is the input")
    assert_refused(run("preview", photo, "--strengths", "1;2", "-o", "x.png"), 2, "--strengths")
    for wrong in ("1,2", "nan", "-0.1"):
        assert_refused(run("preview", photo, f"--strengths={wrong}", "-o", "x.png"), 2, f"--strengths {wrong}: ")
    assert_refused(run("preview", photo, "-s", f"{style}@{photo}", "-o", "x.png"), 2, "no masks here", "transfer")
