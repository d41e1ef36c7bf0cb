"""A short log of the failures of one batch: for each kind of error, a count, the first message IDs, and a traceback."""

from __future__ import annotations

from collections import Counter

from fanfold._base.log import BatchLogger, logger
from fanfold._base.record import Record

_EXAMPLES_PER_KIND = 3
_MAX_KINDS = 20


class FailureLog:
    """Collects the failures of one batch and writes them as a few log lines. Message bodies are never logged."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._tracebacks: dict[str, str] = {}
        self._logger = BatchLogger()

    def add(self, record: Record, error: BaseException) -> None:
        """Add a failure.

        Only the first error of a kind keeps its traceback: a traceback keeps every local variable of the handler alive
        until the batch ends.
        """
        from fanfold._base.error_text import error_text, related_errors  # not imported at cold start

        kind = type(error).__qualname__
        self._counts[kind] += 1
        if len(examples := self._examples.setdefault(kind, [])) < _EXAMPLES_PER_KIND:
            examples.append(record.message_id)
        if kind not in self._tracebacks and len(self._tracebacks) < _MAX_KINDS:
            self._tracebacks[kind] = error_text(error)
        else:
            for related in related_errors(error)[0]:
                BaseException.with_traceback(related, None)  # not by assignment, which an immutable error refuses

    def add_from_worker(self, error: BaseException) -> None:
        """Log an error that ended a worker, immediately."""
        self._logger.error("a worker of the batch failed; its record is reported as failed", exc_info=error)

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
