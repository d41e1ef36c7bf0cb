"""fanfold's logger. A filter, handler or stream that fails loses the line, and changes nothing else."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class SafeLogger(_Adapter):
    """A logger whose methods never raise: what a user's logging set-up raises goes to stderr as one line."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a message as ``logging.Logger.log`` does.

        Raises:
            KeyboardInterrupt: If Ctrl-C interrupts it.
        """
        kwargs.setdefault("stacklevel", 2)
        try:
            self.logger.log(level, msg, *args, **kwargs)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a filter, a handler or a stream of the user's
            _report(error, msg, args)


def _report(error: BaseException, msg: object, args: tuple[object, ...]) -> None:
    with contextlib.suppress(Exception):  # stderr may be closed too
        text = str(msg) % args if args else str(msg)
        sys.stderr.write(f"fanfold could not write a log line ({error!r}): {text}\n")


logger = SafeLogger(logging.getLogger("fanfold"), {})
"""The logger named ``fanfold``."""
