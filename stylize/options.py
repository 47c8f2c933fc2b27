"""Every option with its default, its range and its help, once.

A dataclass holds the options that belong together; what a field says beside its type and default is an ``Option`` in
its annotation. From these fields come the checks, for programs as for the command line; the signatures and the help of
the commands (``stylize.cli.options``); the command line in a recipe (``stylize.painting.recipe``); the fingerprint of a
batch (``stylize.batch.fingerprint``); and the options that a training run stores.

Free of heavy imports, so that ``stylize train --help`` is quick.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from stylize.errors import UsageError

DEFAULT_MAX_PIXELS = 178_956_970  # twice Pillow's own warning level: where Pillow refuses, too
REFINE_STEPS = 140  # of refining a style, at most
PERCEPTUAL_NETWORKS = ("vgg19", "light")
LIGHT_WIDTHS = (16, 32, 64, 128, 128)  # channels of the light perceptual network's five blocks
LEAST_SCALE, MOST_SCALE = 0.25, 4  # of strokes
MAX_SEED = 2**63 - 1
PACKAGED = "packaged"  # as the name of a model: the one that the package carries


Group = Literal[
    "What matters most", "What", "Where to", "Refining", "Look", "File", "Steps", "Rates", "Losses", "Model",
    "The run's folder", "Machine",
    "Output", "Options",
]  # fmt: skip
GROUPS: tuple[str, ...] = get_args(Group)  # headings of the help, in their order
FIRST: Group = "What matters most"

# What a field says of itself


@dataclass(frozen=True)
class Option:
    """What an option is, beside its type and its default.

    Attributes:
        help: one line.
        group: heading of the help under which it stands.
        name: on the command line, if it is not the field's; without dashes.
        short: such as ``-o``.
        metavar: what stands for its value in the help.
        low, high: the range of a number, both included.
        inside: low and high themselves are out of range.
        hint: what to do about a value out of range; by default the default is told.
        parse: text of the command line -> value; raises UsageError. By default the type says it.
        complete: the beginning of a value -> values, for shells.
        none: the word of the command line for None, if there is one.
        file: it names a file: recipes tell its base name.
        in_recipe: whether it decides how a picture looks, so that its recipe tells it.
        in_fingerprint: whether pictures made with another value are outdated.
    """

    help: str
    group: Group = "Options"
    name: str = ""
    short: str = ""
    metavar: str | None = None
    low: float = -math.inf
    high: float = math.inf
    inside: bool = False
    hint: str = ""
    parse: Callable[[str], Any] | None = None
    complete: Callable[[str], list[str]] | None = None
    none: str = ""
    file: bool = False
    in_recipe: bool = True
    in_fingerprint: bool = True

    def allows(self, value: float) -> bool:
        """Whether a number is within the range."""
        within = self.low < value < self.high if self.inside else self.low <= value <= self.high
        return within and math.isfinite(value)

    @property
    def range(self) -> str:
        """The range in words: ``between 0 and 1``."""
        return f"a number from {self.low} on" if self.high == math.inf else f"between {self.low} and {self.high}"

    def text(self, value: Any) -> str:
        """A value as the command line takes it."""
        if value is None:
            return self.none
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


class Field(NamedTuple):
    """A field of a dataclass, or a parameter of a function.

    Attributes:
        kind: its type, without what else its annotation says.
        option: None: it is no option.
        default: ``inspect.Parameter.empty``: there is none.
    """

    name: str
    kind: Any
    option: Option | None
    default: Any

    @property
    def flag(self) -> str:
        """What it is called on the command line: ``--style-scale``."""
        return flag_of(self.option.name if self.option and self.option.name else self.name)


def flag_of(name: str) -> str:
    """``style_scale`` -> ``--style-scale``"""
    return f"--{name.replace('_', '-')}"


def field_of(name: str, annotation: Any, default: Any) -> Field:
    """What an annotation says."""
    if get_origin(annotation) is not Annotated:
        return Field(name, annotation, None, default)
    kind, *others = get_args(annotation)
    option = next((other for other in others if isinstance(other, Option)), None)
    return Field(name, kind if option else annotation, option, default)


@cache
def fields_of(kind: Any) -> tuple[Field, ...]:
    """The fields of a dataclass that are options, or dataclasses of options."""
    hints = get_type_hints(kind, include_extras=True)
    found = [
        field_of(each.name, hints[each.name], Parameter.empty if each.default is MISSING else each.default)
        for each in fields(kind)
    ]
    return tuple(each for each in found if each.option or is_dataclass(each.kind))


def check(options: Any, path: str = "") -> None:
    """Raises UsageError for an option of a dataclass, or of one in it, out of its range or none of its choices.

    Args:
        path: what stands before the names of the fields in errors, such as ``weights.``.
    """
    for each in fields_of(options.__class__):
        value = getattr(options, each.name)
        if each.option is None:
            check(value, f"{path}{each.name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            _check_number(path + each.name, value, each.option, each.default)
        elif (choices := choices_of(each.kind)) and value is not None and value not in choices:
            raise UsageError(f"`{path}{each.name}` {value}: no such choice", hint=", ".join(choices))


def choices_of(kind: Any) -> tuple[str, ...]:
    """The choices of ``Literal["a", "b"]``, or of that or None; none of other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((get_args(part) for part in get_args(kind) if get_origin(part) is Literal), ())


