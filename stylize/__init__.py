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
    from stylize.encoding import write_image
    from stylize.images import read_image
    from stylize.style_code import StyleCode
    from stylize.transfer import Stylizer

_MODULES = {"StyleCode": "style_code", "Stylizer": "transfer", "read_image": "images", "write_image": "encoding"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"stylize.{_MODULES[name]}"), name)
