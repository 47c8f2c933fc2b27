"""The sample sheet: by it people see how a training is going, the same pictures every time.

        style A     style B     …
photo   photo in A  photo in B  …
…
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

from stylize.images.sheet import labelled_sheet
from stylize.networks.model import Model
from stylize.training.data import NamedPicture, PictureFolders, step_random, to_tensor
from stylize.training.step import CALIBRATION, Draw

SAME = 4.0  # mean difference of two pictures, of 255, below which they are the same one, saved twice


@torch.no_grad()
def sample_sheet(model: Model, draw: Draw, size: int = 192, photos: int = 4, styles: int = 6) -> Image.Image:
    """Some photos × some styles, upright, no picture twice; fewer of them where there are no more.

    Args:
        size: side of a cell in pixels, a multiple of 16.
    """
    wanted, seed = (size, photos, styles), draw.options.seed
    if wanted not in draw.samples:  # where few pictures differ, all of a folder are looked at: once
        chosen = different(draw.styles, styles, size, seed), different(draw.contents, photos, size, seed)
        draw.samples[wanted] = chosen
    top, left = draw.samples[wanted]
    style, content = (to_tensor([pixels for _, pixels in some], draw.world.device) for some in (top, left))
    codes = model.encoder(style)  # (styles, Z), (styles, 9)
    rows = [[("", Image.new("RGB", (1, 1), "white")), *((name, Image.fromarray(pixels)) for name, pixels in top)]]
    for (name, pixels), photo in zip(left, content, strict=True):
        painted = model.generator(photo.repeat(len(top), 1, 1, 1), *codes).clamp(0, 1)  # (styles, 3, size, size)
        cells = (painted * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        in_styles = [(style_name, Image.fromarray(cell)) for (style_name, _), cell in zip(top, cells, strict=True)]
        rows.append([(name, Image.fromarray(pixels)), *in_styles])
    return Image.fromarray(labelled_sheet(rows, (size, size)))


def different(pictures: PictureFolders, count: int, size: int, seed: int) -> list[NamedPicture]:
    """The middles of up to ``count`` pictures, no two the same: a function of the files and the seed."""
    found: list[NamedPicture] = []
    for name, pixels in _middles(pictures, size, seed):
        if all(np.abs(pixels.astype(int) - other).mean() >= SAME for _, other in found):
            found.append((name, pixels))
        if len(found) == count:
            break
    return found


def _middles(pictures: PictureFolders, size: int, seed: int) -> Iterator[NamedPicture]:
    """All usable pictures in random order, one of each folder in turn, cut to squares."""
    random = step_random(seed, CALIBRATION - 1)
    shuffled = [[files[place] for place in random.permutation(len(files))] for files in pictures.files]
    for turn in range(max(map(len, shuffled))):
        for files in shuffled:
            pixels = pictures.load(files[turn]) if turn < len(files) else None
            if pixels is not None:
                height, width = pixels.shape[:2]
                side = min(height, width)
                corner = (width - side) // 2, (height - side) // 2
                box = (*corner, corner[0] + side, corner[1] + side)
                square = Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS, box=box)
                yield files[turn].stem, np.asarray(square)
