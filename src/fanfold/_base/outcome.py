"""The outcome of a record, the exceptions that choose it, and the batch response that follows from it.

| the handler …                            | outcome                | the message is …                              |
|------------------------------------------|------------------------|-----------------------------------------------|
| returns                                  | ``Done(value)``        | deleted                                       |
| raises, is cancelled, exceeds a timeout, | ``Failed(error)``      | redelivered after the backoff                 |
| or returns an un-awaited awaitable       |                        |                                               |
| raises ``Retry``                         | ``Retrying(after)``    | redelivered after that delay                  |
| raises ``Reject``, or the body cannot be | ``Rejected(reason)``   | sent to the dead-letter queue, then deleted   |
| decoded                                  |                        |                                               |
| never started                            | ``NotStarted(reason)`` | redelivered                                   |
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from fanfold._base.frozen import Value, put

if TYPE_CHECKING:
    from fanfold._base.record import Record


class Retry(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler to have the message redelivered.

    Raises:
        ValueError: If ``after`` is not a number of at least 0, or a number is passed as the reason.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        _check_time(reason, after)
        self.after = after
        """Seconds until the next delivery; None for the queue's visibility timeout."""
        super().__init__(reason or "the handler asked for a retry")


def _check_time(reason: object, after: Any) -> None:
    if isinstance(reason, int | float):
        raise ValueError(f"Retry({reason}) sets no delay: use Retry(after={reason})")  # noqa: TRY004 - as for any time
    if after is not None and not _is_time(after):
        raise ValueError(f"after must be a number of seconds of at least 0, not {after!r}")


def _is_time(value: Any) -> bool:
    try:
        return not isinstance(value, str) and bool(value >= 0)  # not for NaN
    except TypeError:
        return False


class Reject(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler to reject a message that no retry can process."""

    def __init__(self, reason: str) -> None:
        self.reason: str = str(reason)
        """The reason, for people who inspect the dead letter."""
        super().__init__(reason)


class Done(Value):
    """The handler returned and its result is committed: the message is deleted."""

    __slots__ = ("value",)

    value: Any
    """The return value of the handler."""

    def __init__(self, value: Any = None) -> None:
        put(self, "value", value)


class Failed(Value):
    """The record failed: the message is redelivered."""

    __slots__ = ("error",)

    error: BaseException
    """The error; only the first failure of each kind in a batch keeps its traceback."""

    def __init__(self, error: BaseException) -> None:
        put(self, "error", error)


class Retrying(Value):
    """The message is redelivered after a delay: the handler asked for a retry, or a breaker sent a copy."""

    __slots__ = ("after", "reason", "copied")  # noqa: RUF023 - in the order of __init__

    after: float | None
    """Seconds until the redelivery; None for the queue's visibility timeout."""
    reason: str
    """The reason that the handler specified."""
    copied: bool
    """True if the queue has accepted a copy, which replaces the message; only then is the message deleted."""

    def __init__(self, after: float | None, reason: str = "", copied: bool = False) -> None:  # noqa: FBT002 - as above
        put(self, "after", after)
        put(self, "reason", reason)
        put(self, "copied", copied)


class Rejected(Value):
    """The message cannot be processed by any retry: it is sent to the dead-letter queue."""

    __slots__ = ("reason", "forwarded")  # noqa: RUF023 - in the order of __init__

    reason: str
    """The reason."""
    forwarded: bool
    """True if the dead-letter queue has accepted the message; only then is it deleted from this queue."""

    def __init__(self, reason: str, forwarded: bool = False) -> None:  # noqa: FBT002 - as a dataclass takes it
        put(self, "reason", str(reason))  # an exception is accepted as a reason
        put(self, "forwarded", forwarded)


class NotStarted(Value):
    """The handler was not called for this record: the message is redelivered."""

    __slots__ = ("reason",)

    reason: str
    """The reason."""

    def __init__(self, reason: str) -> None:
        put(self, "reason", reason)


DONE = Done()
"""Done without a value: the most common outcome, created once."""

BLOCKED_IN_GROUP = NotStarted("an earlier record of its message group is not done")
"""The outcome of a record of a FIFO queue after an unacknowledged record of its message group."""

Outcome: TypeAlias = Done | Failed | Retrying | Rejected | NotStarted
OUTCOMES = (Done, Failed, Retrying, Rejected, NotStarted)


def acknowledges(outcome: Outcome) -> bool:
    """Return whether the message may be deleted: it is done, or a queue has accepted what replaces it."""
    if outcome is DONE or isinstance(outcome, Done):
        return True
    return outcome.forwarded if isinstance(outcome, Rejected) else isinstance(outcome, Retrying) and outcome.copied


def are_all_done(outcomes: Sequence[Outcome | None]) -> bool:
    """Return whether each outcome is ``DONE`` itself; compares no return values, whose ``==`` is a user's code."""
    return all(map(is_, outcomes, repeat(DONE)))


class BatchItemFailure(TypedDict):
    """One entry of a partial batch response."""

    itemIdentifier: str


class BatchResponse(TypedDict):
    """A partial batch response, as Lambda's event source mapping reads it."""

    batchItemFailures: list[BatchItemFailure]


class BatchResult(Value):
    """The outcomes of all records of a batch."""

    __slots__ = ("records", "outcomes", "response")  # noqa: RUF023 - in the order of __init__

    records: Sequence[Record]
    """The batch, in its order."""
    outcomes: Sequence[Outcome]
    """One outcome for each record, in the same order."""
    response: BatchResponse
    """The batch response: the id of every message that has not succeeded, once, in batch order."""

    def __init__(self, records: Sequence[Record], outcomes: Sequence[Outcome], response: BatchResponse) -> None:
        put(self, "records", records)
        put(self, "outcomes", outcomes)
        put(self, "response", response)

    def __repr__(self) -> str:
        # Kept short: asyncio's runner formats a finished task, and with it this result, when it shuts down.
        failures = len(self.response["batchItemFailures"])
        return f"<BatchResult of {len(self.records)} records, {failures} to be redelivered>"


def partial_response(records: Sequence[Record], outcomes: Sequence[Outcome]) -> BatchResponse:
    """Return the partial batch response: a message in it is redelivered, any other message is deleted.

    It contains each message id that has an unacknowledged record, once, in batch order. (Source: Lambda developer
    guide, "Reporting batch item failures for Lambda functions with an Amazon SQS trigger".)

    Args:
        records: The whole batch.
        outcomes: One outcome for each record, in the same order.

    Raises:
        ValueError: If the numbers of outcomes and records differ.
    """
    if len(records) == len(outcomes) and are_all_done(outcomes):
        return {"batchItemFailures": []}
    failed = {
        record.message_id: None
        for record, outcome in zip(records, outcomes, strict=True)
        if outcome is not DONE and not acknowledges(outcome)
    }
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
