"""What the tests share: generated pictures, folders of them, and a tiny random model. All of it seeded, none stored."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Result, Run
from PIL import Image
from torch import nn

from stylize import cli
from stylize.cli import process
from stylize.engines import choice, device
from stylize.files.packaged import packaged
from stylize.networks import generator
from stylize.networks.model import Model, load_model, save_model
from stylize.networks.perceptual import style_statistics
from stylize.options import ModelSizes
from stylize.painting.stylizer import Stylizer
from stylize.styles import library
from stylize.styles.style_code import StyleCode

if "PYTEST_XDIST_WORKER" in os.environ:  # others are at work beside this one: a core for each
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)

MakePicture = Callable[..., np.ndarray]
WritePicture = Callable[..., Path]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables that change what stylize does are unset, whatever the caller's shell holds; an empty library."""
    for name in ("STYLIZE_MODEL", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STYLIZE_STYLES", str(tmp_path / "library"))
    monkeypatch.setattr(library, "built_in", lambda: tmp_path / "built-in")


@pytest.fixture
def set_bf16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """``set_bf16(True)``: from here on the processor has, or has not, bf16 instructions, whatever it is."""

    def set_bf16(there: bool) -> None:
        for module in (choice, device, generator):
            monkeypatch.setattr(module, "has_bf16_instructions", lambda: there)

    return set_bf16


def _make_picture(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """A coloured picture with slow waves, edges and fine grain: (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 64
    waves = [np.sin(x * random.uniform(1, 6) + y * random.uniform(1, 6) + random.uniform(0, 6)) for _ in range(3)]
    tones = np.stack(waves, axis=-1) * random.uniform(25, 55, 3) + random.uniform(80, 175, 3)
    for _ in range(6):
        top, left = random.integers(height), random.integers(width)
        bottom, right = top + random.integers(4, 48), left + random.integers(4, 48)
        tones[top:bottom, left:right] = random.uniform(0, 255, 3)
    tones += random.normal(0, 8, (height, width, 1))
    return np.clip(tones, 0, 255).astype(np.uint8)


def _write_picture(path: Path, pixels: np.ndarray | None = None, *, seed: int = 0) -> Path:
    """Write pixels, or a picture of that seed, in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_make_picture(seed=seed) if pixels is None else pixels).save(path)
    return path


@pytest.fixture(scope="session")
def make_picture() -> MakePicture:
    """``make_picture(height=96, width=128, seed=0)`` -> (height, width, 3) uint8."""
    return _make_picture


@pytest.fixture(scope="session")
def write_picture() -> WritePicture:
    """``write_picture(path, pixels=None, seed=0)`` -> path; makes the folder, too."""
    return _write_picture


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of different shapes. To be read only."""
    folder = tmp_path_factory.mktemp("photos")
    for seed, (height, width) in enumerate([(96, 128), (128, 96), (100, 100)]):
        _write_picture(folder / f"photo{seed}.png", _make_picture(height, width, seed))
    return folder


@pytest.fixture(scope="session")
def style_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three style pictures. To be read only."""
    folder = tmp_path_factory.mktemp("styles")
    for seed in range(3):
        _write_picture(folder / f"style{seed}.png", _make_picture(100, 120, seed=100 + seed))
    return folder


@pytest.fixture(scope="session")
def tiny_sizes() -> ModelSizes:
    return ModelSizes(code=16, widths=(16, 16, 16, 16), bank=2, perceptual=(4, 4, 8, 8, 8), hidden=16)


@pytest.fixture(scope="session")
def tiny_model(tiny_sizes: ModelSizes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a small untrained model, whose encoder tells styles apart. To be read only."""
    torch.manual_seed(0)
    model = Model(tiny_sizes)
    perceptual = model.encoder.perceptual
    for module in perceptual.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    pictures = np.stack([_make_picture(64, 64, seed) for seed in range(16)])
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    perceptual.normalise([batch])
    with torch.no_grad():
        model.encoder.calibrate(model.encoder.statistics(style_statistics(perceptual(batch))))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(model, path, {"modelspec.title": "tiny"})
    return path


@pytest.fixture(scope="session")
def stylizer(tiny_model: Path) -> Stylizer:
    """A Stylizer with the tiny model on the CPU; of its size only torch can make one."""
    return Stylizer(tiny_model, "cpu")


@pytest.fixture(scope="session")
def shipped_model() -> Model:
    """The networks that the package carries."""
    return load_model(packaged("default"))


@pytest.fixture(scope="session", params=["onnx", "torch"])
def shipped_stylizer(request: pytest.FixtureRequest) -> Stylizer:
    """A Stylizer with the model that the package carries, on the CPU, with either engine."""
    return Stylizer(packaged("default"), "cpu", engine=request.param)


@pytest.fixture(scope="session")
def style_code(stylizer: Stylizer) -> StyleCode:
    """A code of the tiny model."""
    return stylizer.encode_style([_make_picture(seed=100)], title="waves")


@pytest.fixture
def code_file(style_code: StyleCode, tmp_path: Path) -> Path:
    """A style code of the tiny model in a file of its own, ``waves.safetensors``."""
    path = tmp_path / "waves.safetensors"
    style_code.save(path)
    return path


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
def environment() -> dict[str, str]:
    """The environment for commands in their own process. With the packaged model: it starts without torch."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}
