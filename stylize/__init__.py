"""Personalised image style transfer: learn a style from pictures, apply it to any photo.

    from stylize import Stylizer, read_image, write_image

    stylizer = Stylizer()
    style = stylizer.encode_style([read_image("mine.png").pixels])
    photo = read_image("photo.jpg")
    write_image("painted.jpg", stylizer.transfer(photo.pixels, style), like=photo)

Also: ``mix`` styles, ``refine`` one (which needs torch), keep them by ``StyleCode.save``, and ``paint`` a photo with a
``Look``: a strength, wider strokes, only where a mask, read by ``read_mask``, is white.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Look",
    "StyleCode",
    "Stylizer",
    "__version__",
    "mix",
    "paint",
    "read_image",
    "read_mask",
    "refine",
    "write_image",
]

if TYPE_CHECKING:
    from stylize.images.reading import read_image
    from stylize.images.writing import write_image
    from stylize.painting.look import Look, paint
    from stylize.painting.masks import read_mask
    from stylize.painting.stylizer import Stylizer
    from stylize.styles.mixing import mix
    from stylize.styles.style_code import StyleCode
    from stylize.training.refine import refine

_MODULES = {
    "Look": "painting.look",
    "StyleCode": "styles.style_code",
    "Stylizer": "painting.stylizer",
    "mix": "styles.mixing",
    "paint": "painting.look",
    "read_image": "images.reading",
    "read_mask": "painting.masks",
    "refine": "training.refine",
    "write_image": "images.writing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"stylize.{_MODULES[name]}"), name)
