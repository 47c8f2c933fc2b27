"""The options of pictures, of a model and of its training, with their defaults: the command line reads them here.

Free of heavy imports, so that ``stylize train --help`` is quick.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stylize.errors import UsageError

DEFAULT_MAX_PIXELS = 178_956_970  # twice Pillow's own warning level: where Pillow refuses, too
REFINE_STEPS = 200  # of refining a style, at most
PERCEPTUAL_NETWORKS = ("vgg19", "light")
LIGHT_WIDTHS = (16, 32, 64, 128, 128)  # channels of the light perceptual network's five blocks


def check_strength(strength: float) -> None:
    """Raises UsageError for a strength that is not between 0 and 1."""
    if not 0 <= strength <= 1:
        raise UsageError(
            f"--strength {strength:g} is not between 0 and 1",
            hint=f"--strength {strength / 100:g}" if 10 <= strength <= 100 else "0: the photo, 1: the full style",
        )


def check_perceptual(name: str, networks: tuple[str, ...] = PERCEPTUAL_NETWORKS) -> None:
    """Raises UsageError for a perceptual network that is none of those."""
    if name not in networks:
        raise UsageError(f"--perceptual {name}: no such network", hint=", ".join(networks))


@dataclass(frozen=True)
class ImageOptions:
    """How photos are read and written, see ``stylize.images.reading`` and ``stylize.images.writing``."""

    max_pixels: int = DEFAULT_MAX_PIXELS
    allow_truncated: bool = False
    bit_depth: str = "auto"  # auto, 8, 16
    quality: int = 95  # 1..100
    metadata: str = "keep"  # keep, no-gps, strip
    times: bool = False  # whether pictures get the modification times of their photos
    background: str | None = None  # under transparent pixels, where the format cannot hold them


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a model's networks; the defaults are those of the packaged model."""

    code: int = 256  # length of the style code
    widths: tuple[int, ...] = (16, 48, 96, 128)  # of the generator, at 1/2, 1/4, 1/8, 1/16 of the resolution
    bank: int = 4  # kernels per convolution of the generator
    perceptual: tuple[int, ...] = LIGHT_WIDTHS  # of the encoder's φ
    hidden: int = 384  # width of the encoder's MLPs


@dataclass(frozen=True)
class LossWeights:
    """The λ of the total loss, see ``stylize.training.losses``."""

    adversarial: float = 0.1
    content: float = 1.0
    style: float = 2.0
    moments: float = 2.0
    palette: float = 1.0
    patterns: float = 0.0  # of use in refining; in training it was not shown to be worth its time
    tv: float = 0.1
    grid: float = 10.0
    code: float = 0.1
    identity: float = 1.0


@dataclass(frozen=True)
class TrainingOptions:
    """Every option of a training run."""

    steps: int = 20_000
    max_seconds: float | None = None  # of one call; the run can be resumed
    styles: int = 4  # S, per step, of all devices
    contents: int = 3  # n, photos per style
    crop: int = 128  # pixels, photos
    style_crop: int = 160  # pixels, style pictures
    rate: float = 1e-3  # Adam's, for the kernels of G
    modulation_rate: float = 2e-4  # for the maps by which G reads a code
    encoder_rate: float = 1e-4
    discriminator_rate: float = 4e-4
    decay: float = 0.4  # the last part of the steps, over which the rates fall to zero
    average: float = 0.998  # of the moving average of the weights, per step
    perceptual: str = "light"  # φ of the losses: light or vgg19
    layers: int = 4  # of φ that the style losses compare
    style_scales: int = 1  # at which they do: full size, half, …
    content_layers: tuple[int, ...] = (3, 4)  # of φ that the content loss compares
    adversarial_start: float = 0.3  # part of the steps after which D joins in
    identity_every: int = 4  # steps
    weights: LossWeights = field(default_factory=LossWeights)
    seed: int = 0
    log_every: int = 20
    save_every: int = 500
    sample_every: int = 500
    keep: int = 2  # checkpoints
    precision: str = "auto"  # of the convolutions: auto, 32 or bf16
    logger: str = "csv"  # or tensorboard: that too
    sizes: ModelSizes = field(default_factory=ModelSizes)
    init: str = "scratch"  # or "packaged", or the path of a model
    light: str = ""  # file of the encoder's φ, for a model from scratch; empty: the packaged one
