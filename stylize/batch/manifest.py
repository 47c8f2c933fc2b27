"""The manifest: what a batch has done, on disk, so that the next run knows.

    OUT/.stylize/manifest.jsonl           one line for every file, appended when it is done; shards write
                 manifest-2-of-8.jsonl    their own, and every run reads them all
                 lock                     held while a batch runs; its owner's process id is in lock.pid
                 failures.txt             PATH <tab> REASON of what failed last time

A picture is written in three steps: a line ``writing`` with the hash of what is about to be written, the file itself
(atomically), the line ``ok``. Whenever the process is killed, the next one can therefore tell a finished picture from
a file that somebody else put there, by its hash; and a line that was cut short is no line.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from stylize.errors import OutputError, reason, shown
from stylize.files.atomic import make_folder, write_atomically
from stylize.files.hashing import hash_file
from stylize.images.folders import RECORDS
from stylize.images.formats import sniff_format

LOCK_PATIENCE = 2.0  # seconds; another shard looks at the lock for a moment only


class Seen(NamedTuple):
    """A file as it was when it was looked at."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the manifest.

    Attributes:
        input: the photo's absolute path.
        output: the picture's path below the output folder, with ``/``.
        status: ``writing``, ``ok`` or ``failed``.
        fingerprint: of all that decides how the picture looks, save the photo; see ``stylize.batch.fingerprint``.
        sha256, size, mtime_ns: of the photo, as it was before it was read.
        output_sha256, output_size: of the picture.
        reason: why it failed.
        seconds: of work.
        time: when the line was written, in seconds since 1970.
    """

    input: str
    output: str
    status: str
    fingerprint: str = ""
    sha256: str = ""
    size: int = -1
    mtime_ns: int = -1
    output_sha256: str = ""
    output_size: int = -1
    reason: str = ""
    seconds: float = 0.0
    time: float = 0.0

    def is_of(self, photo: Path) -> bool:
        """Whether a photo is the one that the entry speaks of: by size and time, or else by content."""
        try:
            status = os.stat(photo)
        except (OSError, ValueError):
            return False
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.mtime_ns or self.has_content_of(photo)

    def has_content_of(self, photo: Path) -> bool:
        """Whether a photo has the content that the entry speaks of, wherever it lies now."""
        try:
            return os.stat(photo).st_size == self.size and hash_file(photo) == self.sha256
        except (OSError, ValueError):
            return False


_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}
_TYPES = {field.name: _KINDS[str(field.type)] for field in fields(Entry)}


def look_at(photo: str | os.PathLike[str]) -> Seen | None:
    """Size, time and, of images, hash of a photo; None if it cannot be read.

    To be called before the photo is read: what changes it later changes its time, too.
    """
    try:
        status = os.stat(photo)
        if not os.path.isfile(photo):
            return None
        return Seen(status.st_size, status.st_mtime_ns, hash_file(photo) if sniff_format(photo) else "")
    except (OSError, ValueError):
        return None


class Known:
    """What the manifests of an output folder tell.

    Args:
        output: the output folder; it need not exist.
        label: to read that manifest only, see ``Manifest``.

    Attributes:
        damaged: how many lines were not understood.
    """

    def __init__(self, output: str | os.PathLike[str], label: str = "*") -> None:
        self.folder = Path(output)
        self.damaged = 0
        self._made: dict[str, list[Entry]] = {}  # output -> what was written there, the newest last
        self._failed: dict[str, Entry] = {}
        self._owned: dict[str, list[str]] = {}  # input -> its outputs
        for path in sorted((self.folder / RECORDS).glob(f"manifest{label}.jsonl")):
            with suppress(FileNotFoundError):
                self._read(path)
        for entries in self._made.values():
            entries.sort(key=lambda entry: entry.time)  # stable: of equal times, the order of the lines counts

    def outputs(self) -> Iterable[str]:
        """All names that belong to a photo, painted or failed."""
        yield from self._made
        yield from (output for output in self._failed if output not in self._made)

    def outputs_of(self, photo: str) -> list[str]:
        """The names that belong to a photo."""
        return self._owned.get(photo, [])

    def made(self, output: str) -> list[Entry]:
        """What was written under a name, the newest last."""
        return self._made.get(output, [])

    def failed(self, output: str) -> Entry | None:
        """The last attempt, if it failed."""
        failure = self._failed.get(output)
        made = self.made(output)
        if failure is None or not made:
            return failure
        last = made[-1]  # in the same millisecond, it was about to be written, and then failed
        return None if (last.time, last.status == "ok") > (failure.time, False) else failure

    def now(self, output: str) -> Entry | None:
        """The entry whose picture, to the byte, lies at this name now; None if there is none, or anything else."""
        path = self.folder / output
        try:
            size = path.stat().st_size
            candidates = [entry for entry in self.made(output) if entry.output_size == size]
            found = hash_file(path) if candidates else ""
        except OSError:
            return None
        return next((entry for entry in reversed(candidates) if entry.output_sha256 == found), None)

    def _read(self, path: Path) -> None:
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # to read it might never end
                raise OutputError(f"cannot read {shown(path)}: not a regular file", hint="remove it")
            with path.open("rb") as stream:
                for line in stream:
                    entry = _parsed(line)
                    if entry is None:
                        self.damaged += 1
                    else:
                        self._add(entry)
        except OSError as error:
            raise OutputError(f"cannot read {shown(path)}: {reason(error)}") from error

    def _add(self, entry: Entry) -> None:
        owned = self._owned.setdefault(entry.input, [])
        if entry.output not in owned:
            owned.append(entry.output)
        if entry.status == "failed":
            self._failed[entry.output] = max(entry, self._failed.get(entry.output, entry), key=lambda e: e.time)
            return
        made = self._made.setdefault(entry.output, [])
        if made and made[-1].status == "writing" and made[-1].output_sha256 == entry.output_sha256:
            made.pop()  # the same picture, now finished
        made.append(entry)


class Manifest:
    """The manifest that this run appends to. Several threads may.

    Args:
        output: the output folder; made if it is missing.
        label: of the shard: ``-2-of-8``; nothing for a batch that is not one.

    Raises:
        OutputError: the folder cannot be made or written to.
    """

    def __init__(self, output: str | os.PathLike[str], label: str = "") -> None:
        self.path = Path(output) / RECORDS / f"manifest{label}.jsonl"
        make_folder(self.path.parent)
        self._mutex = threading.Lock()
        with _append_errors(self.path):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            size = os.fstat(self._file).st_size
            if size:
                os.lseek(self._file, size - 1, os.SEEK_SET)
                if os.read(self._file, 1) != b"\n":  # a line that was cut short: it must not spoil the next
                    os.write(self._file, b"\n")

    def append(self, entry: Entry) -> None:
        """Add a line, and the time. Raises OutputError, also when the disk is full."""
        entry = replace(entry, input=_as_utf_8(entry.input), output=_as_utf_8(entry.output), time=round(time.time(), 3))
        line = json.dumps(asdict(entry)).encode() + b"\n"
        with self._mutex, _append_errors(self.path):
            while line:
                line = line[os.write(self._file, line) :]

    def close(self) -> None:
        """Have all lines on the disk."""
        with suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def label_of(shard: tuple[int, int] | None) -> str:
    """What stands in the names of a shard's records."""
    return "" if shard is None else f"-{shard[0]}-of-{shard[1]}"


