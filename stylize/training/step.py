"""One step of the adversarial training, and what it works on.

``Draw`` gives the batch of a step: S styles and n photos for each. ``take_step`` encodes the styles, stylises the
photos and computes the gradients of E and G (weighted sum of ``losses``), then those of D; only then all are updated,
so that a step that memory did not suffice for leaves everything as it was.

Every loss is a mean over the batch, so the batch may be cut: each process (``stylize.training.devices``) computes the
gradients of its own styles and their photos, and their means over the processes are those of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stylize.errors import TrainingError
from stylize.networks.colour_transfer import palette_of
from stylize.networks.perceptual import PerceptualNetwork, feature_statistics, style_statistics
from stylize.networks.plan import GRAIN_PERIOD, Position
from stylize.networks.random_filters import octaves_within
from stylize.options import TrainingOptions
from stylize.training import losses
from stylize.training.batch_sizes import BatchSizes
from stylize.training.checkpoint import TrainingState, parameters_of
from stylize.training.data import NamedPicture, PictureFolders, content_crop, step_random, style_crop, to_tensor
from stylize.training.devices import World
from stylize.training.judges import Judges

MOST_OVERFLOWS = 10
CALIBRATION_SIZES = (4, 3)  # S and n of its batches
CALIBRATION = 2**31  # steps from here on draw pictures for calibration and samples: training never gets there


class Batch(NamedTuple):
    """The crops of one step."""

    content: Tensor  # (S·n, 3, crop, crop): the n photos of the first style, then those of the second, …
    style: Tensor  # (S, 3, style_crop, style_crop)
    origins: list[Position]  # of the photo crops on the grain


class Draw:
    """``draw(step)``: this process's part of the batch of that step.

    Attributes:
        sizes: of the whole batches.
        samples: by size of the cells and counts, the styles and photos that sample sheets show.
    """

    def __init__(
        self, options: TrainingOptions, contents: PictureFolders, styles: PictureFolders, world: World
    ) -> None:
        self.options, self.contents, self.styles, self.world = options, contents, styles, world
        self.sizes = BatchSizes({0: (options.styles, options.contents)})
        self.samples: dict[tuple[int, int, int], tuple[list[NamedPicture], list[NamedPicture]]] = {}

    def sizes_at(self, step: int) -> tuple[int, int]:
        """S and n of a step. Those of calibration never change: a resumed run must calibrate as the first one did."""
        return CALIBRATION_SIZES if step >= CALIBRATION else self.sizes.at(step)

    def shrink(self, step: int) -> bool:
        """Halve the batches from a step on. False if nothing is left to halve."""
        smaller = self.sizes.halved(step, self.world.size)
        if smaller is None:
            return False
        self.sizes = smaller
        if self.world.device.type == "cuda":
            torch.cuda.empty_cache()  # in pieces of the old sizes
        return True

    def __call__(self, step: int) -> Batch:
        """This process's part of the batch."""
        styles, photos = self.sizes_at(step)
        return self._batch(step, range(styles)[self.world.share(styles)], photos)

    def whole(self, step: int) -> Batch:
        """The batch of all processes."""
        styles, photos = self.sizes_at(step)
        return self._batch(step, range(styles), photos)

    def fits(self, batch: Batch, step: int) -> bool:
        """Whether a batch has the sizes that this step should have by now."""
        styles = len(batch.style)
        return (styles * self.world.size, len(batch.content) // styles) == self.sizes_at(step)

    def _batch(self, step: int, styles: Sequence[int], photos: int) -> Batch:
        options, device = self.options, self.world.device
        style_crops, content_crops, origins = [], [], []
        for style in styles:
            random = step_random(options.seed, step, style)
            style_crops.append(style_crop(random, self.styles, options.style_crop))
            for photo in range(photos):
                random = step_random(options.seed, step, style, photo + 1)
                content_crops.append(content_crop(random, self.contents, options.crop))
                row, column = random.integers(GRAIN_PERIOD // 2, size=2)
                origins.append((2 * int(row), 2 * int(column)))
        return Batch(to_tensor(content_crops, device), to_tensor(style_crops, device), origins)


def take_step(
    state: TrainingState, judges: Judges, batch: Batch, options: TrainingOptions, world: World
) -> dict[str, float]:
    """Update E and G, then D; returns every loss term, of the whole batch.

    Nothing is updated if a gradient overflowed: one odd crop must not undo hours.

    Raises:
        MemoryError: memory ran out, in any process. Nothing is updated.
        TrainingError: gradients overflowed several times in a row.
    """
    spectral = [buffer.clone() for buffer in state.discriminator.buffers()]  # every pass through D moves its norms
    try:
        terms, finite = _gradients(state, judges, batch, options, world)
    except MemoryError:
        for buffer, before in zip(state.discriminator.buffers(), spectral, strict=True):
            buffer.copy_(before)
        raise
    state.overflows = 0 if finite else state.overflows + 1
    if state.overflows == MOST_OVERFLOWS:
        raise world.failure(
            TrainingError(
                f"the gradient is not finite at step {state.step}; the last good checkpoint is kept",
                hint="`resume` with a lower `rate`",
            )
        )
    if finite:
        state.optimiser.step()
        if math.isfinite(terms.get("discriminator", math.nan)):
            state.discriminator_optimiser.step()
    return terms


def _gradients(
    state: TrainingState, judges: Judges, batch: Batch, options: TrainingOptions, world: World
) -> tuple[dict[str, float], bool]:
    """The gradients of all networks over the batch of all processes; its loss terms; whether all are finite."""
    adversarial = with_discriminator(options, state.step)
    terms, output, code = world.together(lambda: _generator_gradients(state, judges, batch, options, adversarial))
    values = torch.stack(list(terms.values()))
    parameters = parameters_of(state.optimiser)
    world.mean_([values, *(p.grad for p in parameters if p.grad is not None)])
    norm = nn.utils.clip_grad_norm_(parameters, 1.0)
    finite = bool(torch.isfinite(values[0]) and torch.isfinite(norm))
    means = dict(zip(terms, values.tolist(), strict=True))
    if adversarial and finite:
        codes = world.gather(code)
        others = codes.roll(1, dims=0)[world.share(len(codes))] if len(codes) > 1 else None
        loss = world.together(lambda: _discriminator_gradients(state, output, batch.style, code, others))
        world.mean_([loss, *(p.grad for p in state.discriminator.parameters() if p.grad is not None)])
        means["discriminator"] = float(loss)
    return means, finite


def with_discriminator(options: TrainingOptions, step: int) -> bool:
    """Whether D takes part in a step."""
    return options.weights.adversarial > 0 and step >= options.adversarial_start * options.steps


def with_identity(options: TrainingOptions, step: int) -> bool:
    """Whether a step has the identity loss."""
    return options.weights.identity > 0 and step % options.identity_every == 0


def _generator_gradients(
    state: TrainingState, judges: Judges, batch: Batch, options: TrainingOptions, adversarial: bool
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Gradients of E and G for this part of the batch; the loss terms, their total first, the output and the codes."""
    content, style, origins = batch
    photos = len(content) // len(style)
    weights, model = options.weights, state.model
    same = options.perceptual == "light"  # the losses' φ is the encoder's: its features of the style serve twice
    with torch.no_grad(), state.autocast():
        encoder_maps = model.encoder.perceptual(style)
        style_maps = encoder_maps[: options.layers] if same else judges.perceptual(style, options.layers)
        style_maps += _smaller_maps(judges.perceptual, style, options)
        content_maps = judges.perceptual(content, max(options.content_layers))
    code, known = model.encoder.encode_maps(encoder_maps)  # (S, Z), (S, D)
    with state.autocast():
        output = model.generator(content, code, palette_of(style), origins)
        output_maps = judges.perceptual(output, max(options.layers, *options.content_layers))
        painted_maps = output_maps[: options.layers] + _smaller_maps(judges.perceptual, output, options)
    wanted = [s.repeat(photos) for s in style_statistics(style_maps)]
    found = style_statistics(painted_maps)
    chosen = [k - 1 for k in options.content_layers]
    terms = {
        "content": losses.content_loss([output_maps[k] for k in chosen], [content_maps[k] for k in chosen]),
        "style": losses.style_loss(found, wanted),
        "moments": losses.moments_loss(found, wanted),
        "palette": losses.palette_loss(output, style.repeat_interleave(photos, dim=0)),
        "tv": losses.total_variation(output.float()),
        "grid": losses.grid_loss(output.float()),
        "code": nn.functional.mse_loss(model.encoder.descriptor(code), known[:, : model.encoder.descriptor_size]),
    }
    if weights.patterns > 0:
        octaves = octaves_within(output, style)
        made, asked = ([feature_statistics(f) for f in judges.patterns(each, octaves)] for each in (output, style))
        terms["patterns"] = losses.moments_loss(made, [s.repeat(photos) for s in asked])
    if with_identity(options, state.step):
        terms["identity"] = _identity(state, content[::photos], origins[::photos])  # the first photo of each style
    if adversarial:
        pairs = code.detach().repeat_interleave(photos, dim=0)
        state.discriminator.requires_grad_(False)
        with state.autocast():
            terms["adversarial"] = losses.generator_hinge(state.discriminator(output, pairs))
        state.discriminator.requires_grad_(True)
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    state.optimiser.zero_grad()
    total.backward()
    terms = {"total": total} | terms
    return {name: term.detach() for name, term in terms.items()}, output.detach(), code.detach()


def _smaller_maps(perceptual: PerceptualNetwork, images: Tensor, options: TrainingOptions) -> list[Tensor]:
    """φ's maps of pictures at half their size, a quarter, …: there, its deep layers see larger shapes."""
    maps: list[Tensor] = []
    for _ in range(options.style_scales - 1):
        images = nn.functional.avg_pool2d(images, 2)
        maps += perceptual(images, options.layers)
    return maps


def _identity(state: TrainingState, content: Tensor, origins: Sequence[Position]) -> Tensor:
    """G(c, E(c)) ≈ c: mean absolute difference. The photo's own code is where ``--strength`` starts from."""
    model = state.model
    with torch.no_grad(), state.autocast():
        maps = model.encoder.perceptual(content)
    code, _ = model.encoder.encode_maps(maps)
    with state.autocast():
        output = model.generator(content, code, palette_of(content), origins)
    return (output.float() - content).abs().mean()


def _discriminator_gradients(
    state: TrainingState, output: Tensor, style: Tensor, code: Tensor, others: Tensor | None
) -> Tensor:
    """Gradients of D: real art with its code, against stylised photos and against art with another picture's code."""
    pairs = code.repeat_interleave(len(output) // len(code), dim=0)
    with state.autocast():
        real = state.discriminator(style, code)
        fakes = [state.discriminator(output, pairs)]
        if others is not None:
            fakes.append(state.discriminator(style, others))
    loss = losses.discriminator_hinge(real, fakes)
    state.discriminator_optimiser.zero_grad()
    loss.backward()
    return loss.detach()
