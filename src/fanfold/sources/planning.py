"""Plan many objects: list them, look at several concurrently, and stop and resume in between.

A listing of millions of objects may take longer to plan than one invocation. So a source that lists objects plans in
*steps*: each resumes after a key, and stops after another one. What the steps have planned is in the manifest.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from fanfold._base.retry import resume
from fanfold._ports.backend import Backend
from fanfold._ports.stores import Listed, Store
from fanfold.errors import ObjectMissingError, SourceError

CONCURRENCY: Final = 32
"""Objects that are looked at concurrently; below the connections of the client."""

T = TypeVar("T")
R = TypeVar("R")
Save = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Stores an unfinished plan, from which planning can resume."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of planning."""

    prefix: str
    """Beginning of the keys to write; each step has a different one, because steps may run concurrently."""
    begun: Mapping[str, Any] = field(default_factory=dict)
    """The unfinished plan of the earlier steps; empty for the first step."""
    must_stop: Callable[[], bool] = lambda: False
    """Returns whether to stop; asked after each object, so every step plans at least one."""
    save: Save | None = None
    """Called with the unfinished plan whenever a chunk of the manifest is written; None to save nothing."""

    @property
    def after(self) -> str:
        """The last key that is planned; empty for none."""
        return str(self.begun["unfinished"]["after"]) if self.begun else ""


@dataclass(frozen=True, slots=True)
class Planned:
    """The next result of planning: a segment, a place to resume, or both."""

    lines: Sequence[bytes] = ()
    """The items of one segment, each as JSON on one line; empty for no segment."""
    after: str | None = None
    """The last key that is planned; None if planning cannot resume here."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the plan, as of ``after``."""


@runtime_checkable
class SteppedSource(Protocol):
    """A source that can be planned in steps.

    The parameters of its class are attributes with the same names, of the source or of its ``settings``.
    """

    async def plan(self, backend: Backend, step: Step) -> Mapping[str, Any]:
        """Return the plan after one step: as ``Source.pin``; with the field ``unfinished`` if the step had to stop."""
        ...


def settings_of(source: SteppedSource) -> dict[str, Any]:
    """Return the arguments with which a source was created, as JSON."""
    settings = getattr(source, "settings", source)
    names = inspect.signature(type(source)).parameters
    return {name: _to_json(getattr(source if hasattr(source, name) else settings, name)) for name in names}


def from_settings(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Return a source with the arguments that ``settings_of`` returned."""
    return kind(**{name: _from_json(value) for name, value in settings.items()})


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    return {"pattern": value.pattern, "flags": value.flags} if isinstance(value, re.Pattern) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"time"}:
        return datetime.fromisoformat(value["time"])
    if isinstance(value, Mapping) and set(value) == {"pattern", "flags"}:
        return re.compile(value["pattern"], value["flags"])
    return value


async def listing(store: Store, bucket: str, prefix: str, *, after: str = "") -> AsyncGenerator[Listed, None]:
    """Yield a listing from after a key; after a transient error, resume it after the last listed key.

    Raises:
        SourceError: If the bucket does not exist.
    """
    last = after
    try:
        async with aclosing(resume(lambda: store.list(bucket, prefix, start_after=last))) as listed_objects:
            async for listed in listed_objects:
                last = listed.key
                yield listed
    except ObjectMissingError as error:
        raise SourceError(f"s3://{bucket} does not exist: check the bucket") from error


async def map_in_order(
    function: Callable[[T], Awaitable[R]], items: AsyncGenerator[T, None], *, concurrency: int = CONCURRENCY
) -> AsyncGenerator[R, None]:
    """Yield the result of a call for each item, in the order of the items.

    At most ``concurrency`` calls run, and at most as many results wait for an earlier one. Closing the generator, or an
    error, cancels the calls that still run.
    """
    tasks: deque[asyncio.Future[R]] = deque()
    try:
        async with aclosing(items):
            async for item in items:
                tasks.append(asyncio.ensure_future(function(item)))
                if len(tasks) == concurrency:
                    yield await tasks[0]
                    tasks.popleft()
        while tasks:
            yield await tasks[0]
            tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