def _check_number(name: str, value: float, option: Option, default: Any) -> None:
    if option.allows(value):
        return
    hint = option.hint
    if (option.low, option.high) == (0, 1) and 10 <= value <= 100:
        hint = f"`{name}` {value / 100:g}"  # per cent
    elif not hint and default is not Parameter.empty:
        hint = f"the default is {option.text(default)}"
    raise UsageError(f"`{name}` {value:g} is not {option.range}", hint=hint)


def changed(options: Any) -> list[tuple[Field, Any]]:
    """The options of a dataclass that are not as by default, and their values."""
    values = [(each, getattr(options, each.name)) for each in fields_of(options.__class__)]
    return [(each, value) for each, value in values if value != each.default]


# What the texts of the command line mean


def parse_style_scale(text: str) -> float | None:
    """A number, or None for ``auto``."""
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"`style_scale` {text}: not a number", hint="0.25 to 4, or auto") from error


def parse_seconds(text: str) -> float:
    """``90s``, ``45m`` or ``6h``. A plain ``6`` is refused: some would mean minutes by it, and some hours."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None:
        raise UsageError(f"`max_seconds` {text}: not a time", hint="90s, 45m or 6h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def parse_shard(text: str) -> tuple[int, int]:
    """``I/N``, from 1 to N."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"`shard` {text}: not a part of a whole", hint="I/N, such as 1/8 to 8/8")
    return shard


def parse_model(text: str) -> str | Path:
    """``packaged``, the name, or a file; one that is called so is ``./packaged``."""
    return text if text == PACKAGED else Path(text)


def parse_layers(text: str) -> tuple[int, ...]:
    """``3,4`` -> (3, 4)"""
    layers = tuple(int(word) for word in text.split(",") if word.strip() in ("1", "2", "3", "4", "5"))
    if len(layers) != len(text.split(",")):
        raise UsageError(f"`content_layers` {text}: not layers of the perceptual network", hint="1 to 5, as in 3,4")
    return layers


def parse_widths(text: str) -> tuple[int, ...]:
    """``16,48,96,128`` -> numbers"""
    widths = tuple(int(word) for word in text.split(",") if word.strip().isdecimal() and 1 <= int(word) <= 4096)
    if len(widths) != len(text.split(",")) or len(widths) != 4:
        raise UsageError(f"`widths` {text}: not four numbers of channels", hint="as in 16,48,96,128")
    return widths


def check_perceptual(name: str, networks: tuple[str, ...] = PERCEPTUAL_NETWORKS) -> None:
    """Raises UsageError for a perceptual network that is none of those."""
    if name not in networks:
        raise UsageError(f"`perceptual` {name}: no such network", hint=", ".join(networks))


# Options that several commands have

Strength = Annotated[
    float,
    Option("0: the photo itself; 1: the full style.", "Look", low=0, high=1, hint="0: the photo, 1: the full style"),
]
MaxPixels = Annotated[int, Option("Refuse larger pictures.", "File", low=1, in_fingerprint=False)]
AllowTruncated = Annotated[
    bool, Option("Read files that end too early as far as they go.", "File", in_fingerprint=False)
]
Overwrite = Annotated[bool, Option("Replace existing files.", "Where to", short="-f")]
ModelPath = Annotated[  # a text is the name PACKAGED, and no file
    str | Path | None,
    Option(
        "Model file, or packaged: the one that comes with stylize; default: STYLIZE_MODEL, else packaged.",
        "Machine", name="model", metavar="FILE|packaged", parse=parse_model, file=True,
    ),
]  # fmt: skip
Device = Annotated[str, Option("auto, cpu, cuda, cuda:N or mps.", "Machine", in_recipe=False)]
Threads = Annotated[
    int | None,
    Option("Processor threads; default: all cores.", "Machine", low=1, high=1024),
]
MaxSeconds = Annotated[
    float | None,
    Option("End within 90s, 45m or 6h, saving included.", "Steps", name="max-time", parse=parse_seconds, low=0),
]
Seed = Annotated[int, Option("Of all random numbers.", "Steps", low=0, high=MAX_SEED)]


