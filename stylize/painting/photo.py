"""One photo, from file to file, in stages: read, paint, encode, write.

``stylize transfer`` does the stages one after the other, a batch in several threads, on Ray or not. Whatever goes wrong
in one of them, memory that runs out, too, costs this photo only: the stages after it do nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from stylize.errors import DeviceError, StylizeError, disk_is_full, shown
from stylize.images.formats import check_size, format_of, written_format
from stylize.images.reading import Picture, read_photo
from stylize.images.writing import Encoded, encode_image, pixel_bytes, write_encoded
from stylize.options import ImageOptions

T = TypeVar("T")


@dataclass
class OnePhoto:
    """A photo on its way.

    Attributes:
        name: what messages call it.
        options: how it is read and written.
        less_memory: what helps when memory runs out.
        picture: the photo, once it was read.
        painted: the same, once it was painted: its pixels, alpha and XMP data are written.
        encoded: the bytes of the file to be written.
        failure: what went wrong.
        modified: the modification time that its picture gets, in nanoseconds; None: that of its writing.
        seconds: of work so far.
    """

    name: str
    options: ImageOptions
    less_memory: str = "a smaller copy of the photo needs less"
    picture: Picture | None = None
    painted: Picture | None = None
    encoded: Encoded | None = None
    failure: StylizeError | None = None
    modified: int | None = None
    seconds: float = 0.0

    def read(self, source: Path | Callable[[], bytes], check: Callable[[], None] = lambda: None) -> None:
        """Read it. ``check`` comes first, and may raise a StylizeError, too."""
        with self._stage(f"reading {self.name}"):
            check()
            if self.options.times and isinstance(source, Path):
                with suppress(OSError):  # what is missing is told by what reads it
                    self.modified = os.stat(source).st_mtime_ns
            self.picture = read_photo(source if isinstance(source, Path) else source(), self.options)

    def place(self, choose: Callable[[Picture], T]) -> T | None:
        """Where it goes, once it was read; None if it failed, or by this now fails."""
        if self.picture is not None and self.failure is None:
            with self._stage(f"reading {self.name}"):
                return choose(self.picture)
        return None

    def check_size(self, target: Path | None, format: str | None = None) -> None:
        """Refuse before it is painted what the format, chosen as for ``encode``, cannot hold."""
        if self.picture is not None and self.failure is None:
            with self._stage(f"reading {self.name}"):
                usual = written_format(self.picture.format) if target is None else format_of(target)
                height, width = self.picture.pixels.shape[:2]
                check_size(width, height, format or usual, pixel_bytes(self.picture.pixels, self.picture.alpha))

    def paint(self, stylise: Callable[..., Picture], *arguments: object) -> None:
        """Paint it: a picture, and the arguments, in; a picture out."""
        if self.picture is not None and self.failure is None:
            with self._stage(f"stylising {self.name}"):
                self.painted = stylise(self.picture, *arguments)

    def encode(self, target: Path | None, format: str | None = None) -> None:
        """Encode it in a format, else in that of the suffix of ``target``, else in the photo's own."""
        if self.picture is not None and self.painted is not None and self.failure is None:
            with self._stage(f"encoding {self.name if target is None else shown(target)}"):
                self.encoded = encode_image(
                    self.painted.pixels,
                    like=replace(self.picture, xmp=self.painted.xmp),
                    alpha=self.painted.alpha,
                    format=format or (None if target is None else format_of(target)),
                    quality=self.options.quality,
                    metadata=self.options.metadata,
                    background=self.options.background,
                )

    def write(self, target: Path | BinaryIO | None, *, overwrite: bool) -> None:
        """Write it, completely or not at all. Raises OutputError if the disk is full: no other could be written."""
        if self.encoded is not None and target is not None and self.failure is None:
            with self._stage(f"writing {self.name}"):
                write_encoded(target, self.encoded.data, overwrite=overwrite, modified=self.modified)
        if self.failure is not None and disk_is_full(self.failure):
            raise self.failure

    @property
    def notes(self) -> tuple[str, ...]:
        """What people should know of a photo that was written."""
        if self.painted is None or self.encoded is None or self.failure is not None:
            return ()
        return (*self.painted.warnings, *self.encoded.warnings)

    @contextmanager
    def _stage(self, doing: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        except StylizeError as error:
            self.failure = error
        except MemoryError:
            self.failure = DeviceError(f"out of memory while {doing}", hint=self.less_memory)
        finally:
            self.seconds += time.perf_counter() - started
