"""What ``--style`` can say: ``STYLE[:WEIGHT][@MASK]``, where STYLE is a code, a picture, a folder, or a library's name.

Several unweighted pictures and folders are pictures of one style. As soon as a weight or a code is among them, each
argument is a style of its own, and they are mixed. Styles with a mask are painted where the mask is, over the styles
without one.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stylize.errors import InputError, UsageError, shown
from stylize.images.folders import pictures_below
from stylize.images.formats import READABLE_FILES, READABLE_SUFFIXES
from stylize.images.reading import fill_transparent, read_image
from stylize.options import PACKAGED, ImageOptions
from stylize.styles import library

if TYPE_CHECKING:
    from stylize.images.reading import Pixels
    from stylize.styles.members import Member
    from stylize.styles.style_code import StyleCode

ALPHA = "alpha"  # as a mask: the photo's own alpha
_NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)
_CODE_SUFFIXES = {".safetensors", ".pt", ".pth", ".ckpt", ".bin"}  # all but the first are refused when read


@dataclass(frozen=True)
class StyleArgument:
    """One style that was asked for.

    Attributes:
        source: a style code, a picture, or a folder of pictures.
        name: what it was called, without folders.
        weight: its part in a mixture, or None.
        mask: where it is painted: a picture, ``alpha``, or None for everywhere.
    """

    source: Path
    name: str
    weight: float | None = None
    mask: str | None = None

    @property
    def is_code(self) -> bool:
        """Whether it is a file of numbers, not pictures."""
        return self.source.suffix.lower() in _CODE_SUFFIXES

    def __str__(self) -> str:
        """The argument as it could be written again, base names only."""
        weight = "" if self.weight is None else f":{self.weight!r}".removesuffix(".0")
        return self.name + weight + ("" if self.mask is None else f"@{base_name(self.mask)}")


def parse_style(text: str, *, masks: bool = True) -> StyleArgument:
    """Read one argument. An existing path or a library's name is taken as it is, whatever stands in it.

    Raises:
        UsageError: no such style in the library, one that is also a path here, a mask where there can be none, or a
            weight below zero.
    """
    readings = [(_resolve(rest), rest, weight, mask) for rest, weight, mask in _readings(text, masks=masks)]
    source, rest, weight, mask = next((r for r in readings if r[0] is not None), readings[-1])
    if weight is not None and not (weight >= 0 and math.isfinite(weight)):
        raise UsageError(f"the weight of a style cannot be {weight:g}: {shown(text)}", hint="a number from 0 upwards")
    kept = library.find(rest)
    if kept is not None and source != kept:
        raise UsageError(
            f'"{shown(rest)}" is a style of your library, and a path here', hint=f"./{shown(rest)}, or {shown(kept)}"
        )
    if source is None:
        if not masks and any(mask and _resolve(rest) for rest, _, mask in _readings(text, masks=True)):
            raise UsageError(f"no masks here: {shown(text)}", hint="transfer and batch take styles with masks")
        if not _looks_like_a_path(rest):
            raise library.unknown(rest)
        source = Path(rest)  # whoever reads it will say that it is missing
    return StyleArgument(source, os.path.basename(os.path.normpath(rest)), weight, mask)


def _readings(text: str, *, masks: bool) -> Iterator[tuple[str, float | None, str | None]]:
    """What an argument can mean, the whole of it first: style, weight, mask."""
    for rest, mask in ((text, None), _cut(text, "@")) if masks else ((text, None),):
        if mask != "":
            yield rest, None, mask
            head, tail = _cut(rest, ":")
            if _NUMBER.fullmatch(tail):
                yield head, float(tail), mask


def _cut(text: str, sign: str) -> tuple[str, str]:
    """What is before and after the last such sign; all and nothing, unless there is something at both sides."""
    head, _, tail = text.rpartition(sign)
    return (head, tail) if head and tail else (text, "")


def base_name(source: str | os.PathLike[str]) -> str:
    """What a mask or a model is called in the folder where it lies, without the folder.

    The texts ``alpha`` and ``packaged`` are names, and no files.
    """
    name = os.path.basename(os.path.normpath(source))
    return f"./{name}" if name in (ALPHA, PACKAGED) and name != source else name


def title_of(arguments: Sequence[StyleArgument]) -> str:
    """A name for the styles together, fit for a file name: that of the only one, else ``styles``."""
    stem = "styles"
    if len(arguments) == 1:
        source = Path(os.path.abspath(arguments[0].source))  # a link keeps its own name
        stem = source.name if os.path.isdir(source) else source.stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "style"


def by_mask(arguments: Sequence[StyleArgument]) -> dict[str | None, list[StyleArgument]]:
    """The arguments that are mixed with each other: those with the same mask. Those without one come first."""
    groups: dict[str | None, list[StyleArgument]] = {}
    for argument in sorted(arguments, key=lambda argument: argument.mask is not None):  # stable
        groups.setdefault(argument.mask, []).append(argument)
    return groups


class StyleEncoder(Protocol):
    """What makes style codes of pictures, and knows which codes its model can read; a ``Stylizer`` is one."""

    def encode_style(
        self,
        pictures: Sequence[Pixels],
        title: str = ...,
        *,
        fine: bool = ...,
        report: Callable[[Sequence[Member]], None] = ...,
    ) -> StyleCode:
        """The code of some pictures, with their moments if it is to be painted finely; ``report`` is told of each."""

    def check(self, style: StyleCode, name: str | None = ...) -> None:
        """Raises RefusedError for the code of another model."""


def read_style(
    encoder: StyleEncoder,
    arguments: Sequence[StyleArgument],
    title: str,
    *,
    options: ImageOptions,
    on_warning: Callable[[str], None],
    on_picture: Callable[[str, Member], None] = lambda name, member: None,
    encode: Callable[..., StyleCode] | None = None,
    fine: bool = False,
) -> StyleCode:
    """The style that the arguments ask for together, whatever their masks.

    Args:
        fine: it is to be painted finely, too.
        on_warning: called with what people should know of a picture.
        on_picture: called with the name of every picture that is encoded, and what is to be said of it.
        encode: in place of ``encoder.encode_style``.

    Raises:
        InputError: a picture cannot be read.
        RefusedError: a style code is malformed, or of another model, or cannot be painted finely.
    """
    from stylize.styles.mixing import mix
    from stylize.styles.style_code import StyleCode

    if not any(argument.is_code or argument.weight is not None for argument in arguments):
        names, pictures = read_pictures([a.source for a in arguments], options, on_warning)

        def report(members: Sequence[Member]) -> None:
            for name, member in zip(names, members, strict=True):
                for remark in _remarks(member, names):
                    on_warning(f"{name}: {remark}")
                on_picture(name, member)

        return (encode or encoder.encode_style)(pictures, title=title, fine=fine, report=report)
    parts = []
    for argument in arguments:
        counts = fine and argument.weight != 0  # what is no part of the mixture need not be fit for it
        if argument.is_code:
            code = StyleCode.load(argument.source)
            check_code(encoder, code, shown(argument.source), fine=counts)
        else:
            alone = replace(argument, weight=None)
            code = read_style(
                encoder,
                [alone],
                title_of([alone]),
                options=options,
                on_warning=on_warning,
                on_picture=on_picture,
                encode=encode,
                fine=counts,
            )
        parts.append((code, 1.0 if argument.weight is None else argument.weight))
    if len(parts) == 1 and arguments[0].weight is None:
        return parts[0][0]
    return mix(parts, title)


def check_code(encoder: StyleEncoder, code: StyleCode, name: str, *, fine: bool) -> None:
    """Raises RefusedError for the code of another model, or one that cannot be painted finely and is to be."""
    encoder.check(code, name)
    if fine:
        code.require_moments(name)


def read_pictures(
    paths: Iterable[Path], options: ImageOptions, on_warning: Callable[[str], None]
) -> tuple[list[str], list[Pixels]]:
    """Pictures named, and those in the folders named: what to call each, and its pixels.

    A bad file that was named ends it; in a folder it is left out.
    """

    def read(path: Path) -> Pixels:
        picture = read_image(path, max_pixels=options.max_pixels, allow_truncated=options.allow_truncated)
        for warning in picture.warnings:
            on_warning(f"{shown(path)}: {warning}")
        if picture.alpha is not None and not picture.alpha.any():
            raise InputError(f"{shown(path)}: every pixel is transparent", hint="a style needs something to see")
        return fill_transparent(picture.pixels, picture.alpha)

    names, pictures = [], []
    for path in paths:
        if not os.path.isdir(path):
            pictures.append(read(path))
            names.append(shown(path))
            continue
        before = len(pictures)
        for picture in pictures_below(path):
            try:
                pictures.append(read(picture))
                names.append(shown(picture))
            except InputError as error:
                on_warning(f"{error.message}; left out")
        if len(pictures) == before:
            raise InputError(f"no readable pictures in {shown(path)}", hint=READABLE_FILES)
    return names, pictures


def _remarks(member: Member, names: Sequence[str]) -> list[str]:
    remarks = []
    if member.outlier:
        remarks.append(f"unlike the other pictures (distance {member.distance:.2f}): leave it out unless you mean it")
    if member.twin is not None:
        remarks.append(f"nearly the same as {names[member.twin]}: together they count as one")
    if member.small is not None:
        width, height = member.small
        remarks.append(f"has only {width}x{height} pixels: its strokes can only be guessed")
    return remarks


def _resolve(text: str) -> Path | None:
    """An existing path, else a style of the library, else None."""
    if text and os.path.lexists(text):
        return Path(text)
    return library.find(text)


def _looks_like_a_path(text: str) -> bool:
    suffix = os.path.splitext(text)[1].lower()
    separated = os.sep in text or (os.altsep is not None and os.altsep in text)
    return separated or suffix in READABLE_SUFFIXES or suffix in _CODE_SUFFIXES
