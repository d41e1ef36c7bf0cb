"""The layout of ``--help``: an option with its value is one column, which is never cut at 80 columns."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import groupby
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typer.core import TyperArgument, TyperCommand

_MAX_WIDTH: Final = 120
"""Columns; longer lines are hard to read."""
_ARGUMENTS, _OPTIONS = "Arguments", "Options"


class HelpfulCommand(TyperCommand):
    """A command whose help uses the layout of this module."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the name of the command."""
        arguments = [param for param in self.get_params(ctx) if isinstance(param, TyperArgument)]
        return ["[OPTIONS]", *map(_argument_usage, arguments)]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as in the base class
        """Print the help."""
        show_help(self, ctx)


def show_help(command: Any, ctx: Any, commands: Iterable[tuple[str, str, str]] = ()) -> None:
    """Print the help of a command.

    Args:
        command: The command.
        ctx: Its context.
        commands: Its subcommands: title of the panel, name, and text.
    """
    console = Console(highlight=False)
    console.width = min(console.width, _MAX_WIDTH)
    console.print(Padding(Text(command.get_usage(ctx), "bold"), 1))
    for paragraph in (command.help or "").split("\n\n"):
        console.print(Padding(Text(paragraph), (0, 1, 1, 1)))
    panels = _panels(command.get_params(ctx), ctx)
    width = max(term.cell_len for rows in panels.values() for term, _ in rows)
    for title, rows in panels.items():
        _show_panel(console, title, rows, width)
    subcommands = list(commands)
    width = max((len(name) for _, name, _ in subcommands), default=0)
    for title, group in groupby(subcommands, key=lambda row: row[0]):
        _show_panel(console, title, [(Text(name, "bold cyan"), Text(text)) for _, name, text in group], width)
    if command.epilog:
        console.print(Padding(Text(command.epilog), (1, 1)))


def range_text(param: Any) -> str:
    """Return the range of an option, such as "1..100"; "" if it has none."""
    limits = (
        param if hasattr(param, "min") else getattr(param, "type", None)
    )  # where typer keeps them depends on its version
    least, most = getattr(limits, "min", None), getattr(limits, "max", None)
    if least is None and most is None:
        return ""
    if most is None:
        return f"at least {least:g}"
    return f"at most {most:.15g}" if least is None else f"{least:.15g}..{most:.15g}"


def _show_panel(console: Console, title: str, rows: Iterable[tuple[Text, Text]], width: int) -> None:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True, min_width=width)
    table.add_column(ratio=1)
    for row in rows:
        table.add_row(*row)
    console.print(Panel(table, title=title, title_align="left", border_style="dim"))


def _panels(params: Iterable[Any], ctx: Any) -> dict[str, list[tuple[Text, Text]]]:
    """Return the rows of each panel: arguments first, options without a title last."""
    panels: dict[str, list[tuple[Text, Text]]] = {_ARGUMENTS: []}
    untitled: list[tuple[Text, Text]] = []
    for param in params:
        title = param.rich_help_panel or (_ARGUMENTS if isinstance(param, TyperArgument) else None)
        rows = untitled if title is None else panels.setdefault(title, [])
        rows.append((_term(param), _help(param, ctx)))
    return {title: rows for title, rows in {**panels, _OPTIONS: untitled}.items() if rows}


def _term(param: Any) -> Text:
    """Return the names of an option and what its value is, such as "-p, --parameter NAME=VALUE"."""
    if isinstance(param, TyperArgument):
        return Text(str(param.metavar), "bold cyan")
    names = ", ".join(sorted(param.opts, key=lambda name: name.startswith("--")))
    term = Text(" / ".join([names, *param.secondary_opts]), "bold cyan")
    return term if param.is_flag else term.append(f" {param.metavar}", "yellow")


def _help(param: Any, ctx: Any) -> Text:
    text = Text(param.help or "")
    for note in (range_text(param), _default(param, ctx), "required" if param.required else ""):
        if note:
            text.append(" " if text else "").append(f"[{note}]", "dim")
    return text


def _default(param: Any, ctx: Any) -> str:
    shown = param.show_default
    if isinstance(shown, str):
        return f"default: {shown}"
    value = param.get_default(ctx, call=False)
    if not shown or value in (None, [], ()):
        return ""
    if isinstance(value, bool):
        if not param.secondary_opts:
            return ""
        return f"default: {(param.opts if value else param.secondary_opts)[0]}"
    if isinstance(value, Enum):
        value = value.value
    return f"default: {value:.15g}" if isinstance(value, float) else f"default: {value}"


def _argument_usage(param: Any) -> str:
    piece = param.metavar if param.required else f"[{param.metavar}]"
    return f"{piece}..." if param.nargs != 1 else str(piece)
