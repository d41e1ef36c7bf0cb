"""The values in a ledger: a run, its counter, its markers, its hops, and its failed attempts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fanfold.errors import ConfigurationError

EXPIRY_SECONDS: Final = 30 * 24 * 3600
"""How long the ledger keeps a run: longer than the maximum retention of the work queue plus that of the dead-letter
queue, 14 days each (SQS quotas)."""

MAX_LEASE_SECONDS: Final = 7_200.0
"""A lease of the fold that ends later than this from now does not count: no invocation takes as long."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str, kind: str) -> str:
    """Return a name if it is safe as part of the key of an object or an item.

    Raises:
        ConfigurationError: If it is not 1 to 128 letters, digits, dots, underscores and hyphens, the first a letter
            or digit.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{kind} {name!r}: use 1 to 128 letters, digits, '.', '_', and '-', starting with a letter or digit"
        )
    return name


def source_prefix(run_id: str) -> str:
    """Return a unique prefix for the objects that a source writes; it differs for each call.

    A run may be planned twice, even concurrently. Only one of the plans is used, and it must not read objects of the
    other.
    """
    import uuid  # imported here to keep cold starts short

    return f"runs/{run_id}/source/{uuid.uuid4().hex}"


class RunState(StrEnum):
    """The state of a run; the ledger stores its value."""

    RUNNING = "RUNNING"
    """Segments are being enqueued or processed."""
    FOLDING = "FOLDING"
    """Every segment has ended, and the fold function processes the results."""
    SUCCEEDED = "SUCCEEDED"
    """The output is committed."""
    FAILED = "FAILED"
    """More segments failed permanently than are tolerated, or the fold failed. The list of failures, or the reason, is
    committed instead of an output."""
    CANCELLED = "CANCELLED"
    """Someone has cancelled the run: queued segments are acknowledged without work, and no output is committed."""

    @property
    def is_final(self) -> bool:
        """True if only a redrive can change the state."""
        return self in {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job."""

    id: str
    """The id of the run."""
    job: str
    """Name of the job."""
    params: Mapping[str, Any]
    """The parameters with which the run was started."""
    plan: Mapping[str, Any]
    """The pinned source, from which every segment is cut; fixed before the first segment is sent. While the run is
    planned in steps, it has the field ``unfinished``: where planning resumes, and the settings of the source."""
    created_at: float
    """When it was created; seconds since 1970."""
    expires_at: int
    """When the ledger may delete it; seconds since 1970."""
    gen: int = 0
    """Generation: incremented by each redrive."""
    state: RunState = RunState.RUNNING
    """The state of the run."""
    position: int = 0
    """All segments with lower numbers have been enqueued."""
    fence: int = 0
    """Number of claims of the fold; a write with a lower number is refused."""
    lease_until: float = 0.0
    """When the lease of the fold expires; seconds since 1970."""
    ended_at: float | None = None
    """When it ended; seconds since 1970."""
    output: str | None = None
    """Key of the output in the results bucket, or of the list of failures or the reason why the fold failed."""
    failed: int = 0
    """Number of segments that failed permanently."""
    redos: Sequence[str] = ()
    """Keys of the objects that list the redriven segments, one for each generation after the first."""
    redo: int = 0
    """Number of segments that this generation redrives; ``position`` counts those enqueued."""
    notified: bool = False
    """True if the notification of its end has been sent."""
    plan_step: int = 1
    """Number of plans that were written: more than 1 if the run was planned in several steps."""

    @property
    def is_planned(self) -> bool:
        """True if the plan is complete."""
        return "unfinished" not in self.plan

    @property
    def progress(self) -> int:
        """A number that changes whenever planning or enqueuing has made progress: negative while it is planned."""
        return self.position if self.is_planned else -self.plan_step

    @property
    def enqueued(self) -> bool:
        """True if all redriven segments have been enqueued; for the first generation, the counter decides."""
        return self.gen == 0 or self.position >= self.redo

    @property
    def ended(self) -> bool:
        """True if the run has a final state."""
        return self.state.is_final

    def prefix(self) -> str:
        """Return the prefix of the keys of its objects in the results bucket."""
        return f"runs/{self.id}/{self.gen}"

    def failures_key(self) -> str:
        """Return the key of the list of its failures, which exists if there are any."""
        return f"{self.prefix()}/failures.json"


@dataclass(frozen=True, slots=True)
class Counter:
    """The counter of a run."""

    ended: int
    """Number of ended segments; never too low, and too high if a segment was counted twice."""
    total: int | None = None
    """Number of segments of the run; None while they are being enqueued."""
    next: int | None = None
    """Value of ``ended`` at which to check whether all segments have ended; None while ``total`` is None."""

    @property
    def due(self) -> bool:
        """True if it is time to check whether all segments have ended."""
        return self.next is not None and self.ended >= self.next


