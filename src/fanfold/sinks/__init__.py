"""Sinks: what segment handlers write in bulk, safe to do again when a segment is delivered again."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold.sinks.batch_writer import BatchWriter as BatchWriter
    from fanfold.sinks.objects import ObjectResult as ObjectResult
    from fanfold.sinks.objects import copy_objects as copy_objects
    from fanfold.sinks.objects import delete_objects as delete_objects
    from fanfold.sinks.objects import move_objects as move_objects

__all__ = ["BatchWriter", "ObjectResult", "copy_objects", "delete_objects", "move_objects"]

_HOMES = {
    "BatchWriter": "batch_writer",
    "ObjectResult": "objects",
    "copy_objects": "objects",
    "delete_objects": "objects",
    "move_objects": "objects",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fanfold.sinks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fanfold.sinks.{_HOMES[name]}"), name)
