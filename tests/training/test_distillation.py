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
