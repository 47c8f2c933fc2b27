"""What the user sees: results on stdout, everything else on stderr.

Progress bars appear only where stderr is a terminal; elsewhere a line comes at most every ten seconds. There are no
prompts, so scripts cannot hang. Rich, which is slow to import, is loaded when a bar is drawn.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from stylize.cli.options import in_options
from stylize.errors import OutputError, reason
from stylize.options import Option

SECONDS_BETWEEN_LINES = 10.0
Quiet = Annotated[bool, Option("Only errors and results: no progress, no warnings.", "Output", short="-q")]
Json = Annotated[bool, Option("Results as JSON lines.", "Output")]
Advance = Callable[[int, str], None]  # steps done in all, a note


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
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Show how far a long work is. Yields a function to call with the number of steps done and a short note."""
        if self.quiet:
            yield lambda done, note: None
        elif sys.stderr.isatty():
            yield from _bar(what, total)
        else:
            yield from _lines(what, total)


def say(message: str) -> None:
    """One line on stderr, whatever its encoding; `parameters` are called as the command line calls them."""
    message = in_options(message)
    encoding = sys.stderr.encoding or "ascii"
    print(message.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


def _bar(what: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = ("[bold]{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(
        *columns, "left", TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),  # results that go elsewhere must not end above the bar
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=total, note="")
        yield lambda done, note: bar.update(task, completed=done, note=note)


def _lines(what: str, total: int) -> Iterator[Advance]:
    last = time.monotonic()

    def advance(done: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            say(f"{what}: {done} of {total} {note}".rstrip())

    yield advance
