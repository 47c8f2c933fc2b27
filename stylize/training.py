"""Adversarial training of the style encoder E, the generator G and the discriminator D.

Given folders of photos and of style pictures, one step draws S styles and n photos for each, encodes the styles,
stylises the photos, and updates first E and G (weighted sum of ``losses``), then D. A run leaves in its folder

    config.json                    every option
    metrics.csv                    all loss terms, averaged over intervals
    samples/step-000500.png        fixed photos × fixed styles
    checkpoints/step-000500.safetensors   everything needed to go on: networks, averages, optimisers
    model.safetensors              the exponential moving average of E and G: the model to use

Batches are a function of (seed, step) and nothing else is random, so that a resumed run takes the very steps that an
unbroken one would have taken.
"""

from __future__ import annotations

import copy
import csv
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from stylize import losses, tensor_file
from stylize.checkpoint import (
    MAX_CHECKPOINT_BYTES,
    Model,
    load_model,
    load_perceptual,
    load_tensors,
    save_model,
)
from stylize.data import PictureFolders, batches, content_crop, step_random, style_crop, to_tensor
from stylize.device import channels_last, keep_freed_memory
from stylize.discriminator import Discriminator
from stylize.errors import OutputError, TrainingError
from stylize.images import make_folder, shown, write_atomically
from stylize.layers import GRAIN_PERIOD, Position
from stylize.options import TrainingOptions
from stylize.packaged import default_model, packaged
from stylize.palette import palette_of
from stylize.perceptual import PerceptualNetwork, feature_statistics, load_vgg19

KEPT_CHECKPOINTS = 2
MOST_OVERFLOWS = 10
CALIBRATION = 2**31  # steps from here on draw pictures for calibration and samples: training never gets there


@dataclass
class Progress:
    """What ``train`` reports after each interval."""

    step: int
    losses: dict[str, float]
    images_per_second: float
    seconds: float


class TrainingState:
    """The networks and optimisers of a run, and how to store them."""

    def __init__(self, options: TrainingOptions, device: torch.device) -> None:
        torch.manual_seed(options.seed)
        self.step = 0
        self.overflows = 0  # in a row
        if options.init == "scratch":
            self.model = Model(options.sizes)
            self.model.encoder.perceptual = load_perceptual(packaged("perceptual"))
        else:
            self.model = load_model(default_model() if options.init == "packaged" else Path(options.init))
        self.model = self.model.to(device).train().requires_grad_(True)
        channels_last(self.model.encoder.perceptual)
        self.model.encoder.perceptual.requires_grad_(False)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.discriminator = channels_last(Discriminator(self.model.sizes.code).to(device))
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(trained, lr=options.rate, betas=(0.9, 0.99), fused=True)
        self.discriminator_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), lr=options.discriminator_rate, betas=(0.5, 0.99), fused=True
        )

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "average": self.average, "discriminator": self.discriminator}

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"optimiser": self.optimiser, "discriminator_optimiser": self.discriminator_optimiser}

    def save(self, path: Path) -> None:
        """Write everything, in fp32."""
        tensors: tensor_file.Tensors = {}
        for prefix, module in self._modules().items():
            tensors |= {f"{prefix}.{k}": v.detach().cpu().float().numpy() for k, v in module.state_dict().items()}
        for prefix, optimiser in self._optimisers().items():
            for index, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{prefix}.{index}.{k}": v.detach().cpu().float().numpy() for k, v in state.items()}
        metadata = {"stylize.kind": "checkpoint", "step": str(self.step)}
        write_atomically(path, tensor_file.to_bytes(tensors, metadata), overwrite=True)

    def load(self, path: Path) -> None:
        """Go on where ``save`` was called."""
        tensors, metadata = tensor_file.read(path, "checkpoint", max_bytes=MAX_CHECKPOINT_BYTES)
        for prefix, module in self._modules().items():
            device = next(module.parameters()).device
            own = _below(tensors, prefix)
            load_tensors(copy.deepcopy(module), own, f"checkpoint {path.name}")  # refuses what does not fit
            module.load_state_dict({k: torch.from_numpy(v).to(device) for k, v in own.items()})
        for prefix, optimiser in self._optimisers().items():
            parameters = _parameters(optimiser)
            states: dict[int, dict[str, Tensor]] = defaultdict(dict)
            for key, value in _below(tensors, prefix).items():
                index, _, name = key.partition(".")
                moment = torch.from_numpy(value)
                if name != "step":  # laid out like its parameter: the order of sums is part of "exactly"
                    moment = torch.empty_like(parameters[int(index)]).copy_(moment)
                states[int(index)][name] = moment
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": dict(states), "param_groups": groups})
        self.step = int(metadata["step"])

    def take_step(self, finite: bool) -> None:
        """Update E and G, unless the gradient overflowed: one odd crop must not undo hours.

        Raises:
            TrainingError: it overflowed several times in a row.
        """
        self.overflows = 0 if finite else self.overflows + 1
        if finite:
            self.optimiser.step()
        elif self.overflows == MOST_OVERFLOWS:
            raise TrainingError(
                f"the gradient is not finite at step {self.step}; the last good checkpoint is kept",
                hint="--resume with a lower --rate",
            )

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Moving average of the weights of E and G; early on it follows faster."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)


