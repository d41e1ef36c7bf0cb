"""The definition of a job: its settings, its functions, and how it opens its backend."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Self, TypeAlias, TypeVar

from fanfold._base import aws_limits
from fanfold._base.backoff import Backoff
from fanfold._base.threads import Threads
from fanfold._consumer.loop_thread import Lifespan
from fanfold._consumer.settings import Settings, check_count, check_opener
from fanfold._consumer.settle import OpenSettler
from fanfold._jobs.continuation import MOST_HOPS
from fanfold._jobs.functions import check_part
from fanfold._jobs.job_state import JobState
from fanfold._jobs.masking import masked
from fanfold._jobs.notify import check_tolerance
from fanfold._jobs.result_text import CheckResult
from fanfold._jobs.segment_handler import SegmentFunction
from fanfold._ports.backend import Backend
from fanfold._ports.run import check_name
from fanfold.errors import ConfigurationError, FanfoldError, MissingExtraError
from fanfold.sources import Source

OpenBackend: TypeAlias = Callable[[], AbstractAsyncContextManager[Backend]]
"""Opens the backend of a job; entered once per execution environment."""

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
    """The settings and the functions of a job; ``fanfold.Job`` documents them."""

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
        allow_empty: bool = True,
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
                f"watch_seconds must be an integer from 1 to {aws_limits.SQS_MAX_DELAY_SECONDS}, not {watch_seconds!r}"
            )
        for name_of_flag, flag in (("continuation", continuation), ("allow_empty", allow_empty)):
            if not isinstance(flag, bool):
                raise ConfigurationError(f"{name_of_flag} must be True or False, not {flag!r}")
        self.allow_empty: bool = allow_empty
        """True if a run without items succeeds."""
        self._tolerated = check_tolerance(tolerated_failures)
        self.segments_per_message: int = check_count(segments_per_message, "segments_per_message")
        """Segments that share a message."""
        if check_count(fan_in, "fan_in") == 1:
            raise ConfigurationError("fan_in must be an integer of at least 2, not 1: one result cannot be combined")
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
        """Register the source function (a decorator). It takes the run's parameters and returns the source to cut."""
        return self._set_part("source", function)

    def segment(self, function: F) -> F:
        """Register the segment handler. It takes items and a context, and returns a JSON value.

        An ``async def`` iterates over the items with ``async for``; a ``def``, on a worker thread, with ``for``. At the
        deadline, a ``def`` is abandoned, and its next item is an ``AbandonedError``.
        """
        return self._set_part("segment", function)

    def fold(self, function: F) -> F:
        """Register the fold. It takes the results of all segments in segment order and returns one JSON value.

        A ``def`` function runs on a worker thread. The fold may run again after a crash; its output is committed once.
        """
        return self._set_part("fold", function)

    def combine(self, function: F) -> F:
        """Register a function that combines results before the fold, at most ``fan_in`` in a call.

        Use it if the fold of a run takes too long. It takes results in order, or values that it returned earlier, and
        returns one JSON value of the same kind. The fold receives the remaining values in place of the results.
        Several invocations of the fold function combine the groups. A run of at most ``fan_in`` segments is folded
        without it. It may run again after a crash.
        """
        return self._set_part("combine", function)

    def with_changes(
        self,
        *,
        backend: OpenBackend | None = None,
        segment: SegmentFunction | None = None,
        settler: OpenSettler | None = None,
    ) -> Self:
        """Return a copy of the job with another backend, segment handler, or settler, for tests and demos."""
        job = copy.copy(self)
        for handler in [name for name in job.__dict__ if name.endswith("_handler")]:
            job.__dict__.pop(handler, None)  # created again at first use
        settings = self._settings.changed({"settler": settler or self._settings.settler})
        job.__dict__ |= {"_functions": dict(self._functions), "_settings": settings}
        job.__dict__ |= {"_open_backend": check_opener(backend or self._open_backend, "backend")}
        if segment is not None:
            job.segment(segment)
        return job

    @property
    def settings(self) -> Settings:
        """The settings of its handlers."""
        return self._settings

    def part(self, name: str) -> Callable[..., Any]:
        """Return its ``source``, ``segment``, ``fold`` or ``combine`` function.

        Raises:
            ConfigurationError: If the job has no such function.
        """
        if name not in self._functions:
            raise ConfigurationError(f"job {self.name} has no {name} function: decorate one with @job.{name}")
        return self._functions[name]

    def result_check(self) -> CheckResult | None:
        """Return the check of its fold for the result of a segment.

        None if the fold has none, or receives what ``combine`` returns.
        """
        if "combine" in self._functions:
            return None
        check: CheckResult | None = getattr(self._functions.get("fold"), "check", None)
        return check

    def open_backend(self, *, sources_only: bool = False) -> AbstractAsyncContextManager[Backend]:
        """Open the queues, the ledger, and the store of this job.

        With ``sources_only``, the backend only reads sources: on AWS, it needs no ``FANFOLD_…`` variable, and its
        queues and ledger do not exist.
        """
        if sources_only and self.opens_on_aws:
            return _aws(sources_only=True)
        return self._open_backend()

    @property
    def opens_on_aws(self) -> bool:
        """True if its backend is AWS, configured by environment variables."""
        return self._open_backend is _aws

    @asynccontextmanager
    async def share(self, backend: Backend) -> AsyncIterator[JobState]:
        """Open the state that the handlers share: a backend, and what the job's lifespan yields."""
        threads = Threads()
        try:
            if self._settings.lifespan is None:
                yield JobState(backend, threads=threads)
            else:
                async with self._settings.lifespan() as user:
                    yield JobState(backend, user, threads)
        finally:
            threads.close()

    def source_of(self, params: Mapping[str, Any]) -> Source:
        """Return the source of a run with these parameters.

        Raises:
            ConfigurationError: If the source function fails, or does not return a source.
        """
        try:
            source: Source = self.part("source")(dict(params))
        except FanfoldError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"job {self.name}: the source function failed for params {masked(params)}: {error!r}"
            ) from error
        if isinstance(source, type) or not hasattr(source, "pin"):
            raise ConfigurationError(
                f"job {self.name}: the source function must return a source, such as fanfold.S3Lines(…), not {source!r}"
            )
        return source

    def _set_part(self, name: str, function: F) -> F:
        self._functions[name] = check_part(self.name, name, function)
        return function
