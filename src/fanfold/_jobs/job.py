"""A job: what to cut, what to do with a segment, how to fold the results; and its four Lambda handlers."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar

from fanfold._base import aws_limits
from fanfold._base.backoff import Backoff
from fanfold._base.context import Context
from fanfold._base.deadline import Deadline
from fanfold._base.record import Record
from fanfold._consumer.consumer import Consumer
from fanfold._consumer.loop_thread import Lifespan, Runtime, deadline_of
from fanfold._consumer.settings import CommitStage, Settings, check_count, check_opener
from fanfold._consumer.settle import OpenSettler
from fanfold._jobs import step_functions
from fanfold._jobs.combine import Reduction
from fanfold._jobs.commit import commit_ended
from fanfold._jobs.continuation import MOST_HOPS
from fanfold._jobs.dead_letter_handler import bury
from fanfold._jobs.fold_handler import Folding, check_and_fold
from fanfold._jobs.functions import check_part
from fanfold._jobs.job_state import JobState
from fanfold._jobs.notify import check_tolerance
from fanfold._jobs.scatter import Scattered, request_of, scatter
from fanfold._jobs.segment_handler import SegmentFunction, work_on
from fanfold._jobs.segment_result import MessageResult
from fanfold._ports.backend import Backend
from fanfold._ports.run import RunState, check_name
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError
from fanfold.sources import Source

__all__ = ["Job", "OpenBackend"]

OpenBackend: TypeAlias = Callable[[], AbstractAsyncContextManager[Backend]]
"""Opens the backend of a job: entered once in a sandbox."""
ScatterHandler: TypeAlias = Callable[[Any, Any], dict[str, Any]]
"""The Lambda handler that starts a run."""

F = TypeVar("F", bound=Callable[..., Any])

_DEFAULT_WATCH_SECONDS: Final = aws_limits.SQS_MAX_DELAY_SECONDS


@asynccontextmanager
async def _aws(*, sources_only: bool = False) -> AsyncIterator[Backend]:
    try:
        from fanfold.aws.backend import from_environment
    except ModuleNotFoundError as error:
        raise MissingExtraError("aws", "a job on AWS") from error
    async with from_environment(sources_only=sources_only) as backend:
        yield backend


class Job:
    """Scattered work: a source is cut into segments, each is worked on, the results are folded into one output.

    Args:
        name: Names the job in messages and in the ledger: letters, digits, '.', '_' and '-', at most 128.
        concurrency: Segments worked on at once in one sandbox, from 1; ``FANFOLD_CONCURRENCY`` overrides it.
        backoff: How long a segment that failed stays hidden; None for the queue's visibility timeout.
        lifespan: Makes what the segment handlers share, as an async context manager; given as ``ctx.state``.
        watch_seconds: Seconds between looks at an unfinished run, in case a check was lost; from 1 to 900, the default.
        tolerated_failures: Segments that may fail for good before the run does: how many, as a whole number, or their
            share of all, under 1, as a float. The fold then gets the results of the others.
        segments_per_message: Segments that share a message, from 1: for tiny ones, whose messages would cost more than
            their work. They are worked on one after another; one that fails goes on alone.
        fan_in: Most results in one call of the ``combine`` function, if there is one; from 2.
        continuation: Whether a segment that will not end in time stops, and goes on in another message: when no further
            record starts, its items end early, what its handler then returns is kept, and another message reads on from
            there. The fold gets one result for each part. A handler has to bear that its items are not all at once.
        max_hops: How often a segment may go on so, from 1; 12 by default. Then it has to end in time. Lambda
            stops a function that was reached through its own queue about 16 times, unless its ``RecursiveLoop`` is
            ``Allow``.
        deadline_margin: Seconds before the end of an invocation in which no further segment starts; half of it is for
            what then still runs to end. None for 5 % of the time given, at least 1 second.
        backend: Opens queues, ledger and store; None for AWS, as the environment names them.
        settler: What hands failed segments back; None for SQS.

    Raises:
        ConfigurationError: If a setting is impossible.
    """

    def __init__(  # noqa: PLR0913 - one option each, by keyword
        self,
        name: str,
        *,
        concurrency: int = 10,
        backoff: Backoff | None = None,
        lifespan: Lifespan | None = None,
        watch_seconds: int = _DEFAULT_WATCH_SECONDS,
        segments_per_message: int = 1,
        tolerated_failures: float = 0,
        fan_in: int = 1_000,
        continuation: bool = False,
        max_hops: int = MOST_HOPS,
        deadline_margin: float | None = None,
        backend: OpenBackend | None = None,
        settler: OpenSettler | None = None,
    ) -> None:
        self.name: str = check_name(name, "job")
        if check_count(watch_seconds, "watch_seconds") > aws_limits.SQS_MAX_DELAY_SECONDS:
            raise ConfigurationError(
                f"watch_seconds must be from 1 to {aws_limits.SQS_MAX_DELAY_SECONDS}, not {watch_seconds!r}"
            )
        if not isinstance(continuation, bool):
            raise ConfigurationError(f"continuation must be True or False, not {continuation!r}")
        self._tolerated = check_tolerance(tolerated_failures)
        self.segments_per_message: int = check_count(segments_per_message, "segments_per_message")
        """Segments that share a message."""
        if check_count(fan_in, "fan_in") == 1:
            raise ConfigurationError("fan_in must be a whole number from 2: one result alone is never combined")
        self._fan_in = fan_in
        self._max_hops = check_count(max_hops, "max_hops") if continuation else 0
        self._settings = Settings(
            concurrency=concurrency,
            backoff=backoff,
            lifespan=lifespan,
            settler=settler,
            deadline_margin=deadline_margin,
        )
        self._watch_seconds = watch_seconds
        self._open_backend: OpenBackend = check_opener(backend or _aws, "backend")
        self._functions: dict[str, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"<fanfold.Job {self.name}>"

    def source(self, function: F) -> F:
        """Name the function that says what to cut: the run's parameters in, a source out. For use as a decorator."""
        return self._set_part("source", function)

    def segment(self, function: F) -> F:
        """Name the handler of a segment: ``async def``, its items and a context in, one JSON value out."""
        return self._set_part("segment", function)

    def fold(self, function: F) -> F:
        """Name the fold: the results of all segments in segment order in, one JSON value out.

        Plain functions run on a worker thread. It may run again after a crash; its output counts once.
        """
        return self._set_part("fold", function)

    def combine(self, function: F) -> F:
        """Name what combines results before the fold, ``fan_in`` at most in a call: for runs whose fold takes too long.

        Given some results in order, or what it returned for some, it returns one JSON value of the same kind: the fold
        gets what is left in place of the results. Groups are combined by several invocations of the fold function, so
        a run of at most ``fan_in`` segments is folded without. It may run again after a crash.
        """
        return self._set_part("combine", function)

    def with_changes(
        self,
        *,
        backend: OpenBackend | None = None,
        segment: SegmentFunction | None = None,
        settler: OpenSettler | None = None,
    ) -> Job:
        """Return the same job on another backend, or with another segment handler, as tests and demos want it."""
        job = copy.copy(self)
        for handler in [name for name in job.__dict__ if name.endswith("_handler")]:
            job.__dict__.pop(handler, None)  # made anew at first use
        settings = self._settings.changed({"settler": settler or self._settings.settler})
        job.__dict__ |= {"_functions": dict(self._functions), "_settings": settings}
        job.__dict__ |= {"_open_backend": check_opener(backend or self._open_backend, "backend")}
        if segment is not None:
            job.segment(segment)
        return job

    @property
    def settings(self) -> Settings:
        """How its handlers work."""
        return self._settings

    def part(self, name: str) -> Callable[..., Any]:
        """Return its ``source``, ``segment``, ``fold`` or ``combine`` function.

        Raises:
            ConfigurationError: If it has none.
        """
        if name not in self._functions:
            raise ConfigurationError(f"job {self.name} has no {name} function: decorate one with @job.{name}")
        return self._functions[name]

    def open_backend(self, *, sources_only: bool = False) -> AbstractAsyncContextManager[Backend]:
        """Open the queues, the ledger and the store this job works with.

        ``sources_only`` is for what reads sources alone: on AWS no ``FANFOLD_…`` variable is needed then, and what
        would be at work there are names of nothing.
        """
        if sources_only and self._open_backend is _aws:
            return _aws(sources_only=True)
        return self._open_backend()

    @functools.cached_property
    def scatter_handler(self) -> ScatterHandler:
        """The Lambda handler that starts a run.

        Called with ``{"params": {…}, "run": "…"}``, both optional. Without a run id the invocation's request id is
        the run's, so that Lambda's own second try is the same run.

        Returns ``{"run": …, "segments": …, "complete": …}``; when the time is over before all segments are enqueued,
        ``complete`` is False and the fold function goes on.
        """
        self.part("source")
        self._preload()
        runtime = Runtime(self._lifespan, _no_leftovers)

        def scatter_handler(event: Any, context: Any) -> dict[str, Any]:
            params, run_id = request_of(event, context)
            deadline = deadline_of(context, None)

            async def work(state: JobState) -> Scattered:
                return await self._scatter(state.backend, params, run_id, deadline)

            scattered = runtime.run(work, deadline)
            return {"run": scattered.run_id, "segments": scattered.segments, "complete": scattered.complete}

        return scatter_handler

    @functools.cached_property
    def segment_handler(self) -> Consumer[..., Any]:
        """The Lambda handler of the work queue."""
        return self._consumer(self._segment_function(), commit_ended, dead_letters=True)

    @functools.cached_property
    def dead_letter_handler(self) -> Consumer[..., Any]:
        """The Lambda handler of the dead-letter queue."""

        async def dead_letter_handler(record: Record, ctx: Context[JobState]) -> MessageResult:
            return await bury(self.name, record, ctx)

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
        return step_functions.plan_handler(self.name, self.source_of, Runtime(self._lifespan, _no_leftovers))

    @functools.cached_property
    def task_handler(self) -> step_functions.Handler:
        """The Lambda handler of each item of a state machine's map: one segment, or several.

        Raises:
            ConfigurationError: If the job continues segments: on Step Functions each has to end in time.
        """
        if self._max_hops:
            raise ConfigurationError(
                f"job {self.name}: continuation=True goes on by a queue, and not on Step Functions"
            )
        work = step_functions.task_function(self._segment_function())
        return step_functions.task_handler(self._without_queue(work, commit_ended).invoke)

    @functools.cached_property
    def collect_handler(self) -> step_functions.Handler:
        """The Lambda handler of a state machine's last step: the account of the run, and its fold."""
        collect = step_functions.collect_function(self.name, self._fold_function(alone=True))
        return step_functions.collect_handler(self._without_queue(collect, None).invoke)

    async def start(
        self,
        backend: Backend,
        params: Mapping[str, Any],
        run_id: str | None = None,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Scattered:
        """Start a run from this process: cut the source and enqueue the segments.

        ``progress`` is called, again and again, with how many segments have been enqueued by then.

        Raises:
            SourceError: If there is nothing to cut.
            EnqueueError: If the queue did not take a segment.
        """
        return await self._scatter(backend, params, run_id or uuid.uuid4().hex, Deadline.never(), progress)

    async def _scatter(
        self,
        backend: Backend,
        params: Mapping[str, Any],
        run_id: str,
        deadline: Deadline,
        progress: Callable[[int], None] | None = None,
    ) -> Scattered:
        return await scatter(
            self.name,
            self.source_of(params),
            run_id=run_id,
            params=params,
            backend=backend,
            watch_seconds=self._watch_seconds,
            deadline=deadline,
            per_message=self.segments_per_message,
            progress=progress,
        )

    def source_of(self, params: Mapping[str, Any]) -> Source:
        """Return what a run with these parameters cuts.

        Raises:
            ConfigurationError: If the source function fails, or returns no source.
        """
        try:
            source: Source = self.part("source")(dict(params))
        except FanfoldError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"job {self.name}: the source function failed for params {dict(params)}: {error!r}"
            ) from error
        if isinstance(source, type) or not hasattr(source, "pin"):
            raise ConfigurationError(f"job {self.name}: the source function returned {source!r}, which is no source")
        return source

    def _set_part(self, name: str, function: F) -> F:
        self._functions[name] = check_part(self.name, name, function)
        return function

    def _segment_function(self) -> Callable[..., Awaitable[MessageResult]]:
        function: SegmentFunction = self.part("segment")

        async def segment_handler(record: Record, ctx: Context[JobState]) -> MessageResult:
            return await work_on(self.name, function, record, ctx, max_hops=self._max_hops)

        return segment_handler

    def _fold_function(self, *, alone: bool) -> Callable[..., Awaitable[RunState]]:
        combine = self._functions.get("combine")
        reduction = None if combine is None else Reduction(combine, self._fan_in)
        folding, per_message = Folding(self.part("fold"), self._tolerated, reduction, alone), self.segments_per_message

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
            changes["dead_letter_queue_url"] = ""  # what these reject is left to the queue's own redrive policy
        return Consumer(function, self._settings.changed(changes))

    def _without_queue(self, function: Callable[..., Any], commit: CommitStage | None) -> Consumer[..., Any]:
        """Return a consumer whose records come from no queue: nothing can be hidden, forwarded or sent back there."""
        return self._consumer(function, commit, dead_letters=False).with_settings(
            backoff=None, settler=step_functions.no_queue
        )

    def _preload(self) -> None:
        """Import the SDK while Lambda initialises the sandbox: with full CPU, and not at the first batch's expense."""
        if self._open_backend is _aws and "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module("fanfold.aws.backend")

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[JobState]:
        async with self._open_backend() as backend:
            if self._settings.lifespan is None:
                yield JobState(backend)
            else:
                async with self._settings.lifespan() as user:
                    yield JobState(backend, user)


def _no_leftovers(state: JobState) -> int:  # noqa: ARG001 - a scatter is awaited to its end
    return 0
