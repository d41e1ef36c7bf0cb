"""How the drop-ins for Powertools' batch processors run records: bounded, in time, heard only until the answer."""

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
from fanfold._consumer.process_limits import clamp_concurrency
from fanfold._consumer.respond import run_batch
from fanfold._consumer.settings import Settings
from fanfold._consumer.settle import Settling
from fanfold._consumer.stages import HandlerCall
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
"""What Powertools' ``success_handler`` and ``failure_handler`` return: ("success" or "fail", result, record)."""
RunOne: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]
_NOTHING: Final = object()
"""Stands where the hooks have said nothing of a record yet."""
_FAILED: Final = RuntimeError("the record failed; Powertools' failure_handler has been told why")

_SETTINGS: Final = Settings()
_RUNTIME: Final = Runtime(functools.partial(open_environment, _SETTINGS, str), ExecutionEnvironment.abandoned_handlers)
"""One event loop for all processors of an execution environment, however many are made; started at the first use."""


class _Answer:
    """What the records of one batch said while it was not answered yet; what comes later is of no consequence."""

    def __init__(self, records: int) -> None:
        self.lock = threading.RLock()
        self.given = False
        self.entries: list[Any] = [_NOTHING] * records

    def note(self, position: int, entry: Any) -> None:
        """Keep what the hooks said of a record; a subclass's own may say None."""
        with self.lock:
            if not self.given:
                self.entries[position] = entry

    def close(self) -> None:
        with self.lock:
            self.given = True


_ANSWER: contextvars.ContextVar[_Answer | None] = contextvars.ContextVar("fanfold_powertools_answer", default=None)


class _Item(Record):
    """A record of any event, as the engine takes it."""

    __slots__ = ("lane", "position")

    lane: str | None
    """Records of one lane run one after another, up to the first that fails; None for a lane of its own."""
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


