"""Sinks: bulk writes for segment handlers, idempotent if a segment is redelivered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanfold._base.lazy import lazy

if TYPE_CHECKING:
    from fanfold.sinks.batch_writer import BatchWriter as BatchWriter
    from fanfold.sinks.objects import ObjectResult as ObjectResult
    from fanfold.sinks.objects import copy_objects as copy_objects
    from fanfold.sinks.objects import delete_objects as delete_objects
    from fanfold.sinks.objects import move_objects as move_objects

__all__ = ["BatchWriter", "ObjectResult", "copy_objects", "delete_objects", "move_objects"]

__getattr__ = lazy(
    __name__,
    {
        "sinks.batch_writer": "BatchWriter",
        "sinks.objects": "ObjectResult copy_objects delete_objects move_objects",
    },
)
