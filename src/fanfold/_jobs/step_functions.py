"""A job on Step Functions: plan, a task for each segment, collect; the same run in the same ledger.

The state machine takes the queue's part: it hands the segments out, tries again, and says when all are through. What
ended is entered in the ledger as ever, and collecting is a fold as ever, so nothing depends on what the map step writes
down, and ``fanfold status``, ``results`` and ``redrive`` know the run.
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
from fanfold._jobs.commit import MARKER_SEGMENTS, commit_ended
from fanfold._jobs.fold_requests import CheckRun, from_body, to_message
from fanfold._jobs.job_state import JobState
from fanfold._jobs.scatter import pin_run, segments_left
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_result import MessageResult, SegmentFailed, reason_of
from fanfold._jobs.tally import tally_of
from fanfold._ports.backend import Backend
from fanfold._ports.run import Marker, Run, RunState, check_name
from fanfold.errors import ConfigurationError, EventError, FanfoldError, SegmentError
from fanfold.sources import Source

ITEMS_KEY: Final = "items.json"
"""Name of the object with the items of a Distributed Map."""
NEVER_TOLD: Final = "no task of the state machine told how it ended: its execution says why"
"""Reason of a segment whose task timed out, died, or never began."""

T = TypeVar("T")
Work: TypeAlias = Callable[[Record, Context[JobState]], Awaitable[T]]
"""Handles one message of a job."""
Handler: TypeAlias = Callable[[Any, Any], dict[str, Any]]
"""A Lambda handler that a state machine calls."""
Invoke: TypeAlias = Callable[[Any, Any], BatchResult]
"""Handles an event of SQS messages: ``Consumer.invoke`` of records that come from no queue."""


async def no_queue() -> Any:
    """Open the settler of records that came from no queue.

    Raises:
        FanfoldError: Always: there is nothing to hand a record back to; the state machine tries again.
    """
    raise FanfoldError("the record came from a state machine, which tries again by itself")


def plan_handler(job: str, source_of: Callable[[Mapping[str, Any]], Source], runtime: Runtime[JobState]) -> Handler:
    """Return the handler of the first step.

    Called with ``{"run": name, "input": {"params": {…}}, "items": "payload" or "s3"}``, it pins the run, and returns
    ``{"run": …, "segments": …}`` with the ``items`` of an inline map, or with ``bucket`` and ``key`` of an object that
    holds them, for a distributed one. Called again with the same name it returns the same.
    """

    def plan_handler(event: Any, context: Any) -> dict[str, Any]:
        run_id, params, to_s3 = _asked(event)

        async def work(state: JobState) -> dict[str, Any]:
            run = await pin_run(job, source_of(params), run_id, params, state.backend)
            return await (_items_to_s3(run, state.backend) if to_s3 else _items(run, state.backend))

        planned: dict[str, Any] = runtime.run(work, deadline_of(context, None))
        return planned

    return plan_handler


def _asked(event: Any) -> tuple[str, dict[str, Any], bool]:
    given = event if isinstance(event, Mapping) else {}
    asked = given.get("input") or {}
    if given.get("items") not in {"payload", "s3"} or "run" not in given or not isinstance(asked, Mapping):
        raise ConfigurationError(
            'a plan is asked for with {"run": …, "input": {"params": {…}}, "items": "payload" or "s3"}'
        )
    if not isinstance(asked.get("params", {}), Mapping):
        raise ConfigurationError('the input of the state machine is {"params": {…}}, with the parameters of the run')
    return check_name(given["run"], "run"), dict(asked.get("params", {})), given["items"] == "s3"


async def _items(run: Run, backend: Backend) -> dict[str, Any]:
    items: list[Any] = []
    size = 0
    for item in _wire(run):
        size += len(item) + 1
        if size > STEP_FUNCTIONS_PAYLOAD_BYTES - 1_024:  # room for the rest
            raise ConfigurationError(
                f"run {run.id}: the first {len(items):,} segments alone are more than the "
                f"{STEP_FUNCTIONS_PAYLOAD_BYTES:,} bytes a state may hand on: use the distributed state machine, or "
                "larger segments"
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


def task_function(process_message: Work[MessageResult]) -> Work[MessageResult]:
    """Return what works on one segment, and enters why it failed too: another try that succeeds counts more."""

    async def task(record: Record, ctx: Context[JobState]) -> MessageResult:
        try:
            return await process_message(record, ctx)
        except Exception as error:
            reason = error.reason if isinstance(error, Reject) else reason_of(error)
            failed = SegmentFailed(Segment.from_body(record.body), ctx.receive_count, reason)
            await commit_ended([(record, failed)], ctx.batch)
            raise

    return task


def task_handler(invoke: Invoke) -> Handler:
    """Return the handler of an item: of one segment, or of several as ``{"Items": […], "BatchInput": …}``.

    It returns ``{"segments": how many}``, and raises if one of them did not end: ``SegmentError`` if none of those will
    in another try, ``FanfoldError`` else. What did end stays entered.
    """

    def task_handler(event: Any, context: Any) -> dict[str, Any]:
        items = event["Items"] if isinstance(event, Mapping) and isinstance(event.get("Items"), list) else [event]
        bodies = [json.dumps(item, separators=(",", ":")) for item in items]
        outcomes = invoke(_event(bodies), context).outcomes
        wrong = [
            (body, outcome) for body, outcome in zip(bodies, outcomes, strict=True) if not isinstance(outcome, Done)
        ]
        if wrong:
            raise _told([outcome for _, outcome in wrong], [_number(body) for body, _ in wrong])
        return {"segments": len(items)}

    return task_handler


def collect_function(job: str, fold: Work[RunState]) -> Work[dict[str, Any]]:
    """Return what closes a run and folds it: a segment of which nothing is known then has failed."""

    async def collect(record: Record, ctx: Context[JobState]) -> dict[str, Any]:
        backend, run_id = ctx.state.backend, from_body(record.body).run_id
        run = await backend.ledger.run(run_id)
        if run is None or run.job != job:
            raise SegmentError(f"run {run_id!r} is no run of job {job!r} in the ledger")
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
    total = run.position if counter.total is None else counter.total
    missing = (await tally_of(run, total, backend)).missing_segments()
    for first in range(0, len(missing), MARKER_SEGMENTS):
        failed = dict.fromkeys(missing[first : first + MARKER_SEGMENTS], NEVER_TOLD)
        await backend.ledger.put_marker(run.id, Marker(uuid.uuid4().hex, run.gen, failed=failed))
        await backend.ledger.count(run.id, len(failed))
    await backend.ledger.seal(run.id, total)


def collect_handler(invoke: Invoke) -> Handler:
    """Return the handler of the last step.

    Called with ``{"run": …, "tries": …}``, it returns ``{"run": …, "state": …, "output": key, "failed": how many}``.
    ``tries`` is how often it has been tried: a fold that raises fails the run in its third.
    """

    def collect_handler(event: Any, context: Any) -> dict[str, Any]:
        if not isinstance(event, Mapping) or not isinstance(event.get("run"), str):
            raise EventError('a run is collected with {"run": …}')
        tries = event.get("tries") or 0
        if not isinstance(tries, int) or tries < 0:
            raise EventError(f'"tries" of a run that is collected counts from 0, and is not {tries!r}')
        body = to_message(CheckRun(check_name(event["run"], "run"))).body
        (outcome,) = invoke(_event([body], receives=tries + 1), context).outcomes
        if not isinstance(outcome, Done):
            raise _told([outcome], [])
        collected: dict[str, Any] = outcome.value
        return collected

    return collect_handler


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


def _told(outcomes: Sequence[Outcome], segments: Collection[int | None]) -> FanfoldError:
    """Return the error that tells a state machine of outcomes: one that is not tried again if that is of no use."""
    permanent = all(isinstance(outcome, Rejected) for outcome in outcomes)
    reasons = "; ".join(dict.fromkeys(map(_reason, outcomes)))
    named = [str(segment) for segment in segments if segment is not None]
    where = f"segment {', '.join(named)}: " if named else ""
    return (SegmentError if permanent else FanfoldError)(f"{where}{reasons}"[:2_000])


def _reason(outcome: Outcome) -> str:
    if isinstance(outcome, Failed):
        return reason_of(outcome.error)
    if isinstance(outcome, Rejected | NotStarted | Retrying):
        return outcome.reason
    return "it ended, and could not be entered in the ledger"
