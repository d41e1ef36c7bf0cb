"""A job and its Lambda handlers: four on queues, three for a state machine."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from fanfold._base.callables import NO_PROCESSES
from fanfold._base.context import Context
from fanfold._base.deadline import Deadline
from fanfold._base.record import Record
from fanfold._consumer.consumer import Consumer
from fanfold._consumer.loop_thread import Runtime, deadline_of
from fanfold._consumer.settings import CommitStage
from fanfold._jobs import step_functions
from fanfold._jobs.combine import Reduction
from fanfold._jobs.commit import RecordStage, commit_ended
from fanfold._jobs.dead_letter_handler import handle_dead_letter
from fanfold._jobs.definition import JobDefinition
from fanfold._jobs.fold_handler import Folding, check_and_fold
from fanfold._jobs.job_state import JobState
from fanfold._jobs.scatter import ScatterResult, request_of, scatter
from fanfold._jobs.segment_handler import SegmentFunction, process_message
from fanfold._jobs.segment_result import MessageResult
from fanfold._ports.backend import Backend
from fanfold._ports.run import RunState
from fanfold.errors import ConfigurationError

ScatterHandler: TypeAlias = Callable[[Any, Any], dict[str, Any]]
"""The Lambda handler that starts a run."""


class Job(JobDefinition):
    """A distributed job: a source is cut into segments, a handler processes each, and a fold combines the results.

    Args:
        name: Name of the job in messages and in the ledger: letters, digits, '.', '_' and '-', at most 128.
        concurrency: Segments processed concurrently in one execution environment, at least 1; ``FANFOLD_CONCURRENCY``
            overrides it.
        backoff: Visibility timeout of a segment that failed; None for the queue's visibility timeout.
        lifespan: An async context manager that yields what the segment handlers share, available as ``ctx.state``.
        watch_seconds: Seconds between checks of an unfinished run, in case a check was lost; 1 to 900, default 900.
        tolerated_failures: Segments that may fail permanently before the run fails: an integer count, or a share of
            all segments below 1 as a float. The fold then receives the results of the others.
        allow_empty: Whether a run without items succeeds: the fold then receives the results of no segments, or of
            segments without items. If False, such a run fails: before it starts if its source has no segments.
        segments_per_message: Segments that share a message, at least 1, for segments so small that their messages cost
            more than their work. They are processed one after another; a failed segment continues in its own message.
        fan_in: Maximum number of results in one call of the ``combine`` function, if the job has one; at least 2.
        continuation: Whether a segment that cannot end in time stops and continues in another message. At the time
            when no further record starts, its items end early, the handler's result is stored, and another message
            resumes reading there. The fold receives one result per part, so a handler must work with part of its items.
        max_hops: How often a segment may continue, at least 1, default 12. After that, it has to end in time. Lambda
            stops a function that was invoked through its own queue about 16 times, unless its ``RecursiveLoop`` is
            ``Allow``.
        deadline_margin: Seconds before the invocation's timeout in which no further segment starts. Running segments
            get half of it to end. None for 5 % of the invocation's time, at least 1 second.
        backend: Opens queues, ledger, and store; None for AWS, configured by environment variables.
        settler: Returns failed segments to their queue; None for SQS.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    @functools.cached_property
    def scatter_handler(self) -> ScatterHandler:
        """The Lambda handler that starts a run.

        Call it with ``{"params": {…}, "run": "…"}``, both optional. Without a run id, the request id of the invocation
        is used, so that a retry by Lambda resumes the same run.

        It returns ``{"run": …, "segments": …, "complete": …}``. If it reaches its deadline before the run is planned
        and all segments are enqueued, ``complete`` is False and the fold function plans and enqueues the rest.
        """
        self.part("source")
        self._preload()
        runtime = Runtime(self._lifespan, _no_leftovers)

        def scatter_handler(event: Any, context: Any) -> dict[str, Any]:
            params, run_id = request_of(event, context)
            deadline = deadline_of(context, None)

            async def work(state: JobState) -> ScatterResult:
                return await self._scatter(state.backend, params, run_id, deadline)

            scattered = runtime.run(work, deadline)
            return {"run": scattered.run_id, "segments": scattered.segments, "complete": scattered.complete}

        return scatter_handler

    @functools.cached_property
    def segment_handler(self) -> Consumer[..., Any]:
        """The Lambda handler of the work queue."""
        return self._consumer(self._segment_function(), RecordStage(), dead_letters=True)

    @functools.cached_property
    def dead_letter_handler(self) -> Consumer[..., Any]:
        """The Lambda handler of the dead-letter queue."""

        async def dead_letter_handler(record: Record, ctx: Context[JobState]) -> MessageResult:
            return await handle_dead_letter(self.name, record, ctx)

        return self._consumer(dead_letter_handler, commit_ended, dead_letters=False)

    @functools.cached_property
    def fold_handler(self) -> Consumer[..., Any]:
        """The Lambda handler of the fold queue."""
        return self._consumer(self._fold_function(alone=False), None, dead_letters=False)

    @functools.cached_property
    def plan_handler(self) -> step_functions.Handler:
        """The Lambda handler of a state machine's first step; see ``fanfold._jobs.step_functions``."""
        self.part("source")
        self._preload()
        return step_functions.plan_handler(
            self.name, self.source_of, Runtime(self._lifespan, _no_leftovers), allow_empty=self.allow_empty
        )

    @functools.cached_property
    def task_handler(self) -> step_functions.Handler:
        """The Lambda handler of each item of a state machine's map: one segment, or several.

        Raises:
            ConfigurationError: If the job continues segments: on Step Functions, every segment has to end in time.
        """
        if self._max_hops:
            raise ConfigurationError(
                f"job {self.name}: continuation=True needs a work queue and does not work on Step Functions; remove it"
            )
        return step_functions.task_handler(self._without_queue(self._segment_function(), RecordStage()).invoke)

    @functools.cached_property
    def collect_handler(self) -> step_functions.Handler:
        """The Lambda handler of a state machine's last step: closes the run and folds it."""
        collect = step_functions.collect_function(self.name, self._fold_function(alone=True))
        return step_functions.collect_handler(self._without_queue(collect, None).invoke)

    async def start(
        self,
        backend: Backend,
        params: Mapping[str, Any],
        run_id: str | None = None,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> ScatterResult:
        """Start a run from this process: cut the source and enqueue the segments.

        ``progress`` is called repeatedly with the number of segments enqueued so far.

        Raises:
            SourceError: If the source cannot be read, or is empty and the job does not allow that.
            EnqueueError: If the queue did not accept a segment.
        """
        return await self._scatter(backend, params, run_id or uuid.uuid4().hex, Deadline.never(), progress)

    async def _scatter(
        self,
        backend: Backend,
        params: Mapping[str, Any],
        run_id: str,
        deadline: Deadline,
        progress: Callable[[int], None] | None = None,
    ) -> ScatterResult:
        return await scatter(
            self.name,
            self.source_of(params),
            run_id=run_id,
            params=params,
            backend=backend,
            watch_seconds=self._watch_seconds,
            deadline=deadline,
            per_message=self.segments_per_message,
            allow_empty=self.allow_empty,
            progress=progress,
        )

    def _segment_function(self) -> Callable[..., Awaitable[MessageResult]]:
        function: SegmentFunction = self.part("segment")

        async def segment_handler(record: Record, ctx: Context[JobState]) -> MessageResult:
            return await process_message(
                self.name, function, record, ctx, max_hops=self._max_hops, check=self.result_check()
            )

        return segment_handler

    def _fold_function(self, *, alone: bool) -> Callable[..., Awaitable[RunState]]:
        combine = self._functions.get("combine")
        reduction = None if combine is None else Reduction(combine, self._fan_in)
        folding = Folding(self.part("fold"), self._tolerated, reduction, alone, self.allow_empty)
        per_message = self.segments_per_message

        async def fold_handler(record: Record, ctx: Context[JobState]) -> RunState:
            return await check_and_fold(
                self.name, folding, record, ctx, watch_seconds=self._watch_seconds, per_message=per_message
            )

        return fold_handler

    def _consumer(
        self, function: Callable[..., Any], commit: CommitStage | None, *, dead_letters: bool
    ) -> Consumer[..., Any]:
        self._preload()
        changes: dict[str, Any] = {"lifespan": self._lifespan, "commit": commit}
        if not dead_letters:
            changes["dead_letter_queue_url"] = ""  # what these reject is left to the queue's redrive policy
        kind = function.__name__.replace("_", " ")
        setattr(function, NO_PROCESSES, f"{kind}s cannot run in worker processes: they need the backend of the job")
        return Consumer(function, self._settings.changed(changes))

    def _without_queue(self, function: Callable[..., Any], commit: CommitStage | None) -> Consumer[..., Any]:
        """Return a consumer of records that have no queue: it changes no visibility and sends no messages."""
        return self._consumer(function, commit, dead_letters=False).with_settings(
            backoff=None, settler=step_functions.no_queue
        )

    def _preload(self) -> None:
        """Import the SDK during Lambda's init phase, which has full CPU, rather than during the first batch."""
        if self.opens_on_aws and "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module("fanfold.aws.backend")

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[JobState]:
        async with self._open_backend() as backend, self.share(backend) as state:
            yield state


def _no_leftovers(state: JobState) -> int:  # noqa: ARG001 - a scatter is always awaited
    return 0
