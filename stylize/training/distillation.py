"""Distil the light perceptual network from VGG19.

Given folders of pictures, a student with a quarter of VGG19's channels learns to carry what each relu*_1 layer of the
teacher carries: a linear head (1×1 convolution) per layer maps the student's features to the teacher's, and the
squared error relative to the teacher's energy is minimised. The heads are thrown away afterwards. After Wang et al.,
"Collaborative Distillation for Ultra-Resolution Universal Style Transfer", CVPR 2020, eq. 4.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from stylize.engines.device import autocast, channels_last, training_precision
from stylize.networks.model import save_perceptual
from stylize.networks.perceptual import VGG19_WIDTHS, PerceptualNetwork, load_vgg19
from stylize.options import LIGHT_WIDTHS, DistillationOptions
from stylize.training.data import PictureFolders, batches, content_crop, step_random, style_crop, to_tensor
from stylize.training.judges import as_judge

CALIBRATION_BATCHES = 24


def distil(
    contents: Sequence[Path],
    styles: Sequence[Path],
    output: Path,
    options: DistillationOptions,
    *,
    device: torch.device,
    report: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> PerceptualNetwork:
    """Train the light φ and save it to ``output``.

    Args:
        contents, styles: folders of pictures; half of each batch comes from either.
        report: called after every step with the relative squared error per layer (0: exact, 1: nothing learnt).
    """
    content, style = PictureFolders(contents), PictureFolders(styles)

    def make(step: int) -> Tensor:
        random, half = step_random(options.seed, step), options.batch // 2
        crops = [content_crop(random, content, options.crop) for _ in range(half)]
        crops += [style_crop(random, style, options.crop) for _ in range(options.batch - half)]
        return to_tensor(crops, device)

    calibration = [make(-1 - k + 2**31) for k in range(CALIBRATION_BATCHES)]
    torch.manual_seed(options.seed)
    teacher = as_judge(load_vgg19(), calibration, device)
    student, heads = _student(device)
    precision = training_precision(device)
    optimiser = torch.optim.Adam([*student.parameters(), *heads.parameters()], lr=options.rate)
    started = time.monotonic()
    for step, images in enumerate(batches(make, 0, options.steps)):
        done = step / options.steps
        if options.max_seconds is not None:
            done = max(done, (time.monotonic() - started) / options.max_seconds)
        if done >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = options.rate * (1 - done) * min(1, (step + 1) / 50)
        with autocast(device, precision):
            with torch.no_grad():
                wanted = teacher(images)
            errors = [_relative_error(head(f), t) for head, f, t in zip(heads, student(images), wanted, strict=True)]
        loss = torch.stack(errors).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        report(step + 1, {f"relu{k}_1": float(e.detach()) for k, e in enumerate(errors, start=1)})
    with torch.no_grad():
        student.normalise(calibration)
    save_perceptual(student, output)
    return student


def _student(device: torch.device) -> tuple[PerceptualNetwork, nn.ModuleList]:
    """A light φ that knows nothing, and the heads that compare its layers with VGG19's."""
    student = channels_last(PerceptualNetwork(LIGHT_WIDTHS).to(device))
    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    heads = nn.ModuleList(nn.Conv2d(small, large, 1) for small, large in zip(LIGHT_WIDTHS, VGG19_WIDTHS, strict=True))
    return student, heads.to(device)


def _relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    wanted = wanted.float()
    return (found.float() - wanted).square().mean() / wanted.square().mean()
