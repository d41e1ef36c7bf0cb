"""Every error fanfold raises.

    FanfoldError
    ├── ConfigurationError      fix a setting, an environment variable, a name, or a permission
    │   ├── MissingExtraError   an optional dependency is not installed
    │   └── ExpiredCredentialsError  temporary credentials of AWS, or a session of IAM Identity Center, have expired
    ├── EventError              the event is not a batch of SQS records
    ├── DecodeError             a body is not valid input for the handler; a retry cannot fix it
    ├── SegmentError            a segment cannot be processed; a retry cannot fix it
    │   └── SourceError         the data of a segment or a run is missing, empty, changed, or malformed
    ├── UnfinishedPlanError     an invocation ended before its run was planned; a retry continues
    ├── EnqueueError            messages that the queue did not accept; they are in ``rejected``
    ├── WriteError              items that a table did not accept; they are in ``rejected``
    │   └── ItemError           an item that is too large, lacks its key, or has a value of an unsupported type
    ├── CommitError             a handler returned, but its result could not be committed
    ├── TotalFailureError       every record of a batch failed, and the settings ask for an error in that case
    ├── NotStartedError         the handler was not called: no time was left, or a required step had failed
    ├── AbandonedError          a handler was still running when the batch response was due
    ├── WorkerProcessError      a worker process ended while it ran the handler, or could not start
    ├── LedgerError             the ledger refused a write or holds unreadable data
    │   └── FenceLostError      another invocation has taken over this fold
    ├── StoreError              an object could not be read or written
    │   ├── ObjectMissingError
    │   ├── ObjectChangedError  the object was replaced after it was pinned
    │   └── ObjectExistsError   an object already exists under the key of a conditional write
    └── ServiceError            an AWS service failed; ``code`` is its error code, ``transient`` whether to retry

A handler that fails does not raise these errors: the outcome of a record is a value, such as ``fanfold.Failed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AbandonedError",
    "CommitError",
    "ConfigurationError",
    "DecodeError",
    "EnqueueError",
    "EventError",
    "ExpiredCredentialsError",
    "FanfoldError",
    "FenceLostError",
    "ItemError",
    "LedgerError",
    "MissingExtraError",
    "NotStartedError",
    "ObjectChangedError",
    "ObjectExistsError",
    "ObjectMissingError",
    "SegmentError",
    "ServiceError",
    "SourceError",
    "StoreError",
    "TotalFailureError",
    "WorkerProcessError",
    "WriteError",
]


class FanfoldError(Exception):
    """Base of every error fanfold raises."""

    permanent = False
    """True if a retry of the same message always raises the same error; then the record is rejected."""


class ConfigurationError(FanfoldError):
    """A setting, an environment variable, a name, or a permission that the user must fix."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is needed but not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra = extra
        """The extra that installs it, as in ``fanfold[extra]``."""
        super().__init__(f"{needed_for} needs an extra: pip install 'fanfold[{extra}]'")


class ExpiredCredentialsError(ConfigurationError):
    """Temporary credentials of AWS, or a session of IAM Identity Center, have expired: renew them."""


class EventError(FanfoldError):
    """The event is not a batch of SQS records. Raising it makes Lambda redeliver the whole batch."""


class DecodeError(FanfoldError):
    """A body is not valid input for the handler."""

    permanent = True


class SegmentError(FanfoldError):
    """A segment cannot be processed; a retry cannot fix it."""

    permanent = True


class SourceError(SegmentError):
    """The data of a segment or a run is missing, empty, changed, or malformed."""


class UnfinishedPlanError(FanfoldError):
    """The invocation ended before the run was planned; the next one with the same run continues."""


class EnqueueError(FanfoldError):
    """Messages that the queue did not accept after all retries."""

    def __init__(self, message: str, *, rejected: Sequence[tuple[int, str]]) -> None:
        self.rejected: tuple[tuple[int, str], ...] = tuple(rejected)
        """(position among the messages sent, reason given by the service) for each message that was not accepted."""
        super().__init__(message)


class WriteError(FanfoldError):
    """Items that a table did not accept after all retries that the deadline allowed."""

    def __init__(self, message: str, *, rejected: Sequence[Any]) -> None:
        self.rejected: tuple[Any, ...] = tuple(rejected)
        """The writes that were not accepted, as ``fanfold.protocols.Write``; the next flush retries them."""
        super().__init__(message)


class ItemError(WriteError):
    """An item that DynamoDB cannot store; a retry cannot fix it."""

    permanent = True

    def __init__(self, message: str) -> None:
        super().__init__(message, rejected=())


class CommitError(FanfoldError):
    """A handler returned, but its result could not be committed, so the message is not acknowledged."""


class TotalFailureError(FanfoldError):
    """Every record of a batch failed, and the settings ask for an error in that case, so that Lambda polls less."""


class NotStartedError(FanfoldError):
    """The handler was not called: no time was left, or a required earlier step had failed."""


class AbandonedError(FanfoldError):
    """A handler was still running when the batch response was due; it may still have side effects."""

    def __init__(self, message: str = "the handler was still running when the batch response was due") -> None:
        super().__init__(message)


class WorkerProcessError(FanfoldError):
    """A worker process ended while it ran a handler, or could not start; or an error in it that cannot be sent."""


class LedgerError(FanfoldError):
    """The ledger refused a write or holds unreadable data."""


class FenceLostError(LedgerError):
    """Another invocation has taken over this fold; writes of this one are refused."""


class StoreError(FanfoldError):
    """An object could not be read or written."""


class ObjectMissingError(StoreError):
    """The object or the bucket does not exist."""


class ObjectChangedError(StoreError):
    """The object was replaced after it was pinned."""


class ObjectExistsError(StoreError):
    """An object already exists under the key of a write that must create it."""


class ServiceError(FanfoldError):
    """An AWS service failed."""

    def __init__(self, message: str, *, code: str, transient: bool) -> None:
        self.code = code
        """The error code of the service, such as ``ThrottlingException``."""
        self.transient = transient
        """True if a retry may succeed."""
        super().__init__(message)