@dataclass(frozen=True)
class Look:
    """How a photo is painted, whatever the styles.

    Attributes:
        strength: 0 (the photo itself) to 1 (the full style).
        preserve_color: keep the photo's colours.
        style_scale: width of the strokes, 0.25 to 4; None: chosen by the photo's size, see
            ``stylize.painting.stroke_scale``.
        mask: where to paint: a picture, a folder of them, or ``alpha``; see ``stylize.painting.masks``.
        invert_mask: paint where the mask is black instead.
        feather: pixels over which the edges of all masks rise.
        effort: ``fast``, in one pass; or ``fine``, by optimising the picture, see ``stylize.painting.fine``.

    Raises:
        UsageError: a value is out of its range.
    """

    strength: Strength = 1.0
    preserve_color: Annotated[bool, Option("Keep the photo's colours.", "Look")] = False
    style_scale: Annotated[
        float | None,
        Option(
            "Width of the strokes, 0.25 to 4; 1: as in the style's picture at 512 pixels; auto: as on a copy of the "
            "photo of one megapixel. With fine, 1: as on a copy of 512x512 pixels.",
            "Look", low=LEAST_SCALE, high=MOST_SCALE, hint="0.25 to 4, or auto", parse=parse_style_scale, none="auto",
        ),
    ] = 1.0  # fmt: skip
    mask: Annotated[
        str | None,
        Option(
            "Paint where this picture is white; alpha: the photo's own.",
            "Look", metavar="FILE|FOLDER|alpha", file=True,
        ),
    ] = None  # fmt: skip
    invert_mask: Annotated[bool, Option("Paint where the mask is black.", "Look")] = False
    feather: Annotated[
        float,
        Option(
            "Soften the edges of masks, inwards.",
            "Look",
            metavar="PIXELS",
            low=0,
            high=10_000,
            hint="as in `feather` 20",
        ),
    ] = 0.0
    effort: Annotated[
        Literal["fast", "fine"],
        Option("fast: in one pass; fine: in a minute or two, with the strokes of the style.", "Look"),
    ] = "fast"

    def __post_init__(self) -> None:
        check(self)
        if self.invert_mask and self.mask is None:
            raise UsageError("`invert_mask` needs a `mask`", hint="`mask` FILE")

    @property
    def paints_finely(self) -> bool:
        """Whether pictures are optimised, which takes torch, and moments of the styles; at strength 0 none is."""
        return self.effort == "fine" and self.strength > 0


