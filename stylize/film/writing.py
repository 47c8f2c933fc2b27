"""Frames out: segments of a film, encoded, and the film that they and the sound of the source make.

A segment is a file of packets: whole, or not there. No frame of it depends on another segment, and in none are frames
reordered, so that segments only have to be put one behind the other. Sound, subtitles, chapters and titles are copied
from the source, bit for bit.
"""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from stylize.errors import OutputError, RefusedError, UsageError, one_line, shown
from stylize.film.reading import LIMITED, Survey, opened
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
        UsageError: container and codec, or the source's sound, do not go together.
    """
    container = container_of(path)
    codec = ("vp9" if container == "webm" else "h264") if options.codec == "auto" else options.codec
    target, notes = Target(container, codec, options.quality), []
    if ENCODERS[codec][0] not in av.codecs_available:
        raise UsageError(f"`codec` {codec}: this PyAV has no {ENCODERS[codec][0]}", hint="`codec` h264")
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
                notes.append(f"stream {stream.index} ({stream.type}) is left out: {path.suffix} cannot hold it")
    return Target(container, codec, options.quality, tuple(copied)), notes


def encode(pictures: Iterable[tuple[int, Pixels]], target: Target, found: Survey) -> Packets:
    """Encode the frames of a segment: their numbers and pixels (H, W, 3) uint8.

    Raises:
        OutputError: the encoder refuses.
    """
    name, _, _ = ENCODERS[target.codec]
    try:
        encoder: Any = av.CodecContext.create(name, "w")
        _set(encoder, target, found)
        packets: list[Any] = []
        durations = {}
        for number, pixels in pictures:
            rgb: Any = pixels
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format=encoder.pix_fmt, dst_colorspace=found.matrix, dst_color_range=LIMITED
            )
            frame.pts, frame.time_base = found.times[number], found.base
            durations[frame.pts] = found.duration(number)
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
    except (FFmpegError, ValueError) as error:
        raise OutputError(
            f"cannot encode {found.size[0]}x{found.size[1]} pixels as {target.codec}: {one_line(error)}"
        ) from error
    blocks = [bytes(packet) for packet in packets]
    return Packets(
        np.frombuffer(b"".join(blocks), np.uint8),
        np.array([len(block) for block in blocks], np.int64),
        np.array([packet.pts for packet in packets], np.int64),
        np.array([durations.get(packet.pts, 0) for packet in packets], np.int64),
        np.array([packet.is_keyframe for packet in packets], np.bool_),
    )


def to_bytes(packets: Packets) -> bytes:
    """A segment as the bytes of its file."""
    stream = io.BytesIO()
    np.savez(stream, **packets._asdict())
    return stream.getvalue()


def read_packets(path: Path) -> Packets:
    """A segment from its file. Raises RefusedError for a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Packets(*(arrays[name] for name in Packets._fields))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RefusedError(f"{shown(path)} is damaged", hint="remove its folder, and begin anew") from error


def join(stream: BinaryIO, segments: Sequence[Path], source: Path, target: Target, found: Survey) -> None:
    """Write the film: the segments one behind the other, and what is copied from the source."""
    with opened(source) as film, av.open(stream, "w", format=target.container) as output:
        output.metadata.update({k: v for k, v in film.metadata.items() if k.lower() != "encoder"})
        video = _video_stream(output, target, found)
        copies = {index: output.add_stream_from_template(film.streams[index]) for index in target.copied}
        for index, copy in copies.items():
            copy.metadata.update(film.streams[index].metadata)
            copy.disposition = film.streams[index].disposition
        if chapters := film.chapters():
            output.set_chapters(chapters)
        output.start_encoding()
        painted = _painted(segments, video, found.base)
        copied = _copied(film, {i: c for i, c in copies.items() if c.type != "attachment"})
        for _, packet in heapq.merge(painted, copied, key=lambda timed: timed[0]):
            output.mux(packet)


def _painted(segments: Sequence[Path], stream: Any, base: Fraction) -> Iterator[tuple[float, Any]]:
    for path in segments:
        packets = read_packets(path)
        ends = np.cumsum(packets.sizes)
        for index, end in enumerate(ends):
            packet = av.Packet(packets.data[end - packets.sizes[index] : end].tobytes())
            packet.pts = packet.dts = int(packets.times[index])
            packet.duration, packet.time_base = int(packets.durations[index]), base
            packet.is_keyframe, packet.stream = bool(packets.keys[index]), stream
            yield float(packet.pts * base), packet


def _copied(film: InputContainer, copies: dict[int, Any]) -> Iterator[tuple[float, Any]]:
    last = float("-inf")
    for packet in film.demux([film.streams[index] for index in copies]) if copies else ():
        if packet.dts is None or packet.time_base is None:  # the end
            continue
        last = max(last, float(packet.dts * packet.time_base))  # what is merged has to ascend
        packet.stream = copies[packet.stream_index]
        yield last, packet


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
