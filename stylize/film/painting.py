"""A film, painted: surveyed, painted scene by scene in segments, and joined with its sound.

    for event in paint_film("clip.mp4", ["woodcut"], output="painted.mp4"):
        print(event)

What is done lies in a folder beside the output, ``.NAME.stylize``, until the film is whole: segments of ``SEGMENT``
frames, and with each all that the frames after it depend on. So a run that was ended in any way goes on after the last
whole segment, and gives the same pixels as one that was not.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stylize.batch.fingerprint import Fingerprints
from stylize.batch.manifest import locked
from stylize.errors import InputError, UsageError, reason, shown
from stylize.files.atomic import atomically, check_target, refuse_same_file, write_atomically
from stylize.files.hashing import hash_file
from stylize.film.reading import Read, Survey, frames_of, opened, pictures_at, pixels_of, survey
from stylize.film.writing import (
    CONTAINERS,
    Packets,
    Target,
    container_of,
    encode,
    encoder_of,
    join,
    loaded,
    packed,
    read_packets,
    target_of,
    to_bytes,
)  # fmt: skip
from stylize.images.reading import Picture, Pixels
from stylize.options import FilmOptions, ImageOptions
from stylize.painting.look import Look, freeze, paint
from stylize.painting.places import StrPath
from stylize.painting.steady import Layer, Steady
from stylize.painting.transfer import open_now
from stylize.painting.treatment import Treatment, inputs_of, parse_styles, read_treatment, refuse_fine_frames
from stylize.styles.arguments import ALPHA, StyleArgument, title_of

if TYPE_CHECKING:
    from stylize.painting.stylizer import Stylizer

SEGMENT = 32  # frames: what a kill costs at most
REVISION = 2  # to be raised whenever the same film, style and options give other pixels


class Begun(NamedTuple):
    """The painting begins: frames done by an earlier run, and frames in all."""

    done: int
    total: int


class Painted(NamedTuple):
    """So many frames are painted."""

    done: int


class Finished(NamedTuple):
    """The film is whole. ``seconds``: that this run took; ``scenes`` that it has."""

    output: Path
    frames: int
    scenes: int
    size: tuple[int, int]
    seconds: float


Event = Read | Begun | Painted | Finished


def paint_film(
    source: StrPath,
    styles: Sequence[StrPath | StyleArgument],
    look: Look = Look(),
    options: FilmOptions = FilmOptions(),
    *,
    output: StrPath | None = None,
    tile: int | None = None,
    overwrite: bool = False,
    stylizer: Stylizer | Callable[[], Stylizer] | None = None,
    on_warning: Callable[[str], None] = lambda message: None,
) -> Generator[Event, None, None]:
    """Stylise a film; run again, it goes on where it was.

    Args:
        source: the film.
        styles, tile, stylizer: as for ``stylize.painting.transfer.transfer``.
        output: the file; by default beside the film, named after film and style.

    Returns:
        the events, as they happen, ``Finished`` last.

    Raises:
        InputError: the film, a style or a mask cannot be read.
        UsageError: options contradict each other, or the container cannot hold what is asked for.
        RefusedError, DeviceError: a style or the model cannot be used, or not on this device; or what an earlier run
            left is damaged.
        OutputError: the output is there, is an input, or cannot be written; another run is at work on it.
    """
    started, source = time.monotonic(), Path(source)
    refuse_fine_frames(look)
    parsed = parse_styles(styles, look)
    if ALPHA in (look.mask, *(style.mask for style in parsed)):
        raise UsageError("films have no alpha to be the mask", hint="`mask` FILE, for all frames")
    target = Path(output) if output is not None else _beside(source, title_of(parsed))
    with opened(source):
        pass  # what is wrong with it comes first
    container_of(target)
    for path in (source, *inputs_of(parsed, look)):
        refuse_same_file(path, target)
    check_target(target, overwrite=overwrite)
    networks = open_now(stylizer)
    treatment = read_treatment(networks, parsed, look, ImageOptions(), tile=tile, recipe=False, on_warning=on_warning)
    with _work_folder(target, on_warning) as folder:
        found = yield from survey(source)
        form, notes = target_of(target, source, options, found)
        for note in (*found.notes, *notes):
            on_warning(f"{shown(source)}: {note}")
        work = _Work(source, treatment, networks, found, form, folder, on_warning)
        yield from work.run()
        with atomically(target, overwrite=overwrite) as stream:
            left_out = join(stream, work.segments(), source, form, found)
        if left_out:
            on_warning(f"{shown(source)}: damaged packets of sound or subtitles are left out: {left_out}")
        shutil.rmtree(folder, ignore_errors=True)
    yield Finished(target, len(found.times), len(found.scenes), found.size, time.monotonic() - started)


def _beside(source: Path, label: str) -> Path:
    suffix = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
    return source.with_name(f"{source.stem}_{label}{suffix}")


@contextmanager
def _work_folder(target: Path, on_warning: Callable[[str], None]) -> Iterator[Path]:
    """The folder of what is done, which no other run uses meanwhile; it goes if nothing is. Raises OutputError."""
    folder = target.with_name(f".{target.name}.stylize")
    with locked(folder, what="run", on_warning=on_warning):
        try:
            yield folder
        finally:
            if not _segment(folder, 0).exists():
                shutil.rmtree(folder, ignore_errors=True)


def _segment(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.npz"


@dataclass
class _Work:
    """The painting of one film."""

    source: Path
    treatment: Treatment
    stylizer: Stylizer
    found: Survey
    form: Target
    folder: Path
    on_warning: Callable[[str], None]

    def run(self) -> Iterator[Event]:
        """Paint the segments that are not there yet."""
        self._begin()
        done, total = len(self.segments()), len(self.found.times)
        yield Begun(min(done * SEGMENT, total), total)
        if done * SEGMENT >= total:
            return
        scene, steady = self._state(done)
        with opened(self.source) as film:
            frames = islice(frames_of(film), done * SEGMENT, total)
            for number in range(done, -(-total // SEGMENT)):
                encoder, packets = encoder_of(self.form, self.found), []
                for frame in islice(frames, SEGMENT):
                    if frame.number in self.found.scenes:
                        scene, steady = self.found.scenes.index(frame.number), None
                    steady = steady or self._steady(scene)
                    pixels = pixels_of(frame.decoded, self.found.matrix)
                    packets += encode(encoder, frame.number, self._paint(pixels, steady), self.found)
                    yield Painted(frame.number + 1)
                packets += encode(encoder, total, None, self.found)
                self._keep(number, scene, steady, packed(packets, self.found))

    def segments(self) -> list[Path]:
        """The segments that are there, without a gap."""
        paths: list[Path] = []
        while (path := _segment(self.folder, len(paths))).exists():
            paths.append(path)
        return paths

    def _state_file(self, number: int) -> Path:
        return self.folder / f"{number:06}.state.npz"

    def _begin(self) -> None:
        """Remove what another film, style or option left."""
        wanted = self._fingerprint()
        record = self.folder / "film.json"
        with suppress(OSError, ValueError, LookupError, TypeError):
            if json.loads(record.read_text())["fingerprint"] == wanted:
                return
        if count := min(len(self.segments()) * SEGMENT, len(self.found.times)):
            self.on_warning(
                f"{count} frames that an earlier run painted are removed: another film, style or option made them"
            )
        for path in self.folder.glob("*.npz"):
            path.unlink()
        write_atomically(record, json.dumps({"fingerprint": wanted}).encode(), overwrite=True)

    def _fingerprint(self) -> str:
        try:
            facts = [
                REVISION, hash_file(self.source), Fingerprints(self.treatment).of(self.source), asdict(self.form),
                SEGMENT,
            ]  # fmt: skip
        except OSError as error:
            name = error.filename or self.source
            raise InputError(f"cannot read {shown(name)}: {reason(error)}") from error
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _steady(self, scene: int) -> Steady:
        """What paints a scene, measured on some of its frames."""
        samples = pictures_at(self.source, self.found.samples(scene), self.found)
        pictures = [Picture(sample, None, "PNG") for sample in samples]
        look, tile = self.treatment.look, self.treatment.tile
        return freeze(self.stylizer, pictures, self.treatment.layers, look, tile=tile).steady()

    def _paint(self, pixels: Pixels, steady: Steady) -> Pixels:
        treatment = self.treatment
        return paint(
            self.stylizer, Picture(pixels, None, "PNG"), treatment.layers, treatment.look,
            photo=str(self.source), tile=treatment.tile, steady=steady,
        )  # fmt: skip

    def _keep(self, number: int, scene: int, steady: Steady | None, packets: Packets) -> None:
        """Write a segment, and before it what the next one depends on."""
        arrays: dict[str, Any] = {"scene": np.array(scene)}
        if steady is not None and steady.before is not None:
            arrays |= {"before": steady.before, "place": steady.place, "renewing": np.array(steady.renewing)}
            for index, layer in enumerate(steady.layers.values()):
                arrays |= {f"painting{index}": layer.painting, f"photo{index}": layer.photo}
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        write_atomically(self._state_file(number), stream.getvalue(), overwrite=True)
        write_atomically(_segment(self.folder, number), to_bytes(packets), overwrite=True)
        with suppress(OSError):
            self._state_file(number - 1).unlink()

    def _state(self, done: int) -> tuple[int, Steady | None]:
        """The scene and what paints it, as they were after so many segments."""
        if not done:
            return 0, None
        read_packets(_segment(self.folder, done - 1))
        arrays = loaded(self._state_file(done - 1), "scene")
        scene = int(arrays["scene"])
        steady = self._steady(scene)
        if "before" in arrays:
            steady.before, steady.place = arrays["before"], arrays["place"]
            steady.renewing = int(arrays["renewing"])
            steady.layers = {
                name: Layer(arrays[f"painting{index}"], arrays[f"photo{index}"])
                for index, name in enumerate(steady.painters)
                if f"painting{index}" in arrays
            }
        return scene, steady
