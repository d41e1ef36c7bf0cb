"""What a handler may ask for besides the body."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fanfold.deadline import Deadline
from fanfold.record import Record

__all__ = ["BatchContext", "Context"]

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class BatchContext(Generic[State]):
    """What all records of one batch share."""

    lambda_context: Any
    """The context object Lambda called the handler with."""
    deadline: Deadline
    """When this invocation has to answer."""
    state: State
    """What the lifespan yielded; None without one."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What the handlers of this batch choose to share; empty at first."""


@dataclass(frozen=True, slots=True)
class Context(Generic[State]):
    """A handler's second parameter: its record and what the batch shares."""

    record: Record
    """The message."""
    batch: BatchContext[State]
    """What all records of this batch share."""

    @property
    def lambda_context(self) -> Any:
        """The context object Lambda called the handler with."""
        return self.batch.lambda_context

    @property
    def deadline(self) -> Deadline:
        """When this invocation has to answer."""
        return self.batch.deadline

    @property
    def receive_count(self) -> int:
        """Deliveries of this message so far, this one included; from 1."""
        return self.record.receive_count

    @property
    def state(self) -> State:
        """What the lifespan yielded; None without one."""
        return self.batch.state
