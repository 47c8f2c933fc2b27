"""EXIF blocks: what stays true stays byte for byte, what no longer is true is patched where it stands.

An EXIF block is a TIFF file without pixels (TIFF 6.0, section 2; CIPA DC-008, 4.6): a header, and directories of
entries of 12 bytes (number, type, count, and a value of up to 4 bytes or its offset). Maker notes hold offsets that
only their maker knows, so values never move: a tag is taken out by writing its directory anew, in its own place, one
entry shorter, and by wiping its value. Only what must be made shorter, or comes from a TIFF file, is packed anew.

Blocks come from strangers: each offset and count is checked, and a tag that does not hold is left out by its name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from PIL import ExifTags

MAIN, EXIF, GPS, INTEROP = "IFD0", "Exif", "GPS", "Interop"
POINTERS = {0x8769: EXIF, 0x8825: GPS, 0xA005: INTEROP}  # tags whose value is the offset of a directory
SUB_IFDS, IFD_TYPE, MAKER_NOTE = 330, 13, 0x927C
SHORT, LONG, RATIONAL = 3, 4, 5
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}  # bytes, by type
BIG_SIZES = SIZES | {16: 8, 17: 8, 18: 8}  # BigTIFF's; the last is an offset
PREFIX = b"Exif\0\0"
_NATIVE = {2: "H", 3: "H", 8: "h", 4: "I", 9: "i", 13: "I", 11: "f", 5: "I", 10: "i", 12: "d", 16: "Q", 17: "q"}
MOST_BYTES = 1 << 26  # of all values that are taken out of a TIFF file
MOST_PINNED = 60_000  # the farthest offset at which a TIFF's maker note is kept
_MOST_DIRECTORIES = 16
_THUMBNAIL = ((0x0201, 0x0202), (273, 279))  # offset and length: of a JPEG, of rows of pixels

Read = Callable[[int, int], bytes]  # (offset, length) -> so many bytes, or fewer at the end


class ExifError(ValueError):
    """A block that holds no directory."""


@dataclass
class Tag:
    """An entry of a directory.

    Attributes:
        number, type, count: as in TIFF.
        value: its bytes, in the block's byte order.
        at: their offset in the block; None for up to 4 bytes, which stand in the entry.
    """

    number: int
    type: int
    count: int
    value: bytes
    at: int | None = None


@dataclass
class Directory:
    """A directory: its offset, how many bytes it has there, and its entries."""

    at: int
    size: int
    tags: list[Tag] = field(default_factory=list)


class Exif:
    """An EXIF block, taken apart.

    Attributes:
        order: ``<`` or ``>``.
        directories: those that exist, by name.
        left_out: names of tags that did not hold, or were taken out for want of room.
    """

    def __init__(self, order: str, data: bytes | None) -> None:
        self.order = order
        self.directories: dict[str, Directory] = {}
        self.left_out: list[str] = []
        self._data = data  # what is patched; None: packed anew
        self._has_thumbnail = False
        self._wiped: list[tuple[int, int]] = []  # offset and length of what is gone, unless something else shares it
        self._secret: list[tuple[int, int]] = []  # of what is gone whoever shares it

    def tag(self, directory: str, number: int) -> Tag | None:
        """The tag of that number, or None."""
        tags = self.directories[directory].tags if directory in self.directories else []
        return next((tag for tag in tags if tag.number == number), None)

    def number(self, directory: str, number: int) -> int | None:
        """The value of a tag that is one whole number; None otherwise."""
        tag = self.tag(directory, number)
        if tag is None or tag.count != 1 or tag.type not in (SHORT, LONG):
            return None
        return int(struct.unpack(self.order + _NATIVE[tag.type], tag.value)[0])

    def set_number(self, directory: str, number: int, value: int) -> None:
        """Correct a tag, if there is one, to one whole number; its type grows with it."""
        if (tag := self.tag(directory, number)) is None or self.number(directory, number) == value:
            return
        if tag.at is not None:
            self._wiped.append((tag.at, len(tag.value)))
        tag.type = SHORT if tag.type == SHORT and value < 65_536 else LONG
        tag.count, tag.value, tag.at = 1, struct.pack(self.order + _NATIVE[tag.type], value), None

    def swap(self, directory: str, first: int, second: int) -> None:
        """Let two tags of the same type and count exchange their values."""
        a, b = self.tag(directory, first), self.tag(directory, second)
        if a is not None and b is not None and (a.type, a.count) == (b.type, b.count):
            a.value, b.value = b.value, a.value

    def remove(self, numbers: Iterable[int], directory: str = MAIN, *, secret: bool = False) -> list[Tag]:
        """Take tags out, with the directories that they point to.

        Args:
            secret: wipe their values even where another tag claims the same bytes.

        Returns:
            those that were there.
        """
        if directory not in self.directories:
            return []
        numbers = frozenset(numbers)
        tags = self.directories[directory].tags
        gone = [tag for tag in tags if tag.number in numbers]
        self.directories[directory].tags = [tag for tag in tags if tag.number not in numbers]
        wiped = self._secret if secret else self._wiped
        for tag in gone:
            if tag.at is not None:
                wiped.append((tag.at, len(tag.value)))
            if (name := POINTERS.get(tag.number)) in self.directories and name is not None:
                self.remove([tag.number for tag in self.directories[name].tags], name, secret=secret)
                below = self.directories.pop(name)
                wiped.append((below.at, below.size))
        return gone

    def to_bytes(self) -> bytes | None:
        """The block, without ``PREFIX``; None if nothing is left in it."""
        self._drop_empty()
        if MAIN not in self.directories:
            return None
        if self._data is None:
            return self.packed()
        data = bytearray(self._data)
        for at, size in self._wiped:
            _put(data, at, bytes(max(0, min(size, len(data) - at))))
        for tag in self._tags():
            if tag.at is not None:
                data[tag.at : tag.at + len(tag.value)] = tag.value
        for at, size in self._secret:
            _put(data, at, bytes(max(0, min(size, len(data) - at))))
        end = 8
        for name, directory in self.directories.items():
            table = self._table(directory, {name: below.at for name, below in self.directories.items()})
            end = max(end, min(directory.at + len(table), len(data)))
            if len(table) == directory.size and not (name == MAIN and self._has_thumbnail):
                table = table[:-4]  # some writers leave the offset of a next directory out
            else:
                table += bytes(max(0, directory.size - len(table)))
            _put(data, directory.at, table)
            end = max(end, *(t.at + len(t.value) for t in directory.tags if t.at), 8)
        data[:8] = self._header(self.directories[MAIN].at)
        return bytes(data[: max(end, len(data.rstrip(b"\0")))])

    def packed(self, *, pinned: bool = True) -> bytes:
        """The block without gaps: values move, but for a maker note, which stays at its offset if that is not far.

        Args:
            pinned: False: the maker note moves, too.
        """
        self._forget_pointers()
        self._drop_empty()
        note = self.tag(EXIF, MAKER_NOTE) if pinned else None
        tables = {name: 6 + 12 * len(d.tags) for name, d in self.directories.items()}
        if note is None or note.at is None or not 8 <= note.at <= MOST_PINNED:
            hole = (0, 0)
        else:
            hole = (note.at, note.at + len(note.value))
        end, places = 8, {}
        for name, size in tables.items():
            places[name] = end = _beside(end, size, hole)
            end += size
        data = bytearray(8)
        for name, directory in self.directories.items():
            moved = Directory(places[name], tables[name])
            for tag in directory.tags:
                at = None
                if tag is note and hole[1]:
                    at = hole[0]
                elif len(tag.value) > 4:
                    at = _beside(end, len(tag.value), hole)
                    end = at + len(tag.value)
                moved.tags.append(Tag(tag.number, tag.type, tag.count, tag.value, at))
                if at is not None:
                    _put(data, at, tag.value)
            _put(data, moved.at, self._table(moved, places))
        data[:8] = self._header(places[MAIN])
        return bytes(data)

    def shortened(self, most: int) -> bytes | None:
        """The block in at most so many bytes: packed, if need be without its longest values, which it names."""
        data = self.to_bytes()
        while data is not None and len(data) > most:
            data = min((self.packed(pinned=pinned) for pinned in (True, False)), key=lambda b: max(len(b), most))
            if len(data) > most:
                name, longest = max(self._named_tags(), key=lambda pair: len(pair[1].value))
                self.remove([longest.number], name)
                self.left_out.append(name_of(name, longest.number))
                self._drop_empty()
                data = self.packed() if MAIN in self.directories else None
        return data

    def _forget_pointers(self) -> None:
        """Leave out pointers to directories that are not known here: they would lead nowhere once things move."""
        for name, directory in list(self.directories.items()):
            lost = {t.number for t in directory.tags if t.number == SUB_IFDS or t.type == IFD_TYPE} - set(POINTERS)
            self.remove(lost, name)
            self.left_out += [name_of(name, number) for number in sorted(lost)]

    def _drop_empty(self) -> None:
        """A directory has at least one entry (TIFF 6.0, section 2)."""
        while empty := [name for name, directory in self.directories.items() if not directory.tags]:
            for name in empty:
                gone = self.directories.pop(name)
                self._wiped.append((gone.at, gone.size))
                for directory in self.directories.values():
                    directory.tags = [tag for tag in directory.tags if POINTERS.get(tag.number) != name]

    def _tags(self) -> Iterator[Tag]:
        for directory in self.directories.values():
            yield from directory.tags

    def _named_tags(self) -> Iterator[tuple[str, Tag]]:
        for name, directory in self.directories.items():
            yield from ((name, tag) for tag in directory.tags)

    def _header(self, first: int) -> bytes:
        return (b"II" if self.order == "<" else b"MM") + struct.pack(self.order + "HI", 42, first)

    def _table(self, directory: Directory, places: dict[str, int]) -> bytes:
        return table(self.order, directory.tags, places)


def table(order: str, tags: list[Tag], places: dict[str, int]) -> bytes:
    """A directory as it stands in a file, the last of its chain; ``places``: offsets of the directories below it."""
    parts = [struct.pack(order + "H", len(tags))]
    for tag in tags:
        value = tag.value if tag.at is None else struct.pack(order + "I", tag.at)
        type = tag.type
        if (name := POINTERS.get(tag.number)) in places and name is not None:
            type, value = LONG, struct.pack(order + "I", places[name])
        parts.append(struct.pack(order + "HHI", tag.number, type, tag.count) + value.ljust(4, b"\0"))
    return b"".join(parts) + bytes(4)


def parse_block(block: bytes) -> Exif:
    """Take an EXIF block apart, with or without ``PREFIX``. Its thumbnail is gone: it shows the photo as it was.

    Raises:
        ExifError: there is nothing to be read in it.
    """
    block = block.removeprefix(PREFIX)

    def read(at: int, size: int) -> bytes:
        return block[at : at + size]

    exif = Exif(_order(block[:4]), block)
    walk = _Walk(exif, read, len(block), big=False)
    (first,) = _unpack(exif.order + "I", block[4:8])
    walk.wipe_chain(walk.enter(MAIN, first))
    return exif


def parse_tiff(read: Read, size: int, *, frame: int = 0, skip: frozenset[int] = frozenset()) -> Exif:
    """The EXIF that a TIFF or BigTIFF file keeps in a page's directory.

    Args:
        read: gives bytes of the file.
        size: of the file.
        frame: number of the page.
        skip: tags that are not taken.

    Raises:
        ExifError: there is nothing to be read in it.
    """
    head = read(0, 16)
    exif = Exif(_order(head[:4]), None)
    big = _unpack(exif.order + "H", head[2:4]) == (43,)
    walk = _Walk(exif, read, size, big=big, skip=skip)
    (at,) = _unpack(exif.order + ("Q" if big else "I"), head[8:16] if big else head[4:8])
    for _ in range(frame):
        at = walk.next_after(at)
    walk.enter(MAIN, at)
    return exif


class _Walk:
    """The way through the directories of a block or file, checking each step."""

    def __init__(self, exif: Exif, read: Read, size: int, *, big: bool, skip: frozenset[int] = frozenset()) -> None:
        self.exif, self.read, self.size, self.big, self.skip = exif, read, size, big, skip
        self.count, self.entry, self.offset = ("Q", 20, "Q") if big else ("H", 12, "I")
        self.left = min(size, MOST_BYTES)  # bytes of values: more than the block has means that they overlap
        self.seen: set[int] = set()

    def enter(self, name: str, at: int) -> int:
        """Take a directory's tags, and the directories below it; the offset of the next one."""
        number = self._length(at)
        head = 8 if self.big else 2
        entries = self.read(at + head, number * self.entry)
        directory = Directory(at, head + len(entries) // self.entry * self.entry + 4)
        self.seen.add(at)
        self.exif.directories[name] = directory
        known = set()
        for k in range(len(entries) // self.entry):
            entry = entries[k * self.entry : (k + 1) * self.entry]
            (number,) = struct.unpack_from(self.exif.order + "H", entry)
            if name == MAIN and number in self.skip:
                continue
            tag = None if number in known else self._tag(entry)
            known.add(number)
            if tag is not None and number in POINTERS and not self._enter_below(tag):
                tag = None
            if tag is None:
                self.exif.left_out.append(name_of(name, number))
            else:
                directory.tags.append(tag)
        following = self.read(at + head + len(entries), 8 if self.big else 4)
        try:
            return int(struct.unpack(self.exif.order + self.offset, following)[0])
        except struct.error:
            return 0

    def next_after(self, at: int) -> int:
        """The offset of the directory after this one."""
        head, number = (8 if self.big else 2), self._length(at)
        size = 8 if self.big else 4
        return int(_unpack(self.exif.order + self.offset, self.read(at + head + number * self.entry, size))[0])

    def wipe_chain(self, at: int) -> None:
        """The directories after the first tell of a thumbnail: forget them and it."""
        for _ in range(_MOST_DIRECTORIES):
            if not 8 <= at < self.size or at in self.seen:
                return
            other = Exif(self.exif.order, None)
            walk = _Walk(other, self.read, self.size, big=False)
            walk.seen |= self.seen
            try:
                following = walk.enter(MAIN, at)
            except ExifError:
                return
            for offset, length in _THUMBNAIL:
                starts, lengths = (_numbers(other, number) for number in (offset, length))
                self.exif._wiped += [pair for pair in zip(starts, lengths, strict=False) if pair[0] < self.size]
            for directory in other.directories.values():
                self.exif._wiped.append((directory.at, directory.size))
                self.exif._wiped += [(tag.at, len(tag.value)) for tag in directory.tags if tag.at is not None]
            self.exif._has_thumbnail = True
            self.seen |= walk.seen
            at = following

    def _length(self, at: int) -> int:
        if not 8 <= at < self.size or at in self.seen or len(self.seen) > _MOST_DIRECTORIES:
            raise ExifError("no directory there")
        (number,) = _unpack(self.exif.order + self.count, self.read(at, 8 if self.big else 2))
        if number * self.entry > self.size:
            number = (self.size - at) // self.entry
        if not number:
            raise ExifError("an empty directory")
        return int(number)

    def _tag(self, entry: bytes) -> Tag | None:
        order, inline = self.exif.order, 8 if self.big else 4
        number, type, count = struct.unpack_from(order + "HH" + ("Q" if self.big else "I"), entry)
        width = (BIG_SIZES if self.big else SIZES).get(type)
        if width is None or count == 0 or (size := width * count) > self.left:
            return None
        at, value = None, entry[-inline:][:size]
        if size > inline:
            (at,) = struct.unpack_from(order + self.offset, entry, len(entry) - inline)
            if not 8 <= at <= self.size - size:
                return None
            value = self.read(at, size)
            if len(value) < size:
                return None
            self.left -= size
        if type in (16, 17, 18):
            return self._narrowed(number, type, count, value)
        return Tag(number, type, count, value, at if size > 4 else None)

    def _narrowed(self, number: int, type: int, count: int, value: bytes) -> Tag | None:
        """BigTIFF's numbers of 8 bytes as those of 4, where they fit."""
        numbers = struct.unpack(f"{self.exif.order}{count}{'q' if type == 17 else 'Q'}", value)
        narrow = 9 if type == 17 else LONG
        try:
            return Tag(number, narrow, count, struct.pack(f"{self.exif.order}{count}{_NATIVE[narrow]}", *numbers))
        except struct.error:
            return None

    def _enter_below(self, tag: Tag) -> bool:
        name = POINTERS[tag.number]
        if name in self.exif.directories or tag.count != 1 or tag.type not in (LONG, IFD_TYPE):
            return False
        (at,) = struct.unpack(self.exif.order + "I", tag.value)
        try:
            self.enter(name, at)
        except ExifError:
            self.exif.directories.pop(name, None)
            return False
        return True


def name_of(directory: str, number: int) -> str:
    """What a tag is called."""
    names = ExifTags.GPSTAGS if directory == GPS else ExifTags.TAGS
    return names.get(number, f"0x{number:04x}")


def _numbers(exif: Exif, number: int) -> tuple[int, ...]:
    tag = exif.tag(MAIN, number)
    if tag is None or tag.type not in (SHORT, LONG):
        return ()
    return struct.unpack(f"{exif.order}{tag.count}{_NATIVE[tag.type]}", tag.value)


def _order(head: bytes) -> str:
    for order, mark in (("<", b"II"), (">", b"MM")):
        if head[:2] == mark and _unpack(order + "H", head[2:4])[0] in (42, 43):
            return order
    raise ExifError("no TIFF header")


def _unpack(format: str, data: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(format, data)
    except struct.error as error:
        raise ExifError("ends too early") from error


def _put(data: bytearray, at: int, part: bytes) -> None:
    if len(data) < at:
        data.extend(bytes(at - len(data)))
    data[at : at + len(part)] = part


def _beside(at: int, size: int, hole: tuple[int, int]) -> int:
    """The first even offset from ``at`` on where so many bytes do not touch the hole."""
    at += at % 2
    if at < hole[1] and at + size > hole[0]:
        at = hole[1] + hole[1] % 2
    return at