class InTime(BasePartialBatchProcessor):
    """Runs records bounded and in time; what they say after the answer is not heard."""

    concurrency: int
    """Handlers that run at once, from 1."""
    _given_context: Any = None

    def __call__(self, records: list[dict[str, Any]], handler: Callable[..., Any], lambda_context: Any = None) -> Any:
        """As Powertools' own; the context given here is also where the deadline comes from."""
        self._given_context = lambda_context  # not the last invocation's, which lambda_context may still be
        return super().__call__(records, handler, lambda_context)

    def success_handler(self, record: Any, result: Any) -> SuccessResponse:
        """As Powertools' own, unless the batch is already answered.

        Raises:
            BaseException: If the result does not say that the handler has succeeded, such as a coroutine that nobody
                has awaited; Powertools reports the record failed then.
        """
        if (doubt := invalid_return(result)) is not None:
            raise doubt
        if (answer := _ANSWER.get()) is None:
            return super().success_handler(record, result)
        with answer.lock:
            return ("success", result, record) if answer.given else super().success_handler(record, result)

    def failure_handler(self, record: Any, exception: ExceptionInfo) -> FailureResponse:
        """As Powertools' own, unless the batch is already answered."""
        if (answer := _ANSWER.get()) is None:
            return super().failure_handler(record, exception)
        with answer.lock:
            if answer.given:
                return ("fail", f"{exception[0]}:{exception[1]}", record)
            return super().failure_handler(record, exception)

    def _fan_out(self, prepare: Callable[[ExecutionEnvironment], RunOne], *, on_threads: bool) -> list[Entry]:
        """Run the batch on the event loop, and return one entry for each record, in batch order."""
        deadline = deadline_given(self._given_context)
        items = [_Item(raw, position, self._lane(raw, position)) for position, raw in enumerate(self.records)]
        answer = _Answer(len(items))

        def begin(environment: ExecutionEnvironment) -> Batch:
            run_one = isolate_subsegments(prepare(environment))

            async def call(item: Any) -> Exception | None:
                entry = await run_one(item.raw)
                answer.note(item.position, entry)
                # An error makes the records behind it in its lane not start.
                return _FAILED if _says_failed(entry) or self._stops_lane(item.raw) else None

            return Batch(
                items,
                HandlerCall(call, takes_list=False),
                _SETTINGS,
                concurrency=clamp_concurrency(self.concurrency, threads=on_threads),
                deadline=deadline,
                admission=Admission(starts_per_second=None, guard=None, now=deadline.clock()),
                settling=Settling(environment.settler, backoff=None, dead_letters=False),
            )

        use_context_variables()
        token = _ANSWER.set(answer)
        try:
            batch = run_batch(_RUNTIME, begin, deadline)
        finally:
            answer.close()
            _ANSWER.reset(token)
        return self._entries(batch, answer.entries)

    def _entries(self, batch: Batch, entries: Sequence[Any]) -> list[Entry]:
        if batch.interrupt is not None:
            raise batch.interrupt
        if batch.abandoned:
            logger.warning("%d handlers were still running when the answer was given", batch.abandoned)
        ended = zip(self.records, batch.outcomes(), entries, strict=True)
        return [self._entry(raw, outcome, entry) for raw, outcome, entry in ended]

    def _entry(self, raw: Any, outcome: Outcome, entry: Any) -> Entry:
        """Return how a record ended; what is not known to have succeeded is a failure."""
        if entry is _NOTHING:
            return self._fail(raw, _error_of(outcome))
        told = isinstance(outcome, Failed) and outcome.error is _FAILED
        if acknowledges(outcome) or told or _says_failed(entry):
            return entry  # type: ignore[no-any-return] # whatever the hooks return
        # Its handler returned although it was cancelled, or although a record before it in its group had failed.
        self.success_messages[:] = [each for each in self.success_messages if each is not raw]
        return self._fail(raw, _error_of(outcome))

    def _fail(self, raw: dict[str, Any], error: BaseException) -> Entry:
        """Report a record failed whose handler did not get to say so."""
        data = self._to_batch_type(raw, event_type=self.event_type)
        return self.failure_handler(data, (type(error), error, error.__traceback__))

    def _lane(self, raw: Mapping[str, Any], position: int) -> str | None:  # noqa: ARG002 - for FIFO
        return None

    def _stops_lane(self, raw: Mapping[str, Any]) -> bool:  # noqa: ARG002 - for FIFO
        return False

    def _get_messages_to_report(self) -> list[Any]:
        """Powertools' failures, in batch order, each once."""
        places = {_key(self._identifier(raw)): position for position, raw in enumerate(self.records)}
        failures = {_key(failure["itemIdentifier"]): failure for failure in super()._get_messages_to_report()}
        # One that is not of the batch is kept: it makes Lambda deliver all again, where a wrong guess would lose one.
        return [failures[key] for key in sorted(failures, key=lambda key: places.get(key, len(places)))]

    def _identifier(self, raw: dict[str, Any]) -> Any:
        if self.event_type is EventType.SQS:
            return raw.get("messageId")
        if self.event_type is EventType.KinesisDataStreams:
            return raw.get("kinesis", {}).get("sequenceNumber")
        if self.event_type is EventType.DynamoDBStreams:
            return raw.get("dynamodb", {}).get("SequenceNumber")
        return {"partition": f"{raw.get('topic')}-{raw.get('partition')}", "offset": raw.get("offset")}


def deadline_given(lambda_context: Any) -> Deadline:
    """Return the deadline of an invocation; none where the time left is no number or nothing, as in made-up contexts.

    Powertools' own ``LambdaContext``, which users' tests call handlers with, says 0.
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


def _says_failed(entry: Any) -> bool:
    return isinstance(entry, tuple) and bool(entry) and entry[0] == "fail"


def _key(identifier: Any) -> str:
    return identifier if isinstance(identifier, str) else json.dumps(identifier, sort_keys=True, default=str)
