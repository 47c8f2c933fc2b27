"""Evaluation: how much of the photo a model keeps, and how well it meets the style, by the measures of the literature.

Given photos, styles, and models that paint the one in the other, every pair is scored by a network φ: VGG19, or the
light one. No picture is judged alone; all systems get the same pairs, and the photo as it is stands beside them.

    ssim          structural similarity of the grey pictures, photo and output          (higher is better)
    content       squared distance of φ's maps relu4_1 and relu5_1, photo and output    (lower, as all that follow)
    content_mvn   the same, every channel brought to mean 0 and deviation 1 first: form without palette
    style         squared distance of the channels' means and deviations, style and output, relu1_1 … relu5_1
    gram          relative distance of the Gram matrices, style and output, relu1_1 … relu5_1

φ is normalised on the very pictures that it judges: every channel's mean activation over them is 1. Figures therefore
compare between models on the same pictures, not between sets of pictures.

**The adversarial term.** What it does to a model shows only beside a model trained alike without it: both are scored
on the same pairs. The discriminator D of a run may score the pictures, too: the mean over its windows of D(x, z), which
the hinge loss drives above 1 for art of the style z and below −1 for anything else. It is no neutral judge, for its own
run was trained to please it; its scores of the photos and of the style pictures themselves say how far it can tell them
apart at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from stylize.errors import InputError, shown
from stylize.files.packaged import packaged
from stylize.images.palette import LUMINANCE
from stylize.images.reading import Pixels, fill_transparent, read_image
from stylize.networks.model import load_model, load_perceptual
from stylize.networks.perceptual import FeatureStatistics, PerceptualNetwork, feature_statistics, load_vgg19
from stylize.painting.stylizer import Stylizer
from stylize.styles.style_code import StyleCode
from stylize.training import losses
from stylize.training.checkpoint import checkpoints_of, load_discriminator
from stylize.training.data import to_tensor
from stylize.training.judges import as_judge

T = TypeVar("T")
Scores = dict[str, float]

HIGHER_IS_BETTER = {"ssim", "discriminator"}
LEAST_SIDE = 64  # pixels: enlarged, smaller pictures show nothing but their enlargement
CALIBRATION_PICTURES = 16  # photos, and as many styles, that φ is normalised on
SSIM_WINDOW = 7  # pixels
KEPT_STYLES = 64  # what is kept of so many styles, 6 MB each at 512 pixels, is not computed again


class Named(NamedTuple):
    """A picture of the evaluation."""

    name: str  # of its file
    pixels: Pixels  # (size, size, 3) uint8


class Selection(NamedTuple):
    """What is evaluated."""

    contents: list[Named]
    styles: list[Named]
    pairs: list[tuple[int, int]]  # a photo and a style, by their places in the lists

    def calibration(self) -> list[Pixels]:
        """The pictures that φ is normalised on."""
        chosen = (spread(kind, CALIBRATION_PICTURES) for kind in (self.contents, self.styles))
        return [named.pixels for pictures in chosen for named in pictures]


class Seen(NamedTuple):
    """What a judge keeps of a picture."""

    picture: Tensor  # (1, 3, H, W) in [0, 1]
    deep: list[Tensor]  # maps of relu4_1 and relu5_1
    statistics: list[FeatureStatistics]  # of relu1_1 … relu5_1


@dataclass(frozen=True)
class Pair:
    """A photo in a style, by every system.

    Attributes:
        outputs: system -> picture, (size, size, 3) uint8.
        scores: system -> measure -> value; beside the systems ``photo``, the photo as it is, and if there is a
            discriminator ``art``, its score of the style picture.
    """

    content: Named
    style: Named
    outputs: dict[str, Pixels]
    scores: dict[str, Scores]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, evenly spaced, in their order."""
    count = min(most, len(items))
    return [items[k * len(items) // count] for k in range(count)]


def select(
    photos: Sequence[Path],
    styles: Sequence[Path],
    pairs: int,
    size: int,
    on_warning: Callable[[str], None],
    on_read: Callable[[str, int, int], object] = lambda what, done, all: None,
) -> Selection:
    """Choose pictures and read them; nothing is left to chance, so the same folders always give the same pairs.

    Args:
        photos, styles: files, in an order that does not change.
        pairs: how many pairs to make at most; pictures that they do not need are not read.
        size: pictures are reduced or enlarged and cut to squares of this side around their middle.
        on_warning: called for each that cannot be read or is smaller than ``LEAST_SIDE``; it is left out.
        on_read: called with what is read, how many of them are, and how many there are.

    Raises:
        InputError: no photo or no style picture is left.
    """
    contents = _read(spread(photos, pairs), size, on_warning, partial(on_read, "read photos"))
    rounds = math.ceil(pairs / len(contents))
    arts = _read(spread(styles, len(contents) + rounds - 1), size, on_warning, partial(on_read, "read styles"))
    return Selection(contents, arts, pair_up(len(contents), len(arts), pairs))


def pair_up(contents: int, styles: int, pairs: int) -> list[tuple[int, int]]:
    """Which photo meets which style: photo i the styles i, i + 1 … modulo their number, all photos about equally often.

    Returns:
        ``pairs`` different (photo, style) in the order of the photos, or all that there are.
    """
    rounds = ((i, (i + j) % styles) for j in range(styles) for i in range(contents))
    return sorted(islice(rounds, pairs))


def _read(
    files: Sequence[Path], size: int, on_warning: Callable[[str], None], on_read: Callable[[int, int], object]
) -> list[Named]:
    pictures = []
    reason = ""
    for done, file in enumerate(files):
        on_read(done, len(files))
        try:
            picture = read_image(file)
            height, width = picture.pixels.shape[:2]
            if min(height, width) < LEAST_SIDE:
                raise InputError(f"{shown(file)} is too small: {width}x{height} pixels")
        except InputError as error:
            reason = error.message
            on_warning(f"{error.message}; left out")
            continue
        image = Image.fromarray(fill_transparent(picture.pixels, picture.alpha))
        fitted = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        pictures.append(Named(file.name, np.asarray(fitted)))
    on_read(len(files), len(files))
    if not pictures:
        raise InputError("no picture is left to evaluate", hint=reason)
    return pictures


def ssim(one: Tensor, other: Tensor) -> float:
    """Structural similarity of two pictures in grey: Wang et al., IEEE TIP 2004, eq. 13, mean over all windows.

    Departs from the paper as scikit-image does: flat windows of 7×7 pixels, the sample covariance.

    Args:
        one, other: (1, 3, H, W) in [0, 1], H and W at least 7.

    Returns:
        at most 1, which only equal pictures have.
    """

    def grey(picture: Tensor) -> Tensor:
        weights = torch.tensor(LUMINANCE, dtype=torch.float64).view(1, 3, 1, 1)
        return ((picture.cpu().double() * weights).sum(1, keepdim=True) * 255).round()

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, SSIM_WINDOW, 1)

    x, y = grey(one), grey(other)
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = (unbiased * (mean(v * v) - m * m) for v, m in ((x, mean_x), (y, mean_y)))
    cov = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    return float((similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def load_judge(perceptual: str) -> PerceptualNetwork:
    """φ by its name, ``vgg19`` or ``light``, on the processor. Raises UsageError if VGG19's weights are missing."""
    return load_vgg19() if perceptual == "vgg19" else load_perceptual(packaged("perceptual"))


class Judge:
    """Scores outputs with φ.

    Args:
        network: φ; it is normalised on ``pictures``, in place, and moved to ``device``.
        pictures: (H, W, 3) uint8.
        on_done: called with the number of pictures that φ has seen.
    """

    def __init__(
        self,
        network: PerceptualNetwork,
        pictures: Sequence[Pixels],
        device: torch.device,
        *,
        on_done: Callable[[int], None] = lambda done: None,
    ) -> None:
        def batches() -> Iterator[Tensor]:
            for done, pixels in enumerate(pictures):
                on_done(done)
                yield to_tensor([pixels], device)
            on_done(len(pictures))

        self.network, self.device = as_judge(network, batches(), device), device

    @torch.no_grad()
    def look(self, pixels: Pixels) -> Seen:
        """What the measures need of a picture (H, W, 3) uint8."""
        picture = to_tensor([pixels], self.device)
        maps = self.network(picture)
        return Seen(picture, maps[3:], [feature_statistics(f) for f in maps])

    @torch.no_grad()
    def score(self, content: Seen, style: Seen, output: Seen) -> Scores:
        """Every measure but D's score."""
        return {
            "ssim": ssim(content.picture, output.picture),
            "content": float(losses.feature_distance(output.deep, content.deep)),
            "content_mvn": float(losses.content_loss(output.deep, content.deep)),
            "style": float(losses.moments_distance(output.statistics, style.statistics)),
            "gram": float(losses.style_loss(output.statistics, style.statistics)),
        }


class Critic:
    """The discriminator of a training run, with the run's own encoder: codes of other models mean nothing to it.

    Args:
        run: the folder of a training run; of its checkpoints the newest is read.

    Raises:
        InputError: the folder holds no checkpoint or no model.
        RefusedError: they are damaged, or D has not been trained.
    """

    def __init__(self, run: Path, device: torch.device) -> None:
        checkpoints = checkpoints_of(run)
        if not checkpoints:
            raise InputError(f"{shown(run)} holds no checkpoint", hint="`discriminator` takes the folder of a run")
        model = load_model(run / "model.safetensors", device)
        self.encoder = model.encoder
        self.discriminator = load_discriminator(checkpoints[0], model.sizes.code).to(device)

    @torch.no_grad()
    def code(self, style: Tensor) -> Tensor:
        """z of a style picture: (1, 3, H, W) in [0, 1] -> (1, Z)"""
        code: Tensor = self.encoder(style)[0]
        return code

    @torch.no_grad()
    def score(self, picture: Tensor, code: Tensor) -> float:
        """The mean over all windows of D(x, z); x (1, 3, H, W) in [0, 1], z (1, Z)."""
        return float(self.discriminator(picture, code).mean())


def evaluate(
    selection: Selection,
    models: Mapping[str, Stylizer],
    judge: Judge,
    critic: Critic | None = None,
    *,
    strength: float = 1.0,
) -> Iterator[Pair]:
    """Paint and score pair by pair.

    Args:
        models: name of each system -> what paints.
        strength: see ``Stylizer.transfer``.

    Raises:
        UsageError: strength is out of range.
        DeviceError: out of memory.
        MemoryError: the judge has too little of it.
    """
    contents, styles, _ = selection
    codes: dict[tuple[str, int], StyleCode] = {}

    @lru_cache(1)
    def photo(i: int) -> Seen:
        return judge.look(contents[i].pixels)

    @lru_cache(KEPT_STYLES)
    def art(j: int) -> Seen:
        for name, stylizer in models.items():
            codes[name, j] = stylizer.encode_style([styles[j].pixels], title=styles[j].name)
        return judge.look(styles[j].pixels)._replace(deep=[])

    for i, j in selection.pairs:
        content, style = photo(i), art(j)
        outputs = {
            name: stylizer.transfer(contents[i].pixels, codes[name, j], strength=strength)
            for name, stylizer in models.items()
        }
        seen = {"photo": content} | {name: judge.look(output) for name, output in outputs.items()}
        scores = {name: judge.score(content, style, one) for name, one in seen.items()}
        if critic is not None:
            code = critic.code(style.picture)
            for name, one in (seen | {"art": style}).items():
                scores.setdefault(name, {})["discriminator"] = critic.score(one.picture, code)
        yield Pair(contents[i], styles[j], outputs, scores)


def means(pairs: Sequence[Pair]) -> dict[str, Scores]:
    """system -> measure -> mean over the pairs."""
    systems = {name: list(scores) for name, scores in pairs[0].scores.items()}
    return {
        name: {key: math.fsum(pair.scores[name][key] for pair in pairs) / len(pairs) for key in keys}
        for name, keys in systems.items()
    }


def share_better(pairs: Sequence[Pair], one: str, other: str) -> Scores:
    """measure -> part of the pairs in which system ``one`` is better than ``other``; what is equal counts half."""
    shares = {}
    for key in pairs[0].scores[one]:
        sign = 1 if key in HIGHER_IS_BETTER else -1
        gains = [sign * (pair.scores[one][key] - pair.scores[other][key]) for pair in pairs]
        shares[key] = sum((gain > 0) + 0.5 * (gain == 0) for gain in gains) / len(gains)
    return shares
