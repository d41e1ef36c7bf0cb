"""A short log of the failures of one batch: for each kind of error, a count, the first message IDs, and a traceback."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections import Counter

from fanfold._base.record import Record

_MAX_FRAMES = 20
_EXAMPLES_PER_KIND = 3
_MAX_KINDS = 20


class FailureLog:
    """Collects the failures of one batch and writes them as a few log lines. Message bodies are never logged."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._tracebacks: dict[str, str] = {}

    def add(self, record: Record, error: BaseException) -> None:
        """Add a failure.

        Only the first error of a kind keeps its traceback: a traceback keeps every local variable of the handler alive
        until the batch ends.
        """
        kind = type(error).__qualname__
        self._counts[kind] += 1
        if len(examples := self._examples.setdefault(kind, [])) < _EXAMPLES_PER_KIND:
            examples.append(record.message_id)
        if kind not in self._tracebacks and len(self._tracebacks) < _MAX_KINDS:
            self._tracebacks[kind] = "".join(traceback.format_exception(error, limit=-_MAX_FRAMES))
        else:
            _drop_tracebacks(error)

    def write(self, logger: logging.Logger) -> None:
        """Log each kind of error once: its count, the first message IDs, and a traceback."""
        counts = Counter(dict(self._counts))  # a copy: an abandoned handler may still add a failure
        for kind, count in counts.most_common(_MAX_KINDS):
            logger.error(
                "%d x %s, first in message %s\n%s",
                count,
                kind,
                ", ".join(self._examples[kind]),
                self._tracebacks.get(kind, "").rstrip(),
            )
        if len(counts) > _MAX_KINDS:
            logger.error("%d more kinds of failure", len(counts) - _MAX_KINDS)


def _drop_tracebacks(error: BaseException) -> None:
    if error.__cause__ is None and error.__context__ is None and not isinstance(error, BaseExceptionGroup):
        _drop_traceback(error)
        return
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        related = stack.pop()
        if related is None or id(related) in seen:
            continue
        seen.add(id(related))
        _drop_traceback(related)
        stack += [related.__cause__, related.__context__]
        if isinstance(related, BaseExceptionGroup):
            stack += related.exceptions


def _drop_traceback(error: BaseException) -> None:
    with contextlib.suppress(Exception):  # an immutable error, such as a frozen dataclass
        error.__traceback__ = None
