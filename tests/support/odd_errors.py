"""Errors with long chains, large groups and odd texts, and a count of the steps that formatting takes."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from fanfold._base.log import MAX_LINE_CHARACTERS

LONGEST = MAX_LINE_CHARACTERS + 100
MB = 1_000_000


class Steps:
    """Counts how often a link between two errors is followed."""

    def __init__(self) -> None:
        self.count = 0


STEPS = Steps()


class Linked(Exception):  # noqa: N818 - short
    """An error whose links are counted when they are followed."""

    @property
    def __cause__(self) -> Any:
        STEPS.count += 1
        return BaseException.__cause__.__get__(self)  # type: ignore[attr-defined] # a C-level descriptor

    @property
    def __context__(self) -> Any:
        STEPS.count += 1
        return BaseException.__context__.__get__(self)  # type: ignore[attr-defined] # a C-level descriptor


def link(error: BaseException, *, cause: Any = None, context: Any = None) -> BaseException:
    """Set the links of an error as ``raise … from …`` does, which also works for an immutable one."""
    if cause is not None:
        BaseException.__cause__.__set__(error, cause)  # type: ignore[attr-defined] # a C-level descriptor
    if context is not None:
        BaseException.__context__.__set__(error, context)  # type: ignore[attr-defined] # a C-level descriptor
    return error


def chain(length: int, kind: type[BaseException] = Linked, *, by: str = "cause") -> BaseException:
    error = kind("error 0")
    for number in range(1, length):
        error = link(kind(f"error {number}"), **{by: error})
    return error


@dataclass(frozen=True)
class FrozenError(Exception):
    """An error that refuses every assignment."""

    text: str


class Unprintable(Exception):  # noqa: N818 - short
    def __str__(self) -> str:
        raise SystemExit("no text")


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """Return the texts that a handler of fanfold's logger writes, with tracebacks."""
    formatter = logging.Formatter()
    return [formatter.format(line) for line in caplog.records if line.name == "fanfold" and line.levelno >= level]


def tree(depth: int) -> BaseException:
    """Return an error with a cause and a context, each of which has both, and so on."""
    error = Linked("x")
    return link(error, cause=tree(depth - 1), context=tree(depth - 1)) if depth else error


def two_chains(length: int) -> BaseException:
    return link(Linked("x"), cause=chain(length), context=chain(length, by="context"))


def group(size: int) -> BaseException:
    return ExceptionGroup("group", [Linked(f"member {number}") for number in range(size)])


def nested_groups(depth: int) -> BaseException:
    error: BaseException = Linked("innermost")
    for _ in range(depth):
        error = BaseExceptionGroup("group", [error])
    return error
