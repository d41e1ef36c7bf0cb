"""Call a handler in a worker process, and judge what it returns or raises."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from fanfold._base.context import BatchContext
from fanfold._base.outcome import Done, Failed, Outcome
from fanfold._base.record import Record
from fanfold._consumer.binding import bind_here
from fanfold._consumer.classify import invalid_return, outcome_of, rejects
from fanfold._consumer.handler_names import HandlerName, find_handler
from fanfold._consumer.process_handlers import settings_of
from fanfold._consumer.process_wire import ARGUMENTS, RECORD

Call: TypeAlias = Callable[[str, Any], Any]
"""Call the handler with the id and the content of a record."""


class Calls(Protocol):
    """The calls of a handler."""

    lifespan: Callable[[], Any] | None
    """Entered once, before the first call; None for nothing."""

    def bind(self, batch: BatchContext[Any]) -> Call:
        """Return the call for the records of a batch."""
        ...

    def outcome_of(self, value: object) -> Outcome | None:
        """Return the outcome of a record whose call returned or raised this value; None for success without a value."""
        ...


def calls_of(name: HandlerName, takes: str, settings: dict[str, Any]) -> Calls:
    """Return the calls of a handler whose module is imported.

    Raises:
        LookupError: If the module does not have it.
    """
    function = find_handler(name)
    if function is None:
        has = "have" if name.number is None else "create a consumer of"
        raise LookupError(f"{name.module} does not {has} {name.qualname} when it is imported")
    if takes == ARGUMENTS:
        return _RecordHandler(function)
    return _ConsumerHandler(function, settings, takes_raw=takes == RECORD)


class _ConsumerHandler:
    """The handler of a consumer."""

    def __init__(self, function: Callable[..., Any], settings: dict[str, Any], *, takes_raw: bool) -> None:
        settings = settings_of(function) | settings
        self.lifespan: Callable[[], Any] | None = settings.get("lifespan")
        self._reject_on = rejects(settings.get("reject_on"))
        self._takes_raw = takes_raw
        self._bind = bind_here(function)

    def bind(self, batch: BatchContext[Any]) -> Call:
        call = self._bind(batch)
        if self._takes_raw:
            return lambda _, raw: call(Record(raw))
        return lambda message_id, body: call(Record({"messageId": message_id, "body": body}))

    def outcome_of(self, value: object) -> Outcome:
        return outcome_of(value, self._reject_on)


class _RecordHandler:
    """A record handler of a drop-in for Powertools, whose arguments are pickled.

    Every value that it returns is a success, but for those of which the work has not run; every exception is a failure.
    """

    lifespan: Callable[[], Any] | None = None

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def bind(self, batch: BatchContext[Any]) -> Call:
        def call(_: str, pickled: bytes) -> Done:
            arguments, takes_context = pickle.loads(pickled)  # noqa: S301 - from our parent
            if takes_context:
                arguments["lambda_context"] = batch.lambda_context
            return Done(self._function(**arguments))

        return call

    def outcome_of(self, value: object) -> Outcome | None:
        if not isinstance(value, Done):
            return Failed(value)  # type: ignore[arg-type] # what was raised
        error = invalid_return(value.value)
        if error is not None:
            return Failed(error)
        return None if value.value is None else value
