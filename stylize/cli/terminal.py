"""What the user sees: results on stdout, everything else on stderr.

How far a long work is: ``stylize.cli.progress``. There are no prompts, so scripts cannot hang.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TextIO

from stylize.cli.options import in_options
from stylize.cli.progress import Show, bars, lines, nothing
from stylize.errors import OutputError, reason
from stylize.options import Option

Quiet = Annotated[bool, Option("Only errors and results: no progress, no warnings.", "Output", short="-q")]
Json = Annotated[bool, Option("Results as JSON lines.", "Output")]


class Advance(Protocol):
    """Tells how much of a work is done in all, and facts of it, the most important first."""

    def __call__(self, done: int, /, *facts: str) -> None:
        """Show it."""


@dataclass(frozen=True)
class Terminal:
    """How much to say, and in which form.

    Attributes:
        quiet: errors only.
        verbose: also what was chosen and how long it took.
        json: results as JSON lines.
    """

    quiet: Quiet = False
    verbose: Annotated[bool, Option("Say what is chosen, and how long it takes.", "Output", short="-v")] = False
    json: Json = False

    def result(self, text: str, **fields: Any) -> None:
        """A result on stdout: its text, or with ``--json`` its fields."""
        if self.json:
            text = json.dumps({"schema": 1, **fields}, ensure_ascii=True)
        try:
            try:
                print(text, flush=True)
            except UnicodeEncodeError:  # a name that is no valid text: give back its very bytes
                sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
                sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"cannot write to stdout: {reason(error)}") from error

    def warn(self, message: str) -> None:
        """Something the user should know, though all went on."""
        if not self.quiet:
            say(f"warning: {message}")

    def note(self, message: str) -> None:
        """Something that ``--verbose`` asks for."""
        if self.verbose:
            say(message)

    @contextmanager
    def phases(self, until: float | None = None) -> Iterator[Show]:
        """Show how far a work of several phases is.

        Args:
            until: when it ends at the latest, by ``time.monotonic``, if that is known.
        """
        if self.quiet:
            yield nothing
        elif sys.stderr.isatty():
            with bars(until) as show:
                yield show
        else:
            with lines(say, until) as show:
                yield show

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Show how far a work of one phase is."""
        with self.phases() as show:
            show(what, 0, total)
            yield lambda done, /, *facts: show(what, done, total, *facts)


def say(message: str) -> None:
    """One line on stderr, whatever its encoding; `parameters` are called as the command line calls them."""
    message = in_options(message)
    encoding = sys.stderr.encoding or "ascii"
    print(message.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


_LOST = OSError, RuntimeError  # the latter: a signal has come within a write, and its handler tells of it


class BestEffort:
    """A stream to tell things on, which drops what it cannot write: telling never ends a work.

    Whoever reads stderr may be gone, such as the ``tee`` of a pipeline that got the same Ctrl-C, or the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, if that is possible."""
        with suppress(*_LOST):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what is held back, if that is possible."""
        with suppress(*_LOST):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
