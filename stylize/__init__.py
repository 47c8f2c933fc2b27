"""Personalised image style transfer: learn a style from pictures, apply it to any photo.

    from pathlib import Path

    from stylize import Stylizer
    from stylize.images import read_image

    stylizer = Stylizer()
    style = stylizer.encode_style([read_image(Path("mine.png")).pixels])
    pixels = stylizer.transfer(read_image(Path("photo.jpg")).pixels, style)

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["StyleCode", "Stylizer", "__version__"]

if TYPE_CHECKING:
    from stylize.style_code import StyleCode
    from stylize.transfer import Stylizer


def __getattr__(name: str) -> Any:
    if name == "Stylizer":
        from stylize.transfer import Stylizer

        return Stylizer
    if name == "StyleCode":
        from stylize.style_code import StyleCode

        return StyleCode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
