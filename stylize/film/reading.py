"""Frames in: what PyAV reads of a film, upright, as sRGB bytes, with the time of each.

A film is read once for its *survey*, which takes a small part of the time that painting takes: how many frames there
are, when each is shown, where scenes begin. Then it is read again to be painted. Both see the same frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from stylize.errors import InputError, near_name, reason, shown
from stylize.images.reading import Pixels

THUMBNAIL = (64, 36)  # pixels by which scenes are told apart
LEAST_CUT, TIMES_USUAL = 14.0, 4.0  # grey levels from frame to frame at a cut, and how many times those before it
SAMPLES = 8  # frames on which the statistics of a scene are measured
LEAST_CONTRAST = 6.0  # grey levels; plainer frames, such as black ones, say nothing about their scene
HD_HEIGHT = 720  # pixels; films from this height on that do not say their colours have those of HD
BT709, BT601, UNSPECIFIED, RGB = 1, 5, 2, 0  # matrices of ITU-T H.273
WIDE = {9: "BT.2020", 10: "BT.2020"}
HDR = {16: "PQ", 18: "HLG"}  # transfer curves of H.273
LEAST_JUMP = 1  # second; a clock that goes back so far begins anew, as where recordings were put one behind the other


class Read(NamedTuple):
    """So many frames were read, of about so many, before the work."""

    done: int
    total: int


class Frame(NamedTuple):
    """A frame of a film: its number, when it is shown, in the film's time base, and what PyAV decoded."""

    number: int
    time: int
    decoded: av.VideoFrame


