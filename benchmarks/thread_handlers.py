"""The handlers of ``process_handlers`` on threads, for any version of fanfold."""

from typing import Any

import fanfold
from process_work import compute


def accept(order: dict[str, Any]) -> None:
    """Do nothing with a decoded body."""


def burn(order: dict[str, Any]) -> None:  # noqa: ARG001 - a handler
    """Compute in pure Python."""
    compute()


quick = fanfold.consumer(concurrency=2)(accept)
slow = fanfold.consumer(concurrency=2)(burn)
