"""fanfold's logger. A filter, handler or stream that fails loses the line, and changes nothing else."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

MAX_LINE_CHARACTERS: Final = 20_000
"""Characters of a log line: the first and the last half. Even escaped as JSON, they are less than 256 KB, and so fit
into one event of CloudWatch Logs: at most 1 MB, and 256 KB in earlier references. (Source: CloudWatch Logs API
reference, ``InputLogEvent``.)"""
MAX_LINES_PER_BATCH: Final = 3
"""Lines of one kind that a batch logs."""


class SafeLogger(_Adapter):
    """A logger whose methods never raise, and whose lines are of bounded length.

    What a user's logging set-up raises goes to stderr as one line. A text that a user's code provides, such as that of
    an error, is clipped.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message as ``logging.Logger.log`` does.

        Raises:
            KeyboardInterrupt: If Ctrl-C interrupts it.
        """
        kwargs.setdefault("stacklevel", 2)
        try:
            if self.logger.isEnabledFor(level):
                msg, args = _clipped(msg, args, kwargs)
                self.logger.log(level, msg, *args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a filter, a handler or a stream of the user's
            _report(error, msg, args)


class BatchLogger(SafeLogger):
    """The log of one batch: of each kind of line only the first few, because every record may cause one.

    Lines are of one kind if their message is the same before its arguments are filled in.
    """

    def __init__(self) -> None:
        super().__init__(logger.logger, {})
        self._lines: dict[object, int] = {}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message, unless the batch has logged enough of its kind."""
        kwargs.setdefault("stacklevel", 3)
        self._lines[msg] = lines = self._lines.get(msg, 0) + 1
        if lines <= MAX_LINES_PER_BATCH:
            super().log(level, msg, *args, **kwargs)
        elif lines == MAX_LINES_PER_BATCH + 1:
            super().log(level, "more lines of this kind are not logged for this batch: %s", msg, stacklevel=3)


def _clipped(msg: object, args: tuple[object, ...], kwargs: dict[str, Any]) -> tuple[object, tuple[object, ...]]:
    """Return a message and its arguments, clipped if they are too long; a long traceback becomes part of the text."""
    text = str(msg) % args if args else str(msg)
    if (error := _error_in(kwargs.get("exc_info"))) is not None:
        from fanfold._base.error_text import error_text, is_short  # not imported at cold start

        if not is_short(error):
            kwargs["exc_info"] = None
            msg, args = "%s\n%s", (text, error_text(error))
            text = f"{text}\n{args[1]}"
    if len(text) <= MAX_LINE_CHARACTERS:
        return msg, args
    from fanfold._base.error_text import clip

    return "%s", (clip(text, MAX_LINE_CHARACTERS),)


def _error_in(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    return sys.exception() if exc_info else None


def _report(error: BaseException, msg: object, args: tuple[object, ...]) -> None:
    with contextlib.suppress(Exception):  # stderr may be closed too
        from fanfold._base.error_text import clip

        text = clip(str(msg) % args if args else str(msg))
        sys.stderr.write(f"fanfold could not write a log line ({clip(repr(error))}): {text}\n")


logger = SafeLogger(logging.getLogger("fanfold"), {})
"""The logger named ``fanfold``."""
