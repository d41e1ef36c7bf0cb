"""The failures of one batch, kept short: each kind with its traceback, the first few, then counts."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections import Counter

from fanfold._base.record import Record

_FRAMES = 20
_EXAMPLES_PER_KIND = 3
_MOST_KINDS = 20


class FailureLog:
    """Collects the failures of one batch and writes them as a few log lines; bodies are never logged."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._tracebacks: dict[str, str] = {}

    def add(self, record: Record, error: BaseException) -> None:
        """Take note of a failure.

        The traceback of all but the first of a kind is dropped from the error: it would keep every local of the
        handler alive until the batch is over.
        """
        kind = type(error).__qualname__
        self._counts[kind] += 1
        if len(examples := self._examples.setdefault(kind, [])) < _EXAMPLES_PER_KIND:
            examples.append(record.message_id)
        if kind not in self._tracebacks and len(self._tracebacks) < _MOST_KINDS:
            self._tracebacks[kind] = "".join(traceback.format_exception(error, limit=-_FRAMES))
        else:
            _drop_tracebacks(error)

    def write(self, logger: logging.Logger) -> None:
        """Log each kind once: how many, the first message ids, one traceback."""
        counts = Counter(dict(self._counts))  # as it is now: a handler that was given up may go on to fail
        for kind, count in counts.most_common(_MOST_KINDS):
            logger.error(
                "%d x %s, first in message %s\n%s",
                count,
                kind,
                ", ".join(self._examples[kind]),
                self._tracebacks.get(kind, "").rstrip(),
            )
        if len(counts) > _MOST_KINDS:
            logger.error("%d more kinds of failure", len(counts) - _MOST_KINDS)


def _drop_tracebacks(error: BaseException) -> None:
    if error.__cause__ is None and error.__context__ is None and not isinstance(error, BaseExceptionGroup):
        _drop_traceback(error)
        return
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        one = stack.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        _drop_traceback(one)
        stack += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            stack += one.exceptions


def _drop_traceback(error: BaseException) -> None:
    with contextlib.suppress(Exception):  # of an error that lets nothing be set, such as a frozen dataclass
        error.__traceback__ = None