@dataclass(frozen=True)
class ImageOptions:
    """How photos are read and written, see ``stylize.images.reading`` and ``stylize.images.writing``.

    Raises:
        UsageError: a value is out of its range.
    """

    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS
    bit_depth: Annotated[
        Literal["auto", "8", "16"], Option("Bits a channel, in PNG and TIFF; auto: as the photo.", "File")
    ] = "auto"
    quality: Annotated[int, Option("Quality of JPEG, WebP and AVIF files.", "File", low=1, high=100)] = 95
    background: Annotated[
        str | None,
        Option(
            "Colour under transparent pixels in formats without transparency; default: white, with a warning.", "File"
        ),
    ] = None
    metadata: Annotated[
        Literal["keep", "no-gps", "strip"],
        Option(
            "EXIF, XMP, IPTC, comments and resolution of the photo: all, all but its place, or nothing but colour "
            "profiles.",
            "File", in_recipe=False,
        ),
    ] = "keep"  # fmt: skip
    allow_truncated: AllowTruncated = False
    times: Annotated[
        bool,
        Option("Give pictures the modification times of their photos.", "File", in_recipe=False, in_fingerprint=False),
    ] = False

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class NetworkOptions:
    """Which networks are run, and by what, see ``stylize.painting.stylizer.Stylizer``.

    Raises:
        UsageError: a value is out of its range.
    """

    model: ModelPath = None
    device: Device = "auto"
    engine: Annotated[
        str,
        Option("auto, torch or onnx; auto: onnx, which starts at once, unless torch is faster.", "Machine"),
    ] = "auto"
    threads: Threads = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class FilmOptions:
    """How a film is written, see ``stylize.film.writing``.

    Raises:
        UsageError: a value is out of its range.
    """

    codec: Annotated[
        Literal["auto", "h264", "hevc", "av1", "vp9"],
        Option("Of the pictures; auto: h264, in .webm vp9. Sound is copied as it is.", "File"),
    ] = "auto"
    quality: Annotated[
        int, Option("Quality of the pictures; 65 looks like what was painted.", "File", low=1, high=100)
    ] = 65

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is done, see ``stylize.batch.running``.

    Raises:
        UsageError: a value is out of its range.
    """

    include: Annotated[
        list[str] | None,
        Option("Only photos whose name or path is like this: '*.jpg', '*/best/*'; repeatable.", "What", metavar="GLOB"),
    ] = None
    exclude: Annotated[
        list[str] | None, Option("No photos whose name or path is like this; repeatable.", "What", metavar="GLOB")
    ] = None
    each_style: Annotated[
        bool, Option("A picture in each style, OUTPUT/STYLE/..., not in all together.", "Where to")
    ] = False
    sequence: Annotated[
        bool, Option("The photos are frames of one scene: nothing that stands still flickers.", "Look")
    ] = False
    workers: Annotated[
        int | None,
        Option("Threads that decode and encode; default: all cores, up to 8.", "Machine", low=1, high=256),
    ] = None
    shard: Annotated[
        tuple[int, int] | None,
        Option(
            "Do the I-th of N parts only; the others are for other machines.", "Machine",
            metavar="I/N", parse=parse_shard,
        ),
    ] = None  # fmt: skip
    on: Annotated[
        Literal["local", "ray"], Option("Where to work: on this machine, or on a Ray cluster.", "Machine")
    ] = "local"
    redo: Annotated[bool, Option("Do again what is done.", "What")] = False
    retry_failed: Annotated[bool, Option("Try again what failed before.", "What")] = True
    max_failures: Annotated[int | None, Option("Stop after so many failures in this run.", "What", low=1)] = None
    dry_run: Annotated[bool, Option("Only tell what would be written.", "Where to", short="-n")] = False

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class RefineOptions:
    """Every option of refining a style, see ``stylize.training.refine``.

    Raises:
        UsageError: a value is out of its range.
    """

    steps: Annotated[int, Option("Steps of --refine, at most.", "Refining", name="refine-steps", low=1)] = REFINE_STEPS
    perceptual: Annotated[  # φ that judges
        str, Option("Network that --refine measures with: vgg19, light, or auto: vgg19 if installed.", "Refining")
    ] = "auto"
    crop: int = 192  # pixels, side of the photos' windows
    zoom: int = 512  # pixels, the short side to which the photos are brought
    zooms: tuple[float, ...] = (1.0, 0.75, 1.25, 0.875, 1.5)  # of that, in turn: four photos must stand for all
    windows: int = 10  # of each photo; the last is kept to check
    batch: int = 1  # windows per step
    rate: float = 0.03  # Adam's, for the code; it falls to a tenth
    kernel_rate: float = 0.02  # for the kernels that are added, likewise
    check_every: int = 20  # steps
    weights: tuple[float, float, float, float] = (3.0, 3.0, 3.0, 3.0)  # of style, moments, colours, patterns
    grid: float = 10.0  # weight of patterns from upsampling
    finish: float = 30.0  # weight of mottled colours
    price: float = 0.25  # of content at the start, in parts of the distance from the style
    price_rate: float = 0.1  # how fast it follows what is lost
    damping: float = 3.0  # how much dearer what is lost just now is: without, price and content swing
    aim: float = 0.98  # of the plain code's content loss: on photos never painted on, a little more is lost
    fence: float = 5.0  # what content that is lost counts when steps are compared

    def __post_init__(self) -> None:
        check(self)
        check_perceptual(self.perceptual, ("auto", *PERCEPTUAL_NETWORKS))


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a model's networks; the defaults are those of the packaged model."""

    code: Annotated[int, Option("Numbers of a style code.", "Model", name="code-size", low=1, high=4096)] = 256
    widths: Annotated[
        tuple[int, ...],
        Option("Channels of the generator at 1/2, 1/4, 1/8, 1/16 of the resolution.", "Model", parse=parse_widths),
    ] = (16, 48, 96, 128)
    bank: Annotated[int, Option("Kernels per convolution that a style mixes.", "Model", low=1, high=64)] = 4
    perceptual: tuple[int, ...] = LIGHT_WIDTHS  # of the encoder's φ
    hidden: int = 384  # width of the encoder's MLPs


