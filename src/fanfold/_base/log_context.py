"""The ids of the record that is being processed, for log lines: its message id, and in a job the run and the segment.

They are in a context variable, so they are correct for concurrent records, on the event loop and on threads, and are
removed when the record has ended.
"""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final

RECORD_KEYS: Final[contextvars.ContextVar[Mapping[str, Any]]] = contextvars.ContextVar(
    "fanfold_record_keys", default=MappingProxyType({})
)
"""The ids by name; replace the mapping instead of changing it."""


def record_keys() -> Mapping[str, Any]:
    """Return the ids of the record that is being processed; empty without a record or without ``RecordLogging``."""
    return RECORD_KEYS.get()


@contextmanager
def add_record_keys(**keys: object) -> Iterator[None]:
    """Add ids within a ``with`` block."""
    token = RECORD_KEYS.set({**RECORD_KEYS.get(), **keys})
    try:
        yield
    finally:
        RECORD_KEYS.reset(token)
