"""Distilling gives a φ of the packaged one's form that any new model can take, and says when memory ran out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stylize.networks.model import load_perceptual
from stylize.networks.perceptual import VGG19_WIDTHS, PerceptualNetwork
from stylize.options import LIGHT_WIDTHS, DistillationOptions
from stylize.training import distillation
from stylize.training.events import Doing, Ended, Event


@pytest.fixture(autouse=True)
def teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG19's form; its weights are not asked for here."""
    torch.manual_seed(0)
    network = PerceptualNetwork(VGG19_WIDTHS)
    for conv in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    monkeypatch.setattr(distillation, "load_vgg19", lambda: network)


@pytest.mark.slow
def test_a_few_steps_bring_the_student_nearer(photo_folder: Path, style_folder: Path, tmp_path: Path) -> None:
    errors: list[float] = []
    target = tmp_path / "light.safetensors"
    distillation.distil(
        [photo_folder], [style_folder], target, DistillationOptions(steps=30, batch=2, crop=64, rate=0.02),
        device=torch.device("cpu"),
        report=lambda step, found: errors.append(sum(found.values())),
    )  # fmt: skip
    assert len(errors) == 30 and np.isfinite(errors).all()
    assert np.mean(errors[-5:]) < 0.95 * np.mean(errors[:5])
    assert load_perceptual(target).widths == LIGHT_WIDTHS


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "CALIBRATION_BATCHES", 2)


@pytest.mark.usefixtures("quick")
def test_a_stop_saves_what_there_is(photo_folder: Path, style_folder: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    wishes = iter([False, True])
    distillation.distil(
        [photo_folder], [style_folder], tmp_path / "light.safetensors", DistillationOptions(steps=9, batch=2, crop=64),
        device=torch.device("cpu"), listener=told.append, stopping=lambda: next(wishes),
    )  # fmt: skip
    assert load_perceptual(tmp_path / "light.safetensors").widths == LIGHT_WIDTHS
    phases = dict.fromkeys(event.what for event in told if isinstance(event, Doing))
    assert list(phases) == ["list pictures", "read pictures", "prepare VGG19", "distill", "save"]
    assert isinstance(told[-1], Ended) and (told[-1].step, told[-1].steps) == (2, 9)


@pytest.mark.usefixtures("quick")
def test_time_that_is_up_saves_what_there_is(photo_folder: Path, style_folder: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    distillation.distil(
        [photo_folder], [style_folder], tmp_path / "light.safetensors",
        DistillationOptions(steps=9, batch=2, crop=64, max_seconds=0.0), device=torch.device("cpu"),
        listener=told.append,
    )  # fmt: skip
    assert load_perceptual(tmp_path / "light.safetensors").widths == LIGHT_WIDTHS
    assert isinstance(told[-1], Ended) and told[-1].step == 1
