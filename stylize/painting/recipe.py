"""Recipes: every picture that is written says, in its XMP metadata, by which command it can be made again.

XMP is the one place that JPEG, PNG, WebP, TIFF and AVIF all have. A recipe names files by their base names only, the
model and the styles also by their hashes, and holds no date: equal runs write equal bytes. What is read back comes from
strangers: it is data, shown quoted for a shell, and never run.
"""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stylize.images.xmp import PACKET_END, PACKET_START, RECIPE, RECIPE_END, RECIPE_START
from stylize.options import ImageOptions, NetworkOptions, changed
from stylize.styles.arguments import base_name

MAX_PACKET = 60_000  # bytes of XMP; a JPEG segment holds 65,502
_MOST_WORDS = 1000


@dataclass(frozen=True)
class Recipe:
    """How a picture was made.

    Attributes:
        command: the words of the command line that makes it again.
        version: of stylize.
        model: SHA-256 of the model.
        styles: SHA-256 of the numbers of each style code, in the order of their masks.
    """

    command: tuple[str, ...]
    version: str
    model: str
    styles: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.command)


def to_copy(command: Sequence[str]) -> str:
    """A command line to be shown and copied: a shell such as bash takes it back, however odd the names."""
    return " ".join(map(_quoted, command))


def _quoted(word: str) -> str:
    """A word as a shell takes it, printable throughout: what is not is written by its bytes, as in ``$'\\x07'``."""
    if word.isprintable():
        return shlex.quote(word)
    characters = (
        ("\\" if c in "\\'" else "") + c
        if c.isprintable()
        else "".join(f"\\x{byte:02x}" for byte in c.encode("utf-8", "surrogateescape"))
        for c in word
    )
    return f"$'{''.join(characters)}'"


def command_line(
    photo: str,
    styles: Sequence[str],
    look: Sequence[str],
    *,
    networks: NetworkOptions,
    format: str | None,
    options: ImageOptions,
) -> tuple[str, ...]:
    """The words of ``stylize transfer``, only those options that differ from their defaults.

    Args:
        photo, styles: base names.
        look: its words, see ``words_of``.
        format: suffix of the output's format, if it is not the photo's.
    """
    words = ["stylize", "transfer", *([photo] if not photo.startswith("-") or photo == "-" else [f"./{photo}"])]
    for style in styles:
        words += ["--style", style]
    words += look
    words += words_of(networks)
    if format is not None:
        words += ["--format", format]
    return (*words, *words_of(options))


def words_of(options: Any) -> list[str]:
    """The words of a command line that ask for a dataclass's options, where they are not as by default.

    Files are told by their base names, and nothing is said of what changes no pixels.
    """
    words = []
    for field, value in changed(options):
        if field.option is not None and field.option.in_recipe:
            words.append(field.flag)
            if field.kind is not bool:
                words.append(base_name(value) if field.option.file else field.option.text(value))
    return words


def with_recipe(xmp: bytes | None, recipe: Recipe) -> bytes | None:
    """An XMP packet with the recipe in it, in the place of an older one.

    What stands in the packet otherwise is kept. A foreign packet, or one too long for it, loses only the older.
    """
    kept = without_recipe(xmp)
    head, close, tail = (kept or PACKET_START + PACKET_END).rpartition(b"</rdf:RDF>")
    text = json.dumps(asdict(recipe), sort_keys=True)  # ASCII, also from names that are no text
    added = head + RECIPE_START + html.escape(text, quote=False).encode() + RECIPE_END + close + tail
    return added if close and len(added) <= MAX_PACKET else kept


def without_recipe(xmp: bytes | None) -> bytes | None:
    """An XMP packet without a recipe: it tells how the picture was made that is painted over now."""
    return xmp and RECIPE.sub(b"", xmp)


def recipe_of(xmp: bytes | None) -> Recipe | None:
    """The recipe in an XMP packet, or None if there is none that makes sense."""
    found = RECIPE.search(xmp or b"")
    if found is None:
        return None
    try:
        fields = json.loads(html.unescape(found[1].decode()))
        version, model = _texts([fields["version"], fields["model"]])
        recipe = Recipe(tuple(_texts(fields["command"])), version, model, tuple(_texts(fields["styles"])))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return recipe if recipe.command[:2] in (("stylize", "transfer"), ("stylize", "batch")) else None


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or len(values) > _MOST_WORDS or not all(isinstance(v, str) for v in values):
        raise TypeError("not a list of texts")
    return values
