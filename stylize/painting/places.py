"""Where pictures go: into a file, a folder, a stream, or beside their photos; never in the place of an input."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from stylize.errors import OutputError, UsageError, shown
from stylize.files.atomic import check_target, make_folder, refuse_same_file
from stylize.images.formats import SUFFIXES, format_of, output_name, suffix_of, written_format
from stylize.images.reading import Picture

StrPath = str | os.PathLike[str]


@dataclass
class Places:
    """Where the pictures of some photos go: to one of file, folder and stream, or beside the photos.

    Attributes:
        format: of the pictures, if it is not each photo's own.
        overwrite: whether what is there may be replaced.
        label: what the styles are called, for names beside photos.
        inputs: files and folders whose place no picture may take.
        written: what was written already.
    """

    file: Path | None = None
    folder: Path | None = None
    stream: BinaryIO | None = None
    format: str | None = None
    overwrite: bool = False
    label: str = ""
    inputs: list[Path] = field(default_factory=list)
    written: set[Path] = field(default_factory=set)

    @classmethod
    def named(cls, output: StrPath | BinaryIO | None, **options: Any) -> Places:
        """Those that ``output`` means: a folder is one that exists, or ends with ``/``."""
        places = cls(**options)
        if isinstance(output, str | os.PathLike):
            text = os.fspath(output)
            if text.endswith(("/", os.sep)) or os.path.isdir(text):
                places.folder = Path(text)
            else:
                places.file = Path(text)
        else:
            places.stream = output
        return places

    def prepare(self, photos: int) -> None:
        """Refuse before the work what could not be written after it.

        Args:
            photos: how many there are.

        Raises:
            UsageError: several photos go to one place, or the format is not that of the file's suffix.
            OutputError: the file is there, is an input, or cannot be written; the folder cannot be made.
        """
        if photos > 1 and (self.file or self.stream):
            raise UsageError(f"{photos} photos need a folder to go to", hint="`output` FOLDER/")
        if self.folder is not None:
            make_folder(self.folder)
        if self.file is None:
            return
        if self.format is None:
            format_of(self.file)  # an unknown suffix is refused before the work
        elif SUFFIXES.get(self.file.suffix.lower(), self.format) != self.format:
            suffix = suffix_of(self.format)
            raise UsageError(
                f"`format` {suffix.removeprefix('.')}: {shown(self.file)} has the suffix of another format",
                hint=f"leave out `format`, or `output` {shown(self.file.with_suffix(suffix))}",
            )
        check_target(self.file, overwrite=self.overwrite)
        self._refuse_inputs(self.file)

    def of(self, photo: str, picture: Picture) -> Path | None:
        """Where the picture of a photo goes; None for a stream.

        Raises:
            OutputError: it cannot be written there, or was just written from another photo.
        """
        if self.stream is not None:
            return None
        target = self._of(Path(photo), written_format(picture.format))
        if target in self.written:
            raise OutputError(
                f"{shown(target)} was just written from another photo", hint="stylize batch keeps such names apart"
            )
        check_target(target, overwrite=self.overwrite)
        if os.path.exists(target):
            self._refuse_inputs(target)
        return target

    def _of(self, photo: Path, content: str) -> Path:
        """``content`` is the format in which the photo's picture is written by itself."""
        if self.file is not None:
            return self.file
        plain = output_name(photo, content) if self.format is None else photo.stem + suffix_of(self.format)
        if self.folder is not None:
            return self.folder / plain
        return photo.with_name(f"{Path(plain).stem}_{self.label}{Path(plain).suffix}")

    def _refuse_inputs(self, target: Path) -> None:
        for source in self.inputs:
            refuse_same_file(source, target)