@dataclass
class Survey:
    """What is known of a film before it is painted.

    Attributes:
        size: width and height, upright.
        base: the unit of times, in seconds.
        rate: frames a second, in the mean.
        times: of all frames, in that unit.
        scenes: the number of the first frame of each.
        contrast: of all frames, grey levels.
        matrix, primaries, curve: its colours, as in ITU-T H.273.
        aspect: of a pixel, width to height, upright.
        shifts: what is added to times after the clock went back for the first time, the second, and so on, so that they
            go on; in that unit.
        notes: what people should know, one clause each.
    """

    size: tuple[int, int]
    base: Fraction
    rate: Fraction
    matrix: int
    primaries: int
    curve: int
    aspect: Fraction
    times: list[int] = field(default_factory=list)
    scenes: list[int] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    shifts: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def duration(self, number: int) -> int:
        """How long a frame is shown; of the last one, as long as the one before it."""
        if number + 1 < len(self.times):
            return self.times[number + 1] - self.times[number]
        return self.duration(number - 1) if number else round(1 / (self.rate * self.base))

    def samples(self, scene: int) -> list[int]:
        """The numbers of some frames of a scene, spread evenly."""
        ends = [*self.scenes[1:], len(self.times)]
        numbers = range(self.scenes[scene], ends[scene])
        telling = [number for number in numbers if self.contrast[number] >= LEAST_CONTRAST] or list(numbers)
        count = min(len(telling), SAMPLES)
        return [telling[index * (len(telling) - 1) // max(count - 1, 1)] for index in range(count)]


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """A film, open. Raises InputError for what PyAV cannot read, or holds no pictures."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise InputError(f"cannot read {shown(path)}: not a regular file", hint="a film is read more than once")
        container = av.open(f"file:{path}", metadata_errors="replace")  # else clip-12:30.mp4 were a protocol
    except FileNotFoundError as error:
        raise InputError(f"cannot read {shown(path)}: no such file", hint=near_name(path)) from error
    except IsADirectoryError as error:
        raise InputError(
            f"cannot read {shown(path)}: a folder", hint="stylize batch FOLDER --sequence paints frames"
        ) from error
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(f"cannot read {shown(path)}: {_why(error)}", hint="is it a film, and complete?") from error
    with container:
        if container.format.name == "image2" or container.format.name.endswith("_pipe"):
            raise InputError(f"{shown(path)} is no film, but a picture", hint="stylize transfer paints it")
        if not _films(container):
            raise InputError(f"{shown(path)} has no video stream", hint="a file of sound only?")
        stream = film_of(container)
        if stream.codec_context is None:
            raise InputError(f"cannot read {shown(path)}: its codec is not known here")
        stream.thread_type = "AUTO"
        yield container


def film_of(container: InputContainer) -> Any:
    """The stream that is painted: the first of pictures."""
    return _films(container)[0]


def _films(container: InputContainer) -> list[Any]:
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def packets_of(
    container: InputContainer, streams: Sequence[Any], on_damage: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """The packets of some streams, up to where the file is damaged, which is told; those at the end hold nothing."""
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:  # the file ends in the middle
            on_damage()
            packet = None
        if packet is None:
            return
        yield packet


def frames_of(
    container: InputContainer,
    on_damage: Callable[[], None] = lambda: None,
    on_shift: Callable[[int], None] = lambda shift: None,
) -> Iterator[Frame]:
    """All frames in their order; those that cannot be decoded are told of, and those out of order are left out.

    Where the clock goes back, times go on: ``on_shift`` is told what is added to them from there on.
    """
    stream = film_of(container)
    step = round(1 / (_rate(stream) * _base(stream)))
    number, last = 0, None
    packets = _going_on(packets_of(container, [stream], on_damage), step, round(LEAST_JUMP / _base(stream)), on_shift)
    for decoded in _decoded(stream, packets, on_damage):
        time = decoded.pts if decoded.pts is not None else (0 if last is None else last + step)
        if last is not None and time <= last:
            on_damage()
            continue
        yield Frame(number, time, decoded)
        number, last = number + 1, time


def _going_on(packets: Iterable[Any], step: int, least_jump: int, on_shift: Callable[[int], None]) -> Iterator[Any]:
    """The packets of a stream on one clock, which never goes back far."""
    shift, last = 0, None
    for packet in packets:
        if packet.dts is not None:
            if last is not None and packet.dts + shift < last - least_jump:
                shift = last + step - packet.dts
                on_shift(shift)
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = last = packet.dts + shift
        yield packet


def _decoded(stream: Any, packets: Iterable[Any], on_damage: Callable[[], None]) -> Iterator[av.VideoFrame]:
    for packet in chain(packets, [None]):  # None: what the decoder holds back
        try:
            yield from stream.decode(packet)
        except FFmpegError as error:
            if not isinstance(error, av.error.EOFError):
                on_damage()


def survey(path: Path) -> Generator[Read, None, Survey]:
    """Read a film through.

    Yields:
        with each frame, how many were read, and how many there seem to be.

    Raises:
        InputError: it cannot be read, or no frame of it can.
    """
    damages: list[None] = []
    shifts: list[int] = []
    found: Survey | None = None
    recent: deque[float] = deque(maxlen=6)
    before: np.ndarray | None = None
    with opened(path) as container:
        stream = film_of(container)
        total = stream.frames or _guessed_frames(container, stream)
        for frame in frames_of(container, lambda: damages.append(None), shifts.append):
            found = found or _begun(stream, frame.decoded)
            size = (frame.decoded.width, frame.decoded.height)
            if size != (found.size if not _turned(frame.decoded) else found.size[::-1]):
                raise InputError(f"{shown(path)}: its pictures change their size", hint="convert it to one size first")
            small = frame.decoded.reformat(*THUMBNAIL, format="gray").to_ndarray().astype(np.int16)
            change = 0.0 if before is None else float(np.abs(small - before).mean())
            usual = float(np.mean(recent)) if recent else 0.0
            if before is None or (change > LEAST_CUT and change > TIMES_USUAL * usual):
                found.scenes.append(frame.number)
                recent.clear()
            elif change:
                recent.append(change)
            found.times.append(frame.time)
            found.contrast.append(float(small.std()))
            before = small
            yield Read(frame.number + 1, max(total, frame.number + 1))
        if found is None:
            raise InputError(f"cannot read {shown(path)}: no frame of it can be decoded", hint="is the file complete?")
        found.shifts = shifts
        if shifts:
            places = "1 place" if len(shifts) == 1 else f"{len(shifts)} places"
            found.notes.append(f"its clock goes back in {places}: what comes then is put behind the rest")
        if damages:
            places = "1 damaged place" if len(damages) == 1 else f"{len(damages)} damaged places"
            found.notes.append(f"{places}: frames are missing there")
        if len(_films(container)) > 1:
            found.notes.append("has several video streams, of which the first is painted")
    return found


def pictures_at(path: Path, numbers: Sequence[int], found: Survey) -> list[Pixels]:
    """The frames with those numbers, ascending."""
    wanted = {found.times[number] for number in numbers}
    if not found.shifts:  # else these times are not those of the file
        with opened(path) as container:
            try:
                container.seek(min(wanted), stream=film_of(container))
                pictures = _with_times(container, wanted, found)
            except FFmpegError:
                pictures = []
        if len(pictures) == len(wanted):
            return pictures
    with opened(path) as container:  # a film in which one cannot jump
        return _with_times(container, wanted, found)


def _with_times(container: InputContainer, wanted: set[int], found: Survey) -> list[Pixels]:
    pictures = []
    for frame in frames_of(container):
        if frame.time in wanted:
            pictures.append(pixels_of(frame.decoded, found.matrix))
        if frame.time >= max(wanted):
            break
    return pictures


def pixels_of(frame: av.VideoFrame, matrix: int) -> Pixels:
    """A frame, upright: (H, W, 3) uint8."""
    rgb = frame.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
    if _is_mirrored(frame):
        rgb = rgb[::-1]  # the turn, which tells where rows go, does the rest
    return np.ascontiguousarray(np.rot90(rgb, round(frame.rotation / 90)))


def _begun(stream: Any, frame: av.VideoFrame) -> Survey:
    """What the first frame tells."""
    matrix, notes = int(frame.colorspace), []
    if frame.format.is_rgb:
        matrix = BT709
    elif matrix in (UNSPECIFIED, RGB):
        matrix = BT709 if frame.height >= HD_HEIGHT else BT601
    depth = max(component.bits for component in frame.format.components)
    curve = int(frame.color_trc)
    if curve in HDR:
        notes.append(f"is HDR ({HDR[curve]}): its values are painted as they are, and come out in 8 bits")
    elif depth > 8:
        notes.append(f"has {depth} bits a channel, of which 8 are painted")
    if matrix in WIDE and curve not in HDR:
        notes.append(f"has the colours of {WIDE[matrix]}, which are painted as if they were sRGB's")
    if frame.interlaced_frame:
        notes.append("is interlaced: its lines are painted as they are")
    if any(component.is_alpha for component in frame.format.components):
        notes.append("its transparency is lost")
    if abs(frame.rotation) % 90:
        notes.append(f"its turn by {frame.rotation} degrees is left out")
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    size = (frame.width, frame.height)
    if _turned(frame):
        size, aspect = size[::-1], 1 / aspect
    return Survey(size, _base(stream), _rate(stream), matrix, int(frame.color_primaries), curve, aspect, notes=notes)


def _is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether what shows a frame upright mirrors it, too: its matrix ((a, b, u), (c, d, v), ...) has ad < bc."""
    side: Any = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return False
    a, b, _, c, d = (int(value) for value in np.frombuffer(side, np.int32)[:5])
    return a * d < b * c


def _turned(frame: av.VideoFrame) -> bool:
    return round(frame.rotation / 90) % 2 == 1


def _rate(stream: Any) -> Fraction:
    return Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)


def _base(stream: Any) -> Fraction:
    return Fraction(stream.time_base or Fraction(1, 90_000))


def _guessed_frames(container: InputContainer, stream: Any) -> int:
    seconds = float(container.duration or 0) / 1_000_000
    return round(seconds * _rate(stream))


def _why(error: Exception) -> str:
    if isinstance(error, FFmpegError) and not isinstance(error, OSError):
        return "no film that can be read, or damaged"
    return reason(error)
