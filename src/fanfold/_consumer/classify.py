"""From what a handler returned or raised to the outcome of its record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

from fanfold._base.outcome import OUTCOMES, Done, Failed, Outcome, Reject, Rejected, Retry, Retrying
from fanfold.errors import FanfoldError

RejectOn: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Which errors are permanent: a type, several, or a predicate."""

_UNFINISHED: Final = (Awaitable, AsyncIterator, Generator, Future)
_PLAIN: Final = frozenset({bool, int, float, str, bytes, dict})


def outcome_of(value: object, reject_on: Callable[[BaseException], bool]) -> Outcome:
    """Return how a record ended whose handler returned or raised this value.

    An outcome is itself. ``Retry`` and ``Reject`` say it themselves; a body that cannot be decoded, and what
    ``reject_on`` names, are rejected; any other error, returned or raised, is a failure, and so is what leaves it open
    whether anything was done (``invalid_return``). Anything else is what the handler did. A predicate that itself
    raises decides nothing.
    """
    if isinstance(value, OUTCOMES):
        return value
    if not isinstance(value, BaseException):
        doubt = None if type(value) in _PLAIN else invalid_return(value)
        return Done(value) if doubt is None else Failed(doubt)
    if isinstance(value, Retry):
        return Retrying(value.after, _text(value).partition(": ")[2])
    if isinstance(value, Reject):
        return Rejected(value.reason)
    if (isinstance(value, FanfoldError) and value.permanent) or _rejected(value, reject_on):
        return Rejected(_text(value))
    return Failed(value)


def invalid_return(value: Any) -> BaseException | None:
    """Return why a returned value does not say that its handler has succeeded; None if nothing speaks against it.

    What has still to run has done nothing: a coroutine, a task or another awaitable, a generator, a future. Errors in a
    list are those of ``asyncio.gather(…, return_exceptions=True)`` that nobody has looked at. And a class of errors was
    meant to be raised.
    """
    name = type(value).__qualname__
    if isinstance(value, _UNFINISHED):
        if isinstance(value, Coroutine | Generator):
            value.close()  # without a warning of its own
        return TypeError(f"the handler returned a {name}, which nobody has awaited: is an await missing?")
    if isinstance(value, list | tuple) and (errors := [each for each in value if isinstance(each, BaseException)]):
        return BaseExceptionGroup(f"the handler returned {len(errors)} errors among {len(value)} values", errors)
    if isinstance(value, type) and issubclass(value, BaseException):
        return TypeError(f"the handler returned the class {value.__qualname__}: raise it")
    return None


def split_list_result(value: object, records: int) -> Sequence[object]:
    """Return what a handler of lists says of each record.

    None: all are done. A list: one value for each record in the same order, an error or an outcome where it did not
    succeed. Anything else, or a list of another length, leaves open which record ended how: all have failed.
    """
    if value is None:
        return [None] * records
    if isinstance(value, list | tuple) and len(value) == records:
        return value
    if (doubt := invalid_return(value)) is not None:
        return [doubt] * records
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
