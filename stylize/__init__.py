"""Personalised image style transfer: learn a style from pictures, apply it to any photo.

    from stylize import Stylizer, read_image, write_image

    stylizer = Stylizer()
    style = stylizer.encode_style([read_image("mine.png").pixels])
    photo = read_image("photo.jpg")
    write_image("painted.jpg", stylizer.transfer(photo.pixels, style), like=photo)

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["StyleCode", "Stylizer", "__version__", "read_image", "write_image"]

if TYPE_CHECKING:
    from stylize.images.reading import read_image
    from stylize.images.writing import write_image
    from stylize.painting.stylizer import Stylizer
    from stylize.styles.style_code import StyleCode

_MODULES = {
    "StyleCode": "styles.style_code",
    "Stylizer": "painting.stylizer",
    "read_image": "images.reading",
    "write_image": "images.writing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"stylize.{_MODULES[name]}"), name)
