"""Transfer: one photo and one style code -> the stylised picture.

    photo ─► proxy ─► statistics ─┐
    code  ────────────────────────┴─► folded generator ─► tile by tile ─► picture

The statistics of AdaIN come from a *proxy* of the photo: the whole of it when it is small, else a fixed grid of
windows. They do not depend on how the picture is cut afterwards, and the folded generator is local, so tiles with a
margin give the pixels of the whole. (Its ancestor: Chen et al., "Towards Ultra-Resolution Neural Style Transfer via
Thumbnail Instance Normalization", AAAI 2022.) How it is cut: ``stylize.painting.tiles``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np
from PIL import Image

from stylize.engines.choice import Engines
from stylize.engines.device import memory_errors, pick_device
from stylize.engines.protocol import Engine, Painter
from stylize.errors import DeviceError, InputError, RefusedError, UsageError, shown
from stylize.extras import require_torch
from stylize.files.model_file import read_model
from stylize.files.packaged import MODEL_VARIABLE, model_file
from stylize.images.colour_profile import to_8_bit
from stylize.images.palette import LUMINANCE, Floats, palette_among, palette_map, palette_of_pixels
from stylize.images.reading import Pixels
from stylize.networks.plan import BORDER, Margins, Position, refinement_fits
from stylize.options import PACKAGED, NetworkOptions
from stylize.painting.look import Look, stroke_scale
from stylize.painting.stroke_scale import at_stroke_scale, fine_scales, without_lattice
from stylize.painting.tiles import (
    LEAST_TILE,
    is_own_proxy,
    paint_tiles,
    planned_tile,
    proxy,
    to_cells,
    to_pixels,
    window_at,
)
from stylize.styles.members import Member, examine
from stylize.styles.mixing import mean
from stylize.styles.moments import weighted_mean
from stylize.styles.refinement import scaled
from stylize.styles.style_code import StyleCode, make_thumbnail

if TYPE_CHECKING:
    from stylize.engines.torch import TorchEngine
    from stylize.painting.fine import Fine, Progress

T = TypeVar("T")

STRIP = 64  # rows of a picture that are worked on at a time where no network is involved
STYLE_SHORT_SIDE = (256, 512)  # pixels: style pictures are brought between these
STYLE_LONG_SIDE = 1536
EVENNESS = 0.6  # of --strength: the power of it by which the pixels are mixed; equal steps then look about equal


class FrozenTransfer(Protocol):
    """What paints the frames of a scene, see ``Stylizer.freeze``."""

    def __call__(self, frame: Pixels, corner: Position = ...) -> Pixels:
        """Paint a frame; ``corner``: where its upper left pixel lies in the scene, multiples of ``STRIDE``."""


class Stylizer:
    """Encodes styles and stylises photos with one model.

    Args:
        model: a model file, or the text ``packaged``; by default what ``STYLIZE_MODEL`` names, else the packaged one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        engine: ``torch``, ``onnx``, or ``auto``: ONNX Runtime on processors, where it starts at once, but torch, if it
            is installed, on GPUs, for models of unusual sizes, and for large photos where the processor has bf16.
        threads: of the processor; by default all.
        on_warning: told when the work goes on in another way than was asked for, such as when memory runs out.
        on_progress: told after every step of fine painting how far it is.

    Raises:
        InputError, RefusedError: the model is missing or no model.
        DeviceError: the device is missing, or needs torch, which is not installed.
        UsageError: there is no such device or engine, the engine cannot do it, or what can do it is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        *,
        engine: str = "auto",
        threads: int | None = None,
        on_warning: Callable[[str], None] = lambda message: None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.path = model_file(model)
        if model is None and os.environ.get(MODEL_VARIABLE) and not os.path.lexists(self.path):
            raise InputError(f"cannot read {shown(self.path)}: no such file", hint=f"{MODEL_VARIABLE} names it")
        named = PACKAGED if model == PACKAGED else None if model is None else self.path
        self.asked = NetworkOptions(named, device, engine, threads)
        self.engines = Engines(self.path, device, engine, threads, on_warning)
        self.on_progress = on_progress
        self._fine: tuple[str, Fine] | None = None  # by its device; opened when it is first needed

    @property
    def engine(self) -> Engine:
        """The engine of all but large photos and those of 16 bits; it knows the model's hash and sizes."""
        return self.engines.usual

    def torch_engine(self) -> TorchEngine:
        """The engine with gradients."""
        return self.engines.torch()

    def encode_style(
        self,
        pictures: Sequence[Pixels],
        title: str = "style",
        *,
        fine: bool = False,
        report: Callable[[Sequence[Member]], None] = lambda members: None,
    ) -> StyleCode:
        """Learn a style from pictures: the mean of their codes, near-duplicates together counted as one.

        The order of the pictures does not matter. Each is looked at as a whole: the mean over crops, at one or several
        scales, was measured to give no closer pictures.

        Args:
            pictures: (H, W, 3) uint8 each.
            fine: note their moments, too, so that it can be painted finely; takes torch, and some seconds.
            report: called with what is to be said of each picture, in their order.

        Raises:
            UsageError: no pictures, or torch or VGG19's weights are needed, and are not installed.
        """
        if not pictures:
            raise UsageError("a style needs at least one picture")
        pictures = [to_8_bit(picture) for picture in pictures]
        order = fixed_order(pictures)
        ordered = [pictures[index] for index in order]
        working = [at_working_size(picture) for picture in ordered]
        codes, statistics = zip(
            *self.engines.or_on_processor(lambda: [self.engine.encode(p) for p in working]), strict=True
        )
        members = examine(ordered, np.stack(statistics))
        places = {index: place for place, index in enumerate(order)}
        report(
            [
                replace(member, twin=None if member.twin is None else order[member.twin])
                for member in (members[places[index]] for index in range(len(pictures)))
            ]
        )
        shares = np.array([member.weight for member in members])
        shares /= shares.sum()
        return StyleCode(
            code=mean(codes, shares),
            palette=mean([palette_of_pixels(picture) for picture in working], shares),
            model_hash=self.engine.hash,
            title=title,
            images=len(pictures),
            thumbnail=make_thumbnail(ordered),
            moments=self._finely(lambda on: weighted_mean([on.moments(p) for p in working], shares)) if fine else {},
        )

    def transfer(
        self,
        photo: Pixels,
        style: StyleCode,
        *,
        strength: float = 1.0,
        preserve_color: bool = False,
        effort: Literal["fast", "fine"] = "fast",
        tile: int | None = None,
    ) -> Pixels:
        """Stylise a photo of any size.

        Args:
            photo: (H, W, 3) uint8 or uint16, sRGB. Photos of 16 bits are computed in single precision.
            style: a code of this model.
            strength: 0 (the photo itself) to 1 (the full style); between them, between the photo's own code and the
                style's.
            preserve_color: keep the photo's colours: it is painted in its own palette (the colour statistics are
                matched first), and of that only the lightness is taken.
            effort: ``fine`` takes a minute or two for the strokes of the style, see ``stylize.painting.fine``.
            tile: side of the tiles in pixels, rounded up to a multiple of 16; by default as large as memory and speed
                allow. The result does not depend on it. Photos of up to two megapixels are done whole.

        Returns:
            (H, W, 3) of the photo's type.

        Raises:
            RefusedError: the code belongs to another model.
            UsageError: strength or tile is out of range.
            InputError: a photo of 16 bits needs torch, which is not installed.
            DeviceError: out of memory.
        """
        look = Look(strength=strength, preserve_color=preserve_color, effort=effort)
        return self.paint(photo, style, look, tile=tile)

    def paint(self, photo: Pixels, style: StyleCode, look: Look, *, tile: int | None = None) -> Pixels:
        """``transfer`` with the strength and the colours of a look.

        Masks, and in fast painting the width of strokes, are for ``stylize.painting.look.paint``, which calls this.
        """
        _check_tile(tile)
        self.check(style)
        if look.strength == 0:
            return photo.copy()
        if look.effort == "fine":
            return self._paint_finely(photo, style, look, tile)

        def work() -> Pixels:
            adapted = self._adapted([photo], style, look)
            return self._paint_with(self.engines.for_photo(photo), photo, adapted, tile)

        with _explained(photo):
            output = self.engines.or_on_processor(work)
        return _finished(photo, output, look)

    def _paint_finely(self, photo: Pixels, style: StyleCode, look: Look, tile: int | None) -> Pixels:
        """``paint`` with effort: the photo, or of a large one a copy, finely, and finer detail in one pass."""
        style.require_moments(shown(style.title))
        quick = replace(look, effort="fast", preserve_color=False)
        scale, copy = fine_scales(photo.shape[0], photo.shape[1], _fine_width(look))

        def in_one_pass(picture: Pixels) -> Pixels:
            return self.paint(picture, style, quick, tile=tile)

        def finely(picture: Pixels) -> Pixels:
            painted = self._finely(
                lambda on: on.paint(
                    picture, style.moments, style.palette, in_one_pass,
                    strength=look.strength, copy=copy, report=self.on_progress,
                )
            )  # fmt: skip
            return without_lattice(painted, scale)

        with _explained(photo):
            output = np.require(at_stroke_scale(photo, scale, finely, in_one_pass), requirements="W")
        own, painted = (palette_of_pixels(at_working_size(pixels)) for pixels in (photo, output))
        share = 0.0 if look.preserve_color else look.strength  # of the style in the colours
        wanted = palette_among([own, style.palette], [1 - share, share])
        colours = palette_map(painted, wanted)  # of the photo's colours, moments leave a tint on ink or pencil
        _in_strips(lambda _, strip: _recoloured(strip, *colours), photo, output)
        return _finished(photo, output, look)

    def expected_seconds(self, sizes: Iterable[tuple[int, int]], look: Look) -> float:
        """About how long it takes to paint photos (height, width) finely, in one style each.

        Raises:
            UsageError: torch or VGG19's weights are not installed.
        """
        total = 0.0
        for height, width in sizes if look.strength > 0 else ():
            scale, copy = fine_scales(height, width, _fine_width(look))
            scales = round(height / scale), round(width / scale), copy
            total += self._finely(lambda on, scales=scales: on.expected_seconds(*scales))  # type: ignore[misc]
        return total

    def _finely(self, work: Callable[[Fine], T]) -> T:
        """Some work of fine painting, on the processor if a GPU has too little memory. Raises UsageError."""
        require_torch("fine painting")
        from stylize.painting.fine import Fine

        def on_device() -> T:
            device = "cpu" if self.asked.engine == "onnx" else self.engines.device
            with memory_errors():
                if self._fine is None or self._fine[0] != device:
                    self._fine = device, Fine(pick_device(device), self.asked.threads)
                return work(self._fine[1])

        return self.engines.or_on_processor(on_device)

    def prepare(self, style: StyleCode, strength: float = 1.0) -> None:
        """Do what depends on the style only, so that the first photo need not wait for it."""
        if strength == 1:  # else its code depends on the photo
            self.engine.prepare(style.code, style.refinement)

    def at_once(self, photo: Pixels, look: Look = Look()) -> int:
        """How many photos like this one, with that width of strokes, are best painted side by side, in threads."""
        if photo.dtype != np.uint8 or look.effort == "fine":
            return 1
        scale = min(stroke_scale(look, photo), 1.0)  # finer strokes are painted on an enlarged copy
        return self.engines.at_once(int(photo.shape[0] * photo.shape[1] / scale**2))

    def freeze(
        self,
        samples: Sequence[Pixels],
        style: StyleCode,
        look: Look = Look(),
        *,
        tile: int | None = None,
    ) -> FrozenTransfer:
        """A transfer for the frames of one scene: what a photo's own statistics decide is decided once for all.

        Frame by frame, a cloud that comes into the picture changes the colours of everything else. Frozen, a pixel
        depends on what is around it only: what does not move does not flicker.

        Args:
            samples: some of the frames, (H, W, 3) each, of one type; the statistics are those of all of them together.
            style, tile: as for ``transfer``.
            look: its strength and its colours count.

        Returns:
            what paints a frame; or a picture of the scene, if it is told where that lies in the scene's coordinates.

        Raises:
            as ``transfer``; what is returned, too.
        """
        if not samples:
            raise UsageError("a sequence needs at least one frame")
        _check_tile(tile)
        self.check(style)
        dtype = samples[0].dtype
        if any(sample.dtype != dtype for sample in samples):
            raise _mixed_depths()
        if look.strength == 0:
            return lambda frame, corner=(0, 0): frame.copy()

        def measured() -> tuple[Engine, Painter]:
            adapted = self._adapted(samples, style, look)
            engine = self.engines.for_photo(samples[0])
            return engine, self._measured(engine, samples, adapted)[1]

        with _explained(samples[0]):
            engine, paint = self.engines.or_on_processor(measured)

        def transfer(frame: Pixels, corner: Position = (0, 0)) -> Pixels:
            if frame.dtype != dtype:
                raise _mixed_depths()
            with _explained(frame):
                output = self._in_tiles(engine, paint, frame, tile, corner)
            return _finished(frame, output, look)

        return transfer

    def check(self, style: StyleCode, name: str | None = None) -> None:
        """Refuse a code that another model made: its numbers mean nothing here.

        Args:
            name: what to call it, such as its path; by default its title.
        """
        what = f"style {name or shown(style.title)}"
        if style.model_hash != self.engine.hash:
            of_packaged = style.model_hash == read_model(model_file(PACKAGED)).hash
            raise RefusedError(
                f"{what} was made for model {style.model_hash[:8]}, this is {self.engine.hash[:8]}",
                hint="`model` packaged paints in it; this model learns from pictures: give one as the style"
                if of_packaged
                else "encode it again, or name its model by `model`",
            )
        if style.code.shape != (self.engine.sizes.code,):
            raise RefusedError(
                f"{what} has {style.code.size} numbers, its model takes {self.engine.sizes.code}",
                hint="encode it again",
            )
        if not refinement_fits(style.refinement, self.engine.sizes):
            raise RefusedError(f"{what} refines layers that its model does not have", hint="encode it again")

    def _encode(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """The code and the palette of one picture: (H, W, 3) uint8 -> (Z,) and (9,)"""
        picture = at_working_size(pixels)
        return self.engine.encode(picture)[0], palette_of_pixels(picture)

    def _adapted(self, photos: Sequence[Pixels], style: StyleCode, look: Look) -> StyleCode:
        """The style as photos are to be painted in, between their own and the one wanted."""
        strength = look.strength
        if strength < 1:
            shares = np.full(len(photos), 1 / len(photos))
            codes, palettes = zip(*map(self._encode, photos), strict=True)
            own_code, own_palette = mean(codes, shares), mean(palettes, shares)
            style = replace(
                style,
                code=own_code + np.float32(strength) * (style.code - own_code),
                palette=palette_among([own_palette, style.palette], [1 - strength, strength]),
                refinement=scaled(style.refinement, strength),
            )
        if look.preserve_color:
            # With the photo's own palette its tones stay, too: lightness alone would take the style's darkness.
            own = [palette_of_pixels(at_working_size(photo)) for photo in photos]
            style = replace(style, palette=mean(own, np.full(len(own), 1 / len(own))))
        return style

    def _paint_with(self, engine: Engine, photo: Pixels, style: StyleCode, tile: int | None) -> Pixels:
        painted, paint = self._measured(engine, [photo], style)
        height, width = photo.shape[:2]
        if is_own_proxy(height, width):
            return np.ascontiguousarray(to_pixels(painted)[0, :height, :width])
        del painted
        return self._in_tiles(engine, paint, photo, tile)

    def _measured(self, engine: Engine, photos: Sequence[Pixels], style: StyleCode) -> tuple[Pixels, Painter]:
        """The proxies, painted, in cells, and what paints the rest with their statistics."""
        around = Margins(BORDER, BORDER, BORDER, BORDER)
        windows, origins = [], []
        for photo in photos:
            corners, shape = proxy(*photo.shape[:2], whole=len(photos) == 1)
            windows += [window_at(photo, *corner, *shape, around) for corner in corners]
            origins += [(top - BORDER, left - BORDER) for top, left in corners]
        stack = np.stack(windows)
        colours = palette_map(palette_of_pixels(stack[:, BORDER:-BORDER, BORDER:-BORDER]), style.palette)
        return engine.measure(style.code, style.refinement, style.palette, colours, to_cells(stack), origins)

    def _in_tiles(
        self, engine: Engine, paint: Painter, photo: Pixels, tile: int | None, corner: Position = (0, 0)
    ) -> Pixels:
        """Paint tile by tile, in smaller ones when memory runs out."""
        wanted = tile or planned_tile(engine)
        return self.engines.in_tiles(lambda side: paint_tiles(paint, photo, side, corner), wanted, LEAST_TILE)


def _fine_width(look: Look) -> float:
    """Of strokes that are painted finely, against those on a small copy; by default the same."""
    return 1.0 if look.style_scale is None else look.style_scale


def _check_tile(tile: int | None) -> None:
    if tile is not None and tile < 1:
        raise UsageError(f"`tile` {tile} is not a number of pixels", hint="a number from 1 on")


def _mixed_depths() -> InputError:
    return InputError("the frames of a sequence have different bit depths", hint="`bit_depth` 8")


@contextmanager
def _explained(photo: Pixels) -> Iterator[None]:
    """Say of a photo that could not be painted what the user can do."""
    try:
        yield
    except FloatingPointError as error:
        raise RefusedError("the style makes the network's output infinite", hint="encode the style again") from error
    except MemoryError as error:
        size = f"{photo.shape[1]}x{photo.shape[0]}"
        raise DeviceError(
            f"out of memory while stylising {size} pixels", hint="a smaller copy of the photo needs less"
        ) from error


def _finished(photo: Pixels, output: Pixels, look: Look) -> Pixels:
    """What is done pixel by pixel once the network has painted; in place."""
    if look.strength < 1:
        # Even with its own code the generator does not return the photo exactly. So the pixels are mixed as well,
        # all the way: the picture then moves away from the photo with every step, without a jump or a kink.
        _in_strips(lambda a, b: _mix(a, b, look.strength**EVENNESS), photo, output)
    if look.preserve_color:
        _in_strips(keep_color, photo, output)
    return output


def keep_color(photo: Pixels, stylised: Pixels) -> Pixels:
    """The stylised picture's luminance with the photo's chrominance (Gatys et al., arXiv 1606.05897, sec. 3.2).

    In YCbCr another luminance adds the same to red, green and blue. Both (H, W, 3) of one type.
    """
    lighter = (stylised.astype(np.float32) - photo) @ np.array(LUMINANCE, np.float32)  # (H, W)
    return np.clip(np.rint(photo + lighter[..., None]), 0, np.iinfo(photo.dtype).max).astype(photo.dtype)


def _recoloured(pixels: Pixels, matrix: Floats, offset: Floats) -> Pixels:
    """Pixels (H, W, 3) after the map ``x -> M x + t`` of colours in [0, 1]."""
    most = np.iinfo(pixels.dtype).max
    return np.clip(np.rint(pixels @ matrix.T + offset * most), 0, most).astype(pixels.dtype)


def _in_strips(work: Callable[[Pixels, Pixels], Pixels], photo: Pixels, output: Pixels) -> None:
    """Replace ``output`` by ``work(photo, output)``, some rows at a time: a large photo is never held as floats."""
    for top in range(0, len(photo), STRIP):
        rows = slice(top, top + STRIP)
        output[rows] = work(np.ascontiguousarray(photo[rows]), output[rows])


def fixed_order(pictures: Sequence[Pixels]) -> list[int]:
    """The order in which pictures are added up: with floats it matters, and equal sets are to give equal bytes."""
    keys = [(picture.shape, hashlib.sha256(np.ascontiguousarray(picture).data).digest()) for picture in pictures]
    return sorted(range(len(pictures)), key=lambda index: keys[index])


def at_working_size(pixels: Pixels) -> Pixels:
    """A picture at the size at which styles are learnt: strokes come out as wide as in its 512-pixel version.

    Of a very long one, the middle.
    """
    pixels = to_8_bit(pixels)
    height, width = pixels.shape[:2]
    least, most = STYLE_SHORT_SIDE
    short = min(height, width)
    scale = min(max(short, least), most) / short
    reach = int(STYLE_LONG_SIDE / scale)
    top, left = (max(side - reach, 0) // 2 for side in (height, width))
    pixels = pixels[top : top + reach, left : left + reach]
    height, width = pixels.shape[:2]
    size = tuple(min(max(round(side * scale), 1), STYLE_LONG_SIDE) for side in (width, height))
    if size == (width, height):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _mix(photo: Pixels, stylised: Pixels, amount: float) -> Pixels:
    return np.rint(photo + amount * (stylised.astype(np.float32) - photo)).astype(photo.dtype)
