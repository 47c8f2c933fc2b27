"""A run of the program: its signals, its errors and its exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

import typer

from stylize import __version__
from stylize.cli.terminal import BestEffort, say
from stylize.errors import DISK_FULL, REMEDIES, DeviceError, OutputError, StylizeError, UsageError, one_line, shown

DEBUG_VARIABLE = "STYLIZE_DEBUG"
started = time.monotonic()  # when this run began: set by ``stylize.cli.main``
# Typer needs click, or carries its own copy of it.
_ClickError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def run(app: typer.Typer) -> None:
    """Run a command and turn whatever happens into a line and an exit code."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if not isinstance(sys.stderr, BestEffort):
        sys.stderr = cast(TextIO, BestEffort(sys.stderr))
    _on_signals(_raise_stopped)
    try:
        _run(app)
    except Stopped as stop:  # also of one that came while an error was being told
        sys.exit(128 + stop.signal)
    finally:
        _on_signals(signal.SIG_DFL)  # what comes while Python ends, ends it silently


def _run(app: typer.Typer) -> NoReturn:
    try:
        _refuse_empty(sys.argv[1:])
        sys.exit(app(prog_name="stylize", standalone_mode=False))
    except _ClickError as error:
        _refuse_arguments(error)
    except typer.Abort:
        sys.exit(1)
    except StylizeError as error:
        _debug_traceback()
        show(error)
        sys.exit(error.exit_code)
    except MemoryError:
        _debug_traceback()
        show(DeviceError("out of memory", hint="smaller pictures need less"))
        sys.exit(DeviceError.exit_code)
    except Exception as error:
        _debug_traceback()
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            show(OutputError("no space left to write to", hint=REMEDIES[error.errno]))
            sys.exit(OutputError.exit_code)
        _report_bug(error)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """An empty path would be the current folder; what was meant is a variable that the shell does not know."""
    for before, argument in pairwise(["stylize", *arguments]):
        if argument == "" or re.fullmatch(r"--[a-z-]+=", argument):
            raise UsageError(
                f"an empty argument after {shown(before)}" if argument == "" else f"{argument} is empty",
                hint="is a variable of the shell not set?",
            )


def _refuse_arguments(error: Any) -> NoReturn:
    """Say what click has against the arguments as every error is said, in a line and a hint."""
    message = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    if message:
        command = context.command_path if context else "stylize"
        show(UsageError(message.rstrip("."), hint=f"{command} --help"))
    sys.exit(error.exit_code)  # without arguments the help has been shown


class Stopped(BaseException):
    """SIGINT or SIGTERM: unwinds like KeyboardInterrupt, but knows which."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


def _raise_stopped(number: int, frame: FrameType | None) -> NoReturn:
    """Unwind. The next signal finds no handler of ours: it ends the process wherever that is by then, silently."""
    _on_signals(signal.SIG_DFL)
    raise Stopped(number)


def _on_signals(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    """What SIGINT and SIGTERM do, but for those that are ignored, as shells have it for jobs in the background."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def stop_gently(
    what: str = "stopping after this step", received: list[int] | None = None, *, silent: bool = False
) -> list[int]:
    """From now on the first SIGINT or SIGTERM is only noted, in the list returned; the second one ends at once.

    Args:
        what: is done then, for people to know.
        received: the list, if there is one already.
        silent: another process of the same run says so.
    """
    received = [] if received is None else received

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            _raise_stopped(number, frame)
        received.append(number)
        if not silent:
            say(f"{what}; once more ends at once")

    _on_signals(note)
    return received


def note_requests() -> list[int]:
    """From now on SIGUSR1, by which schedulers announce that time is short, is only noted, in the list returned."""
    received: list[int] = []
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        signal.signal(signal.SIGUSR1, lambda number, frame: received.append(number))
    return received


def show(error: StylizeError) -> None:
    """Say what went wrong, and what to do about it."""
    say(f"error: {error.message}")
    if error.hint:
        say(f"hint: {error.hint}")


def _debug_traceback() -> None:
    if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        traceback.print_exc()


def _report_bug(error: Exception) -> NoReturn:
    where = "run again with STYLIZE_DEBUG=1 for the details"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="stylize-crash-", suffix=".log", delete=False) as file:
            file.write(f"stylize {__version__}, Python {sys.version}\n{traceback.format_exc()}")
        where = f"details in {file.name}"
    except OSError:
        pass
    say(f"error: a bug in stylize: {type(error).__name__}: {one_line(error)}")
    say(f"hint: please report it; {where}")
    sys.exit(70)
