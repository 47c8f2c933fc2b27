"""Distil the light perceptual network from VGG19.

Given folders of pictures, a student with a quarter of VGG19's channels learns to carry what each relu*_1 layer of the
teacher carries: a linear head (1×1 convolution) per layer maps the student's features to the teacher's, and the
squared error relative to the teacher's energy is minimised. The heads are thrown away afterwards. After Wang et al.,
"Collaborative Distillation for Ultra-Resolution Universal Style Transfer", CVPR 2020, eq. 4.
"""

from __future__ import annotations

import copy
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
from stylize.training.deadline import Deadline
from stylize.training.events import DISTIL, Doing, Ended, Listener, ignore, told
from stylize.training.judges import as_judge

CALIBRATION_BATCHES = 24


def distil(
    contents: Sequence[Path],
    styles: Sequence[Path],
    output: Path,
    options: DistillationOptions,
    *,
    device: torch.device,
    started: float | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    listener: Listener = ignore,
    stopping: Callable[[], bool] = lambda: False,
) -> PerceptualNetwork:
    """Train the light φ and save it to ``output``.

    Args:
        contents, styles: folders of pictures; half of each batch comes from either.
        started: when the work began, by ``time.monotonic``; ``max_seconds`` counts from then. By default, now.
        report: called after every step with the relative squared error per layer (0: exact, 1: nothing learnt).
        listener: told what is being done, and how it ended.
        stopping: asked after every step; once true, φ is saved as it is.

    At least one step is taken, however short the time.
    """
    deadline = Deadline(time.monotonic() if started is None else started, options.max_seconds)
    listener(Doing("list pictures"))
    content, style = PictureFolders(contents), PictureFolders(styles)

    def make(step: int) -> Tensor:
        random, half = step_random(options.seed, step), options.batch // 2
        crops = [content_crop(random, content, options.crop) for _ in range(half)]
        crops += [style_crop(random, style, options.crop) for _ in range(options.batch - half)]
        return to_tensor(crops, device)

    calibration = [make(-1 - k + 2**31) for k in told(range(CALIBRATION_BATCHES), "read pictures", listener)]
    torch.manual_seed(options.seed)
    teacher = as_judge(load_vgg19(), told(calibration, "prepare VGG19", listener), device)
    student, heads = _student(device)
    precision = training_precision(device)
    optimiser = torch.optim.Adam([*student.parameters(), *heads.parameters()], lr=options.rate)
    if options.max_seconds is not None:
        with deadline.saving(), torch.no_grad():
            copy.deepcopy(student).normalise(told(calibration, "time the saving", listener))
    begun = time.monotonic()
    listener(Doing(DISTIL, 0, options.steps))
    for step, images in enumerate(batches(make, 0, options.steps), start=1):
        with deadline.step():
            done = max((step - 1) / options.steps, deadline.part_over(begun))
            for group in optimiser.param_groups:
                group["lr"] = options.rate * (1 - done) * min(1, step / 50)
            errors = _take_step(teacher, student, heads, optimiser, images, precision)
        report(step, {f"relu{k}_1": error for k, error in enumerate(errors, start=1)})
        listener(Doing(DISTIL, step, options.steps))
        if stopping() or not deadline.allows_step():
            break
    each = (time.monotonic() - begun) / step
    with torch.no_grad():
        student.normalise(told(calibration, "save", listener))
    save_perceptual(student, output)
    listener(Ended(step, options.steps, each))
    return student


def _take_step(
    teacher: PerceptualNetwork,
    student: PerceptualNetwork,
    heads: nn.ModuleList,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    precision: torch.dtype,
) -> list[float]:
    """Bring the student nearer to the teacher on pictures (B, 3, H, W); the errors by layer, before."""
    with autocast(images.device, precision):
        with torch.no_grad():
            wanted = teacher(images)
        errors = [_relative_error(head(f), t) for head, f, t in zip(heads, student(images), wanted, strict=True)]
    loss = torch.stack(errors).sum()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return [float(error.detach()) for error in errors]


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
