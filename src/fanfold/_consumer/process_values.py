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
    for context in (shared.lambda_context, _plain(shared.lambda_context)):
        try:
            return pickle.dumps((context, deadline), protocol=5)
        except Exception:  # noqa: BLE001, S112 - an object that is not Lambda's
            continue
    return pickle.dumps((None, deadline), protocol=5)


def _plain(lambda_context: Any) -> SimpleNamespace:
    values = {name: getattr(lambda_context, name, None) for name in dir(lambda_context) if not name.startswith("_")}
    return SimpleNamespace(**{name: value for name, value in values.items() if isinstance(value, str | int | float)})
