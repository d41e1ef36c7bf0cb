"""Run the records of Powertools' batch processors: with bounded concurrency, and with a response before the timeout."""

from __future__ import annotations

import contextvars
import functools
import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from fanfold._base.deadline import Deadline
from fanfold._base.frozen import put
from fanfold._base.log import logger
from fanfold._base.outcome import Failed, NotStarted, Outcome, acknowledges
from fanfold._base.record import Record
from fanfold._consumer.admission import Admission
from fanfold._consumer.batch import Batch
from fanfold._consumer.classify import invalid_return
from fanfold._consumer.environment import ExecutionEnvironment, open_environment
from fanfold._consumer.loop_thread import Runtime, deadline_of
from fanfold._consumer.respond import run_batch
from fanfold._consumer.settings import Settings
from fanfold._consumer.stages import HandlerCall
from fanfold._consumer.task_batch import TaskBatch
from fanfold._consumer.xray import isolate_subsegments, use_context_variables
from fanfold.errors import AbandonedError, MissingExtraError, NotStartedError

try:
    from aws_lambda_powertools.utilities.batch import (
        BasePartialBatchProcessor,
        EventType,
        ExceptionInfo,
        FailureResponse,
        SuccessResponse,
    )
except ModuleNotFoundError as missing:
    raise MissingExtraError("powertools", "fanfold.powertools") from missing


Entry: TypeAlias = tuple[Any, ...]
"""Return value of Powertools' ``success_handler`` and ``failure_handler``: ("success" or "fail", result, record)."""
RunOne: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
"""Runs one record and returns its entry."""
_NO_ENTRY: Final = object()
"""Placeholder for the entry of a record that has not ended."""
_FAILED: Final = RuntimeError("the record failed; Powertools' failure_handler was called with the reason")

_SETTINGS: Final = Settings()
_RUNTIME: Final = Runtime(functools.partial(open_environment, _SETTINGS, str), ExecutionEnvironment.abandoned_handlers)
"""One event loop for all processors of an execution environment; started at the first use."""


class _BatchEntries:
    """The entries of one batch; closed when the response is made, after which nothing changes them."""

    def __init__(self, records: int) -> None:
        self.lock = threading.RLock()
        self.closed = False
        self.entries: list[Any] = [_NO_ENTRY] * records

    def store(self, position: int, entry: Any) -> None:
        """Store the entry of a record, unless closed. A subclass may return None as an entry."""
        with self.lock:
            if not self.closed:
                self.entries[position] = entry

    def close(self) -> None:
        with self.lock:
            self.closed = True


_ENTRIES: contextvars.ContextVar[_BatchEntries | None] = contextvars.ContextVar(
    "fanfold_powertools_entries", default=None
)


class _Item(Record):
    """A record of any kind of event, as ``Batch`` takes it."""

    __slots__ = ("lane", "position")

    lane: str | None
    """Records of one lane run one after another, up to the first that fails; None for a separate lane."""
    position: int

    def __init__(self, raw: Mapping[str, Any], position: int, lane: str | None) -> None:
        put(self, "raw", raw)
        put(self, "message_id", str(position))
        put(self, "body", "")
        put(self, "position", position)
        put(self, "lane", lane)

    @property
    def attributes(self) -> Mapping[str, str]:
        return super().attributes if self.lane is None else {"MessageGroupId": self.lane}

    @property
    def queue_arn(self) -> str:
        return "" if self.lane is None else ".fifo"


