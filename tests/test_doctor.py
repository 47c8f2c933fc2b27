"""The doctor finds what is broken, in one line each, and never breaks itself."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from stylize import __version__, doctor
from stylize.images.formats import FORMATS
from stylize.painting.stylizer import Stylizer


def test_a_healthy_machine(tiny_model: Path, stylizer: Stylizer) -> None:
    report = doctor.examine(tiny_model, "cpu")
    assert report["problems"] == []
    assert report["model_hash"] == stylizer.engine.hash
    assert any(engine.startswith("cpu, torch") for engine in report["engines"])
    assert set(FORMATS) < set(report["formats"])
    assert torch.__version__.startswith(report["packages"]["torch"])
    assert json.loads(json.dumps(report)) == report
    lines = doctor.as_text(report).splitlines()
    assert lines[0].startswith(f"stylize {__version__}, Python ")
    assert lines[-1] == "all is well"
    assert "JPEG: read and write" in lines
    assert any(": 64x64 pixels in " in line for line in lines)


@pytest.mark.parametrize("there", [True, False])
def test_extras(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: there or None if name in ("pillow_heif", "OpenImageIO") else find(name),
    )
    formats = doctor._formats()
    assert ('pip install ".[heif]"' in formats["HEIC"]) != there
    assert ('pip install ".[deep]"' in formats["16-bit colour"]) != there


def test_what_is_broken_is_named(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.examine(tmp_path / "gone.safetensors")["problems"] == [
        f"cannot read {tmp_path / 'gone.safetensors'}: no such file"
    ]
    damaged = bytearray(tiny_model.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    (problem,) = doctor.examine(tmp_path / "damaged.safetensors")["problems"]
    assert problem.startswith("model damaged.safetensors is damaged")
    (problem,) = doctor.examine(tiny_model, "cuda:99")["problems"]
    assert "`device` cuda:99" in problem
    monkeypatch.setattr(Stylizer, "transfer", lambda self, photo, style: np.zeros_like(photo))
    (problem,) = doctor.examine(tiny_model, "cpu")["problems"]
    assert problem.endswith("the network gives a blank picture")
    monkeypatch.setitem(sys.modules, "stylize.painting.stylizer", None)
    report = doctor.examine(tiny_model, "cpu")
    assert report["problems"][0].startswith("network: ModuleNotFoundError: ")
    assert doctor.as_text(report).splitlines()[-1] == f"problem: {report['problems'][0]}"


def test_an_old_driver_is_a_note(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_available() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver on\nyour system is too old", stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    report = doctor.examine(tiny_model)
    assert report["notes"] == ["CUDA initialization: The NVIDIA driver on your system is too old"]
    assert report["problems"] == []
