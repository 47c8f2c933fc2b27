"""The command line: parse, call one pipeline function, print. One file per command.

Nothing heavy is imported before a command runs, and no command but the one that runs. ``options`` makes options
of dataclasses, ``arguments`` holds what commands share, ``process`` what every run of a program needs: signals, errors
and exit codes.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from stylize import __version__
from stylize.cli import process
from stylize.cli.options import HelpInGroups

# By name: the module and its function, and a short help that fits beside the name at 80 columns.
COMMANDS = {
    "transfer": ("transfer:transfer", "Stylise photos."),
    "encode-style": ("encode_style:encode_style", "Learn a style from pictures, and keep it."),
    "batch": ("batch:batch", "Stylise folders of photos; run again, it goes on."),
    "video": ("video:video", "Stylise a film; run again, it goes on."),
    "inspect": ("inspect:inspect", "List your styles; say what a file is."),
    "preview": ("preview:preview", "Try styles and strengths on a photo."),
    "train": ("train:train", "Train a model of your own."),
    "distill": ("distill:distill", "Distil a light network for training."),
    "evaluate": ("evaluate:evaluate", "Measure a model."),
    "doctor": ("doctor:doctor", "Say what works on this machine."),
}


def make_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # tables would cut the options' names at 80 columns
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Learn a personal style from pictures and apply it to any photo. Works offline; sends nothing anywhere.",
    )
    app.callback()(root)
    for name in names:
        place, short_help = COMMANDS[name]
        module, function = place.split(":")
        command = getattr(importlib.import_module(f"stylize.cli.{module}"), function)
        app.command(name, cls=HelpInGroups, short_help=short_help)(command)
    return app


def show_version(wanted: bool) -> None:
    """Print the version, and end."""
    if wanted:
        print(f"stylize {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True, callback=show_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also STYLIZE_DEBUG=1.")] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ[process.DEBUG_VARIABLE] = "1"


def main(started: float | None = None) -> None:
    """The entry point: run a command and turn whatever happens into a line and an exit code.

    Args:
        started: when the process began, by ``time.monotonic``; by default, now.
    """
    process.started = time.monotonic() if started is None else started
    named = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    completing = any(name.endswith("_COMPLETE") for name in os.environ)  # a shell asks for the names
    process.run(make_app([named] if named in COMMANDS and not completing else COMMANDS))