def _weight(help: str, name: str) -> Option:
    return Option(help, "Losses", name=f"lambda-{name}", low=0)


@dataclass(frozen=True)
class LossWeights:
    """The λ of the total loss, see ``stylize.training.losses``."""

    adversarial: Annotated[float, _weight("Weight of the adversarial loss.", "adv")] = 0.1
    content: Annotated[float, _weight("Weight of the content loss.", "content")] = 1.0
    style: Annotated[float, _weight("Weight of the Gram matrices.", "style")] = 2.0
    moments: Annotated[float, _weight("Weight of means and deviations.", "moments")] = 2.0
    palette: Annotated[float, _weight("Weight of the colours.", "palette")] = 1.0
    patterns: Annotated[  # of use in refining; in training it was not shown to be worth its time
        float, _weight("Weight of the statistics of random filters; 0: not looked at.", "patterns")
    ] = 0.0
    tv: Annotated[float, _weight("Weight of total variation.", "tv")] = 0.1
    grid: Annotated[float, _weight("Weight of patterns from upsampling.", "grid")] = 10.0
    code: Annotated[float, _weight("Weight of the code's reconstruction.", "code")] = 0.1
    identity: Annotated[float, _weight("Weight of returning a photo from its own code.", "identity")] = 1.0


def _rate(of: str) -> Option:
    return Option(f"Learning rate{of}.", "Rates", low=0, high=1, inside=True)


def _every(what: str) -> Option:
    return Option(f"Steps between {what}.", "The run's folder", low=1)


@dataclass(frozen=True)
class TrainingOptions:
    """Every option of a training run.

    Attributes:
        preset: the name under which others of them were chosen, see ``PRESETS``; by itself it sets none.

    Raises:
        UsageError: a value is out of its range, or two contradict each other.
    """

    preset: Annotated[
        Literal["quick", "evening", "gpu"] | None,
        Option(
            "Settings that go together; options beside it win. All bend the packaged model towards your pictures. "
            "quick: minutes on two cores, to see that it works; evening: hours on two cores, a model of your own; "
            "gpu: larger steps, not measured.",
            FIRST,
        ),
    ] = None  # fmt: skip
    steps: Annotated[int, Option("Steps of the whole run.", "Steps", low=1)] = 20_000
    max_seconds: Annotated[  # of one call; the run can be resumed
        float | None,
        Option(
            "End within 90s, 45m or 6h, checks and saving included; --resume goes on.", FIRST,
            name="max-time", parse=parse_seconds, low=0,
        ),
    ] = None  # fmt: skip
    init: Annotated[str, Option("Start from: scratch, packaged, or a model file.", "Steps")] = "scratch"
    styles: Annotated[  # S, per step, of all devices
        int, Option("Style pictures per step.", "Steps", name="styles-per-step", low=1)
    ] = 4
    contents: Annotated[  # n
        int, Option("Photos per style picture.", "Steps", name="photos-per-style", low=1)
    ] = 3
    crop: Annotated[int, Option("Side of the photo crops, a multiple of 16.", "Steps", low=32)] = 128
    style_crop: Annotated[int, Option("Side of the style crops.", "Steps", low=32)] = 160
    seed: Seed = 0
    rate: Annotated[float, _rate(" of the generator's kernels")] = 1e-3  # Adam's, as all
    modulation_rate: Annotated[float, _rate(" of the maps by which the generator reads a style code")] = 2e-4
    encoder_rate: Annotated[float, _rate(" of the encoder")] = 1e-4
    discriminator_rate: Annotated[float, _rate(" of the discriminator")] = 4e-4
    decay: Annotated[float, Option("Last part of the steps, with falling rates.", "Rates", low=0, high=1)] = 0.4
    average: float = 0.998  # of the moving average of the weights, per step
    perceptual: Annotated[str, Option("Network of the losses: light or vgg19.", "Losses")] = "light"
    light: Annotated[  # empty: the packaged one
        str,
        Option("A light network of your own, by stylize distill, for a model from scratch.", "Losses", metavar="FILE"),
    ] = ""
    layers: Annotated[int, Option("Its layers for the style losses.", "Losses", low=1, high=5)] = 4
    style_scales: Annotated[int, Option("Sizes at which it sees the style: full, half, …", "Losses", low=1, high=4)] = 1
    content_layers: Annotated[
        tuple[int, ...], Option("Its layers for the content loss.", "Losses", parse=parse_layers)
    ] = (3, 4)
    adversarial_start: Annotated[
        float, Option("Part of the steps after which the discriminator joins in.", "Losses", low=0, high=1)
    ] = 0.3
    identity_every: int = 4  # steps
    weights: LossWeights = field(default_factory=LossWeights)
    sizes: ModelSizes = field(default_factory=ModelSizes)
    log_every: Annotated[int, _every("lines of metrics.csv")] = 20
    save_every: Annotated[int, _every("checkpoints")] = 500
    sample_every: Annotated[int, _every("sample sheets")] = 500
    keep: Annotated[int, Option("Checkpoints to keep.", "The run's folder", low=1)] = 2
    logger: Annotated[
        Literal["csv", "tensorboard"],
        Option("tensorboard: curves and samples in its format, too.", "The run's folder"),
    ] = "csv"
    precision: Annotated[
        Literal["auto", "32", "bf16"],
        Option("Of the convolutions; auto: bf16 where the device has it.", "Machine"),
    ] = "auto"

    def __post_init__(self) -> None:
        check(self)
        check_perceptual(self.perceptual)
        if self.crop % 16:
            raise UsageError(f"`crop` {self.crop} is not a multiple of 16", hint=f"`crop` {self.crop // 16 * 16}")
        if min(self.crop, self.style_crop) < 16 * 2 ** (self.style_scales - 1):
            raise UsageError(
                f"`style_scales` {self.style_scales}: the smallest crops have fewer than 16 pixels",
                hint="larger `crop` and `style_crop`, or fewer scales",
            )
        if self.light and self.init != "scratch":
            raise UsageError(f"`init` {self.init}: the model brings its light network", hint="leave out `light`")
        if self.sizes != ModelSizes() and self.init != "scratch":
            raise UsageError(
                f"`init` {self.init}: the model says the sizes",
                hint="leave out `sizes.widths`, `sizes.bank` and `sizes.code`",
            )


