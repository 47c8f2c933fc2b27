"""Transfer: one photo and one style code -> the stylised picture.

    photo ─► proxy ─► statistics ─┐
    code  ────────────────────────┴─► folded generator ─► tile by tile ─► picture

The statistics of AdaIN come from a *proxy* of the photo: the whole of it when it is small, else a fixed grid of
windows. They do not depend on how the picture is cut afterwards, and the folded generator is local, so tiles with a
margin give the pixels of the whole. (Its ancestor: Chen et al., "Towards Ultra-Resolution Neural Style Transfer via
Thumbnail Instance Normalization", AAAI 2022.) Photo and result are held as bytes, only tiles as floats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylize.checkpoint import Model, default_model, load_model
from stylize.device import keep_freed_memory, memory_guard, pick_device, pick_precision
from stylize.errors import RefusedError, StylizeError, UsageError
from stylize.extended_code import extend, fits
from stylize.generator import MARGIN, STRIDE, FoldedGenerator, Position
from stylize.images import Pixels, shown
from stylize.mixing import mean, mean_code
from stylize.palette import palette_of
from stylize.perceptual import feature_statistics
from stylize.style_code import StyleCode, make_thumbnail
from stylize.style_set import Member, examine

WHOLE_PROXY = 1_000_000  # pixels: smaller photos are their own proxy
PROXY_GRID, PROXY_WINDOW = 3, 256  # of larger ones: a grid of 3×3 windows of 256×256 pixels
SMALL_SIDE = 64  # pixels: smaller photos are computed in single precision
DEFAULT_TILE = 2048  # pixels; needs about half a gigabyte
STYLE_SHORT_SIDE = (256, 512)  # pixels: style pictures are brought between these
STYLE_LONG_SIDE = 1536
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green, blue: Y of YCbCr
EVENNESS = 0.6  # of --strength: the power of it by which the pixels are mixed; equal steps then look about equal


class Stylizer:
    """Encodes styles and stylises photos with one model on one device.

    Args:
        model: path of a model file; by default that of ``STYLIZE_MODEL``, else the packaged one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        InputError, RefusedError: the model is missing or no model.
        DeviceError: the device is missing.
    """

    def __init__(self, model: Path | None = None, device: str = "auto") -> None:
        keep_freed_memory()
        self.device = pick_device(device)
        self.precision = pick_precision(self.device)
        self.model: Model = load_model(model or default_model(), self.device)

    @torch.inference_mode()
    def encode_style(
        self,
        pictures: Sequence[Pixels],
        title: str = "style",
        *,
        report: Callable[[Sequence[Member]], None] = lambda members: None,
    ) -> StyleCode:
        """Learn a style from pictures: the mean of their codes, near-duplicates together counted as one.

        The order of the pictures does not matter. Each is looked at as a whole: the mean over crops, at one or several
        scales, was measured to give no closer pictures.

        Args:
            pictures: (H, W, 3) uint8 each.
            report: called with what is to be said of each picture, in their order.
        """
        if not pictures:
            raise UsageError("a style needs at least one picture")
        # Sums of floats depend on their order: a fixed one makes equal sets give equal bytes.
        keys = [(p.shape, hashlib.sha256(p.tobytes()).digest()) for p in pictures]
        order = sorted(range(len(pictures)), key=lambda index: keys[index])
        ordered = [pictures[index] for index in order]
        codes, palettes, known = zip(*[[t.cpu().numpy() for t in self._know(p)] for p in ordered], strict=True)
        members = examine(ordered, np.stack(known))
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
            code=mean_code(codes, shares),
            palette=mean(palettes, shares),
            model_hash=self.model.hash,
            title=title,
            images=len(pictures),
            thumbnail=make_thumbnail(ordered),
        )

    @torch.inference_mode()
    def transfer(
        self,
        photo: Pixels,
        style: StyleCode,
        *,
        strength: float = 1.0,
        preserve_color: bool = False,
        tile: int | None = None,
    ) -> Pixels:
        """Stylise a photo of any size.

        Args:
            photo: (H, W, 3) uint8, sRGB.
            style: a code of this model.
            strength: 0 (the photo itself) to 1 (the full style); between them, between the photo's own code and the
                style's.
            preserve_color: keep the photo's colours: it is painted in its own palette (the colour statistics are
                matched first), and of that only the lightness is taken.
            tile: side of the tiles in pixels, rounded up to a multiple of 16. The result does not depend on it.

        Returns:
            (H, W, 3) uint8.

        Raises:
            RefusedError: the code belongs to another model.
            UsageError: strength or tile is out of range.
            DeviceError: out of memory.
        """
        if not 0 <= strength <= 1:
            raise UsageError(f"--strength {strength:g} is not between 0 and 1")
        if tile is not None and tile < 1:
            raise UsageError(f"--tile {tile} is not a number of pixels")
        self.check(style)
        if strength == 0:
            return photo.copy()
        code, palette = (torch.from_numpy(t).to(self.device) for t in (style.code, style.palette))
        with memory_guard(f"stylising {photo.shape[1]}x{photo.shape[0]} pixels"):
            if strength < 1:
                own_code, own_palette = self._encode(photo)
                code, palette = own_code.lerp(code, strength), own_palette.lerp(palette, strength)
            if preserve_color:
                # With the photo's own palette its tones stay, too: lightness alone would take the style's darkness.
                palette = palette_of(self._to_tensor(at_working_size(photo)))[0]
            modulations = extend(self.model.generator.modulations(code[None]), style.refinement, strength)
            windows, origins = self._proxy(photo)
            folded = self.model.generator.fold(windows, modulations, palette[None], origins)
            output = self._run_tiles(folded, photo, tile or DEFAULT_TILE)
        if strength < 1:
            # Even with its own code the generator does not return the photo exactly. So the pixels are mixed as well,
            # all the way: the picture then moves away from the photo with every step, without a jump or a kink.
            output = _mix(photo, output, strength**EVENNESS)
        return keep_color(photo, output) if preserve_color else output

    def check(self, style: StyleCode) -> None:
        """Refuse a code that another model made: its numbers mean nothing here."""
        if style.model_hash != self.model.hash or style.code.shape != (self.model.sizes.code,):
            raise RefusedError(
                f"style {shown(style.title)} was made for model {style.model_hash[:8]}, this is {self.model.hash[:8]}",
                hint="encode it again, or name its model by --model",
            )
        if not fits(style.refinement, self.model.generator):
            raise RefusedError(f"style {shown(style.title)} refines layers that its model does not have")

    def _encode(self, pixels: Pixels) -> tuple[Tensor, Tensor]:
        """The code and the palette of one picture: (H, W, 3) uint8 -> (Z,) and (9,)"""
        code, palette, _ = self._know(pixels)
        return code, palette

    def _know(self, pixels: Pixels) -> tuple[Tensor, Tensor, Tensor]:
        """The code, the palette and the standardised statistics of one picture: (Z,), (9,) and (D,)"""
        images, encoder = self._to_tensor(at_working_size(pixels)), self.model.encoder
        features = [feature_statistics(f) for f in encoder.perceptual(images)]
        known = encoder.standardise(encoder.statistics(features))
        return encoder.code_of(known)[0], palette_of(images)[0], known[0]

    def _to_tensor(self, pixels: Pixels) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H, W) in [0, 1], channels last in memory."""
        return (torch.from_numpy(np.array(pixels)).to(self.device).float() / 255).permute(2, 0, 1)[None]

    def _proxy(self, photo: Pixels) -> tuple[Tensor, list[Position]]:
        """Windows of the photo with a margin around them, (n, 3, h, w), and where they lie.

        They are what the statistics are measured on.
        """
        height, width = photo.shape[:2]
        if height * width <= WHOLE_PROXY:
            corners, shape = [(0, 0)], (_aligned(height), _aligned(width))
        else:
            tops, lefts = (
                np.linspace(0, max(side - PROXY_WINDOW, 0) // 2, PROXY_GRID).astype(int) * 2 for side in (height, width)
            )
            corners, shape = [(int(top), int(left)) for top in tops for left in lefts], (PROXY_WINDOW, PROXY_WINDOW)
        windows = [self._to_tensor(_window(photo, *corner, *shape)) for corner in corners]
        return torch.cat(windows), [(top - MARGIN, left - MARGIN) for top, left in corners]

    def _run_tiles(self, folded: FoldedGenerator, photo: Pixels, tile: int) -> Pixels:
        """The folded generator over the whole photo, at most ``tile``² pixels at a time."""
        height, width = photo.shape[:2]
        # Statistics over a few positions are delicate, and a small photo is quick in any precision.
        fast = folded.to(self.precision if min(height, width) >= SMALL_SIDE else torch.float32)
        output = np.empty_like(photo)
        tile_h, tile_w = _even_tile(height, tile), _even_tile(width, tile)
        for top in range(0, height, tile_h):
            for left in range(0, width, tile_w):
                content = self._to_tensor(_window(photo, top, left, tile_h, tile_w))
                origins = [(top - MARGIN, left - MARGIN)]
                result = fast(content, origins)
                if not torch.isfinite(result).all():  # half precision overflowed
                    result = folded(content, origins)
                    if not torch.isfinite(result).all():
                        raise StylizeError("the network's output is not finite", hint="encode the style again")
                inner = result[0, :, MARGIN:-MARGIN, MARGIN:-MARGIN].float()
                pixels = (inner * 255).round_().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
                bottom, right = min(top + tile_h, height), min(left + tile_w, width)
                output[top:bottom, left:right] = pixels[: bottom - top, : right - left]
        return output


def keep_color(photo: Pixels, stylised: Pixels) -> Pixels:
    """The stylised picture's luminance with the photo's chrominance (Gatys et al., arXiv 1606.05897, sec. 3.2).

    In YCbCr another luminance adds the same to red, green and blue: nothing is rounded on the way to and fro.
    Both (H, W, 3) uint8.
    """
    output = np.empty_like(photo)
    for top in range(0, len(photo), 256):  # rows; a large photo is never held as floats
        rows = slice(top, top + 256)
        lighter = (stylised[rows].astype(np.int16) - photo[rows]) @ LUMINANCE  # (h, W)
        output[rows] = np.clip(np.rint(photo[rows] + lighter[..., None]), 0, 255)
    return output


def at_working_size(pixels: Pixels) -> Pixels:
    """A picture at the size at which styles are learnt: strokes come out as wide as in its 512-pixel version."""
    height, width = pixels.shape[:2]
    least, most = STYLE_SHORT_SIDE
    short = min(height, width)
    scale = min(max(short, least), most) / short
    size = tuple(min(max(round(side * scale), least // 4), STYLE_LONG_SIDE) for side in (width, height))
    if size == (width, height):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _window(photo: Pixels, top: int, left: int, height: int, width: int) -> Pixels:
    """The window with ``MARGIN`` pixels around it, (height + 2M, width + 2M, 3).

    Beyond its border the photo goes on as its own mirror image, as often as it takes.
    """
    rows = _mirrored(np.arange(top - MARGIN, top + height + MARGIN), photo.shape[0])
    columns = _mirrored(np.arange(left - MARGIN, left + width + MARGIN), photo.shape[1])
    return photo[rows[:, None], columns]


def _mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Fold any integers into 0 … size − 1 by reflection that does not repeat the border: … 2 1 0 1 2 …"""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def _aligned(size: int) -> int:
    return -(-size // STRIDE) * STRIDE


def _even_tile(size: int, tile: int) -> int:
    """The side of equal tiles, at most ``tile`` (rounded up to the stride), that cover ``size``."""
    count = -(-size // _aligned(tile))
    return _aligned(-(-size // count))


def _mix(photo: Pixels, stylised: Pixels, amount: float) -> Pixels:
    if amount == 1:
        return stylised
    return np.asarray(Image.blend(Image.fromarray(photo), Image.fromarray(stylised), amount))
