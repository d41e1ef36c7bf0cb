"""The context that a handler receives in addition to the body."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from fanfold._base.deadline import Deadline
from fanfold._base.frozen import Value, put
from fanfold._base.record import Record

State = TypeVar("State")


class BatchContext(Value, Generic[State]):
    """The values that all records of one batch share."""

    __slots__ = ("lambda_context", "deadline", "state", "shared")  # noqa: RUF023 - in the order of __init__

    lambda_context: Any
    """The context object of the Lambda invocation."""
    deadline: Deadline
    """The deadline of this invocation."""
    state: State
    """The value that the lifespan yielded; None without a lifespan."""
    shared: dict[str, Any]
    """A dict that the handlers of this batch may use to share values; empty at first."""

    def __init__(
        self, lambda_context: Any, deadline: Deadline, state: State, shared: dict[str, Any] | None = None
    ) -> None:
        put(self, "lambda_context", lambda_context)
        put(self, "deadline", deadline)
        put(self, "state", state)
        put(self, "shared", {} if shared is None else shared)


class Context(Value, Generic[State]):
    """The second parameter of a handler: its record and the context of the batch."""

    __slots__ = ("record", "batch")  # noqa: RUF023 - in the order of __init__

    record: Record
    """The message."""
    batch: BatchContext[State]
    """The values that all records of this batch share."""

    def __init__(self, record: Record, batch: BatchContext[State]) -> None:
        put(self, "record", record)
        put(self, "batch", batch)

    @property
    def lambda_context(self) -> Any:
        """The context object of the Lambda invocation."""
        return self.batch.lambda_context

    @property
    def deadline(self) -> Deadline:
        """The deadline of this invocation."""
        return self.batch.deadline

    @property
    def receive_count(self) -> int:
        """Deliveries of this message so far, this one included; from 1."""
        return self.record.receive_count

    @property
    def state(self) -> State:
        """The value that the lifespan yielded; None without a lifespan."""
        return self.batch.state