def train(
    contents: Sequence[Path],
    styles: Sequence[Path],
    output: Path,
    options: TrainingOptions,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
    on_warning: Callable[[str], None] = lambda message: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Train a model, or go on with one.

    Args:
        contents, styles: folders of photos and of style pictures; each folder is drawn from equally often.
        output: the run's folder.
        resume: continue from the newest checkpoint in it, if there is one.
        report: called every ``log_every`` steps.
        on_warning: called for every picture that cannot be used; ``skipped.txt`` lists them all.
        should_stop: asked after every step; the run then ends with a checkpoint.

    Returns:
        the path of the model.

    Raises:
        TrainingError: no usable pictures, or a loss that is no longer finite.
        OutputError: the folder holds a run already, and ``resume`` was not asked for.
    """
    keep_freed_memory()
    checkpoints = output / "checkpoints"
    latest = max(checkpoints.glob("step-*.safetensors"), default=None)
    if latest is not None and not resume:
        raise OutputError(f"{shown(output)} holds a training run", hint="--resume continues it")
    content_pictures, style_pictures = PictureFolders(contents), PictureFolders(styles)
    state = TrainingState(options, device)
    draw = _Draw(options, content_pictures, style_pictures, device)
    if latest is not None:
        state.load(latest)
    elif options.init == "scratch":
        _calibrate_encoder(state.model, draw)
        state.average.encoder.load_state_dict(state.model.encoder.state_dict())
    perceptual = _perceptual(options, state, draw)

    for folder in (checkpoints, output / "samples"):
        make_folder(folder)
    config = {"contents": [p.name for p in contents], "styles": [p.name for p in styles], **asdict(options)}
    write_atomically(output / "config.json", json.dumps(config, indent=1).encode(), overwrite=True)

    def save() -> Path:
        state.save(checkpoints / f"step-{state.step:07d}.safetensors")
        for old in sorted(checkpoints.glob("step-*.safetensors"))[:-KEPT_CHECKPOINTS]:
            old.unlink()
        save_model(state.average, output / "model.safetensors", {"training.steps": str(state.step)})
        _write_skipped(output / "skipped.txt", [content_pictures, style_pictures])
        return output / "model.safetensors"

    named: set[Path] = set()  # pictures left out, that the user has been told of
    started = time.monotonic()
    interval_started, interval = started, defaultdict[str, list[float]](list)
    for batch in batches(draw, state.step, options.steps):
        _set_rates(state, options)
        terms = _update_generator(state, perceptual, batch, options)
        state.step += 1
        state.update_average(options.average)
        if np.isfinite(list(terms.values())).all():  # a step that overflowed was not taken
            for name, value in terms.items():
                interval[name].append(value)
        seconds = time.monotonic() - started
        stop = should_stop() or (options.max_seconds is not None and seconds > options.max_seconds)
        stop = stop or state.step == options.steps
        if (stop or state.step % options.log_every == 0) and interval:
            means = {name: float(np.mean(values)) for name, values in interval.items()}
            rate = len(interval["total"]) * len(batch.content) / (time.monotonic() - interval_started)
            _append_metrics(output / "metrics.csv", state.step, seconds, means)
            report(Progress(state.step, means, rate, seconds))
            for path, reason in (content_pictures.skipped | style_pictures.skipped).items():
                if path not in named:
                    on_warning(f"{reason}; left out")
                    named.add(path)
            interval_started, interval = time.monotonic(), defaultdict(list)
        if stop or (state.step % options.save_every == 0 and not state.overflows):
            save()
        if stop or state.step % options.sample_every == 0:
            sheet = sample_sheet(state.average, draw)
            sheet.save(output / "samples" / f"step-{state.step:07d}.png")
        if stop:
            break
    return save()


class Batch(NamedTuple):
    """The crops of one step."""

    content: Tensor  # (S·n, 3, crop, crop)
    style: Tensor  # (S, 3, style_crop, style_crop)
    origins: list[Position]  # of the photo crops on the grain


class _Draw:
    """``draw(step)``: the batch of that step."""

    def __init__(
        self, options: TrainingOptions, contents: PictureFolders, styles: PictureFolders, device: torch.device
    ) -> None:
        self.options, self.contents, self.styles, self.device = options, contents, styles, device

    def __call__(self, step: int) -> Batch:
        options, random = self.options, step_random(self.options.seed, step)
        styles = [style_crop(random, self.styles, options.style_crop) for _ in range(options.styles)]
        count = options.styles * options.contents
        contents = [content_crop(random, self.contents, options.crop) for _ in range(count)]
        origins = [
            (2 * int(row), 2 * int(column)) for row, column in random.integers(GRAIN_PERIOD // 2, size=(count, 2))
        ]
        return Batch(to_tensor(contents, self.device), to_tensor(styles, self.device), origins)


def _update_generator(
    state: TrainingState, perceptual: PerceptualNetwork, batch: Batch, options: TrainingOptions
) -> dict[str, float]:
    """One step of E and G, then one of D; returns every loss term."""
    content, style, origins = batch
    weights, model = options.weights, state.model
    adversarial = weights.adversarial > 0 and state.step >= options.adversarial_start * options.steps
    same = options.perceptual == "light"  # the losses' φ is the encoder's: its features of the style serve twice
    with torch.no_grad(), _autocast(content):
        encoder_maps = model.encoder.perceptual(style)
        style_maps = encoder_maps[: options.layers] if same else perceptual(style, options.layers)
        content_maps = perceptual(content, max(options.content_layers))
    known, code = _encode(model, encoder_maps)  # (S, D), (S, Z)
    with _autocast(content):
        output = model.generator(content, code, palette_of(style), origins)
        output_maps = perceptual(output, max(options.layers, *options.content_layers))
    wanted = [feature_statistics(f).repeat(options.contents) for f in style_maps]
    found = [feature_statistics(f) for f in output_maps[: options.layers]]
    chosen = [k - 1 for k in options.content_layers]
    terms = {
        "content": losses.content_loss([output_maps[k] for k in chosen], [content_maps[k] for k in chosen]),
        "style": losses.style_loss(found, wanted),
        "moments": losses.moments_loss(found, wanted),
        "palette": losses.palette_loss(output, style.repeat_interleave(options.contents, dim=0)),
        "tv": losses.total_variation(output.float()),
        "grid": losses.grid_loss(output.float()),
        "code": nn.functional.mse_loss(model.encoder.descriptor(code), known[:, : model.encoder.descriptor_size]),
    }
    if weights.identity > 0 and state.step % options.identity_every == 0:
        terms["identity"] = _identity(model, content[: options.styles], origins)
    if adversarial:
        pairs = code.detach().repeat_interleave(options.contents, dim=0)
        state.discriminator.requires_grad_(False)
        with _autocast(content):
            terms["adversarial"] = losses.generator_hinge(state.discriminator(output, pairs))
        state.discriminator.requires_grad_(True)
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    state.optimiser.zero_grad()
    total.backward()
    norm = nn.utils.clip_grad_norm_(_parameters(state.optimiser), 1.0)
    finite = bool(torch.isfinite(total) and torch.isfinite(norm))
    state.take_step(finite)
    if adversarial and finite:
        terms["discriminator"] = _update_discriminator(state, output.detach(), style, code.detach())
    return {"total": float(total.detach())} | {name: float(term.detach()) for name, term in terms.items()}


def _identity(model: Model, content: Tensor, origins: Sequence[Position]) -> Tensor:
    """G(c, E(c)) ≈ c: mean absolute difference. The photo's own code is where ``--strength`` starts from."""
    with torch.no_grad(), _autocast(content):
        maps = model.encoder.perceptual(content)
    _, code = _encode(model, maps)
    with _autocast(content):
        output = model.generator(content, code, palette_of(content), origins[: len(content)])
    return (output.float() - content).abs().mean()


def _encode(model: Model, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """φ's maps of pictures -> standardised statistics (B, D) and codes (B, Z), in fp32."""
    known = model.encoder.standardise(model.encoder.statistics([feature_statistics(f) for f in maps]))
    return known, model.encoder.code_of(known)


def _update_discriminator(state: TrainingState, output: Tensor, style: Tensor, code: Tensor) -> Tensor:
    """One step of D: real art with its code, against stylised photos and against art with another picture's code."""
    pairs = code.repeat_interleave(len(output) // len(code), dim=0)
    with _autocast(style):
        real = state.discriminator(style, code)
        fakes = [state.discriminator(output, pairs)]
        if len(code) > 1:
            fakes.append(state.discriminator(style, code.roll(1, dims=0)))
    loss = losses.discriminator_hinge(real, fakes)
    state.discriminator_optimiser.zero_grad()
    loss.backward()
    state.discriminator_optimiser.step()
    return loss


def _set_rates(state: TrainingState, options: TrainingOptions) -> None:
    """A short warm-up, a constant rate, a linear decay at the end."""
    left = (1 - state.step / options.steps) / max(options.decay, 1e-9)
    factor = min(1.0, left, (state.step + 1) / 100)
    for optimiser, rate in (
        (state.optimiser, options.rate),
        (state.discriminator_optimiser, options.discriminator_rate),
    ):
        for group in optimiser.param_groups:
            group["lr"] = rate * factor


def _perceptual(options: TrainingOptions, state: TrainingState, draw: _Draw) -> PerceptualNetwork:
    """φ of the losses, frozen, on the device."""
    if options.perceptual == "light":
        return state.model.encoder.perceptual
    network = channels_last(load_vgg19().to(draw.device)).eval().requires_grad_(False)
    network.normalise(crops for k in range(8) for crops in draw(CALIBRATION + k)[:2])
    # Autocast would convert the frozen weights again at every call.
    return network if draw.device.type == "mps" else network.bfloat16()


def _calibrate_encoder(model: Model, draw: _Draw) -> None:
    encoder = model.encoder
    with torch.no_grad():
        known = []
        for k in range(64):
            maps = encoder.perceptual(draw(CALIBRATION + k).style)
            known.append(encoder.statistics([feature_statistics(f) for f in maps]))
        encoder.calibrate(torch.cat(known))


@torch.no_grad()
def sample_sheet(model: Model, draw: _Draw, size: int = 192, photos: int = 4, styles: int = 6) -> Image.Image:
    """Fixed photos × fixed styles: the styles on top, the photos at the left."""
    random = step_random(draw.options.seed, CALIBRATION - 1)
    style = to_tensor([style_crop(random, draw.styles, size) for _ in range(styles)], draw.device)
    content = to_tensor([content_crop(random, draw.contents, size) for _ in range(photos)], draw.device)
    codes = model.encoder(style)  # (styles, Z), (styles, 9)
    rows = [torch.cat([torch.ones_like(content[:1]), style])]
    for photo in content:
        rows.append(torch.cat([photo[None], model.generator(photo.repeat(styles, 1, 1, 1), *codes)]))
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)  # (3, rows·size, columns·size)
    return Image.fromarray((sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def _autocast(like: Tensor) -> AbstractContextManager[object]:
    """bf16 where the machine computes in it, else fp32."""
    if like.device.type == "mps":
        return nullcontext()
    return torch.autocast(like.device.type, torch.bfloat16)


def _parameters(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [p for group in optimiser.param_groups for p in group["params"]]


def _below(tensors: tensor_file.Tensors, prefix: str) -> tensor_file.Tensors:
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def _append_metrics(path: Path, step: int, seconds: float, means: dict[str, float]) -> None:
    columns = [
        "total",
        "content",
        "style",
        "moments",
        "palette",
        "tv",
        "grid",
        "code",
        "identity",
        "adversarial",
        "discriminator",
    ]
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "seconds", *columns])
        writer.writerow([step, f"{seconds:.1f}", *(f"{means[c]:.5g}" if c in means else "" for c in columns)])


def _write_skipped(path: Path, folders: Iterable[PictureFolders]) -> None:
    lines = [reason for pictures in folders for _, reason in sorted(pictures.skipped.items())]
    if lines:
        write_atomically(path, ("\n".join(lines) + "\n").encode(errors="surrogateescape"), overwrite=True)
