"""Drop-ins for the batch processors of Powertools for AWS Lambda: change the import, keep the rest.

    from fanfold.powertools import AsyncBatchProcessor, EventType, async_process_partial_response

The classes are Powertools' own with one thing replaced: how records are run. Constructors, context manager, decorators,
responses, events (SQS, Kinesis, DynamoDB streams, Kafka), models and the methods that subclasses override are theirs.
What differs:

- ``AsyncBatchProcessor`` runs at most ``concurrency`` handlers at once (10), on fanfold's own event loop, which is not
  the one of the invocation's thread; plain ``def`` handlers run on threads.
- ``BatchProcessor`` refuses ``async def`` handlers; ``concurrency`` above 1 runs handlers on threads.
- ``SqsFifoPartialProcessor`` takes ``async def`` handlers in ``async_process_partial_response``; with
  ``skip_group_on_error`` and a ``concurrency``, message groups run at once. A record that cannot be validated is a
  failure of its own.
- Given a Lambda context, all of them answer before the time is over. What did not start, or did not end, is reported
  failed with ``errors.NotStartedError``, ``errors.AbandonedError`` or ``CancelledError``. A plain handler on the
  invocation's thread cannot be interrupted: after it, no further one starts.
- Whatever a handler raises fails its record alone, ``CancelledError`` and ``SystemExit`` too. So does what it returns
  that has still to run, such as a coroutine that nobody has awaited, or a list with errors in it.
- The response names records in batch order, each once.

Observers of a ``fanfold.consumer`` that write with Powertools: ``BatchMetrics``, ``RecordLogging``, ``RecordTracing``.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from fanfold._base.callables import is_coroutine_function
from fanfold._base.deadline import Deadline
from fanfold._base.threads import Threads
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._consumer.settings import check_count
from fanfold.errors import ConfigurationError, MissingExtraError, NotStartedError
from fanfold.logs import RecordLogging
from fanfold.powertools._processors import Entry, InTime, RunOne, deadline_given
from fanfold.powertools.observers import BatchMetrics, RecordTracing

try:
    from aws_lambda_powertools.utilities import batch as theirs
    from aws_lambda_powertools.utilities.batch import (
        BasePartialBatchProcessor,
        BasePartialProcessor,
        BatchTypeModels,
        EventType,
        ExceptionInfo,
        FailureResponse,
        SuccessResponse,
        async_batch_processor,
        async_process_partial_response,
        batch_processor,
        process_partial_response,
    )
except ModuleNotFoundError as missing:
    raise MissingExtraError("powertools", "fanfold.powertools") from missing

__all__ = [
    "AsyncBatchProcessor",
    "BasePartialBatchProcessor",
    "BasePartialProcessor",
    "BatchMetrics",
    "BatchProcessor",
    "BatchTypeModels",
    "EventType",
    "ExceptionInfo",
    "FailureResponse",
    "RecordLogging",
    "RecordTracing",
    "SqsFifoPartialProcessor",
    "SuccessResponse",
    "async_batch_processor",
    "async_process_partial_response",
    "batch_processor",
    "process_partial_response",
]

DEFAULT_CONCURRENCY: Final = 10
"""Handlers of an ``AsyncBatchProcessor`` that run at once unless told otherwise."""

_GROUP: contextvars.ContextVar[str | None] = contextvars.ContextVar("fanfold_powertools_group", default=None)


class AsyncBatchProcessor(InTime, theirs.AsyncBatchProcessor):
    """Powertools' ``AsyncBatchProcessor``, bounded and in time; see the module for what differs.

    Args:
        args: As Powertools' own: ``event_type``, ``model``, ``raise_on_entire_batch_failure``, ``logger``.
        concurrency: Handlers that run at once, from 1; 10 by default.
        kwargs: As ``args``.

    Raises:
        ConfigurationError: If the concurrency is no whole number from 1.
    """

    def __init__(self, *args: Any, concurrency: int = DEFAULT_CONCURRENCY, **kwargs: Any) -> None:
        self.concurrency: int = check_count(concurrency, "concurrency")
        super().__init__(*args, **kwargs)

    def async_process(self) -> list[Entry]:
        """Run the handler for each record, at most ``concurrency`` at once; one entry for each, in batch order."""
        return _process_async(self)


class BatchProcessor(InTime, theirs.BatchProcessor):
    """Powertools' ``BatchProcessor``, in time; see the module for what differs.

    Args:
        args: As Powertools' own: ``event_type``, ``model``, ``raise_on_entire_batch_failure``, ``logger``.
        concurrency: Handlers that run at once: 1 for one after another on the invocation's thread, more for threads.
        kwargs: As ``args``.

    Raises:
        ConfigurationError: If the concurrency is no whole number from 1.
    """

    def __init__(self, *args: Any, concurrency: int = 1, **kwargs: Any) -> None:
        self.concurrency: int = check_count(concurrency, "concurrency")
        super().__init__(*args, **kwargs)

    def process(self) -> list[Entry]:
        """Run the handler for each record, and return one entry for each, in batch order.

        Raises:
            ConfigurationError: If the handler is ``async def``: it would never run; nothing has run.
        """
        if is_coroutine_function(self.handler):
            raise ConfigurationError(
                f"{_name_of(self.handler)} is an async def, which {type(self).__name__}.process would never run: "
                "use AsyncBatchProcessor and async_process_partial_response"
            )
        if self.concurrency > 1:
            return self._fan_out(self._on_threads, on_threads=True)
        deadline = deadline_given(self._given_context)
        return [self._one(raw, deadline) for raw in self.records]

    def success_handler(self, record: Any, result: Any) -> SuccessResponse:
        """As Powertools' own; a result that has still to be awaited is no success.

        Raises:
            ConfigurationError: If it has; Powertools reports the record failed then.
        """
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ConfigurationError(
                f"{_name_of(self.handler)} returned something to be awaited, so it has not run: "
                "use AsyncBatchProcessor and async_process_partial_response"
            )
        return super().success_handler(record, result)

    def _on_threads(self, environment: ExecutionEnvironment) -> RunOne:
        return functools.partial(environment.threads.run, self._process_record)

    def _one(self, raw: dict[str, Any], deadline: Deadline) -> Entry:
        if deadline.clock() >= deadline.stops_at:
            return self._fail(raw, NotStartedError("the invocation's time was over"))
        try:
            return self._process_record(raw)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it fails this record alone
            return self._fail(raw, error)


class SqsFifoPartialProcessor(BatchProcessor, theirs.SqsFifoPartialProcessor):
    """Powertools' ``SqsFifoPartialProcessor``, in time, for plain and ``async def`` handlers; see the module.

    Args:
        args: As Powertools' own: ``model``, ``skip_group_on_error``, ``logger``.
        concurrency: Message groups that run at once; more than 1 needs ``skip_group_on_error``, since without it the
            whole batch stops at its first failure.
        kwargs: As ``args``.

    Raises:
        ConfigurationError: If the concurrency is no whole number from 1, or more than 1 without
            ``skip_group_on_error``.
    """

    def __init__(self, *args: Any, concurrency: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, concurrency=concurrency, **kwargs)
        if concurrency > 1 and not self._skip_group_on_error:
            raise ConfigurationError(
                "concurrency above 1 needs skip_group_on_error=True: without it the batch stops at its first failure"
            )

    # Powertools keeps the group of the record in hand on the instance; with groups at once it is the context's.
    @property  # type: ignore[override] # an attribute there, which its constructor sets to None
    def _current_group_id(self) -> str | None:
        return _GROUP.get()

    @_current_group_id.setter
    def _current_group_id(self, group: str | None) -> None:
        _GROUP.set(group)

    def async_process(self) -> list[Entry]:
        """Run the handler as ``process`` does, on the event loop; an ``async def`` is welcome here."""
        return _process_async(self)

    async def _async_process_record(self, record: dict[str, Any]) -> Any:
        self._current_group_id = _group_of(record)
        return await theirs.AsyncBatchProcessor._async_process_record(self, record)  # type: ignore[arg-type] # noqa: SLF001

    def _lane(self, raw: Mapping[str, Any], position: int) -> str | None:
        if not self._skip_group_on_error:
            return ""  # the whole batch
        return _group_of(raw) or f"alone-{position}"

    def _stops_lane(self, raw: Mapping[str, Any]) -> bool:
        # By what failure_handler was told, not by what a subclass's own may return.
        return _group_of(raw) in self._failed_group_ids if self._skip_group_on_error else bool(self.fail_messages)

    def _fail(self, raw: dict[str, Any], error: BaseException) -> Entry:
        self._current_group_id = group = _group_of(raw)
        data = self._to_batch_type(raw, event_type=self.event_type)
        if isinstance(error, NotStartedError):
            if self._skip_group_on_error and group in self._failed_group_ids:
                return self.failure_handler(data, self.group_circuit_breaker_exc)
            if self.fail_messages and not self._skip_group_on_error:
                return self.failure_handler(data, self.circuit_breaker_exc)
        return super()._fail(raw, error)


def _process_async(processor: AsyncBatchProcessor | SqsFifoPartialProcessor) -> list[Entry]:
    handler = processor.handler

    def prepare(environment: ExecutionEnvironment) -> RunOne:
        if not is_coroutine_function(handler):
            processor.handler = functools.partial(_on_thread, environment.threads, handler)
        return processor._async_process_record  # noqa: SLF001 - the method subclasses override

    try:
        return processor._fan_out(prepare, on_threads=not is_coroutine_function(handler))  # noqa: SLF001 - ours
    finally:
        processor.handler = handler


async def _on_thread(threads: Threads, handler: Callable[..., Any], **kwargs: Any) -> Any:
    value = await threads.run(handler, **kwargs)
    return await value if inspect.isawaitable(value) else value


def _group_of(raw: Mapping[str, Any]) -> str | None:
    group: str | None = (raw.get("attributes") or {}).get("MessageGroupId")
    return group


def _name_of(handler: Any) -> str:
    return str(getattr(handler, "__qualname__", repr(handler)))
