"""Refine: make a style code more like its pictures, by optimising it with the generator as it is.

The encoder guesses a code in one look. Here the code, and an extended code that asks every layer of G directly
(``stylize.styles.refinement``), are optimised so that G, on windows of a few photos, matches the statistics of all
given pictures, over 50,000 numbers instead of pixels: Gram matrices (Gatys et al. 2016), means and deviations (Huang &
Belongie 2017) of a judge's features, the covariances of colours in every octave of detail, and means and deviations of
random filters (``stylize.networks.random_filters``). The judge is VGG19, or the light φ that the model carries. The
photos' content has a price, which follows how much of it is lost: the content loss may not grow beyond that of the
plain code (``stylize.training.refine_objective``). One window of every photo is not painted on but kept, to measure how
far the work is, and whether the end is nearer than the plain style. The model's weights stay as they are; the style's
file grows by 0.2 MB.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from stylize.engines.device import autocast, memory_errors, training_precision
from stylize.engines.torch import TorchEngine
from stylize.errors import DeviceError, InputError, UsageError
from stylize.files.packaged import packaged_path
from stylize.images.reading import Pixels, read_image
from stylize.networks.colour_transfer import apply_colour_map, colour_map, palette_of
from stylize.networks.generator import StyleConv, extend, finish_of, flow, grain_at
from stylize.networks.perceptual import has_vgg19, load_vgg19
from stylize.networks.plan import refinement_shapes
from stylize.networks.random_filters import RandomNetwork, octaves_within
from stylize.options import PERCEPTUAL_NETWORKS, ModelSizes, RefineOptions, check_perceptual
from stylize.painting.stylizer import Stylizer, at_working_size, fixed_order
from stylize.styles.style_code import FACTORS, StyleCode
from stylize.training.data import to_tensor
from stylize.training.events import REFINE, Doing, Ended, Listener, ignore, told
from stylize.training.judges import Judges, as_judge
from stylize.training.refine_objective import Objective, Painting, Prices, Progress, View

PERCEPTUAL = ("auto", *PERCEPTUAL_NETWORKS)
DEFAULTS = RefineOptions()


def refine(
    stylizer: Stylizer,
    style: StyleCode,
    pictures: Sequence[Pixels],
    *,
    weights: Sequence[float] | None = None,
    photos: Sequence[Pixels] | None = None,
    options: RefineOptions = DEFAULTS,
    report: Callable[[Progress], None] = lambda progress: None,
    listener: Listener = ignore,
    stopping: Callable[[float], bool] = lambda seconds: False,
) -> StyleCode:
    """Optimise a style.

    Deterministic: the same pictures, photos and φ give the same code on the same machine.

    Args:
        style: the code of the pictures, to start from.
        pictures: (H, W, 3) uint8 each.
        weights: of the pictures, by default equal.
        photos: to paint on; by default those that the package carries.
        options: how many steps at most, the judge, and all numbers of the optimisation.
        report: called at the start, every ``check_every`` steps, and last with the step whose style is returned.
        listener: told what is being done, and how it ended.
        stopping: asked after every step with the seconds that another one and judging it would take; once true, the
            best style so far is returned.

    Returns:
        the style after all steps. If there was a stop, or that is no nearer than the plain style: the best one before,
        which may be the plain style.

    Raises:
        UsageError: steps below 1, no pictures, no such φ, or VGG19 is asked for and not there.
        InputError: the package's photos are missing.
        RefusedError: the code belongs to another model.
        DeviceError: out of memory.
    """
    if options.steps < 1 or not pictures:
        raise UsageError("to refine a style takes at least one step and one picture")
    stylizer.check(style)
    shares = np.full(len(pictures), 1.0) if weights is None else np.asarray(weights, np.float64)
    order = fixed_order(pictures)
    pictures, shares = [pictures[k] for k in order], shares[order] / shares.sum()
    engine = stylizer.torch_engine()
    try:
        with memory_errors(), torch.enable_grad():
            with torch.no_grad():
                windows = _windows_of(photos or packaged_photos(), engine, style, options)
                tensors = [to_tensor([at_working_size(picture)], engine.device) for picture in pictures]
                view = _view(engine, windows.photos, tensors, chosen(options.perceptual), listener)
                wanted = view.targets(list(told(tensors, "measure the style", listener)), shares)
                varied = _VariedStyle(engine, style, windows)
                objective = Objective(
                    view, wanted, windows.photos, varied.paint, options,
                    on_window=lambda done, all: listener(Doing("measure the photos", done, all)),
                )  # fmt: skip
            return _optimise(varied, objective, options, report, listener, stopping)
    except MemoryError as error:
        hint = "end other programs" if engine.device.type == "cpu" else "`device` cpu"
        raise DeviceError(f"out of memory while refining a style on {engine}", hint=hint) from error


def chosen(perceptual: str) -> str:
    """``vgg19`` or ``light``; ``auto`` is VGG19 where its weights are installed: nothing is downloaded.

    Raises:
        UsageError: there is no such network.
    """
    check_perceptual(perceptual, PERCEPTUAL)
    if perceptual == "auto":
        return "vgg19" if has_vgg19() else "light"
    return perceptual


def packaged_photos() -> list[Pixels]:
    """The small photos that the package carries, in the order of their names.

    Raises:
        InputError: there are none.
    """
    files = sorted(packaged_path("photos").glob("*.jpg"))
    if not files:
        raise InputError("the photos that styles are refined on are missing", hint="reinstall the package")
    return [read_image(file).pixels for file in files]


class _Windows(NamedTuple):
    """Windows of photos, ready to be painted on."""

    photos: Tensor  # (P, 3, crop, crop)
    canvas: Tensor  # in the style's colours, in cells: (P, 12, crop/2, crop/2)
    grain: Tensor  # (P, 4, crop/2, crop/2)
    painted: list[int]  # those of them that are painted on to learn
    kept: list[int]  # and those by which steps are judged, one of each photo


def _windows_of(photos: Sequence[Pixels], engine: TorchEngine, style: StyleCode, options: RefineOptions) -> _Windows:
    device, crop = engine.device, options.crop
    windows = to_tensor([window for photo in photos for window in photo_windows(photo, options)], device)
    palette = torch.from_numpy(style.palette).to(device).expand(len(windows), -1)
    canvas = apply_colour_map(windows, *colour_map(palette_of(windows), palette))
    grain = grain_at(engine.model.generator.grain, [(0, 2 * k * crop // 3) for k in range(len(windows))], (crop, crop))
    last = options.windows - 1
    painted, kept = ([k for k in range(len(windows)) if (k % options.windows == last) == which] for which in (0, 1))
    return _Windows(windows, functional.pixel_unshuffle(canvas, 2), grain, painted, kept)


class _VariedStyle:
    """A style while it is optimised: its code, what is added to it, and G, which paints with them."""

    def __init__(self, engine: TorchEngine, style: StyleCode, windows: _Windows) -> None:
        self.style, self.windows = style, windows
        self.device, self.generator = engine.device, engine.model.generator
        self.precision = training_precision(self.device)
        self.palette = torch.from_numpy(style.palette).to(self.device)[None]
        self.code = nn.Parameter(torch.tensor(style.code, device=self.device))
        self.added = {name: nn.Parameter(values.to(self.device)) for name, values in self._start(engine.sizes)}

    def _start(self, sizes: ModelSizes) -> Iterator[tuple[str, Tensor]]:
        """What is added at first: as the style has it; else nothing, by a product whose left factor is zero."""
        random = torch.Generator().manual_seed(0)
        for name, shape in refinement_shapes(sizes).items():
            if name in self.style.refinement:
                yield name, torch.tensor(self.style.refinement[name])
            elif name.endswith(".right"):
                bank = cast(StyleConv, self.generator.convs[name.removesuffix(".right")]).weight
                yield name, torch.randn(shape, generator=random) * float(bank.std())
            else:
                yield name, torch.zeros(shape)

    def vectors(self) -> list[nn.Parameter]:
        """The code, and what is added to mixtures, scales and shifts."""
        return [self.code, *(values for name, values in self.added.items() if not name.endswith(FACTORS))]

    def kernels(self) -> list[nn.Parameter]:
        """The factors of the kernels that are added."""
        return [values for name, values in self.added.items() if name.endswith(FACTORS)]

    def paint(self, chosen: Sequence[int]) -> Painting:
        """The chosen windows in the style as it is now."""
        modulations = extend(self.generator.modulations(self.code[None]), self.added)
        with autocast(self.device, self.precision):
            cells = flow(
                lambda name, x: cast(StyleConv, self.generator.convs[name])(x, modulations[name]),
                self.windows.canvas[chosen],
                self.windows.grain[chosen],
            )
        bare = functional.pixel_shuffle(cells, 2).float()
        finish = finish_of(palette_of(bare), self.palette.expand(len(chosen), -1))
        return Painting(apply_colour_map(bare, *finish), finish[0])

    def now(self) -> StyleCode:
        """The style as it is now."""
        return replace(
            self.style,
            code=self.code.detach().cpu().numpy().copy(),
            refinement={name: values.detach().cpu().numpy().copy() for name, values in self.added.items()},
        )


def _view(engine: TorchEngine, photos: Tensor, pictures: Sequence[Tensor], perceptual: str, listener: Listener) -> View:
    """The judges of an optimisation, normalised on its photos (P, 3, crop, crop) and pictures (1, 3, H, W)."""
    device, seen = engine.device, [*photos.split(1), *pictures]
    precision = training_precision(device)
    network = engine.model.encoder.perceptual  # normalised when it was distilled
    if perceptual == "vgg19":
        with autocast(device, precision):
            network = as_judge(load_vgg19(), told(seen, "prepare VGG19", listener), device)
        network = network.to(precision)  # autocast would convert the frozen weights again at every call
    listener(Doing("prepare the filters"))
    judges = Judges(network, as_judge(RandomNetwork(), seen, device))
    return View(judges, octaves_within(photos, *pictures), device, precision)


def _optimise(
    varied: _VariedStyle,
    objective: Objective,
    options: RefineOptions,
    report: Callable[[Progress], None],
    listener: Listener,
    stopping: Callable[[float], bool],
) -> StyleCode:
    """Take the steps; the style of the last one, or of the best one if there was a stop.

    A few windows are too few to choose a step by: the last, with the smallest rates, is nearer to the style on other
    photos. It must only be nearer than the plain style.
    """
    vectors, kernels = varied.vectors(), varied.kernels()
    rates = [(vectors, options.rate), (kernels, options.kernel_rate)]
    optimiser = torch.optim.Adam([{"params": p, "lr": rate} for p, rate in rates], betas=(0.9, 0.99))
    listener(Doing(REFINE, 0, options.steps, note="judge the plain style"))
    begun = time.monotonic()
    plain = objective.measure(0, varied.paint, varied.windows.kept)
    best, best_progress = varied.style, plain
    prices = Prices(plain.distance, options, varied.device)
    report(plain)
    judging, started = time.monotonic() - begun, time.monotonic()
    random = np.random.default_rng(0)
    left: list[int] = []
    for step in range(1, options.steps + 1):
        begun = time.monotonic()
        for group, (_, rate) in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * (1 - 0.9 * (step - 1) / options.steps)
        if len(left) < options.batch:
            left = random.permutation(varied.windows.painted).tolist()
        windows = [left.pop() for _ in range(options.batch)]
        loss = objective.loss(varied.paint(windows), windows, prices)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*vectors, *kernels], 1.0)
        optimiser.step()
        stop = stopping(time.monotonic() - begun + judging) or step == options.steps
        judge = stop or step % options.check_every == 0
        listener(Doing(REFINE, step, options.steps, note="judge it" if judge else ""))
        if judge:
            progress = objective.measure(step, varied.paint, varied.windows.kept)
            report(progress)
            listener(Doing(REFINE, step, options.steps))
            last = step == options.steps and progress.distance < plain.distance
            if last or _cost(progress, options.fence) < _cost(best_progress, options.fence):
                best, best_progress = varied.now(), progress
            if stop:
                break
    report(best_progress)
    listener(Ended(step, options.steps, (time.monotonic() - started) / step))
    return best


def _cost(progress: Progress, fence: float) -> float:
    """The distance from the style; one that is paid for with content is no better."""
    return progress.distance * (1 + fence * max(progress.kept - 1, 0.0))


def photo_windows(photo: Pixels, options: RefineOptions = DEFAULTS) -> list[Pixels]:
    """Windows of a photo, the same every time: (crop, crop, 3) uint8 each.

    In different places, sizes, and positions of a square; the last, by which steps are judged, upright and as photos
    are painted.
    """
    random = np.random.default_rng(0)
    height, width = photo.shape[:2]
    crop, windows = options.crop, []
    for k in range(options.windows):
        last = k == options.windows - 1
        scale = options.zoom * (1.0 if last else options.zooms[k % len(options.zooms)]) / min(height, width)
        size = (max(round(width * scale), crop), max(round(height * scale), crop))
        small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
        top, left = (int(random.integers(side - crop + 1)) for side in small.shape[:2])
        window = small[top : top + crop, left : left + crop]
        if not last:
            window = window.transpose(1, 0, 2) if random.random() < 0.5 else window
            rows, columns = random.choice((-1, 1), size=2)
            window = window[::rows, ::columns]
        windows.append(window)
    return windows
