"""How a record ended, what a handler raises to choose, and the response that follows.

| the handler …                           | outcome              | what the queue does                     |
|-----------------------------------------|----------------------|-----------------------------------------|
| returns                                 | ``Done(value)``      | deletes the message                     |
| raises, is cancelled, takes too long,   | ``Failed(error)``    | delivers it again, after the back-off   |
| or returns what nobody has awaited      |                      |                                         |
| raises ``Retry``                        | ``Retrying(after)``  | delivers it again, after that time      |
| raises ``Reject``, or cannot be decoded | ``Rejected(reason)`` | deletes it once the dead-letter queue has it |
| never started                           | ``NotStarted(reason)`` | delivers it again                     |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from fanfold._base.frozen import Value, put

if TYPE_CHECKING:
    from fanfold._base.record import Record


class Retry(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler: deliver this message again.

    Raises:
        ValueError: If the time is none, or stands where the reason does.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        _check_time(reason, after)
        self.after = after
        """Seconds until the next delivery; None for the queue's visibility timeout."""
        super().__init__(reason or "the handler asked for another delivery")


def _check_time(reason: object, after: Any) -> None:
    if isinstance(reason, int | float):
        raise ValueError(f"Retry({reason}) names no time: write Retry(after={reason})")  # noqa: TRY004 - as for any time
    if after is not None and (isinstance(after, str) or not after >= 0):  # says no to what is no number, too
        raise ValueError(f"after must be 0 seconds or more, not {after!r}")


class Reject(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler: this message will never succeed."""

    def __init__(self, reason: str) -> None:
        self.reason: str = str(reason)
        """Why, in words a person who looks at the dead letter understands."""
        super().__init__(reason)


class Done(Value):
    """The handler returned, and what had to be durable is: the message is deleted."""

    __slots__ = ("value",)

    value: Any
    """What the handler returned."""

    def __init__(self, value: Any = None) -> None:
        put(self, "value", value)


class Failed(Value):
    """The record did not succeed: the message is delivered again."""

    __slots__ = ("error",)

    error: BaseException
    """Why; only the first failure of each kind in a batch keeps its traceback."""

    def __init__(self, error: BaseException) -> None:
        put(self, "error", error)


class Retrying(Value):
    """The handler asked for another delivery."""

    __slots__ = ("after", "reason")

    after: float | None
    """Seconds until then; None for the queue's visibility timeout."""
    reason: str
    """The handler's words."""

    def __init__(self, after: float | None, reason: str = "") -> None:
        put(self, "after", after)
        put(self, "reason", reason)


class Rejected(Value):
    """The message will never succeed."""

    __slots__ = ("reason", "forwarded")  # noqa: RUF023 - in the order of __init__

    reason: str
    """Why."""
    forwarded: bool
    """Whether the dead-letter queue has accepted it: then, and only then, the message is deleted here."""

    def __init__(self, reason: str, forwarded: bool = False) -> None:  # noqa: FBT002 - as a dataclass takes it
        put(self, "reason", str(reason))  # a caught error is a reason, too
        put(self, "forwarded", forwarded)


class NotStarted(Value):
    """The handler was not called for this record: the message is delivered again."""

    __slots__ = ("reason",)

    reason: str
    """Why."""

    def __init__(self, reason: str) -> None:
        put(self, "reason", reason)


DONE = Done()
"""Done with nothing to say: what most records end as, made once."""

BLOCKED_IN_GROUP = NotStarted("an earlier record of its message group is not done")
"""How a record of a FIFO queue ends that has to wait for the next delivery of another."""

Outcome: TypeAlias = Done | Failed | Retrying | Rejected | NotStarted
OUTCOMES = (Done, Failed, Retrying, Rejected, NotStarted)


def acknowledges(outcome: Outcome) -> bool:
    """Tell whether a record that ended so may be deleted: done, or rejected and accepted by the dead-letter queue."""
    return outcome is DONE or isinstance(outcome, Done) or (isinstance(outcome, Rejected) and outcome.forwarded)


class BatchItemFailure(TypedDict):
    """One entry of a partial batch response."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """A partial batch response, as Lambda's event source mapping reads it."""

    batchItemFailures: list[BatchItemFailure]


class BatchResult(Value):
    """How every record of a batch ended."""

    __slots__ = ("records", "outcomes", "response")  # noqa: RUF023 - in the order of __init__

    records: Sequence[Record]
    """The batch, in its order."""
    outcomes: Sequence[Outcome]
    """One outcome for each record, in the same order."""
    response: BatchResponse
    """What Lambda is answered: every message that is not known to have succeeded, once, in batch order."""

    def __init__(self, records: Sequence[Record], outcomes: Sequence[Outcome], response: BatchResponse) -> None:
        put(self, "records", records)
        put(self, "outcomes", outcomes)
        put(self, "response", response)

    def __repr__(self) -> str:
        # Short: asyncio's runner has a finished task, and with it this result, written out at its end.
        return f"<BatchResult of {len(self.records)} records, {len(self.response['batchItemFailures'])} come back>"


def partial_response(records: Sequence[Record], outcomes: Sequence[Outcome]) -> BatchResponse:
    """Return the partial batch response: what is in it comes back, what is not is deleted.

    A message id stands in it if any record of that id is not acknowledged, once, in batch order. (Source: Lambda
    developer guide, "Reporting batch item failures for Lambda functions with an Amazon SQS trigger".)

    Args:
        records: The whole batch.
        outcomes: One outcome for each record, in the same order.

    Raises:
        ValueError: If there are not as many outcomes as records.
    """
    failed = {
        record.message_id: None
        for record, outcome in zip(records, outcomes, strict=True)
        if outcome is not DONE and not acknowledges(outcome)
    }
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
