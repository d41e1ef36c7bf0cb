"""A job on Step Functions: a plan step, a task for each segment, and a collect step, with the same run and ledger.

The state machine replaces the queue: it distributes the segments, retries them, and detects when all have ended.
Ended segments are recorded in the ledger as usual, and the collect step is the usual fold. No result depends on the
output of the map state, and ``fanfold status``, ``results``, and ``redrive`` work on the run.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

import anyio

from fanfold._base.aws_limits import STEP_FUNCTIONS_PAYLOAD_BYTES
from fanfold._base.context import Context
from fanfold._base.outcome import BatchResult, Done, Failed, NotStarted, Outcome, Reject, Rejected, Retrying
from fanfold._base.record import Record
from fanfold._consumer.loop_thread import Runtime, deadline_of
from fanfold._folds.output_file import temporary_file
from fanfold._jobs.commit import MARKER_SEGMENTS
from fanfold._jobs.fold_requests import CheckRun, from_body, to_message
from fanfold._jobs.job_state import JobState
from fanfold._jobs.planning import Planning
from fanfold._jobs.scatter import segments_left
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_count import total_of
from fanfold._jobs.segment_result import REASON_CHARACTERS, reason_of
from fanfold._jobs.tally import tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Attempt, FailedBatch, Marker, Run, RunState, check_name
from fanfold.errors import ConfigurationError, EventError, FanfoldError, SegmentError, UnfinishedPlanError
from fanfold.sources import Source

ITEMS_KEY: Final = "items.json"
"""Name of the object with the items of a Distributed Map."""
NO_RESULT: Final = (
    "no task of the state machine recorded a result for this segment: its task never started, was killed at the Lambda "
    "timeout, or died; see the execution history"
)
"""Reason of a segment of which the ledger has neither an end nor a failed attempt."""

T = TypeVar("T")
Work: TypeAlias = Callable[[Record, Context[JobState]], Awaitable[T]]
"""Handles one message of a job."""
Handler: TypeAlias = Callable[[Any, Any], dict[str, Any]]
"""A Lambda handler that a state machine calls."""
Invoke: TypeAlias = Callable[[Any, Any], BatchResult]
"""Handles an event of SQS messages: ``Consumer.invoke``, for records that do not come from a queue."""


async def no_queue() -> Any:
    """Refuse to open a settler: records of a state machine do not come from a queue.

    Raises:
        FanfoldError: Always; the state machine retries the record.
    """
    raise FanfoldError("the record came from a state machine, which retries it; it has no queue to return to")


def plan_handler(
    job: str,
    source_of: Callable[[Mapping[str, Any]], Source],
    runtime: Runtime[JobState],
    *,
    allow_empty: bool = True,
) -> Handler:
    """Return the handler of the first step.

    Called with ``{"run": name, "input": {"params": {…}}, "items": "payload" or "s3"}``, it pins the run and returns
    ``{"run": …, "segments": …}`` with the ``items`` of an inline map, or with the ``bucket`` and ``key`` of an object
    that contains the items of a distributed map. With the same name, it returns the same result.

    If it reaches its deadline before the run is planned, it raises ``UnfinishedPlanError``, and a retry continues.
    """

    def plan_handler(event: Any, context: Any) -> dict[str, Any]:
        run_id, params, to_s3 = _plan_request(event)
        deadline = deadline_of(context, None)

        async def work(state: JobState) -> dict[str, Any]:
            run = await Planning(state.backend, deadline, allow_empty=allow_empty).pin(
                job, source_of(params), run_id, params
            )
            if not run.is_planned:
                raise UnfinishedPlanError(f"run {run_id}: planning has not ended; a retry continues it")
            return await (_items_to_s3(run, state.backend) if to_s3 else _items(run, state.backend))

        planned: dict[str, Any] = runtime.run(work, deadline)
        return planned

    return plan_handler


def _plan_request(event: Any) -> tuple[str, dict[str, Any], bool]:
    request = event if isinstance(event, Mapping) else {}
    execution_input = request.get("input") or {}
    if (
        request.get("items") not in ("payload", "s3")
        or "run" not in request
        or not isinstance(execution_input, Mapping)
    ):
        raise ConfigurationError(
            'the event of the plan handler must be {"run": …, "input": {"params": {…}}, "items": "payload" or "s3"}'
        )
    if not isinstance(execution_input.get("params", {}), Mapping):
        raise ConfigurationError(
            'the input of the state machine must be {"params": {…}}, with the parameters of the run'
        )
    return check_name(request["run"], "run"), dict(execution_input.get("params", {})), request["items"] == "s3"


async def _items(run: Run, backend: Backend) -> dict[str, Any]:
    items: list[Any] = []
    size = 0
    for item in _wire(run):
        size += len(item) + 1
        if size > STEP_FUNCTIONS_PAYLOAD_BYTES - 1_024:  # leaves room for the other fields
            raise ConfigurationError(
                f"run {run.id}: the first {len(items):,} segments already exceed the {STEP_FUNCTIONS_PAYLOAD_BYTES:,} "
                "bytes that a state may return: use the distributed state machine, or larger segments"
            )
        items.append(json.loads(item))
    await backend.ledger.checkpoint(run.id, len(items))
    return {"run": run.id, "segments": len(items), "items": items}


async def _items_to_s3(run: Run, backend: Backend) -> dict[str, Any]:
    key, path, count = f"{run.prefix()}/source/{ITEMS_KEY}", temporary_file(), 0
    try:
        with path.open("wb") as file:
            for count, item in enumerate(_wire(run), 1):
                file.write(b"[" if count == 1 else b",\n")
                file.write(item)
            file.write(b"]" if count else b"[]")
        await backend.store.put_file(backend.results_bucket, key, path, content_type="application/json")
    finally:
        await anyio.Path(path).unlink()
    await backend.ledger.checkpoint(run.id, count)
    return {"run": run.id, "segments": count, "bucket": backend.results_bucket, "key": key}


def _wire(run: Run) -> Iterator[bytes]:
    for segment in segments_left(replace(run, gen=0, position=0)):
        yield segment.to_body().encode()


def task_handler(invoke: Invoke) -> Handler:
    """Return the handler of an item: one segment, or several as ``{"Items": […], "BatchInput": …}``.

    ``{"item": …, "tries": …}`` adds the number of previous attempts.

    It returns ``{"segments": count}``. If a segment did not end, it raises ``SegmentError`` if no retry can succeed, or
    ``FanfoldError`` otherwise. Segments that ended stay recorded.
    """

    def task_handler(event: Any, context: Any) -> dict[str, Any]:
        has_tries = isinstance(event, Mapping) and "item" in event
        item, tries = (event["item"], _tries_in(event)) if has_tries else (event, 0)
        items = item["Items"] if isinstance(item, Mapping) and isinstance(item.get("Items"), list) else [item]
        bodies = [json.dumps(item, separators=(",", ":")) for item in items]
        outcomes = invoke(_event(bodies, receives=tries + 1), context).outcomes
        not_done = [
            (body, outcome) for body, outcome in zip(bodies, outcomes, strict=True) if not isinstance(outcome, Done)
        ]
        if not_done:
            raise _error_of([outcome for _, outcome in not_done], [_number(body) for body, _ in not_done])
        return {"segments": len(items)}

    return task_handler


def collect_function(job: str, fold: Work[RunState]) -> Work[dict[str, Any]]:
    """Return a function that closes a run and folds it. Segments without a recorded result count as failed."""

    async def collect(record: Record, ctx: Context[JobState]) -> dict[str, Any]:
        backend, run_id = ctx.state.backend, from_body(record.body).run_id
        run = await backend.ledger.run(run_id)
        if run is None or run.job != job:
            raise SegmentError(f"the ledger has no run {run_id!r} of job {job!r}")
        await _close(run, backend)
        await fold(record, ctx)
        run = await backend.ledger.run(run_id)
        if run is None or not run.ended:
            raise FanfoldError(f"run {run_id} has not ended")
        return {"run": run.id, "state": run.state, "output": run.output, "failed": run.failed}

    return collect


async def _close(run: Run, backend: Backend) -> None:
    if run.ended or run.gen:
        return
    counter = await backend.ledger.counter(run.id)
    total = total_of(run, counter)
    missing = (await tally_of(run, total, backend)).missing_segments()
    last = await _last_attempts(run, frozenset(missing), backend) if missing else {}
    for first in range(0, len(missing), MARKER_SEGMENTS):
        numbers = missing[first : first + MARKER_SEGMENTS]
        failed = {number: _reason_in(last.get(number)) for number in numbers}
        counts = {number: attempt.number for number in numbers if (attempt := last.get(number)) and attempt.number > 1}
        marker = Marker(
            uuid.uuid4().hex, run.gen, failed=failed, receive_counts=counts, ended_at=round(backend.now(), 3)
        )
        await backend.ledger.put_marker(run.id, marker)
        await backend.ledger.count(run.id, len(failed))
    await backend.ledger.seal(run.id, total)


async def _last_attempts(run: Run, segments: Collection[int], backend: Backend) -> dict[int, Attempt]:
    last: dict[int, Attempt] = {}
    async for batch in backend.ledger.attempts(run.id, run.gen):
        for attempt in batch.attempts if isinstance(batch, FailedBatch) else ():
            known = last.get(attempt.segment)
            if attempt.segment in segments and (known is None or known.began_at <= attempt.began_at):
                last[attempt.segment] = attempt
    return last


def _reason_in(attempt: Attempt | None) -> str:
    if attempt is None:
        return NO_RESULT
    reason = attempt.message if attempt.error == Reject.__name__ else f"{attempt.error}: {attempt.message}"
    return reason[:REASON_CHARACTERS]


def collect_handler(invoke: Invoke) -> Handler:
    """Return the handler of the last step.

    Called with ``{"run": …, "tries": …}``, it returns ``{"run": …, "state": …, "output": key, "failed": count}``.
    ``tries`` is the number of previous attempts: a fold that raises fails the run in the third attempt.
    """

    def collect_handler(event: Any, context: Any) -> dict[str, Any]:
        if not isinstance(event, Mapping) or not isinstance(event.get("run"), str):
            raise EventError('the event of the collect handler must be {"run": …, "tries": …}; "tries" is optional')
        tries = _tries_in(event)
        body = to_message(CheckRun(check_name(event["run"], "run"))).body
        (outcome,) = invoke(_event([body], receives=tries + 1), context).outcomes
        if not isinstance(outcome, Done):
            raise _error_of([outcome], [])
        collected: dict[str, Any] = outcome.value
        return collected

    return collect_handler


def _tries_in(event: Mapping[str, Any]) -> int:
    tries = event.get("tries") or 0
    if not isinstance(tries, int) or tries < 0:
        raise EventError(f'"tries" in the event must be an integer of at least 0, not {tries!r}')
    return tries


def _event(bodies: Sequence[str], *, receives: int = 1) -> dict[str, Any]:
    attributes = {"ApproximateReceiveCount": str(receives)}
    return {
        "Records": [
            {"messageId": f"item {number}", "body": body, "eventSource": "aws:sqs", "attributes": attributes}
            for number, body in enumerate(bodies)
        ]
    }


def _number(body: str) -> int | None:
    try:
        return Segment.from_body(body).number
    except SegmentError:
        return None


def _error_of(outcomes: Sequence[Outcome], segments: Collection[int | None]) -> FanfoldError:
    """Return the error that reports outcomes to a state machine, which does not retry a ``SegmentError``."""
    permanent = all(isinstance(outcome, Rejected) for outcome in outcomes)
    reasons = "; ".join(dict.fromkeys(map(_reason, outcomes)))
    numbers = [str(segment) for segment in segments if segment is not None]
    where = f"segment {', '.join(numbers)}: " if numbers else ""
    return (SegmentError if permanent else FanfoldError)(f"{where}{reasons}"[:2_000])


def _reason(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        return reason_of(outcome.error)
    if isinstance(outcome, Rejected | NotStarted | Retrying):
        return outcome.reason
    return "it ended, but could not be recorded in the ledger"