@contextmanager
def locked(
    output: str | os.PathLike[str],
    label: str = "",
    *,
    what: str = "batch",
    on_warning: Callable[[str], None] = lambda message: None,
) -> Iterator[None]:
    """Keep other batches away from an output folder; only shards of one division may work side by side.

    Args:
        what: what they are called, if not batches.

    Raises:
        OutputError: another batch is at work there.
    """
    from filelock import FileLock, Timeout

    folder = Path(output) / RECORDS
    make_folder(folder)
    own = folder / f"lock{label}"
    division = label.rpartition("-")[2]

    def is_brother(path: Path) -> bool:
        return bool(label) and path != own and path.name.endswith(f"-of-{division}")

    def taken(path: Path) -> OutputError:
        owner = ""
        with suppress(OSError, ValueError):
            owner = f" (process {shown((path.parent / (path.name + '.pid')).read_text()[:100])})"
        return OutputError(
            f"another {what} is at work in {shown(output)}{owner}", hint="wait for it, or give another `output`"
        )

    with ExitStack() as held:
        try:
            for path in (own, *(path for path in folder.glob("lock*") if path != own)):
                if not path.suffix and not is_brother(path):
                    try:
                        lock = FileLock(path)
                        lock.acquire(timeout=LOCK_PATIENCE)
                    except Timeout as error:
                        raise taken(path) from error
                    if path == own:
                        held.callback(lock.release)
                    else:  # nobody holds it; who takes it from now on will find ours
                        lock.release()
            with suppress(OSError):
                (folder / f"lock{label}.pid").write_text(f"{os.getpid()} on {socket.gethostname()}")
        except PermissionError as error:
            raise OutputError(f"cannot write into {shown(folder)}: permission denied") from error
        except (OSError, NotImplementedError) as error:  # a file system without locks
            on_warning(f"{shown(folder)} cannot be locked ({error}): see that no second {what} writes there")
        yield


def write_failures(output: str | os.PathLike[str], label: str, failures: Iterable[tuple[Path, str]]) -> Path | None:
    """Write the list of what failed, or remove an old one. Returns its path, or None if nothing failed."""
    path = Path(output) / RECORDS / f"failures{label}.txt"
    lines = [f"{shown(photo)}\t{shown(reason)}\n" for photo, reason in failures]
    if not lines:
        path.unlink(missing_ok=True)
        return None
    write_atomically(path, "".join(lines).encode("utf-8", "backslashreplace"), overwrite=True)
    return path


def _parsed(line: bytes) -> Entry | None:
    """A line's entry, or None for one that is damaged, cut short, or of another program."""
    try:
        values: dict[str, Any] = json.loads(line)
        if not isinstance(values, dict) or not all(isinstance(values[name], _TYPES[name]) for name in values):
            return None
        names = {name: _as_here(values[name]) for name in ("input", "output")}
        entry = Entry(**values | names | {"fingerprint": sys.intern(values.get("fingerprint", ""))})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if entry.status not in ("writing", "ok", "failed") or PurePosixPath(entry.output).is_absolute():
        return None
    return entry


def _as_utf_8(name: str) -> str:
    """A file's name as Python has it where names are UTF-8; the next batch may run in another locale."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _as_here(name: str) -> str:
    """The same as Python has it here. Raises ValueError for what is no name."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


@contextmanager
def _append_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {shown(path)}: {reason(error)}") from error
