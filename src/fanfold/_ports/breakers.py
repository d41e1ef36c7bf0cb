"""The shared state of breakers: one circuit for each name, and pages of messages that are held while it is open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

State: TypeAlias = Literal["CLOSED", "OPEN", "HALF_OPEN"]
"""The states of a circuit, with the values of Powertools' circuit breaker."""

CLOSED: Final = "CLOSED"
"""The service is called."""
OPEN: Final = "OPEN"
"""The service is down, and is not called."""
HALF_OPEN: Final = "HALF_OPEN"
"""One call finds out whether the service is back."""

PAGE_HANDLES: Final = 500
"""Maximum number of messages in a page: an item of DynamoDB has at most 400 KB."""
COUNT_SECONDS: Final = 60
"""Interval in which failures of all execution environments are counted together."""
UNREADABLE: Final = "UnreadableItem"
"""The error code for an item that another program has written or damaged."""


class Circuit(NamedTuple):
    """The shared state of a breaker. Times are seconds since 1970."""

    state: State = CLOSED
    """The state."""
    version: int = 0
    """Number of changes so far; 0 if nothing is stored."""
    failures: int = 0
    """Failures that all execution environments have counted in an interval of ``COUNT_SECONDS``."""
    since: float = 0.0
    """When the outage began: kept if the circuit opens again soon after it was closed."""
    opened_at: float = 0.0
    """When the circuit was opened, or opened again."""
    closed_at: float = 0.0
    """When it was closed; 0 if it never was."""
    probe_due: float = 0.0
    """When the next probe may start."""
    owner: str = ""
    """Who probes; empty unless half-open."""
    lease_until: float = 0.0
    """When another one may probe although this probe has not ended."""
    tick_at: float = 0.0
    """When the tick message was last seen; 0 for never."""
    pages: int = 0
    """Number of pages of held messages that were added so far."""
    released: int = 0
    """Number of the last page whose messages, like those of all before it, have been made visible; pages count from 1.
    """
    forced: bool = False
    """True if a person opened it: no probe closes it."""
    paused: str = ""
    """ARNs of the queues whose mappings were disabled, with spaces in between; they must be enabled again."""
    ticker: str = ""
    """Id of the tick message that was seen last; empty if it is not known."""

    @property
    def is_closed(self) -> bool:
        """True if the service may be called."""
        return self.state == CLOSED

    @property
    def has_held(self) -> bool:
        """True if there may be held messages to make visible."""
        return self.released < self.pages


class Held(NamedTuple):
    """A message that is held in its queue while the circuit is open."""

    queue: str
    """ARN of its queue."""
    handle: str
    """Receipt handle, valid until its next receive."""
    until: float
    """When it becomes visible without help, seconds since 1970."""
    receives_left: int
    """Receives that it has left before the redrive policy moves it."""


class BreakerTable(Protocol):
    """The table that the execution environments of breakers share.

    Every method raises ServiceError if the service failed, and ConfigurationError if the table does not exist or access
    is denied. Names are those of breakers.
    """

    async def read(self, names: Sequence[str]) -> Sequence[Circuit]:
        """Return the circuits of 1 to 50 names, in this order; a consistent read in one request."""
        ...

    async def change(self, name: str, before: Circuit, after: Circuit) -> bool:
        """Replace the state of a circuit, unless it has changed since it was read.

        ``version`` becomes that of ``before`` plus 1, whatever ``after`` states; ``pages`` and ``failures`` are not
        written. Returns False if the stored version, or a state that another program wrote, is not that of ``before``.
        """
        ...

    async def count_failures(self, name: str, failures: int, now: float) -> Circuit:
        """Add failures to those that all environments counted in the current interval; return the circuit after it."""
        ...

    async def add_page(self, name: str, held: Sequence[Held], expires_at: float) -> Circuit:
        """Store 1 to ``PAGE_HANDLES`` held messages as the next page; return the circuit as it is after that.

        The page is stored before the circuit is read, so that either the caller sees that the circuit was closed, or
        who closes it sees the page.
        """
        ...

    async def page(self, name: str, number: int) -> Sequence[Held]:
        """Return the messages of a page, by its number from 1; empty if it does not exist (any more)."""
        ...

    async def released(self, name: str, number: int) -> None:
        """Note that the messages of a page, and of all before it, are visible; delete the page. Idempotent."""
        ...
