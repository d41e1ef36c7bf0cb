"""A mistake in the options of a command, as one line that names the option and the fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

import typer
from typer.core import TyperArgument

from fanfold.cli.help import range_text

UsageError: Any = typer.BadParameter.__base__
"""The parser's base class of such errors, which typer does not export."""
_INTEGERS: Final = {"N", "MB", "BYTES", "PORT"}
"""The metavars of integers."""


def usage_line(error: Any, command: str, arguments: Sequence[str]) -> str:
    """Return the error of the parser in one line.

    Args:
        error: A ``UsageError``.
        command: The command, such as "fanfold bench".
        arguments: What the user wrote after ``fanfold``.
    """
    kind, param = type(error).__name__, getattr(error, "param", None)
    if kind == "NoSuchOption":
        message = _unknown(error)
    elif kind == "BadOptionUsage":
        message = f"{error.option_name} {'takes no value' if 'not take' in error.message else 'requires a value'}"
    elif kind == "MissingParameter" and param is not None:
        message = f"{_name(param, with_value=True)} is required"
    elif param is not None:
        message = _bad_value(param, error.message, arguments)
    elif extra := re.search(r"unexpected extra argument\S* \((.*)\)", error.message):
        message = f"unexpected argument {extra[1]}: leave it out, or quote it if it belongs to the one before"
    else:
        text = error.format_message()
        message = text[:1].lower() + text[1:]
    end = "" if message.endswith("?") else "."
    return f"{message.rstrip('.')}{end} Run `{command} --help` for usage."


def _unknown(error: Any) -> str:
    names = [] if error.ctx is None else [name for param in error.ctx.command.params for name in param.opts]
    close = get_close_matches(error.option_name, names, n=1)
    hint = f"; use {close[0]}" if close else ""
    return f"{error.option_name} is not an option of this command{hint}"


def _name(param: Any, *, with_value: bool = False) -> str:
    if isinstance(param, TyperArgument):
        return str(param.metavar)
    return f"{param.opts[0]} {param.metavar}" if with_value else str(param.opts[0])


def _bad_value(param: Any, reason: str, arguments: Sequence[str]) -> str:
    written = _written(param, arguments)
    value = "" if written is None else f", not {written!r}"
    if param.metavar and "|" in param.metavar:
        *others, last = param.metavar.split("|")
        return f"{_name(param)} must be {', '.join(others)} or {last}{value}"
    if limits := range_text(param):
        kind = "an integer" if param.metavar in _INTEGERS else "a number"
        least, dots, most = limits.partition("..")
        of = f"from {least} to {most}" if dots else f"of {limits}"
        return f"{_name(param)} must be {kind} {of}{value}"
    if param.metavar in _INTEGERS:
        return f"{_name(param)} must be an integer{value}"
    if written and "does not exist" in reason:
        return f"{_name(param)}: {written} does not exist"
    return f"{_name(param)}: {reason.removeprefix('Value error, ')}"


def _written(param: Any, arguments: Sequence[str]) -> str | None:
    """Return the last value that the user wrote for an option; None if it was not found."""
    written = None
    for number, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option in param.opts:
            written = value if equals else next(iter(arguments[number + 1 : number + 2]), None)
    return written