class BoundedProcessor(BasePartialBatchProcessor):
    """Runs records with bounded concurrency and responds before the timeout; ignores records that end later."""

    concurrency: int
    """Maximum number of handlers that run concurrently, at least 1."""
    _call_context: Any = None

    def __call__(self, records: list[dict[str, Any]], handler: Callable[..., Any], lambda_context: Any = None) -> Any:
        """Set up the processor as Powertools does; the context also determines the deadline."""
        self._call_context = lambda_context  # self.lambda_context may still be the last invocation's
        return super().__call__(records, handler, lambda_context)

    def success_handler(self, record: Any, result: Any) -> SuccessResponse:
        """Add a success as Powertools does, unless the batch has already been responded to.

        Raises:
            BaseException: If the result does not mean success, such as an un-awaited coroutine; Powertools then
                reports the record as failed.
        """
        if (error := invalid_return(result)) is not None:
            raise error
        if (batch := _ENTRIES.get()) is None:
            return super().success_handler(record, result)
        with batch.lock:
            return ("success", result, record) if batch.closed else super().success_handler(record, result)

    def failure_handler(self, record: Any, exception: ExceptionInfo) -> FailureResponse:
        """Add a failure as Powertools does, unless the batch has already been responded to."""
        if (batch := _ENTRIES.get()) is None:
            return super().failure_handler(record, exception)
        with batch.lock:
            if batch.closed:
                return ("fail", f"{exception[0]}:{exception[1]}", record)
            return super().failure_handler(record, exception)

    def _fan_out(self, prepare: Callable[[ExecutionEnvironment, Deadline], RunOne], concurrency: int) -> list[Entry]:
        """Run the batch on the event loop, and return one entry for each record, in batch order.

        Args:
            prepare: Returns what runs one record.
            concurrency: Maximum number of records that run or wait for a worker process, at least 1.
        """
        deadline = invocation_deadline(self._call_context)
        items = [_Item(raw, position, self._lane(raw, position)) for position, raw in enumerate(self.records)]
        batch_entries = _BatchEntries(len(items))

        def create_batch(environment: ExecutionEnvironment) -> Batch:
            run_one = isolate_subsegments(prepare(environment, deadline))

            async def call(item: Any) -> Exception | None:
                entry = await run_one(item.raw)
                batch_entries.store(item.position, entry)
                # After an error, the records behind it in its lane do not start.
                return _FAILED if _is_failure(entry) or self._stops_lane(item.raw) else None

            return TaskBatch(
                items,
                HandlerCall(call, takes_list=False),
                _SETTINGS,
                environment,
                concurrency=concurrency,
                deadline=deadline,
                admission=Admission(),
            )

        use_context_variables()
        token = _ENTRIES.set(batch_entries)
        try:
            batch = run_batch(_RUNTIME, create_batch, deadline)
        finally:
            batch_entries.close()
            _ENTRIES.reset(token)
        return self._entries(batch, batch_entries.entries)

    def _entries(self, batch: Batch, entries: Sequence[Any]) -> list[Entry]:
        if batch.stored.interrupt is not None:
            raise batch.stored.interrupt
        if batch.abandoned:
            logger.warning("%d handlers were still running when the batch response was returned", batch.abandoned)
        ended = zip(self.records, batch.outcomes(), entries, strict=True)
        return [self._entry(raw, outcome, entry) for raw, outcome, entry in ended]

    def _entry(self, raw: Any, outcome: Outcome, entry: Any) -> Entry:
        """Return the final entry of a record: a failure, unless the record is known to have succeeded."""
        if entry is _NO_ENTRY:
            return self._fail(raw, _error_of(outcome))
        failure_reported = isinstance(outcome, Failed) and outcome.error is _FAILED
        if acknowledges(outcome) or failure_reported or _is_failure(entry):
            return entry  # type: ignore[no-any-return] # subclasses may return any value
        # The handler returned although it was cancelled, or although an earlier record of its group had failed.
        self.success_messages[:] = [message for message in self.success_messages if message is not raw]
        return self._fail(raw, _error_of(outcome))

    def _fail(self, raw: dict[str, Any], error: BaseException) -> Entry:
        """Report a record as failed that has no entry, or whose success does not count."""
        data = self._to_batch_type(raw, event_type=self.event_type)
        return self.failure_handler(data, (type(error), error, error.__traceback__))

    def _lane(self, raw: Mapping[str, Any], position: int) -> str | None:  # noqa: ARG002 - for FIFO
        return None

    def _stops_lane(self, raw: Mapping[str, Any]) -> bool:  # noqa: ARG002 - for FIFO
        return False

    def _get_messages_to_report(self) -> list[Any]:
        """Return Powertools' failures in batch order, each once."""
        positions = {_key(self._identifier(raw)): position for position, raw in enumerate(self.records)}
        failures = {_key(failure["itemIdentifier"]): failure for failure in super()._get_messages_to_report()}
        # An unknown identifier is kept: Lambda then redelivers the whole batch. Dropping it could lose a message.
        return [failures[key] for key in sorted(failures, key=lambda key: positions.get(key, len(positions)))]

    def _identifier(self, raw: dict[str, Any]) -> Any:
        if self.event_type is EventType.SQS:
            return raw.get("messageId")
        if self.event_type is EventType.KinesisDataStreams:
            return raw.get("kinesis", {}).get("sequenceNumber")
        if self.event_type is EventType.DynamoDBStreams:
            return raw.get("dynamodb", {}).get("SequenceNumber")
        return {"partition": f"{raw.get('topic')}-{raw.get('partition')}", "offset": raw.get("offset")}


def invocation_deadline(lambda_context: Any) -> Deadline:
    """Return the deadline of an invocation; no deadline if the remaining time is 0 or not a number.

    In users' tests, contexts are often incomplete: Powertools' ``LambdaContext`` returns 0.
    """
    try:
        deadline = deadline_of(lambda_context, None)
    except TypeError:
        return Deadline.never()
    return deadline if deadline.remaining() > 0 else Deadline.never()


def _error_of(outcome: Outcome) -> BaseException:
    if isinstance(outcome, NotStarted):
        return NotStartedError(outcome.reason)
    if isinstance(outcome, Failed) and outcome.error is not _FAILED:
        return outcome.error
    return AbandonedError()


def _is_failure(entry: Any) -> bool:
    return isinstance(entry, tuple) and bool(entry) and entry[0] == "fail"


def _key(identifier: Any) -> str:
    return identifier if isinstance(identifier, str) else json.dumps(identifier, sort_keys=True, default=str)
