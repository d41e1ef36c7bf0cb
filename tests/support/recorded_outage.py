"""An outage in memory: a clock, a table of breakers, a queue, and breakers that use them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fanfold import Breaker, Record
from fanfold._breakers.breaker_state import BreakerState
from fanfold._ports.breakers import BreakerTable, Circuit, Held
from fanfold._ports.queue import Refusal
from fanfold.errors import ServiceError
from fanfold.inmemory.breakers import InMemoryBreakers
from fanfold.testing import ManualClock
from settlers import RecordingSettler

START = 1_767_225_600.0
ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"
NAME = "payments"


class DownError(ConnectionError):
    """The service is down."""


class Outage:
    """A clock, a table, and a settler that records what it is asked for."""

    def __init__(self, table: BreakerTable | None = None) -> None:
        self.clock = ManualClock(START)
        self.table: Any = InMemoryBreakers() if table is None else table
        self.settler = CopyingSettler()

    def breaker(
        self, *, waits: bool = False, max_receives: int | None = 5, name: str = NAME, **settings: Any
    ) -> Breaker:
        """Return a breaker on the table; a message on its last receive is tried immediately unless ``waits``."""
        breaker = Breaker(name, **{"on": DownError, **settings})
        return breaker.simulated(self.open_table, self.clock, max_receives=max_receives, waits=waits)

    def state(self, **settings: Any) -> BreakerState:
        return BreakerState(self.breaker(**settings), self.clock)

    @asynccontextmanager
    async def open_table(self) -> AsyncIterator[BreakerTable]:
        yield self.table

    @property
    def working_table(self) -> InMemoryBreakers:
        """The table, also if that of the breakers is broken."""
        return self.table.table if isinstance(self.table, BrokenTable) else self.table

    async def circuit(self, name: str = NAME) -> Circuit:
        (circuit,) = await self.working_table.read([name])
        return circuit

    async def change(self, decide: Callable[[Circuit], Circuit], name: str = NAME) -> Circuit:
        """Change the circuit, as another execution environment does; return it."""
        before = await self.circuit(name)
        assert await self.working_table.change(name, before, decide(before))
        return await self.circuit(name)

    async def pages(self) -> list[Sequence[Held]]:
        """Return the pages that were added and not released."""
        circuit = await self.circuit()
        return [
            await self.working_table.page(NAME, number) for number in range(circuit.released + 1, circuit.pages + 1)
        ]

    def held(self, handle: str, *, seconds: float = 3_600, receives_left: int = 3) -> Held:
        return Held(ARN, handle, self.clock() + seconds, receives_left)


class CopyingSettler(RecordingSettler):
    """A settler that also accepts copies, except of the messages that it refuses."""

    def __init__(self, *refused: str, **settings: Any) -> None:
        super().__init__(*refused, **settings)
        self.copies: list[tuple[str, int]] = []
        self.fail_copies: Exception | None = None

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        """Record the ids of messages, or their handles if that is all that is known."""
        return await super().change_visibility(
            [
                (Record({**record.raw, "messageId": record.message_id or record.receipt_handle}), seconds)
                for record, seconds in changes
            ]
        )

    async def send_copies(self, copies: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        if self.fail_copies is not None:
            raise self.fail_copies
        self.copies += [(record.message_id, seconds) for record, seconds in copies]
        return [
            Refusal(position, "no", final=True)
            for position, (record, _) in enumerate(copies)
            if record.message_id in self.refused
        ]

    @property
    def changed(self) -> dict[str, int]:
        """The last visibility timeout of each message."""
        return {message: seconds for call in self.visibility_changes for message, seconds in call}


class BrokenTable:
    """A table whose methods raise an error, which may change, or none."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.table = InMemoryBreakers()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.table, name)

        async def call(*args: Any) -> Any:
            self.calls.append(name)
            if self.error is not None:
                raise self.error
            return await method(*args)

        return call


def unavailable() -> ServiceError:
    return ServiceError("table breakers: the service is unavailable", code="InternalServerError", transient=True)
