"""Drop-in replacements for the batch processors of Powertools for AWS Lambda: change only the import.

    from fanfold.powertools import AsyncBatchProcessor, EventType, async_process_partial_response

The classes are subclasses of Powertools' that replace only how records are run. Constructors, context managers,
decorators, responses, events (SQS, Kinesis, DynamoDB streams, Kafka), models, and the methods that subclasses override
are Powertools'. The differences:

- ``AsyncBatchProcessor`` runs up to ``concurrency`` handlers concurrently (default: 10). They run on fanfold's event
  loop, which is not the loop of the invocation's thread; ``def`` handlers run on threads.
- ``BatchProcessor`` refuses ``async def`` handlers; with ``concurrency`` above 1, handlers run on threads, and with
  ``processes``, in worker processes.
- ``SqsFifoPartialProcessor`` supports ``async def`` handlers in ``async_process_partial_response``. With
  ``skip_group_on_error`` and a ``concurrency``, message groups run concurrently. A record that fails validation fails
  alone.
- With a Lambda context, all of them respond before the invocation times out. A record that did not start or did not
  end is reported as failed with ``errors.NotStartedError``, ``errors.AbandonedError``, or ``CancelledError``. A ``def``
  handler on the invocation's thread cannot be interrupted; after it, no more records start.
- Any exception that a handler raises fails only its record, including ``CancelledError`` and ``SystemExit``. A return
  value whose work has not run also fails it: an un-awaited coroutine, for example, or a list that contains errors.
- The response contains records in batch order, each once.

Observers of a ``fanfold.consumer`` that use Powertools: ``BatchMetrics``, ``RecordLogging``, ``RecordTracing``.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext
from fanfold._base.deadline import Deadline
from fanfold._base.threads import Threads
from fanfold._consumer.environment import ExecutionEnvironment
from fanfold._consumer.process_limits import clamp_concurrency
from fanfold._consumer.settings import check_count
from fanfold.errors import ConfigurationError, MissingExtraError, NotStartedError
from fanfold.logs import RecordLogging
from fanfold.powertools._processors import BoundedProcessor, Entry, RunOne, invocation_deadline
from fanfold.powertools.observers import BatchMetrics, RecordTracing

try:
    from aws_lambda_powertools.utilities import batch as powertools_batch
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

if TYPE_CHECKING:  # with the event loop, at the first use
    from fanfold.powertools._processes import RecordProcesses

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
"""Default for the number of handlers that an ``AsyncBatchProcessor`` runs concurrently."""

_GROUP: contextvars.ContextVar[str | None] = contextvars.ContextVar("fanfold_powertools_group", default=None)


class AsyncBatchProcessor(BoundedProcessor, powertools_batch.AsyncBatchProcessor):
    """Powertools' ``AsyncBatchProcessor`` with bounded concurrency and a response before the Lambda timeout.

    The documentation of the module lists the differences.

    Args:
        args: Arguments of Powertools' class: ``event_type``, ``model``, ``raise_on_entire_batch_failure``, ``logger``.
        concurrency: Maximum number of handlers that run concurrently, at least 1; 10 by default.
        kwargs: Same as ``args``.

    Raises:
        ConfigurationError: If the concurrency is not an integer of at least 1.
    """

    def __init__(self, *args: Any, concurrency: int = DEFAULT_CONCURRENCY, **kwargs: Any) -> None:
        self.concurrency: int = check_count(concurrency, "concurrency")
        super().__init__(*args, **kwargs)

    def async_process(self) -> list[Entry]:
        """Run up to ``concurrency`` handlers concurrently; return one entry for each record, in batch order."""
        return _process_async(self)


class BatchProcessor(BoundedProcessor, powertools_batch.BatchProcessor):
    """Powertools' ``BatchProcessor`` with a response before the Lambda timeout.

    The documentation of the module lists the differences.

    Args:
        args: Arguments of Powertools' class: ``event_type``, ``model``, ``raise_on_entire_batch_failure``, ``logger``.
        concurrency: Maximum number of handlers that run concurrently: 1 to run them one by one on the invocation's
            thread, more to run them on worker threads.
        processes: Number of worker processes that run the handlers, each one record at a time, in place of threads;
            ``"auto"`` for the vCPUs that there are. They must be able to import the handler.
        timeout: Seconds after which the worker process of a record is ended, and the record fails; None for no limit
            other than the deadline of the invocation. Requires ``processes``.
        kwargs: Same as ``args``.

    Raises:
        ConfigurationError: If one of them is invalid, or ``concurrency`` contradicts ``processes``.
    """

    def __init__(
        self,
        *args: Any,
        concurrency: int = 1,
        processes: int | Literal["auto"] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.concurrency: int = check_count(concurrency, "concurrency")
        self._processes = _record_processes(processes, timeout, concurrency)
        if self._processes is not None and _overrides_process_record(type(self)):
            raise ConfigurationError(
                f"{type(self).__qualname__} overrides _process_record, which a processor with processes does not call; "
                "remove processes, or override success_handler and failure_handler"
            )
        super().__init__(*args, **kwargs)

    def process(self) -> list[Entry]:
        """Run the handler for each record, and return one entry for each, in batch order.

        Raises:
            ConfigurationError: If the handler is an ``async def``, which would never run. No handler has run.
        """
        if is_coroutine_function(self.handler):
            raise ConfigurationError(
                f"{_name_of(self.handler)} is an async def, which {type(self).__name__}.process would never run; "
                "use AsyncBatchProcessor and async_process_partial_response"
            )
        if self._processes is not None:
            return _process_in_processes(self, self._processes)
        if self.concurrency > 1:
            return self._fan_out(self._on_threads, clamp_concurrency(self.concurrency, threads=True))
        deadline = invocation_deadline(self._call_context)
        return [self._process_before(deadline, raw) for raw in self.records]

    def success_handler(self, record: Any, result: Any) -> SuccessResponse:
        """Add a success as Powertools does, unless the result is an awaitable.

        Raises:
            ConfigurationError: If the result is an awaitable; Powertools then reports the record as failed.
        """
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise ConfigurationError(
                f"{_name_of(self.handler)} returned an un-awaited awaitable, so its work has not run; "
                "use AsyncBatchProcessor and async_process_partial_response"
            )
        return super().success_handler(record, result)

    async def _process_awaiting(self, raw: dict[str, Any]) -> Entry:
        """Process a record as Powertools does, with a handler that must be awaited."""
        process_record = powertools_batch.AsyncBatchProcessor._async_process_record  # noqa: SLF001
        return await process_record(self, raw)  # type: ignore[arg-type]

    def _on_threads(self, environment: ExecutionEnvironment, _: Deadline) -> RunOne:
        return functools.partial(environment.threads.run, self._process_record)

    def _process_before(self, deadline: Deadline, raw: dict[str, Any]) -> Entry:
        if deadline.clock() >= deadline.stops_at:
            return self._fail(raw, NotStartedError("the invocation was about to time out"))
        try:
            return self._process_record(raw)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - any error fails only this record
            return self._fail(raw, error)


class SqsFifoPartialProcessor(BatchProcessor, powertools_batch.SqsFifoPartialProcessor):
    """Powertools' ``SqsFifoPartialProcessor`` with a response before the timeout, also for ``async def`` handlers.

    The documentation of the module lists the differences.

    Args:
        args: Arguments of Powertools' class: ``model``, ``skip_group_on_error``, ``logger``.
        concurrency: Maximum number of message groups that run concurrently. More than 1 requires
            ``skip_group_on_error``, because without it the whole batch stops at the first failure.
        processes: As for ``BatchProcessor``; more than 1 requires ``skip_group_on_error``, too.
        timeout: As for ``BatchProcessor``.
        kwargs: Same as ``args``.

    Raises:
        ConfigurationError: As for ``BatchProcessor``, or if message groups cannot run concurrently.
    """

    def __init__(
        self,
        *args: Any,
        concurrency: int = 1,
        processes: int | Literal["auto"] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, concurrency=concurrency, processes=processes, timeout=timeout, **kwargs)
        for name, value in (("concurrency", concurrency), ("processes", processes)):
            if value not in {1, None} and not self._skip_group_on_error:
                raise ConfigurationError(
                    f"{name}={value!r} requires skip_group_on_error=True, because without it the batch stops at its "
                    "first failure"
                )

    # Powertools keeps the current record's group on the instance. Groups run concurrently here, so it is kept in a
    # context variable.
    @property  # type: ignore[override] # an attribute in Powertools, which its constructor sets to None
    def _current_group_id(self) -> str | None:
        return _GROUP.get()

    @_current_group_id.setter
    def _current_group_id(self, group: str | None) -> None:
        _GROUP.set(group)

    def async_process(self) -> list[Entry]:
        """Run the handler as ``process`` does, but on the event loop; supports ``async def`` handlers."""
        if self._processes is not None:
            return _process_in_processes(self, self._processes)
        return _process_async(self)

    async def _async_process_record(self, record: dict[str, Any]) -> Any:
        return await self._process_awaiting(record)

    async def _process_awaiting(self, raw: dict[str, Any]) -> Entry:
        self._current_group_id = _group_of(raw)
        return await super()._process_awaiting(raw)

    def _lane(self, raw: Mapping[str, Any], position: int) -> str | None:
        if not self._skip_group_on_error:
            return ""  # one lane for the whole batch
        return _group_of(raw) or f"ungrouped-{position}"

    def _stops_lane(self, raw: Mapping[str, Any]) -> bool:
        # Decided by the calls of failure_handler, because a subclass may override what it returns.
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

    def prepare(environment: ExecutionEnvironment, _: Deadline) -> RunOne:
        if not is_coroutine_function(handler):
            processor.handler = functools.partial(_on_thread, environment.threads, handler)
        return processor._async_process_record  # noqa: SLF001 - the method that subclasses override

    concurrency = clamp_concurrency(processor.concurrency, threads=not is_coroutine_function(handler))
    try:
        return processor._fan_out(prepare, concurrency)  # noqa: SLF001 - this package
    finally:
        processor.handler = handler


def _process_in_processes(processor: BatchProcessor, processes: RecordProcesses) -> list[Entry]:
    handler, context = processor.handler, processor._call_context  # noqa: SLF001 - this package
    spec = processes.spec_of(handler)

    def prepare(environment: ExecutionEnvironment, deadline: Deadline) -> RunOne:
        processor.handler = processes.handler(spec, environment, BatchContext(context, deadline, None))
        return processes.identified(processor._process_awaiting, processor._identifier)  # noqa: SLF001 - this package

    try:
        return processor._fan_out(prepare, processes.records)  # noqa: SLF001 - this package
    finally:
        processor.handler = handler


def _record_processes(
    processes: int | Literal["auto"] | None, timeout: float | None, concurrency: int
) -> RecordProcesses | None:
    """Return the worker processes for the settings of a processor; None for threads.

    Raises:
        ConfigurationError: If the settings are invalid, or contradict each other.
    """
    if processes is None:
        if timeout is not None:
            raise ConfigurationError("timeout requires processes: without them, a handler cannot be ended")
        return None
    if concurrency not in {1, processes}:
        raise ConfigurationError(f"processes={processes!r} is the concurrency: remove concurrency={concurrency}")
    from fanfold.powertools._processes import RecordProcesses

    return RecordProcesses(processes, timeout)


async def _on_thread(threads: Threads, handler: Callable[..., Any], **kwargs: Any) -> Any:
    value = await threads.run(handler, **kwargs)
    return await value if inspect.isawaitable(value) else value


def _overrides_process_record(processor: type[BatchProcessor]) -> bool:
    kind = powertools_batch
    originals = (kind.BatchProcessor._process_record, kind.SqsFifoPartialProcessor._process_record)  # noqa: SLF001
    return processor._process_record not in originals  # noqa: SLF001 - a method that subclasses may override


def _group_of(raw: Mapping[str, Any]) -> str | None:
    group: str | None = (raw.get("attributes") or {}).get("MessageGroupId")
    return group


def _name_of(handler: Any) -> str:
    return str(getattr(handler, "__qualname__", repr(handler)))
