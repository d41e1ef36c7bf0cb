"""The question before a command changes something."""

from __future__ import annotations

import signal
import sys

import typer

from fanfold.errors import FanfoldError


def confirm(question: str, *, yes: bool) -> None:
    """Ask whether to continue, unless the user has chosen ``--yes`` or there is no terminal.

    Raises:
        FanfoldError: If the user declines.
    """
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    # An event loop's handler would only note Ctrl-C, and the question would go on waiting.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        is_confirmed = typer.confirm(question, err=True)
    except typer.Abort:  # Ctrl-C, or the end of the input
        is_confirmed = False
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
    if not is_confirmed:
        raise FanfoldError("nothing was changed")
