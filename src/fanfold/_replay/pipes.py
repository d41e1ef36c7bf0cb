"""The pipes between fanfold and a handler's process: requests on its stdin, replies on its stdout, as JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any, Final, TextIO

PIPE_LOST: Final = 97
"""The exit status of a process whose handler has closed a pipe."""


def take_pipes() -> tuple[TextIO, TextIO]:
    """Return the pipes of requests and of replies, which the handler cannot reach by accident.

    Its stdin is empty, as on Lambda, and its stdout goes to stderr. Child processes do not inherit the pipes.
    """
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return requests, replies


def send(replies: TextIO, value: dict[str, Any]) -> None:
    """Send a reply, after what the handler has printed."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # the handler has replaced or closed it
        sys.stdout.flush()
    replies.write(json.dumps(value) + "\n")
    replies.flush()