_LIKE_THE_PACKAGED_MODEL = TrainingOptions(  # as in its last stage, see models/TRAINING.md
    init="packaged", perceptual="vgg19", layers=5, style_scales=2, content_layers=(2, 3, 4, 5),
    styles=4, contents=1, crop=256, style_crop=288, decay=0.7,
    adversarial_start=0.05, discriminator_rate=1e-3,
    weights=LossWeights(adversarial=0.2, content=6.2, style=11.0, moments=3.0, palette=12.0),
)  # fmt: skip
PRESETS = {
    "quick": replace(
        _LIKE_THE_PACKAGED_MODEL, preset="quick", steps=200, styles=2, crop=128, style_crop=160, rate=3e-4,
        modulation_rate=6e-5, encoder_rate=3e-5, weights=replace(_LIKE_THE_PACKAGED_MODEL.weights, adversarial=0.0),
        log_every=10, save_every=50, sample_every=50,
    ),
    "evening": replace(
        _LIKE_THE_PACKAGED_MODEL, preset="evening", steps=2500, styles=3, crop=192, style_crop=192,
        save_every=100, sample_every=100,
    ),
    "gpu": replace(_LIKE_THE_PACKAGED_MODEL, preset="gpu", steps=20_000, styles=16),
}  # fmt: skip


@dataclass(frozen=True)
class DistillationOptions:
    """Every option of distilling a light network, see ``stylize.training.distillation``.

    Raises:
        UsageError: a value is out of its range.
    """

    steps: Annotated[int, Option("Steps.", "Steps", low=1)] = 3000
    max_seconds: MaxSeconds = None  # the rate falls to zero at ``steps`` or then, whichever comes first
    batch: Annotated[int, Option("Crops per step.", "Steps", name="batch-size", low=2)] = 8
    crop: Annotated[int, Option("Side of the crops.", "Steps", low=64)] = 112
    rate: Annotated[float, _rate("")] = 2e-3
    seed: Seed = 0

    def __post_init__(self) -> None:
        check(self)
