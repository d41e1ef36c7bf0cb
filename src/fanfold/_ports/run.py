"""The values a ledger holds: a run, its counter, and markers of what has ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from fanfold.errors import ConfigurationError

EXPIRY_SECONDS: Final = 30 * 24 * 3600
"""How long the ledger remembers a run: longer than a message can live in the work queue and then in the dead-letter
queue, 14 days each (SQS quotas)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str, what: str) -> str:
    """Return a name that is safe as part of an object's or an item's key.

    Raises:
        ConfigurationError: If it is not 1 to 128 letters, digits, dots, underscores and hyphens, the first a letter
            or digit.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{what} {name!r}: use 1 to 128 letters, digits, '.', '_' and '-', starting with a letter or digit"
        )
    return name


def source_prefix(run_id: str) -> str:
    """Return a prefix for what a source writes down: another one with each call.

    A run may be planned twice, at the same time even; only one of the plans counts, and nothing of another one may
    stand among what it reads.
    """
    import uuid  # here: a cold start need not pay for it

    return f"runs/{run_id}/source/{uuid.uuid4().hex}"


class RunState(StrEnum):
    """Where a run stands; its text is what the ledger stores."""

    RUNNING = "RUNNING"
    """Segments are being enqueued or worked on."""
    FOLDING = "FOLDING"
    """Every segment has ended and the fold function has the results."""
    SUCCEEDED = "SUCCEEDED"
    """The output is committed."""
    FAILED = "FAILED"
    """More segments failed for good than are tolerated, or the fold failed; which, or why, is committed in place of an
    output."""

    @property
    def is_final(self) -> bool:
        """Whether only a redrive can change it."""
        return self in {RunState.SUCCEEDED, RunState.FAILED}


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a job."""

    id: str
    """Its name."""
    job: str
    """Name of the job."""
    params: Mapping[str, Any]
    """What whoever started the run gave it."""
    plan: Mapping[str, Any]
    """The source as it was pinned before the first segment was sent: every segment is cut from this."""
    created_at: float
    """When it was created; seconds since 1970."""
    expires_at: int
    """When the ledger may forget it; seconds since 1970."""
    gen: int = 0
    """Generation: one more with each redrive."""
    state: RunState = RunState.RUNNING
    """Where it stands."""
    position: int = 0
    """Segments below this number have been enqueued."""
    fence: int = 0
    """Counts the claims of the fold; a write that names an older one is refused."""
    lease_until: float = 0.0
    """When the claim of the fold is over; seconds since 1970."""
    ended_at: float | None = None
    """When it ended; seconds since 1970."""
    output: str | None = None
    """Key of the output in the results bucket, or of what is there in its place: the list of failures, or why the fold
    failed."""
    failed: int = 0
    """Segments that failed for good."""
    redos: Sequence[str] = ()
    """Keys of the objects that list what was redriven, for each generation after the first."""
    redo: int = 0
    """Segments that this generation does again; ``position`` counts those enqueued."""
    notified: bool = False
    """Whether its end has been told of."""

    @property
    def enqueued(self) -> bool:
        """Whether all that a redrive does again has been enqueued; of a first generation its counter says so."""
        return self.gen == 0 or self.position >= self.redo

    @property
    def ended(self) -> bool:
        """Whether its end state is written."""
        return self.state.is_final

    def prefix(self) -> str:
        """Return the prefix of its objects' keys in the results bucket."""
        return f"runs/{self.id}/{self.gen}"

    def failures_key(self) -> str:
        """Return the key of the list of its failures, if there are any."""
        return f"{self.prefix()}/failures.json"


@dataclass(frozen=True, slots=True)
class Counter:
    """The counter of a run."""

    ended: int
    """Segments that ended, never too few; those that ended twice count twice."""
    total: int | None = None
    """Segments of the run; None while they are still being enqueued."""
    next: int | None = None
    """When ``ended`` reaches it, it is worth looking whether all have ended; None while total is None."""

    @property
    def due(self) -> bool:
        """Whether it is worth looking whether all segments have ended."""
        return self.next is not None and self.ended >= self.next


@dataclass(frozen=True, slots=True)
class Marker:
    """Segments that ended together: what one batch knows of one run."""

    id: str
    """Its name; unique, and in no order of time."""
    gen: int
    """Generation of the run it belongs to."""
    results: Mapping[int, str] = field(default_factory=dict)
    """Result by segment as JSON text, when they are small."""
    ids: Sequence[int] = ()
    """The segments that are done; ascending."""
    results_key: str | None = None
    """Key of the object that holds ``results``, when they are not small."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Reason by segment, for those that failed for good."""
    receive_counts: Mapping[int, int] = field(default_factory=dict)
    """Deliveries by segment, for those that took more than one."""
    hops: Mapping[int, int] = field(default_factory=dict)
    """By segment, for those that are done and had stopped before: how often. Their results begin in that many hops."""
    items: Sequence[int] = ()
    """How many items each segment of ``ids`` gave its handler, in the same order; empty if that is not known."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a segment stopped because the time was over: what goes on from there is the segment's next hop."""

    segment: int
    """Number of the segment."""
    number: int
    """How often it had been continued before, from 0."""
    gen: int
    """Generation of the run it belongs to."""
    rest: Mapping[str, Any]
    """What is left to read, in the words of the source."""
    result: str | None
    """What the handler returned for what it had read, as JSON text, when that is small."""
    results_key: str | None = None
    """Key of the object that holds it, when it is not small."""
    items: int = 0
    """How many items the handler was given."""
