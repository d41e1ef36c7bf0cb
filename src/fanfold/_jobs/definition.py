"""What a job is made of, before anything runs: its settings, its functions, and where it opens its backend."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Self, TypeAlias, TypeVar

from fanfold._base import aws_limits
from fanfold._base.backoff import Backoff
from fanfold._consumer.loop_thread import Lifespan
from fanfold._consumer.settings import Settings, check_count, check_opener
from fanfold._consumer.settle import OpenSettler
from fanfold._jobs.continuation import MOST_HOPS
from fanfold._jobs.functions import check_part
from fanfold._jobs.job_state import JobState
from fanfold._jobs.notify import check_tolerance
from fanfold._jobs.segment_handler import SegmentFunction
from fanfold._ports.backend import Backend
from fanfold._ports.run import check_name
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError
from fanfold.sources import Source

OpenBackend: TypeAlias = Callable[[], AbstractAsyncContextManager[Backend]]
"""Opens the backend of a job: entered once in an execution environment."""

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


class JobDefinition:
    """The settings and the functions of a job, which ``fanfold.Job`` explains."""

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
    ) -> Self:
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
        if sources_only and self.opens_on_aws:
            return _aws(sources_only=True)
        return self._open_backend()

    @property
    def opens_on_aws(self) -> bool:
        """Whether its backend is AWS, as the environment names it."""
        return self._open_backend is _aws

    @asynccontextmanager
    async def share(self, backend: Backend) -> AsyncIterator[JobState]:
        """Open what the handlers share: a backend, and what the job's own lifespan makes."""
        if self._settings.lifespan is None:
            yield JobState(backend)
        else:
            async with self._settings.lifespan() as user:
                yield JobState(backend, user)

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
