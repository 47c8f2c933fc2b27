"""The command line: parse, call one pipeline function, print. One file per command.

Nothing heavy is imported before a command runs. ``arguments`` holds the options that commands share, ``process`` what
every run of a program needs: signals, errors and exit codes.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from stylize import __version__
from stylize.cli import batch, doctor, encode_style, evaluate, inspect, preview, process, train, transfer

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # tables would cut the options' names at 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Learn a personal style from pictures and apply it to any photo. Works offline; sends nothing anywhere.",
)
# The short helps fit beside the names at 80 columns.
app.command(short_help="Stylise photos.")(transfer.transfer)
app.command("encode-style", short_help="Learn a style from pictures, and keep it.")(encode_style.encode_style)
app.command(short_help="Stylise folders of photos; run again, it goes on.")(batch.batch)
app.command(short_help="List your styles; say what a file is.")(inspect.inspect)
app.command(short_help="Try styles and strengths on a photo.")(preview.preview)
app.command(short_help="Train a model of your own.")(train.train)
app.command(short_help="Distil a light network for training.")(train.distill)
app.command(short_help="Measure a model.")(evaluate.evaluate)
app.command(short_help="Say what works on this machine.")(doctor.doctor)


def show_version(wanted: bool) -> None:
    """Print the version, and end."""
    if wanted:
        print(f"stylize {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and end.", is_eager=True, callback=show_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; also STYLIZE_DEBUG=1.")] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ[process.DEBUG_VARIABLE] = "1"


def main() -> None:
    """The entry point: run a command and turn whatever happens into a line and an exit code."""
    process.run(app)
