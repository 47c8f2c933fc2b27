"""Frames out: segments of a film, encoded, and the film that they and the sound of the source make.

A segment is a file of packets: whole, or not there. No frame of it depends on another segment, and in none are frames
reordered, so that segments only have to be put one behind the other. Sound, subtitles, chapters and titles are copied
from the source, bit for bit.
"""

from __future__ import annotations

import heapq
import io
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import BadZipFile

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from stylize.errors import OutputError, RefusedError, UsageError, one_line, shown
from stylize.film.reading import LEAST_JUMP, Survey, opened, packets_of
from stylize.images.reading import Pixels
from stylize.options import FilmOptions

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
# By --codec: FFmpeg's encoder, its options, and the worst of its scale of quality, whose best is 0.
ENCODERS: dict[str, tuple[str, dict[str, str], int]] = {
    "h264": ("libx264", {"preset": "medium", "bf": "0"}, 51),
    "hevc": ("libx265", {"preset": "medium", "x265-params": "bframes=0:log-level=error"}, 51),
    "av1": ("libsvtav1", {"preset": "8", "svtav1-params": "pred-struct=1"}, 63),
    "vp9": ("libvpx-vp9", {"b": "0", "row-mt": "1", "lag-in-frames": "0", "auto-alt-ref": "0"}, 63),
}
GLOBAL_HEADER = 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER
LIMITED = 1  # AVCOL_RANGE_MPEG: 16 to 235
COPIED = ("audio", "subtitle", "attachment")


@dataclass(frozen=True)
class Target:
    """What is written: into which container, by which encoder, and which streams of the source go along."""

    container: str
    codec: str
    quality: int
    copied: tuple[int, ...] = ()


class Packets(NamedTuple):
    """An encoded segment: its packets one behind the other, and of each its length, time, duration, and whether
    decoding can begin there."""

    data: np.ndarray
    sizes: np.ndarray
    times: np.ndarray
    durations: np.ndarray
    keys: np.ndarray


def container_of(path: Path) -> str:
    """The container that a file's suffix means. Raises UsageError."""
    found = CONTAINERS.get(path.suffix.lower())
    if found is None:
        raise UsageError(
            f"cannot write {shown(path)}: {shown(path.suffix) or 'no suffix'} is no film that is written here",
            hint=", ".join(CONTAINERS),
        )
    return found


def target_of(path: Path, source: Path, options: FilmOptions, found: Survey) -> tuple[Target, list[str]]:
    """What is to be written to ``path``, and what people should know of it: streams that are left out.

    Raises:
        UsageError: container and codec, or the source's sound, do not go together; or the codec has no such pictures.
    """
    container = container_of(path)
    codec = ("vp9" if container == "webm" else "h264") if options.codec == "auto" else options.codec
    target, notes = Target(container, codec, options.quality), []
    if ENCODERS[codec][0] not in av.codecs_available:
        raise UsageError(f"`codec` {codec}: this PyAV has no {ENCODERS[codec][0]}", hint="`codec` h264")
    if not _encodes(target, found):
        raise UsageError(
            f"`codec` {codec}: cannot encode {found.size[0]}x{found.size[1]} pixels",
            hint=f"`codec` {'vp9' if container == 'webm' else 'h264'}",
        )
    if not _goes(target, found, None):
        raise UsageError(f"`codec` {codec}: {path.suffix} cannot hold it", hint="`output` with the suffix .mkv")
    copied = []
    with opened(source) as film:
        for stream in film.streams:
            if stream.type in COPIED and _goes(target, found, stream):
                copied.append(stream.index)
            elif stream.type == "audio":
                raise UsageError(
                    f"{path.suffix} cannot hold the sound of {shown(source)}, which is {stream.name}",
                    hint=f"`output` {shown(path.with_suffix('.mkv').name)}, which holds any",
                )
            elif stream.type != "video":
                why = f": {path.suffix} cannot hold it" if stream.type in COPIED else ""
                notes.append(f"stream {stream.index} ({stream.type}) is left out{why}")
    return Target(container, codec, options.quality, tuple(copied)), notes


