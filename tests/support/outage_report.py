"""The scenario of an outage, and what is counted in it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from outage_services import Call, Interval

LATE_SECONDS: Final = 0.15
"""Time after the opening from which a call is late: the other environments could know by then."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A queue, a function, and an outage. Times are seconds."""

    messages: int = 1_000
    """Messages that are sent."""
    sent_over: float = 0.0
    """Time over which they are sent, evenly; 0 for all at the start."""
    down: Sequence[Interval] = (Interval(0.0, 900.0),)
    """When the dependency is down."""
    second_down: Sequence[Interval] = ()
    """When the second dependency is down; half of the messages need it if this is not empty."""
    failing: tuple[Interval, float] | None = None
    """When a share of the calls of the dependency fails, and the share."""
    hangs: float = 0.0
    """Seconds until a failing call ends; 0 for as fast as one that succeeds."""
    bad_environment: int | None = None
    """Number of the environment whose calls all fail."""
    poison: int = 0
    """Number of messages, spread evenly, whose handler always fails for another reason."""
    spent: int = 0
    """Receives that each message has used up before it is sent."""
    receives: int = 5
    """``maxReceiveCount`` of the queue."""
    visibility: float = 30.0
    """Visibility timeout of the queue."""
    groups: int = 0
    """Number of message groups of a FIFO queue; 0 for a standard queue."""
    duplicates: float = 0.0
    """Share of receives that cause a duplicate delivery."""
    batch_size: int = 10
    """Maximum number of messages in a batch."""
    concurrency: int = 10
    """Concurrency of the consumer."""
    environments: int = 20
    """Maximum number of execution environments."""
    timeout: float = 30.0
    """Function timeout."""
    recycled: float = 0.05
    """Share of invocations after which the environment is removed."""
    crashed: float = 0.0
    """Share of invocations in which the environment is killed."""
    kills: Sequence[tuple[str, int]] = ()
    """Steps at which an environment is killed, and which of these steps: ``("after change to CLOSED", 1)``."""
    table_down: Sequence[Interval] = ()
    """When the table of the breakers is down."""
    tick: bool = False
    """True if there is a tick queue."""
    probe: bool = False
    """True if the breaker has a probe function, which calls the first dependency."""
    blocks: bool = False
    """True if the handler has ``async with breaker:`` around each call, in place of breakers of the consumer."""
    last: str = "try"
    """The breaker's ``last``."""
    outage_budget: float = 12 * 3_600.0
    """The breaker's ``outage_budget``."""

    @property
    def outage_ends(self) -> float:
        """End of the last outage."""
        failing = [] if self.failing is None else [self.failing[0]]
        return max((interval.end for interval in (*self.down, *self.second_down, *failing)), default=0.0)

    @property
    def outage_seconds(self) -> float:
        """Time from the beginning of the first outage to the end of the last one."""
        starts = [interval.start for interval in (*self.down, *self.second_down)]
        return self.outage_ends - min(starts, default=0.0)


@dataclass(slots=True)
class Sent:
    """The fate of a message."""

    is_poison: bool
    """True if its handler always fails."""
    needs_second: bool
    """True if it needs the second dependency."""
    sent_at: float
    """When it was sent."""
    wasted: int = 0
    """Deliveries to an environment that was killed, and duplicates: they use up receives too."""
    received_at: float = -math.inf
    """When it was delivered last."""
    receives: int = 0
    """Deliveries to the function, of copies too."""
    done_at: float = math.inf
    """When its handler succeeded first, seconds; infinity for never."""
    times_done: int = 0
    """How often its handler succeeded."""


@dataclass(slots=True)
class Report:
    """The result of a run."""

    scenario: Scenario
    seed: int
    messages: dict[str, Sent] = field(default_factory=dict)
    """By message body."""
    calls: list[Call] = field(default_factory=list)
    """Calls of the dependency."""
    second_calls: list[Call] = field(default_factory=list)
    """Calls of the second dependency."""
    in_flight_at_outage: int = 0
    """Calls that ran when the outage began."""
    opened_at: dict[str, list[float]] = field(default_factory=dict)
    """When each breaker was opened in the table."""
    closed_at: dict[str, list[float]] = field(default_factory=dict)
    """When each breaker was closed in the table."""
    dead: list[str] = field(default_factory=list)
    """Bodies in the dead-letter queue."""
    left: list[str] = field(default_factory=list)
    """Bodies in the queue at the end."""
    counts: Counter[str] = field(default_factory=Counter)
    """Reads and writes of the table, calls of the queue, cold starts, invocations, errors and kills."""
    reads_before_outage: int = 0
    """Reads of the table before the first outage."""
    writes_before_outage: int = 0
    """Writes of the table before the first outage."""
    cold_starts_before_outage: int = 0
    """Cold starts before the first outage."""
    billed_seconds: float = 0.0
    """Total duration of the invocations."""
    ended_at: float = 0.0
    """When the queue was empty, or the world ended."""

    @property
    def healthy_dead(self) -> list[str]:
        """Healthy messages in the dead-letter queue whose handler never succeeded, except if receives were wasted."""
        healthy = {
            body for body, sent in self.messages.items() if not (sent.is_poison or sent.times_done or sent.wasted)
        }
        return [body for body in self.dead if body in healthy]

    @property
    def done_and_dead(self) -> list[str]:
        """Messages in the dead-letter queue whose handler had succeeded: duplicates."""
        return [body for body in self.dead if self.messages[body].times_done]

    @property
    def lost(self) -> list[str]:
        """Messages that are neither done, nor in the dead-letter queue, nor in the queue."""
        known = {*self.dead, *self.left}
        return [body for body, sent in self.messages.items() if not sent.times_done and body not in known]

    @property
    def unfinished(self) -> list[str]:
        """Messages that were in the queue at the end, and not done."""
        return [body for body in self.left if not self.messages[body].times_done]

    @property
    def poison_not_dead(self) -> list[str]:
        """Poison messages that are not in the dead-letter queue."""
        return [body for body, sent in self.messages.items() if sent.is_poison and body not in self.dead]

    @property
    def recovery(self) -> float:
        """Seconds from the end of the outage until all healthy messages were done, without those that are dead.

        For a message that was sent after the outage, seconds since then.
        """
        ends = self.scenario.outage_ends
        sent = [sent for sent in self.messages.values() if not sent.is_poison and sent.times_done]
        last = max((message.done_at - max(ends, message.sent_at) for message in sent), default=0.0)
        return math.inf if self.unfinished_healthy else max(0.0, last)

    @property
    def unfinished_healthy(self) -> list[str]:
        """Healthy messages that were in the queue at the end, and not done."""
        return [body for body in self.unfinished if not self.messages[body].is_poison]

    @property
    def calls_while_down(self) -> int:
        """Calls of a dependency that was down."""
        return sum(call.is_down for call in (*self.calls, *self.second_calls))

    @property
    def late_calls(self) -> int:
        """Calls of the first dependency while it was down, later than ``LATE_SECONDS`` after its breaker was opened.

        Probes are among them.
        """
        first = min((times[0] for times in self.opened_at.values() if times), default=math.inf)
        return sum(call.is_down and call.at > first + LATE_SECONDS for call in self.calls)

    @property
    def probes(self) -> int:
        """How often a probe was claimed."""
        return self.counts["changed to HALF_OPEN"]

    @property
    def receives_per_message(self) -> float:
        """Mean number of deliveries of a message."""
        return sum(sent.receives for sent in self.messages.values()) / max(1, len(self.messages))