@dataclass(frozen=True, slots=True)
class BadRows:
    """The rows of a segment that could not be read and were collected, in an object of the results bucket."""

    count: int
    """Number of rows, at least 1."""
    key: str
    """Key of the object: one row per line, as JSON."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The segments of one run that ended in one batch."""

    id: str
    """A unique id; not in order of time."""
    gen: int
    """Generation of the run."""
    results: Mapping[int, str] = field(default_factory=dict)
    """Results by segment as JSON texts, if they are small."""
    ids: Sequence[int] = ()
    """Numbers of the segments that are done; ascending."""
    results_key: str | None = None
    """Key of the object with ``results``, if they are large."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Reasons by segment, for segments that failed permanently."""
    receive_counts: Mapping[int, int] = field(default_factory=dict)
    """Deliveries by segment, unless it is 1; 0 for a segment that failed in a delivery that a hop counts."""
    messages: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Tag of the message and deliveries of messages that it replaces, by segment, for segments that are done in a later
    delivery than the first."""
    hops: Mapping[int, int] = field(default_factory=dict)
    """Number of hops by segment, for segments that were continued before they were done or failed; the hops hold
    partial results. A segment that failed can continue from its last hop."""
    items: Sequence[int] = ()
    """Number of items that the handler of each segment in ``ids`` received, in the same order; empty if unknown."""
    bad_rows: Mapping[int, BadRows] = field(default_factory=dict)
    """Bad rows by segment, for segments in ``ids`` that have any; without those of their hops."""
    began_at: Sequence[float] = ()
    """When the handler of each segment in ``ids`` started, in the same order; seconds since 1970. Empty if unknown."""
    seconds: Sequence[float] = ()
    """How long the handler of each segment in ``ids`` took, in the same order; empty if unknown."""
    ended_at: float | None = None
    """When the marker was written; seconds since 1970. None if unknown."""
    environment: str | None = None
    """Log stream of the execution environment; None if unknown."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a segment stopped before the Lambda timeout; the next hop of the segment continues from there."""

    segment: int
    """Number of the segment."""
    number: int
    """Number of earlier hops, from 0."""
    gen: int
    """Generation of the run."""
    rest: Mapping[str, Any]
    """The unread rest of the segment, in the format of the source."""
    result: str | None
    """The handler's result for the items it has read, as JSON text, if it is small."""
    results_key: str | None = None
    """Key of the object with the result, if it is large."""
    items: int = 0
    """Number of items that the handler received."""
    bad_rows: BadRows | None = None
    """The bad rows among the rows it has read; None if there are none."""
    receive_count: int = 1
    """Deliveries of this hop so far, those of messages that its message replaces included."""
    message: Sequence[int] = (0, 0)
    """Tag of its message, 0 if unknown, and deliveries of messages that it replaces."""
    began_at: float | None = None
    """When its handler started; seconds since 1970. None if unknown."""
    seconds: float | None = None
    """How long its handler took; None if unknown."""
    environment: str | None = None
    """Log stream of the execution environment; None if unknown."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A failed delivery of a segment."""

    segment: int
    """Number of the segment."""
    gen: int
    """Generation of the run."""
    hop: int
    """Number of earlier hops of the segment."""
    number: int
    """Deliveries of the segment in this hop so far, this one included; from 1."""
    began_at: float
    """When the handler started; seconds since 1970."""
    seconds: float
    """How long it took."""
    error: str
    """Name of the type of the error, such as ``KeyError``."""
    message: str
    """First line of the error, truncated to 200 characters."""
    place: str | None = None
    """File and line of the innermost frame of the user's code, such as ``app.py:12``; None if there is none."""
    request_id: str | None = None
    """Request id of the invocation; None outside Lambda."""
    log_stream: str | None = None
    """Log stream of the execution environment; None outside Lambda."""
    max_number: int | None = None
    """Deliveries after which the queue moves the message to its dead-letter queue; None if unknown."""
    tag: int = 0
    """Identifies the message among those of the segment, from 1; 0 if unknown."""
    earlier: int = 0
    """Deliveries, among ``number``, of messages that this one replaces."""


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """The failed attempts of one batch, of one run and generation."""

    id: str
    """A unique id; not in order of time."""
    gen: int
    """Generation of the run."""
    attempts: Sequence[Attempt]
    """The attempts, at least one, all of this generation."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item of the ledger that cannot be read; it costs only what it contains."""

    key: str
    """Its key in the ledger."""
    reason: str
    """Why it cannot be read."""
