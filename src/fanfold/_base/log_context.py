"""What names the record in hand, for whatever writes about it: its message id, and of a job the run and the segment.

Kept in a context variable: right for records that run at once, on the event loop and on threads, and gone when the
record has ended.
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
"""The names, in this context; the mapping is not to be changed but replaced."""


def record_keys() -> Mapping[str, Any]:
    """Return what names the record in hand; empty where there is none, or where no ``RecordLogging`` is told of it."""
    return RECORD_KEYS.get()


@contextmanager
def add_record_keys(**keys: object) -> Iterator[None]:
    """Add names while this lasts."""
    token = RECORD_KEYS.set({**RECORD_KEYS.get(), **keys})
    try:
        yield
    finally:
        RECORD_KEYS.reset(token)