def encoder_of(target: Target, found: Survey) -> Any:
    """What encodes the frames of a segment."""
    encoder: Any = av.CodecContext.create(ENCODERS[target.codec][0], "w")
    _set(encoder, target, found)
    return encoder


def encode(encoder: Any, number: int, pixels: Pixels | None, found: Survey) -> list[Any]:
    """Encode a frame by its number and pixels, (H, W, 3) uint8; None: those that the encoder holds back.

    Returns:
        the packets that are ready.

    Raises:
        OutputError: the encoder refuses.
    """
    try:
        if pixels is None:
            return encoder.encode(None)
        rgb: Any = pixels
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format=encoder.pix_fmt, dst_colorspace=found.matrix, dst_color_range=LIMITED
        )
        frame.pts, frame.time_base = found.times[number], found.base
        return encoder.encode(frame)
    except (FFmpegError, ValueError) as error:
        raise OutputError(
            f"cannot encode {found.size[0]}x{found.size[1]} pixels by {encoder.name}: {one_line(error)}"
        ) from error


def packed(packets: Sequence[Any], found: Survey) -> Packets:
    """The packets of a segment, as they are kept."""
    blocks = [bytes(packet) for packet in packets]
    times: list[int] = [packet.pts or 0 for packet in packets]
    return Packets(
        np.frombuffer(b"".join(blocks), np.uint8),
        np.array([len(block) for block in blocks], np.int64),
        np.array(times, np.int64),
        np.array([found.duration(bisect_left(found.times, time)) for time in times], np.int64),
        np.array([packet.is_keyframe for packet in packets], np.bool_),
    )


def to_bytes(packets: Packets) -> bytes:
    """A segment as the bytes of its file."""
    stream = io.BytesIO()
    np.savez(stream, **packets._asdict())
    return stream.getvalue()


def read_packets(path: Path) -> Packets:
    """A segment from its file. Raises RefusedError for a damaged one."""
    arrays = loaded(path, *Packets._fields)
    return Packets(*(arrays[name] for name in Packets._fields))


