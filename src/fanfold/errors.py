"""Every error fanfold raises.

    FanfoldError
    ├── ConfigurationError      a setting, an environment variable, a name or a permission the user has to mend
    │   └── MissingExtraError   an optional dependency is not installed
    ├── EventError              what Lambda was called with is not a batch of SQS records
    ├── DecodeError             a body is not what the handler takes; the same body never will be
    ├── SegmentError            a segment cannot be worked on, now or later
    │   └── SourceError         the data a segment or a run points to is missing, empty, changed or malformed
    ├── EnqueueError            messages the queue did not accept; they are in ``rejected``
    ├── WriteError              items a table did not accept; they are in ``rejected``
    │   └── ItemError           an item that no table takes: too large, without its key, or of no known type
    ├── CommitError             a handler returned, but what had to be durable before the acknowledgement is not
    ├── TotalFailureError       nothing of a batch was acknowledged, and the settings ask for an error then
    ├── NotStartedError         there was no time to call the handler, or something before it had failed
    ├── AbandonedError          a handler was still running when the answer had to be given
    ├── LedgerError             the ledger refused a write or holds something unreadable
    │   └── FenceLostError      another invocation has taken over this fold
    ├── StoreError              an object could not be read or written
    │   ├── ObjectMissingError
    │   ├── ObjectChangedError  the object is not the one that was pinned
    │   └── ObjectExistsError   a write that must be the first one was not
    └── ServiceError            a service failed; ``code`` is its own word, ``transient`` says whether to try again

A handler that fails raises none of these: how a record ended is an outcome (``fanfold.outcome``), not an error.
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
    "WriteError",
]


class FanfoldError(Exception):
    """Base of every error fanfold raises."""

    permanent = False
    """Whether the same message would end in the same error each time; a record it ends is treated as rejected."""


class ConfigurationError(FanfoldError):
    """A setting, an environment variable, a name or a permission has to be mended by the user."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is needed and not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        self.extra = extra
        """The extra that brings it, as in ``fanfold[extra]``."""
        super().__init__(f"{needed_for} needs an extra: pip install 'fanfold[{extra}]'")


class EventError(FanfoldError):
    """The event is not a batch of SQS records; raising it makes Lambda deliver the whole batch again."""


class DecodeError(FanfoldError):
    """A body is not what the handler takes."""

    permanent = True


class SegmentError(FanfoldError):
    """A segment cannot be worked on, now or later."""

    permanent = True


class SourceError(SegmentError):
    """The data a segment or a run points to is missing, empty, changed or malformed."""


class EnqueueError(FanfoldError):
    """Messages the queue did not accept, after every retry."""

    def __init__(self, message: str, *, rejected: Sequence[tuple[int, str]]) -> None:
        self.rejected: tuple[tuple[int, str], ...] = tuple(rejected)
        """(position in what was sent, the service's reason) for each message not accepted."""
        super().__init__(message)


class WriteError(FanfoldError):
    """Items a table did not accept, after every attempt the time allowed."""

    def __init__(self, message: str, *, rejected: Sequence[Any]) -> None:
        self.rejected: tuple[Any, ...] = tuple(rejected)
        """The writes that were not accepted, as ``fanfold.protocols.Write``; a later flush tries them again."""
        super().__init__(message)


class ItemError(WriteError):
    """An item that no table takes, now or later."""

    permanent = True

    def __init__(self, message: str) -> None:
        super().__init__(message, rejected=())


class CommitError(FanfoldError):
    """A handler returned, but what had to be durable before the acknowledgement is not."""


class TotalFailureError(FanfoldError):
    """Nothing of a batch was acknowledged, and the settings ask for an error then: Lambda polls more slowly."""


class NotStartedError(FanfoldError):
    """The handler was not called: there was no time left, or something that had to come before it had failed."""


class AbandonedError(FanfoldError):
    """A handler was still running when the answer had to be given; it may still have side effects."""

    def __init__(self, message: str = "the handler was still running when the answer had to be given") -> None:
        super().__init__(message)


class LedgerError(FanfoldError):
    """The ledger refused a write or holds something unreadable."""


class FenceLostError(LedgerError):
    """Another invocation has taken over this fold; nothing this one writes counts any more."""


class StoreError(FanfoldError):
    """An object could not be read or written."""


class ObjectMissingError(StoreError):
    """There is no such object or bucket."""


class ObjectChangedError(StoreError):
    """The object is not the one that was pinned: it was replaced meanwhile."""


class ObjectExistsError(StoreError):
    """A write that must be the first one under its key was not."""


class ServiceError(FanfoldError):
    """A service failed."""

    def __init__(self, message: str, *, code: str, transient: bool) -> None:
        self.code = code
        """The service's own word for the fault, such as ``ThrottlingException``."""
        self.transient = transient
        """Whether the same call may succeed later."""
        super().__init__(message)
