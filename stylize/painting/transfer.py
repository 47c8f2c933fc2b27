"""Transfer: photos, one after the other, in one style or several together.

    from stylize.painting.transfer import transfer

    for painted in transfer(["a.jpg", "b.jpg"], ["woodcut"], output="painted/"):
        print(painted.output or painted.failure)

For thousands, with what is done remembered, there is ``stylize.batch``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, current_thread
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from stylize.errors import InputError, StylizeError, shown
from stylize.extras import torch_is_installed
from stylize.images.formats import format_named
from stylize.options import ImageOptions
from stylize.painting.look import Look
from stylize.painting.photo import OnePhoto
from stylize.painting.places import Places, StrPath
from stylize.painting.treatment import Treatment, inputs_of, parse_styles, read_treatment
from stylize.styles.arguments import StyleArgument, title_of

if TYPE_CHECKING:
    from stylize.painting.stylizer import Stylizer

T = TypeVar("T")

MAX_STDIN_BYTES = 1 << 30


class Transferred(NamedTuple):
    """What became of a photo.

    Attributes:
        photo: as it was named.
        output: where its picture is; None if that went to a stream, or there is none.
        failure: why there is none.
        notes: what people should know of it.
        size: width and height in pixels.
        style: what the styles together are called in names of files.
        seconds: that it took, reading and writing included.
        streamed: whether the picture went to a stream.
    """

    photo: str
    output: Path | None = None
    failure: StylizeError | None = None
    notes: tuple[str, ...] = ()
    size: tuple[int, int] = (0, 0)
    style: str = ""
    seconds: float = 0.0
    streamed: bool = False


def transfer(
    photos: Sequence[StrPath],
    styles: Sequence[StrPath | StyleArgument],
    look: Look = Look(),
    options: ImageOptions = ImageOptions(),
    *,
    output: StrPath | BinaryIO | None = None,
    format: str | None = None,
    tile: int | None = None,
    recipe: bool = True,
    overwrite: bool = False,
    stylizer: Stylizer | Callable[[], Stylizer] | None = None,
    stdin: BinaryIO | None = None,
    on_warning: Callable[[str], None] = lambda message: None,
) -> Generator[Transferred, None, None]:
    """Stylise photos. What is wrong with one of them does not keep the others from being done.

    Args:
        photos: their files; ``-`` is read from ``stdin``, if there is one.
        styles: as ``--style`` takes them, such as ``woodcut``, ``mine.png`` or ``ink:0.7@sky.png``.
        output: a file, a folder (that exists, or ends with ``/``), or a stream; by default a file beside each photo,
            named after photo and style.
        format: such as ``png``, if it is not each photo's own, or that of the suffix of ``output``.
        tile: side of the tiles in pixels; the result does not depend on it.
        recipe: store in the pictures how they were made.
        stylizer: the networks, or what opens them; they are opened while the first photo is read.
        on_warning: told what people should know of the styles.

    Returns:
        what became of each photo, in their order, as they are done.

    Raises:
        UsageError: several photos have one place to go to, or the options contradict each other.
        InputError, RefusedError: the styles, the masks or the model cannot be used.
        OutputError: the place cannot be written to; the disk is full.
    """
    paths = [os.fspath(photo) for photo in photos]
    format = None if format is None else format_named(format)
    parsed = parse_styles(styles, look)
    inputs = [*inputs_of(parsed, look), *(Path(path) for path in paths if path != "-" or stdin is None)]
    places = Places.named(output, format=format, overwrite=overwrite, label=title_of(parsed), inputs=inputs)
    opened = open_early(stylizer)
    places.prepare(len(paths))

    warnings: list[str] = []  # told when the networks are needed: what is wrong with a photo comes first

    def open_networks() -> tuple[Stylizer, Treatment]:
        networks = opened or open_now(stylizer)
        treatment = read_treatment(
            networks, parsed, look, options, format=format, tile=tile, recipe=recipe, on_warning=warnings.append
        )
        networks.prepare(next(iter(treatment.layers.values())), look.strength)
        return networks, treatment

    def tell() -> None:
        while warnings:
            on_warning(warnings.pop(0))

    return _one_by_one(paths, open_networks, tell, places, options, stdin)


def _one_by_one(
    paths: Sequence[str],
    open_networks: Callable[[], tuple[Stylizer, Treatment]],
    tell: Callable[[], None],
    places: Places,
    options: ImageOptions,
    stdin: BinaryIO | None,
) -> Generator[Transferred, None, None]:
    with beside(open_networks) as opened:  # while the first photo is read

        def networks() -> tuple[Stylizer, Treatment]:
            try:
                return opened.result()
            finally:
                tell()

        for path in paths:
            yield _one(path, networks, places, options, stdin if path == "-" else None)


def _one(
    path: str,
    networks: Callable[[], tuple[Stylizer, Treatment]],
    places: Places,
    options: ImageOptions,
    stdin: BinaryIO | None,
) -> Transferred:
    started = time.monotonic()
    photo = OnePhoto(shown(path) if stdin is None else "<stdin>", options)
    photo.read(Path(path) if stdin is None else lambda: _whole(stdin))
    target = photo.place(lambda picture: places.of(path if stdin is None else "stdin", picture))
    photo.check_size(target, places.format)
    if photo.failure is None:
        stylizer, treatment = networks()  # what is wrong with these is wrong for all photos
        photo.paint(lambda picture: treatment.apply(stylizer, picture, Path(path), target=target))
        photo.encode(target, places.format)
    photo.write(places.stream if target is None else target, overwrite=places.overwrite)
    outcome = Transferred(path, style=places.label, streamed=places.stream is not None)
    if photo.failure is not None or photo.picture is None:
        return outcome._replace(failure=photo.failure)
    if target is not None:
        places.written.add(target)
    height, width = photo.picture.pixels.shape[:2]
    return outcome._replace(output=target, notes=photo.notes, size=(width, height), seconds=time.monotonic() - started)


def open_early(stylizer: Stylizer | Callable[[], Stylizer] | None) -> Stylizer | None:
    """The networks, where torch is not installed: that is quick, and refuses what needs torch before pictures are read.

    Returns:
        None where torch is installed: it may take seconds to load, and is loaded when a picture has been read.
    """
    return None if torch_is_installed() else open_now(stylizer)


def open_now(stylizer: Stylizer | Callable[[], Stylizer] | None) -> Stylizer:
    """The networks themselves; by default those of the packaged model."""
    if stylizer is None:
        from stylize.painting.stylizer import Stylizer

        return Stylizer()
    return stylizer() if callable(stylizer) else stylizer


@contextmanager
def beside(work: Callable[[], T]) -> Iterator[Future[T]]:
    """The result of some work that is done beside what the block does, and waited for at its end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield future
    finally:
        if current_thread() is not thread:  # a generator that nobody closes ends in whatever thread collects it
            thread.join()


def _whole(stdin: BinaryIO) -> bytes:
    raw = stdin.read(MAX_STDIN_BYTES + 1)
    if not raw:
        raise InputError("cannot read <stdin>: it is empty", hint="did the command before it in the pipe fail?")
    if len(raw) > MAX_STDIN_BYTES:
        raise InputError(f"cannot read <stdin>: more than {MAX_STDIN_BYTES >> 20} MB", hint="give it as a file")
    return raw
