"""The input of a replay: a handler, saved events, and the settings of the function, its mapping, and its queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from fanfold._replay.events import SavedEvent
from fanfold._replay.filters import Pattern
from fanfold._replay.outage import Outage
from fanfold._replay.scaling import Pollers

SIMULATED: Final = (
    "batch_size",
    "window_seconds",
    "visibility_timeout",
    "max_receive_count",
    "function_timeout",
    "maximum_concurrency",
    "scales",
    "reserved_concurrency",
    "pollers",
    "fifo",
    "report_batch_item_failures",
    "duplicates",
    "seed",
)
"""The settings of the simulator, by their names in ``ReplayOptions``."""


class QueueRole(Enum):
    """A queue of a replay, by its role."""

    SOURCE = "source"
    """The queue that the mapping reads."""
    DEAD_LETTERS = "dead letters"
    """Its dead-letter queue."""


@dataclass(frozen=True, slots=True)
class QueueValue:
    """A value that identifies a queue of a replay, and is known once the replay runs."""

    role: QueueRole
    form: str
    """``url``, ``arn`` or ``name``."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The settings of a replay: of the function, its queue, and its mapping."""

    batch_size: int = 10
    """Maximum number of records in a batch."""
    window_seconds: float = 0
    """Batching window, seconds, simulated."""
    visibility_timeout: float = 30.0
    """Visibility timeout of the queue, seconds, simulated."""
    max_receive_count: int = 5
    """Receives after which a message is moved to the dead-letter queue."""
    function_timeout: float = 30.0
    """Function timeout, seconds of real time; the process is killed at the timeout."""
    memory_mb: int = 1769
    """Memory of the function, MB; the process is killed if its resident memory exceeds it."""
    maximum_concurrency: int | None = 5
    """Maximum number of concurrent invocations, in simulated time; None if ``scales`` or ``pollers`` determine it."""
    scales: bool = False
    """True if the mapping starts with 5 concurrent invocations, and adds 300 per minute, as on AWS."""
    reserved_concurrency: int | None = None
    """Concurrent invocations that the function allows, in simulated time; None for no limit."""
    pollers: Pollers | None = None
    """The pollers of provisioned mode; None for standard mode."""
    fifo: bool = False
    """True for a FIFO queue."""
    report_batch_item_failures: bool = True
    """True if the mapping reads which messages failed."""
    duplicates: float = 0.0
    """Share of receives after which SQS delivers the message again, 0 to 1."""
    seed: int = 0
    """Seed of all random choices."""
    until_empty: bool = True
    """True to redeliver until every message is deleted or dead-lettered; else each batch is delivered once."""
    runtime_client: bool = False
    """True to run the handler under Lambda's own runtime client."""
    concurrent_invocations: int = 1
    """Invocations that Lambda's runtime client runs concurrently in one execution environment."""
    real_idempotency: bool = False
    """True to use the idempotency table of the handler; else entries stay in memory."""
    outage: Outage | None = None
    """The time in which calls of the handler fail; None for no outage."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The handler, the events, and the settings of a replay."""

    handler: str
    """``MODULE:NAME``, imported from the current folder."""
    events: Sequence[SavedEvent]
    """The saved events."""
    options: ReplayOptions
    """The settings of the function, its queue, and its mapping."""
    patterns: Sequence[Pattern] = ()
    """The filters of the mapping; empty for none."""
    variables: Mapping[str, str | QueueValue] = field(default_factory=dict)
    """Environment variables of the function."""
