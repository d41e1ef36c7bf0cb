"""Classify what a handler returned or raised as the outcome of its record."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeAlias

from fanfold._base.outcome import DONE, OUTCOMES, Done, Failed, Outcome, Reject, Rejected, Retry, Retrying
from fanfold.errors import CommitError, FanfoldError

RejectOn: TypeAlias = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
"""Permanent errors: an exception type, a tuple of types, or a predicate."""

_UNFINISHED: Final = (Awaitable, AsyncIterator, Generator, Future)
_FAILED: Final = Failed(FanfoldError("the handler failed; its error was logged"))
_REASON_CHARACTERS: Final = 500
PLAIN_TYPES: Final = frozenset({bool, int, float, str, bytes, dict})
"""Types of return values that mean success, without a further look."""


def outcome_of(value: object, reject_on: Callable[[BaseException], bool]) -> Outcome:
    """Return the outcome of a record whose handler returned or raised this value.

    - An outcome is returned unchanged, except a ``Failed`` without an exception, which gets one.
    - ``Retry`` becomes ``Retrying``, ``Reject`` becomes ``Rejected``.
    - An error of fanfold that a retry cannot fix, such as DecodeError, and an error that matches ``reject_on`` become
      ``Rejected``. If a ``reject_on`` predicate raises, the error does not match.
    - Any other error, returned or raised, and any value of ``invalid_return`` become ``Failed``.
    - Any other value becomes ``Done``.
    """
    if isinstance(value, OUTCOMES):
        return value if not isinstance(value, Failed) else _checked(value)
    if not isinstance(value, BaseException):
        error = None if type(value) in PLAIN_TYPES else invalid_return(value)
        return Done(value) if error is None else Failed(error)
    if isinstance(value, Retry):
        return Retrying(value.after, _text(value).partition(": ")[2])
    if isinstance(value, Reject):
        return Rejected(value.reason)
    if (isinstance(value, FanfoldError) and value.permanent) or _rejected(value, reject_on):
        return Rejected(_text(value))
    return Failed(value)


def _checked(outcome: Failed) -> Failed:
    error: object = outcome.error  # the handler may have created it with anything
    if isinstance(error, BaseException):
        return outcome
    text = f"the handler returned Failed with a {type(error).__qualname__}: its error must be an exception"
    return Failed(TypeError(text))


def success_of(value: object) -> Done | None:
    """Return the outcome of a return value that means success; None for anything else, such as an awaitable."""
    if type(value) in PLAIN_TYPES:
        return Done(value)
    try:
        if isinstance(value, BaseException) or is_awaitable(value):
            return None
        outcome = outcome_of(value, matches_nothing)
    except BaseException:  # noqa: BLE001 - a value of the user's that cannot be classified
        return None
    return outcome if isinstance(outcome, Done) else None


def is_awaitable(value: object) -> bool:
    """Return whether a value is awaitable; False if its class cannot be read."""
    try:
        return inspect.isawaitable(value)
    except BaseException:  # noqa: BLE001 - a value of the user's
        return False


def without_details(outcome: Outcome) -> Outcome:
    """Return an outcome without what the batch response and the log do not need, which may be large.

    That is the returned value, the error, and all of a reason but its beginning.
    """
    if isinstance(outcome, Done):
        return DONE
    if isinstance(outcome, Rejected):
        return Rejected(outcome.reason[:_REASON_CHARACTERS])
    return _FAILED if isinstance(outcome, Failed) else outcome


def final_outcome(outcome: Outcome, *, is_committed: bool, is_forwarded: bool) -> Outcome:
    """Return the outcome of a record when the response is due.

    Args:
        outcome: What its handler returned or raised.
        is_committed: Whether its result is committed, or no commit is needed.
        is_forwarded: Whether the dead-letter queue has accepted it.
    """
    if isinstance(outcome, Done) and not is_committed:
        return Failed(CommitError("the handler returned, but its result was not committed in time"))
    if isinstance(outcome, Retrying) and outcome.copied:
        return Retrying(outcome.after, outcome.reason)  # only a breaker sends copies
    if isinstance(outcome, Rejected):
        return Rejected(outcome.reason, is_forwarded)  # a handler may have returned Rejected(forwarded=True) itself
    return outcome


def invalid_return(value: Any) -> BaseException | None:
    """Return the error of a return value that does not mean success; None for a valid one.

    Invalid values are: a coroutine, a task or another awaitable, a generator, and a future, whose work has not run; a
    list that contains errors, such as the result of ``asyncio.gather(…, return_exceptions=True)``; an exception class.
    """
    name = type(value).__qualname__
    if isinstance(value, _UNFINISHED):
        if isinstance(value, Coroutine | Generator):
            value.close()  # prevents Python's warning "was never awaited"
        return TypeError(f"the handler returned an un-awaited {name}; is an await missing?")
    if isinstance(value, list | tuple) and (errors := [item for item in value if isinstance(item, BaseException)]):
        return BaseExceptionGroup(f"the handler returned {len(errors)} errors among {len(value)} values", errors)
    if isinstance(value, type) and issubclass(value, BaseException):
        return TypeError(f"the handler returned the exception class {value.__qualname__}: raise it instead")
    return None


def split_list_result(value: object, records: int) -> Sequence[object]:
    """Return the value of each record from the return value of a handler that takes lists.

    None means that all records are done. A list contains one value for each record, in the same order: an error or an
    outcome if the record did not succeed. After any other value, or a list of another length, all records failed.
    """
    if value is None:
        return [None] * records
    if isinstance(value, list | tuple) and len(value) == records:
        return value
    if (error := invalid_return(value)) is not None:
        return [error] * records
    returned = f"{len(value)} values" if isinstance(value, list | tuple) else type(value).__qualname__
    message = f"the handler of {records} records returned {returned}; return None or a list of one value for each"
    return [TypeError(message)] * records


def rejects(reject_on: RejectOn | None) -> Callable[[BaseException], bool]:
    """Return the predicate for a ``reject_on`` setting."""
    if reject_on is None:
        return matches_nothing
    if isinstance(reject_on, type | tuple):
        return lambda error: isinstance(error, reject_on)
    return reject_on


def matches_nothing(error: BaseException) -> bool:  # noqa: ARG001 - a predicate
    """Return False: no error is permanent."""
    return False


def _rejected(error: BaseException, reject_on: Callable[[BaseException], bool]) -> bool:
    try:
        return bool(reject_on(error))
    except BaseException:  # noqa: BLE001 - the predicate is user code; after an error, the record is failed, not rejected
        return False


def _text(error: BaseException) -> str:
    name = type(error).__qualname__
    try:
        return str(error) if isinstance(error, FanfoldError) else f"{name}: {error}"
    except BaseException:  # noqa: BLE001 - a user's error whose __str__ raises
        return name
