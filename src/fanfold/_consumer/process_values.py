"""The context of a batch, and errors, on their way between a consumer and its worker processes."""

from __future__ import annotations

import contextlib
import pickle
import time
from types import SimpleNamespace
from typing import Any, Final

from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.import_string import last_line
from fanfold._base.outcome import Failed, Outcome
from fanfold.errors import WorkerProcessError

UNSENT: Final = "the handler returned a value that cannot be sent to the consumer: {}"
"""Message of the error for a value that cannot be pickled or loaded; ``{}`` is the reason."""

_PLAIN_TYPES: Final = frozenset({bool, float, int, str})
"""Types of the attributes of a Lambda context that any process can load."""


def error_of(killed_for: str, how: str) -> BaseException:
    """Return the error of a record whose process has ended.

    Args:
        killed_for: Why it was ended; empty if it was not.
        how: How it has ended.
    """
    if killed_for.startswith("the handler took"):
        return TimeoutError(killed_for)
    return WorkerProcessError(killed_for or f"the worker process ended while it ran the handler: {how}")


def restored_outcome(pickled: bytes) -> Outcome:
    """Return an outcome of a process, or that of a record whose value cannot be loaded."""
    try:
        outcome: Outcome = pickle.loads(pickled)  # noqa: S301 - from our own child
    except BaseException as error:  # noqa: BLE001 - a value of the user's
        return Failed(TypeError(UNSENT.format(last_line(error))))
    return outcome


def restored(pickled: bytes | None, text: str, stack: str) -> BaseException:
    """Return an error of a process, with its traceback as a note."""
    error: BaseException = WorkerProcessError(text)
    if pickled is not None:
        try:
            error = pickle.loads(pickled)  # noqa: S301 - from our own child
        except BaseException:  # noqa: BLE001 - an error of the user's
            error = WorkerProcessError(text)
    with contextlib.suppress(BaseException):  # an error of the user's with other notes
        error.add_note(f"In the worker process:\n{stack}")
    return error


def described(shared: BatchContext[Any]) -> bytes:
    """Return the context of a batch for the processes, as far as it can be pickled."""
    left = shared.deadline.ends_at - shared.deadline.clock()
    deadline = Deadline(time.monotonic() + left, shared.deadline.margin)
    context = shared.lambda_context
    pickled = None
    with contextlib.suppress(Exception):  # an object that is not Lambda's
        pickled = pickle.dumps(context, protocol=5)
    return pickle.dumps((pickled, _plain_values(context), deadline), protocol=5)


def context_of(sent: bytes | None) -> tuple[Any, Deadline]:
    """Return the Lambda context and the deadline of a batch, from what ``described`` returned.

    A context that this process cannot load, such as one whose class is in ``__main__``, is replaced by an object that
    has its text and its numbers.
    """
    if sent is None:
        return None, Deadline.never()
    pickled, values, deadline = pickle.loads(sent)  # noqa: S301 - from our parent
    if pickled is not None:
        with contextlib.suppress(Exception):
            return pickle.loads(pickled), deadline  # noqa: S301 - from our parent
    return SimpleNamespace(**values), deadline


def _plain_values(lambda_context: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # an object whose attributes cannot be listed
        for name in dir(lambda_context):
            with contextlib.suppress(Exception):  # a property that raises an error
                value = None if name.startswith("_") else getattr(lambda_context, name)
                if type(value) in _PLAIN_TYPES:
                    values[name] = value
    return values
