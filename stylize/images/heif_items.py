"""The EXIF item of AVIF files as it stands there (ISO 14496-12, section 8.11): Pillow gives a rewritten one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

MOST_BYTES = 1 << 24  # of what is looked through
_MOST_META, _MOST_EXTENTS = 1 << 20, 16
Box = tuple[bytes, int, int]  # kind, start and end of its content


def exif_item(stream: BinaryIO) -> bytes | None:
    """The EXIF block of a file, from its TIFF header on; None if there is none, or not where it should be."""
    try:
        size = stream.seek(0, 2)
        meta = next((box for box in _boxes(_at(stream, 0, min(size, MOST_BYTES))) if box[0] == b"meta"), None)
        if meta is None or meta[2] - meta[1] > _MOST_META:
            return None
        content = _at(stream, meta[1] + 4, meta[2] - meta[1] - 4)
        parts = {kind: content[start:end] for kind, start, end in _boxes(content)}
        item = next((number for number, kind in _items(parts[b"iinf"]) if kind == b"Exif"), None)
        extents = [] if item is None else _extents(parts[b"iloc"], item)
        if sum(length for _, length in extents) > MOST_BYTES:
            return None
        data = b"".join(_at(stream, at, length) for at, length in extents)
        (skipped,) = struct.unpack_from(">I", data)
        return data[4 + skipped :]
    except (KeyError, IndexError, OverflowError, OSError, struct.error):  # cut off, or no offset at all
        return None


def _at(stream: BinaryIO, at: int, size: int) -> bytes:
    stream.seek(at)
    return stream.read(size)


def _boxes(data: bytes) -> Iterator[Box]:
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        end = at + size if size else len(data)
        if end < at + head:
            return
        yield kind, at + head, min(end, len(data))
        at = end


def _items(iinf: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and types of the items."""
    entries = iinf[6:] if iinf[:1] == b"\0" else iinf[8:]
    for _, start, end in _boxes(entries):
        entry = entries[start:end]
        if entry[:1] == b"\2":
            yield struct.unpack_from(">H", entry, 4)[0], entry[8:12]
        elif entry[:1] == b"\3":
            yield struct.unpack_from(">I", entry, 4)[0], entry[10:14]


def _extents(iloc: bytes, wanted: int) -> list[tuple[int, int]]:
    """Offset and length in the file of an item's parts."""
    version, sizes, more = iloc[0], iloc[4], iloc[5]
    widths = (sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0)  # offset, length, base, index
    at = 6

    def number(width: int) -> int:
        nonlocal at
        if at + width > len(iloc):
            raise struct.error("ends too early")
        at += width
        return int.from_bytes(iloc[at - width : at], "big")

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)  # which file it is in
        base = number(widths[2])
        parts = []
        if (count := number(2)) > _MOST_EXTENTS:
            return []
        for _ in range(count):
            number(widths[3])
            offset = number(widths[0])
            parts.append((base + offset, number(widths[1])))
        if item == wanted:
            return parts if method == 0 else []
    return []
