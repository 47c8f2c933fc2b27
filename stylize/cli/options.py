"""Commands from dataclasses: their fields become options, under headings; and errors that name options."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from stylize.options import GROUPS, Field, Option, field_of, fields_of, flag_of

Command = TypeVar("Command", bound=Callable[..., None])
Options = TypeVar("Options")  # a dataclass of options
Value = Callable[[Mapping[str, Any]], Any]  # what typer has read, by parameter -> what the function gets

_FLAGS: dict[str, str] = {}  # what the command line calls a parameter, where it is not by its own name


class Only(frozenset[str]):
    """The names of the only options that a command has of a dataclass: ``Annotated[Look, Only({"mask"})]``."""


def command(function: Command) -> Command:
    """Make a command of a function whose parameters are dataclasses of options.

    For a parameter such as ``look: Look`` typer sees an option for each field that has an ``Option``, and for those of
    the dataclasses in it; the function gets a ``Look``. Parameters with an ``Option`` of their own, and typer's, stay.
    """
    hints = get_type_hints(function, include_extras=True)
    readers = {
        name: _reader(name, field_of(name, hints[name], parameter.default), "")
        for name, parameter in inspect.signature(function).parameters.items()
    }

    @wraps(function)
    def run(**read: Any) -> None:
        function(**{name: value(read) for name, (_, value) in readers.items()})

    parameters = [parameter for some, _ in readers.values() for parameter in some]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return cast(Command, run)


def _reader(name: str, field: Field, path: str) -> tuple[list[Parameter], Value]:
    """The parameters, their names beginning with ``name``, by which typer reads a field; how its value is made of them.

    Args:
        path: before the names of a dataclass's fields in errors: ``weights.``, and nothing before the outermost.
    """
    kind, only = _dataclass_in(field.kind)
    if kind is not None:
        parts = {}
        for each in fields_of(kind):
            if only is not None and each.name not in only:
                continue
            inner = f"{path}{each.name}." if each.option is None else path
            parts[each.name] = _reader(f"{name}_{each.name}", each, inner)
        parameters = [parameter for some, _ in parts.values() for parameter in some]
        return parameters, lambda read: kind(**{key: value(read) for key, (_, value) in parts.items()})
    if field.option is None:  # typer's own
        return [Parameter(name, Parameter.KEYWORD_ONLY, annotation=field.kind, default=field.default)], lambda r: r[
            name
        ]
    if field.flag != flag_of(field.name) or path:
        _FLAGS[path + field.name] = field.flag
    parse = field.option.parse
    return [
        _parameter(name, field, field.option)
    ], lambda r: parse(r[name]) if parse and r[name] is not None else r[name]


def with_defaults(options: Options, defaults: Options, context: typer.Context, name: str) -> Options:
    """The options, with other defaults for those that were not given on the command line.

    Args:
        options, defaults: of one dataclass.
        name: what the command calls it.
    """
    values = {}
    for each in fields_of(cast(Any, type(options))):
        mine, other, parameter = getattr(options, each.name), getattr(defaults, each.name), f"{name}_{each.name}"
        if each.option is None:
            values[each.name] = with_defaults(mine, other, context, parameter)
        else:
            source = context.get_parameter_source(parameter)
            values[each.name] = mine if source is not None and source.name == "COMMANDLINE" else other
    return cast(Options, replace(cast(Any, options), **values))


def _dataclass_in(annotation: Any) -> tuple[type | None, Only | None]:
    """The dataclass of ``Annotated[Look, Only({"mask"})]`` or ``Look``, and which of its options are wanted."""
    kind, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if not is_dataclass(kind):
        return None, None
    return cast(type, kind), next((mark for mark in marks if isinstance(mark, Only)), None)


def _parameter(name: str, field: Field, option: Option) -> Parameter:
    """The parameter by which typer reads an option."""
    kind, default = field.kind, field.default
    if option.parse is not None:
        kind = str | None if default is None else str
        default = default if default in (None, Parameter.empty) else option.text(default)
    flags = f"{field.flag}/--no-{field.flag[2:]}" if kind is bool and default else field.flag
    whole = int in (kind, *get_args(kind))  # fractions are checked by their dataclass, which says how to mend them
    settings = typer.Option(
        *filter(None, (flags, option.short)),
        help=option.help,
        metavar=option.metavar,
        min=option.low if whole and option.low > -math.inf else None,
        max=option.high if whole and option.high < math.inf else None,
        rich_help_panel=option.group,
        autocompletion=option.complete,
    )
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, settings], default=default)


class HelpInGroups(TyperCommand):
    """A command whose help lists its options by their groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options under the headings of their groups, in the order of ``GROUPS``."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            usual = "Output" if parameter.name == "help" else "Options"
            if record := parameter.get_help_record(ctx):
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for heading in sorted(groups, key=GROUPS.index):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])


def in_options(text: str) -> str:
    """An error or a warning of the core, with `parameters` called as the command line calls them."""
    return re.sub(r"(?<![^\s(])`([a-z][a-z_.]*)`(?!\w)", lambda found: _FLAGS.get(found[1]) or flag_of(found[1]), text)
