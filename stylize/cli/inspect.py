"""``stylize inspect``"""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from stylize.cli.options import Only, command
from stylize.cli.process import show
from stylize.cli.terminal import Json, Terminal, say
from stylize.errors import InputError, RefusedError, UsageError, shown
from stylize.options import PACKAGED, ImageOptions, NetworkOptions


@command
def inspect(
    images: Annotated[ImageOptions, Only({"max_pixels"})],
    networks: Annotated[NetworkOptions, Only({"model"})],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|NAME]...",
            help="Style codes, models, pictures, or packaged, the model; none: your styles are listed.",
            rich_help_panel="What",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what a file is: a style code, a model, or a stylised picture and the command that made it.

    \b
      stylize inspect
      stylize inspect painted.jpg mine.safetensors
    """
    from stylize.files.packaged import model_file
    from stylize.inspection import inspect_file
    from stylize.painting.recipe import to_copy
    from stylize.styles import library
    from stylize.styles.arguments import parse_style

    terminal = Terminal(json=json)
    if not files:
        names = library.styles()
        for name, path in names.items():
            built_in = library.is_built_in(path)
            line = f"{shown(name)}\t{shown(path)}" + ("\tbuilt-in" if built_in else "")
            terminal.result(line, style=name, path=str(path), built_in=built_in)
        if not names:
            say("no styles yet: stylize encode-style PICTURE... --save NAME keeps one")
        return
    failures: list[int] = []
    for file in files:
        try:
            is_model = file == PACKAGED and library.find(file) is None
            path = model_file(file) if is_model else parse_style(file, masks=False).source
            facts = inspect_file(path, max_pixels=images.max_pixels, model=model_file(networks.model))
        except (InputError, RefusedError, UsageError) as error:
            if len(files) == 1:
                raise
            failures.append(error.exit_code)
            show(error)
            continue
        said = facts | ({"recipe": to_copy(shlex.split(facts["recipe"]))} if "recipe" in facts else {})
        lines = [shown(path), *(f"  {key:<12} {_fact(value)}" for key, value in said.items())]
        terminal.result("\n".join(lines), file=str(path), **facts)
    if failures:
        raise typer.Exit(max(failures))


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(shown, value)) if isinstance(value, list) else shown(value)
