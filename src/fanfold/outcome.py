"""How a record ended, and what a handler raises to choose.

| the handler …                          | outcome              | what the queue does                     |
|----------------------------------------|----------------------|-----------------------------------------|
| returns                                | ``Done(value)``      | deletes the message                     |
| raises, is cancelled, takes too long   | ``Failed(error)``    | delivers it again, after the back-off   |
| raises ``Retry``                       | ``Retrying(after)``  | delivers it again, after that time      |
| raises ``Reject``, or cannot be decoded | ``Rejected(reason)`` | deletes it once the dead-letter queue has it |
| never started                          | ``NotStarted(reason)`` | delivers it again                     |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

if TYPE_CHECKING:
    from fanfold.record import Record

__all__ = [
    "DONE",
    "OUTCOMES",
    "BatchItemFailure",
    "BatchResponse",
    "BatchResult",
    "Done",
    "Failed",
    "NotStarted",
    "Outcome",
    "Reject",
    "Rejected",
    "Retry",
    "Retrying",
    "acknowledges",
]


class Retry(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler: deliver this message again."""

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        if after is not None and not after >= 0:  # says no to what is no number, too
            raise ValueError(f"after must be 0 seconds or more, not {after}")
        self.after = after
        """Seconds until the next delivery; None for the queue's visibility timeout."""
        super().__init__(reason or "the handler asked for another delivery")


class Reject(Exception):  # noqa: N818 - an instruction to the consumer, not an error
    """Raised by a handler: this message will never succeed."""

    def __init__(self, reason: str) -> None:
        self.reason = str(reason)
        """Why, in words a person who looks at the dead letter understands."""
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Done:
    """The handler returned, and what had to be durable is: the message is deleted."""

    value: Any = None
    """What the handler returned."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The record did not succeed: the message is delivered again."""

    error: BaseException
    """Why; only the first failure of each kind in a batch keeps its traceback."""


@dataclass(frozen=True, slots=True)
class Retrying:
    """The handler asked for another delivery."""

    after: float | None
    """Seconds until then; None for the queue's visibility timeout."""
    reason: str = ""
    """The handler's words."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The message will never succeed."""

    reason: str
    """Why."""
    forwarded: bool = False
    """Whether the dead-letter queue has accepted it: then, and only then, the message is deleted here."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The handler was not called for this record: the message is delivered again."""

    reason: str
    """Why."""


DONE = Done()
"""Done with nothing to say: what most records end as, made once."""

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


@dataclass(frozen=True, slots=True, repr=False)
class BatchResult:
    """How every record of a batch ended."""

    records: Sequence[Record]
    """The batch, in its order."""
    outcomes: Sequence[Outcome]
    """One outcome for each record, in the same order."""
    response: BatchResponse
    """What Lambda is answered: every message that is not known to have succeeded, once, in batch order."""

    def __repr__(self) -> str:
        # Short: asyncio's runner has a finished task, and with it this result, written out at its end.
        return f"<BatchResult of {len(self.records)} records, {len(self.response['batchItemFailures'])} come back>"
