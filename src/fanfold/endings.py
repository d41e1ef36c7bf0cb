"""From what a handler returned or raised to the outcome of its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from fanfold.errors import FanfoldError
from fanfold.outcome import OUTCOMES, Done, Failed, Outcome, Reject, Rejected, Retry, Retrying

__all__ = ["RejectOn", "each_of", "outcome_of", "rejects"]

RejectOn: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Which errors are permanent: a type, several, or a predicate."""


def outcome_of(value: object, reject_on: Callable[[BaseException], bool]) -> Outcome:
    """Return how a record ended whose handler returned or raised this value.

    An outcome is itself. ``Retry`` and ``Reject`` say it themselves; a body that cannot be decoded, and what
    ``reject_on`` names, are rejected; any other error, returned or raised, is a failure. Anything else is what the
    handler did. A predicate that itself raises decides nothing.
    """
    if isinstance(value, OUTCOMES):
        return value
    if not isinstance(value, BaseException):
        return Done(value)
    if isinstance(value, Retry):
        return Retrying(value.after, _text(value).partition(": ")[2])
    if isinstance(value, Reject):
        return Rejected(value.reason)
    if (isinstance(value, FanfoldError) and value.permanent) or _rejected(value, reject_on):
        return Rejected(_text(value))
    return Failed(value)


def each_of(value: object, records: int) -> Sequence[object]:
    """Return what a handler of lists says of each record.

    None: all are done. A list: one value for each record in the same order, an error or an outcome where it did not
    succeed. Anything else, or a list of another length, leaves open which record ended how: all have failed.
    """
    if value is None:
        return [None] * records
    if isinstance(value, list | tuple) and len(value) == records:
        return value
    given = f"{len(value)} values" if isinstance(value, list | tuple) else type(value).__qualname__
    return [TypeError(f"the handler of {records} records returned {given}, not None or one value for each")] * records


def rejects(reject_on: RejectOn | None) -> Callable[[BaseException], bool]:
    """Return the predicate that a setting means."""
    if reject_on is None:
        return rejects(())
    if isinstance(reject_on, type | tuple):
        return lambda error: isinstance(error, reject_on)
    return reject_on


def _rejected(error: BaseException, reject_on: Callable[[BaseException], bool]) -> bool:
    try:
        return bool(reject_on(error))
    except BaseException:  # noqa: BLE001 - a user's predicate; in doubt a record is a failure
        return False


def _text(error: BaseException) -> str:
    name = type(error).__qualname__
    try:
        return str(error) if isinstance(error, FanfoldError) else f"{name}: {error}"
    except Exception:  # noqa: BLE001 - a user's error, without words
        return name