def loaded(path: Path, *names: str) -> dict[str, np.ndarray]:
    """What a file of the work folder holds; ``names``: at least. Raises RefusedError for a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in {*arrays, *names}}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise RefusedError(
            f"what an earlier run left in {shown(path.parent)} is damaged: {shown(path.name)}",
            hint=f"remove {shown(path.parent)}, and begin anew",
        ) from error


def join(stream: BinaryIO, segments: Sequence[Path], source: Path, target: Target, found: Survey) -> int:
    """Write the film: the segments one behind the other, and what is copied from the source.

    A clock that begins late, as those of recorders do, begins at 0.

    Returns:
        how many packets of the source were left out, as they are damaged.

    Raises:
        OutputError: FFmpeg refuses.
        RefusedError: a segment is damaged.
        OSError: it cannot be written.
    """
    left_out: list[None] = []
    try:
        with opened(source) as film, av.open(stream, "w", format=target.container) as output:
            begin = Fraction(max(film.start_time or 0, 0), 1_000_000)
            output.metadata.update({k: v for k, v in film.metadata.items() if k.lower() != "encoder"})
            video = _video_stream(output, target, found)
            copies = {index: output.add_stream_from_template(film.streams[index]) for index in target.copied}
            for index, copy in copies.items():
                copy.metadata.update(film.streams[index].metadata)
                copy.disposition = film.streams[index].disposition
            if chapters := film.chapters():
                output.set_chapters([_earlier(chapter, begin) for chapter in chapters])
            output.start_encoding()
            painted = _painted(segments, video, found.base, begin)
            timed = {index: copy for index, copy in copies.items() if copy.type != "attachment"}
            strict = target.container in ("mp4", "mov")  # about times that are equal
            copied = _copied(film, timed, found, begin, strict, lambda: left_out.append(None))
            for _, packet in heapq.merge(painted, copied, key=lambda timed: timed[0]):
                output.mux(packet)
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        hint = "" if target.container == "matroska" else "`output` with the suffix .mkv"
        raise OutputError(
            f"cannot put {shown(source)} into {target.container}: {one_line(error)}", hint=hint
        ) from error
    return len(left_out)


def _earlier(chapter: Any, begin: Fraction) -> Any:
    """A chapter on a clock that begins so many seconds later."""
    ticks = round(begin / chapter["time_base"])
    return {**chapter, "start": max(chapter["start"] - ticks, 0), "end": chapter["end"] - ticks}


def _painted(segments: Sequence[Path], stream: Any, base: Fraction, begin: Fraction) -> Iterator[tuple[float, Any]]:
    for path in segments:
        packets = read_packets(path)
        ends = np.cumsum(packets.sizes)
        for index, end in enumerate(ends):
            packet = av.Packet(packets.data[end - packets.sizes[index] : end].tobytes())
            packet.pts = packet.dts = int(packets.times[index]) - round(begin / base)
            packet.duration, packet.time_base = int(packets.durations[index]), base
            packet.is_keyframe, packet.stream = bool(packets.keys[index]), stream
            yield float(packet.pts * base), packet


def _copied(
    film: InputContainer,
    copies: dict[int, Any],
    found: Survey,
    begin: Fraction,
    strict: bool,
    on_left_out: Callable[[], None],
) -> Iterator[tuple[float, Any]]:
    """The packets of the source's other streams. Their clock goes back where that of the pictures does."""
    latest = float("-inf")
    read: dict[int, int] = {}  # by stream, the last dts as it was read,
    written: dict[int, int] = {}  # and as it was written
    jumps: Counter[int] = Counter()
    shifts = [0, *found.shifts]
    for packet in packets_of(film, [film.streams[index] for index in copies], on_left_out) if copies else ():
        if packet.dts is None or packet.time_base is None:  # the end
            continue
        index, base = packet.stream_index, packet.time_base
        if packet.dts < read.get(index, packet.dts) - LEAST_JUMP / base and jumps[index] < len(found.shifts):
            jumps[index] += 1
        read[index] = packet.dts
        move = round((shifts[jumps[index]] * found.base - begin) / base)
        packet.pts, packet.dts = None if packet.pts is None else packet.pts + move, packet.dts + move
        least = written.get(index, packet.dts - 1) + (strict and copies[index].type == "audio")
        if packet.dts < least:
            on_left_out()
            continue
        written[index] = packet.dts
        latest = max(latest, float(packet.dts * base))  # what is merged has to ascend
        packet.stream = copies[index]
        yield latest, packet


def _encodes(target: Target, found: Survey) -> bool:
    """Whether the encoder takes the video."""
    try:
        encoder_of(target, found).open()
    except (FFmpegError, ValueError):
        return False
    return True


def _goes(target: Target, found: Survey, stream: Any | None) -> bool:
    """Whether the container takes the video, and with it a stream of the source."""
    try:
        with av.open(io.BytesIO(), "w", format=target.container) as output:
            _video_stream(output, target, found)
            if stream is not None:
                output.add_stream_from_template(stream)
            output.start_encoding()
    except (FFmpegError, ValueError, OSError):
        return False
    return True


def _video_stream(output: OutputContainer, target: Target, found: Survey) -> Any:
    stream: Any = output.add_stream(ENCODERS[target.codec][0], rate=found.rate)
    _set(stream.codec_context, target, found)
    stream.time_base = found.base
    if target.codec == "hevc" and target.container in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # else players of Apple refuse it
    return stream


def _set(encoder: Any, target: Target, found: Survey) -> None:
    """The settings of an encoder, which are the same for all segments."""
    _, options, worst = ENCODERS[target.codec]
    encoder.width, encoder.height = found.size
    encoder.pix_fmt = "yuv420p" if not any(side % 2 for side in found.size) else "yuv444p"
    encoder.time_base, encoder.framerate = found.base, found.rate
    encoder.sample_aspect_ratio = found.aspect
    encoder.colorspace, encoder.color_range = found.matrix, LIMITED
    encoder.color_primaries, encoder.color_trc = found.primaries, found.curve
    encoder.options = options | {"crf": str(round(worst * (100 - target.quality) / 100))}
    encoder.flags |= GLOBAL_HEADER
