"""Run a whole job in this process, without a queue, a ledger, or deployed functions.

The source is pinned and cut as in the scatter function, the segment handler processes segments concurrently, and the
results are folded. A failed segment is reported with its reason and does not affect the others. Results are saved, so
that a second run with the same name processes only the missing segments.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from fanfold import inmemory, sources
from fanfold._base.concurrency import for_each
from fanfold._base.context import BatchContext, Context
from fanfold._base.deadline import Deadline
from fanfold._base.log import logger
from fanfold._base.record import Record
from fanfold._consumer.failure_log import FailureLog
from fanfold._consumer.settings import allowed_concurrency, check_count
from fanfold._folds.output_file import File
from fanfold._jobs.attempts import attempt_outside_lambda
from fanfold._jobs.bad_rows import BAD_ROWS_FILE, contents_of
from fanfold._jobs.definition import JobDefinition
from fanfold._jobs.inline_database import DATABASE_BUCKET, InlineRunDatabase, open_inline_database
from fanfold._jobs.job_state import JobState
from fanfold._jobs.masking import difference_of
from fanfold._jobs.output import apply, file_reference, to_json
from fanfold._jobs.planning import check_not_empty
from fanfold._jobs.result_text import CheckResult
from fanfold._jobs.run_details import RunDetails, read_details
from fanfold._jobs.scatter import segments_left
from fanfold._jobs.segment import Segment
from fanfold._jobs.segment_handler import process_segment
from fanfold._jobs.segment_result import REASON_CHARACTERS, Timing, reason_of
from fanfold._jobs.tally import Evenness, Tally
from fanfold._ports.backend import Backend
from fanfold._ports.ledger import Ledger
from fanfold._ports.run import Marker, Run, RunState, check_name, source_prefix
from fanfold.errors import ConfigurationError, FanfoldError, SourceError
from fanfold.sources.bad_rows import excess_of

DATABASE_FILE = "results.sqlite"
OUTPUT_FILE = "output.json"


@dataclass(frozen=True, slots=True)
class InlineRun:
    """The result of a run in this process."""

    id: str
    """Name of the run."""
    segments: int
    """Number of segments."""
    done: int
    """Segments that are done, including those of earlier runs with this name."""
    worked_on: int
    """Segments that this call processed."""
    failed: Mapping[int, str]
    """Reason by segment, for the failed segments."""
    missing: int
    """Segments that are neither done nor failed, because they were not requested."""
    output: Any
    """Return value of the fold if all segments are done: a JSON value or a ``File``; for a file in a folder,
    ``{"file": path, "bytes": …, "rows": …}``."""
    evenness: Evenness | None
    """How evenly the items are spread over the done segments; None if no segment is done."""
    seconds: float
    """Duration of this call."""
    bad_rows: int = 0
    """Rows of done segments that could not be read and were collected; in a folder, they are in ``bad-rows.jsonl``."""

    details: RunDetails | None = None
    """Times, attempts, and groups of failures, as of a distributed run; those of earlier calls with this name included.
    """

    @property
    def succeeded(self) -> bool:
        """True if every segment is done and the results are folded."""
        return self.done == self.segments


async def run_inline(
    job: JobDefinition,
    params: Mapping[str, Any] | None = None,
    *,
    run: str | None = None,
    only: Collection[int] | None = None,
    concurrency: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> InlineRun:
    """Run a job in this process, on the caller's event loop.

    Args:
        job: The job. Its backend reads the sources; on AWS, this needs no ``FANFOLD_…`` variable.
        params: Parameters of the run; None for those of an existing run with this name, or for no parameters.
        run: Name of the run; None for a new one.
        only: Numbers of the segments to process, even if done; None for all segments that are not done.
        concurrency: Segments processed concurrently, at least 1; None for the job's setting.
        folder: Parent of a folder, named after the run, that stores the results and finally the output; None to store
            nothing.
        progress: Called repeatedly with the number of segments that have ended and the number to process.

    Raises:
        ConfigurationError: If the job lacks a function, the name belongs to a different run, or the folder is unusable.
        SourceError: If the source cannot be read, or is empty and the job does not allow that.
        FanfoldError: If the lifespan or the fold fails; results of done segments are kept.
    """
    began = time.monotonic()
    if not isinstance(params, Mapping | None):
        raise ConfigurationError(f"params must be a dict, such as {{'bucket': …}}, or None, not {params!r}")
    function, fold = job.part("segment"), job.part("fold")
    limit = check_count(allowed_concurrency(job.settings) if concurrency is None else concurrency, "concurrency")
    name = check_name(run or uuid.uuid4().hex, "run")
    run_folder = None if folder is None else Path(folder) / name
    with open_inline_database(None if run_folder is None else run_folder / DATABASE_FILE) as database:
        async with _opened(job, database) as state:
            planned, backend = await _planned(job, params, name, database, state.backend), state.backend
            database.end(None, backend.now())
            total = sum(1 for _ in sources.cut(planned.plan))
            selected = _selected(total, only, database)
            failures = FailureLog()
            ended = 0

            async def work(segment: Segment) -> None:
                nonlocal ended
                await _work(segment, planned, function, job.result_check(), state, database, failures)
                ended += 1
                if progress is not None:
                    progress(ended, len(selected))

            if progress is not None:
                progress(0, len(selected))
            segments = (segment for segment in segments_left(planned) if segment.number in selected)
            await for_each(work, segments, concurrency=limit)
            failures.write()
            items, failed = database.items(), database.failures()
            with _ending(database, backend, is_complete=False, failed=len(failed)):
                bad_rows = await _bad_rows(planned, database, backend, run_folder, is_complete=len(items) == total)
        with _ending(database, backend, is_complete=len(items) == total, failed=len(failed)):
            if len(items) == total and not any(items.values()) and not job.allow_empty:
                raise SourceError("the input has no items, and the job has allow_empty=False")
            output = await _folded(fold, database, run_folder) if len(items) == total else None
        return InlineRun(
            id=name,
            segments=total,
            done=len(items),
            worked_on=len(selected),
            failed=failed,
            missing=total - len(items) - len(failed),
            output=output,
            evenness=_evenness(total, items),
            seconds=time.monotonic() - began,
            bad_rows=bad_rows,
            details=await _details(database, backend),
        )


async def inline_details(folder: str | os.PathLike[str], run: str) -> tuple[RunDetails, str | None]:
    """Return the details of an inline run that was stored in a folder, and why it failed after its segments, or None.

    Raises:
        ConfigurationError: If there is none, or another process is running it.
    """
    file = Path(folder) / check_name(run, "run") / DATABASE_FILE
    if not file.is_file():
        raise ConfigurationError(
            f"{folder} has no inline run {run!r}: use the folder in which `fanfold run --inline --output` stored it"
        )
    with open_inline_database(file) as database:
        details = await _details(database, inmemory.backend())
        output = str(file.with_name(OUTPUT_FILE)) if details.run.state == RunState.SUCCEEDED else None
        return replace(details, run=replace(details.run, output=output)), database.failure()


async def _details(database: InlineRunDatabase, backend: Backend) -> RunDetails:
    run = database.run()
    if run is None:
        raise ConfigurationError("the run was not planned: run it again with the same name")
    return await read_details(run, replace(backend, ledger=cast("Ledger", database.ledger())))


@contextmanager
def _ending(database: InlineRunDatabase, backend: Backend, *, is_complete: bool, failed: int) -> Iterator[None]:
    """Store the end of the run: after the block, or if it raises."""
    state, reason = RunState.FAILED if failed else None, None
    try:
        yield
        state = RunState.SUCCEEDED if is_complete else state
    except BaseException as error:
        state, reason = RunState.FAILED, str(error) or type(error).__name__
        raise
    finally:
        database.end(state, backend.now(), failed, reason)


@asynccontextmanager
async def _opened(job: JobDefinition, database: InlineRunDatabase) -> AsyncIterator[JobState]:
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(job.open_backend(sources_only=True))
        backend = replace(opened, store=database.over(opened.store), results_bucket=DATABASE_BUCKET)
        try:
            state = await stack.enter_async_context(job.share(backend))
        except FanfoldError:
            raise
        except Exception as error:
            raise FanfoldError(f"job {job.name}: the lifespan failed: {_reason(error)}") from error
        yield state


async def _planned(
    job: JobDefinition, params: Mapping[str, Any] | None, name: str, database: InlineRunDatabase, backend: Backend
) -> Run:
    """Return the run of this name with its stored plan; plan and store a new run if there is none."""
    known = database.run()
    if known is None:
        new_params = dict(params or {})
        source = job.source_of(new_params)
        plan = await source.pin(backend, source_prefix(name))
        if not job.allow_empty:
            check_not_empty(source, plan)
        database.begin(Run(name, job.name, new_params, plan, created_at=backend.now(), expires_at=0))
        known = database.run()
        assert known is not None  # noqa: S101 - just written
    if known.job != job.name:
        raise ConfigurationError(f"run {name} belongs to job {known.job!r}: choose another name for this run")
    if params is not None and (difference := difference_of(known.params, params)) is not None:
        raise ConfigurationError(
            f"run {name} was started with other params; these differ: {difference}. Pass the same params, none, or "
            "another name"
        )
    return known


def _selected(total: int, only: Collection[int] | None, database: InlineRunDatabase) -> Collection[int]:
    if only is None:
        return {segment for segment in range(total) if not database.is_done(segment)}
    if wrong := [segment for segment in only if type(segment) is not int or not 0 <= segment < total]:
        numbers = f", numbered 0 to {total - 1}" if total else ""
        raise ConfigurationError(f"segment {wrong[0]!r} does not exist: the run has {total} segments{numbers}")
    return set(only)


async def _work(
    segment: Segment,
    run: Run,
    function: Callable[..., Any],
    check: CheckResult | None,
    state: JobState,
    database: InlineRunDatabase,
    failures: FailureLog,
) -> None:
    """Process a segment and store its result or failure; a failure does not affect the other segments."""
    record = Record({"messageId": f"of segment {segment.number}", "body": segment.to_body()})
    context = Context(record, BatchContext(None, Deadline.never(), state))
    began = Timing(state.backend.now(), time.monotonic())
    try:
        ended = await process_segment(segment, run, function, record, context, 0, check)
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        timing = Timing(began.began_at, time.monotonic() - began.seconds)
        database.failed(segment.number, _reason(error), attempt_outside_lambda(segment.number, timing, error))
        failures.add(record, error)
    else:
        database.done(segment.number, ended.result, ended.items, ended.bad_rows, ended.timing)


async def _bad_rows(
    run: Run, database: InlineRunDatabase, backend: Backend, run_folder: Path | None, *, is_complete: bool
) -> int:
    """Write the bad rows of all done segments into the folder; return their number.

    Raises:
        FanfoldError: If all segments are done, and there are more bad rows than the source allows.
    """
    stored = database.bad_rows()
    if run_folder is not None and stored:
        with (run_folder / BAD_ROWS_FILE).open("wb") as file:
            async for data in contents_of(stored, backend):
                file.write(data)
    count = sum(bad.count for bad in stored)
    if is_complete and (excess := excess_of(run.plan, count, sum(database.items().values()))):
        where = "" if run_folder is None else f"; they are in {run_folder / BAD_ROWS_FILE}"
        raise FanfoldError(f"run {run.id}: {excess}{where}")
    return count


async def _folded(fold: Callable[..., Any], database: InlineRunDatabase, run_folder: Path | None) -> Any:
    try:
        value = await apply(fold, database.results())
    except FanfoldError:
        raise
    except Exception as error:
        logger.exception("the fold failed")
        raise FanfoldError(f"the fold failed: {_reason(error)}") from error
    if isinstance(value, File):
        if run_folder is None:
            return value
        value = _copied(value, run_folder)
    data = to_json(value)
    if run_folder is not None:
        (run_folder / OUTPUT_FILE).write_bytes(data)
    return json.loads(data)


def _copied(file: File, run_folder: Path) -> dict[str, Any]:
    target = run_folder / file.name
    with file.on_disk() as path:
        shutil.copyfile(path, target)
    return file_reference(file, str(target), target.stat().st_size)


def _evenness(total: int, items: Mapping[int, int]) -> Evenness | None:
    tally = Tally(total)
    tally.add(Marker("", 0, ids=list(items), items=list(items.values())))
    return tally.evenness()


def _reason(error: BaseException) -> str:
    return reason_of(error)[:REASON_CHARACTERS]
