"""A short log of the failures of one batch: for each kind of error, a count, the first message IDs, and a traceback."""

from __future__ import annotations

import contextlib
import traceback
from collections import Counter

from fanfold._base.log import logger
from fanfold._base.record import Record

_MAX_FRAMES = 20
_EXAMPLES_PER_KIND = 3
_MAX_KINDS = 20
_MAX_CHAIN = 20
"""Errors of a chain of causes that are logged."""
_MAX_CHARACTERS = 10_000
"""Characters of a traceback that are logged: the first and the last half."""


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
            self._tracebacks[kind] = _formatted(error)
        else:
            for related in _chain(error):
                _set(related, __traceback__=None)

    def write(self) -> None:
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


def _chain(error: BaseException) -> list[BaseException]:
    """Return the first errors of a chain: the error, its cause and context, the errors of a group, and so on."""
    chain = [error]
    if error.__cause__ is None and error.__context__ is None and not isinstance(error, BaseExceptionGroup):
        return chain  # as most errors
    seen = {id(error)}
    for related in chain:
        linked = [related.__cause__, related.__context__]
        if isinstance(related, BaseExceptionGroup):
            linked += related.exceptions
        for item in linked:
            if item is not None and id(item) not in seen and len(chain) < _MAX_CHAIN:
                seen.add(id(item))
                chain.append(item)
    return chain


def _formatted(error: BaseException) -> str:
    """Format an error as Python does, with the first errors of its chain and the first and last characters."""
    cut = _chain(error)
    # Python formats a chain of any length. The last one that is shown gets none, until it is formatted.
    causes = (cut[-1].__cause__, cut[-1].__context__, cut[-1].__suppress_context__)
    if len(cut) == _MAX_CHAIN:
        _set(cut[-1], __cause__=None, __context__=None)
    try:
        text = "".join(traceback.format_exception(error, limit=-_MAX_FRAMES))
    except Exception:  # noqa: BLE001 - an error of the user's that cannot be formatted
        text = f"{type(error).__qualname__}: the error cannot be formatted"
    finally:
        if len(cut) == _MAX_CHAIN:
            _set(cut[-1], __cause__=causes[0], __context__=causes[1], __suppress_context__=causes[2])
    if len(text) <= _MAX_CHARACTERS:
        return text
    half = _MAX_CHARACTERS // 2
    return f"{text[:half]}\n[{len(text) - 2 * half:,} more characters]\n{text[-half:]}"


def _set(error: BaseException, **attributes: object) -> None:
    for name, value in attributes.items():
        with contextlib.suppress(Exception):  # an immutable error, such as a frozen dataclass
            setattr(error, name, value)
