"""A person opens and closes a breaker, and makes its held messages visible."""

from collections.abc import Sequence

import pytest

from fanfold._base.record import Record
from fanfold._breakers.by_hand import Released, close_by_hand, make_visible, open_by_hand
from fanfold._breakers.transitions import claimed, closed, opened
from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, UNREADABLE, Circuit, Held
from fanfold._ports.queue import Message, Refusal
from fanfold.errors import FanfoldError, ServiceError
from fanfold.inmemory import InMemoryQueue, InMemorySettler
from fanfold.inmemory.breakers import InMemoryBreakers

ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"


class Outage:
    """A table and a queue during an outage; ``now`` is the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.table = InMemoryBreakers()
        self.queue = InMemoryQueue(visibility_timeout=30, clock=lambda: self.now)
        self.settler = InMemorySettler(self.queue)

    async def circuit(self) -> Circuit:
        (circuit,) = await self.table.read(["orders"])
        return circuit

    async def change(self, after: Circuit) -> None:
        assert await self.table.change("orders", await self.circuit(), after)

    async def hold(self, count: int, seconds: int = 600) -> list[str]:
        """Receive messages, hold them, and store their handles as the next page; return the handles."""
        for number in range(count):
            await self.queue.send([Message(f"order {number}")])
        handles: list[str] = []
        while received := await self.queue.receive():
            handles += [message.receipt_handle for message in received]
        for handle in handles:
            self.queue.change_visibility(handle, seconds)
        page = [Held(ARN, handle, self.now + seconds, 2) for handle in handles]
        await self.table.add_page("orders", page, self.now + seconds)
        return handles

    async def visible(self) -> int:
        """Return how many messages can be received now."""
        return (await self.queue.counts()).waiting

    async def release(self, released: Released, settler: InMemorySettler | None = None) -> Circuit:
        return await make_visible(
            self.table,
            "orders",
            settler or self.settler,
            now=lambda: self.now,
            owner="me",
            released=released,
            sleep=no_sleep,
        )


async def no_sleep(seconds: float) -> None:
    """Wait for no time."""


@pytest.fixture
def outage() -> Outage:
    return Outage()


async def test_a_closed_circuit_is_opened_by_hand(outage):
    """A new outage begins, even if the last one has just ended; a repetition changes nothing."""
    await outage.change(Circuit(since=100.0, opened_at=100.0, closed_at=999.0))
    circuit = await open_by_hand(outage.table, "orders", 1000.0)
    assert circuit == Circuit(OPEN, 2, since=1000.0, opened_at=1000.0, probe_due=1030.0, forced=True)
    assert await open_by_hand(outage.table, "orders", 1500.0) == circuit == await outage.circuit()


async def test_an_open_circuit_is_opened_by_hand_in_the_same_outage(outage):
    """A probe that runs no longer counts."""
    await outage.change(opened(Circuit(), 900.0, probe_every=30))
    await outage.change(claimed(await outage.circuit(), 950.0, "env-1", 60))
    circuit = await open_by_hand(outage.table, "orders", 1000.0)
    assert (circuit.state, circuit.owner, circuit.since, circuit.forced) == (OPEN, "", 900.0, True)


async def test_a_circuit_is_closed_by_hand_in_any_state(outage):
    """Also one that was opened by hand; without held messages, a repetition changes nothing."""
    for before in (
        opened(Circuit(), 900.0, probe_every=30),
        opened(Circuit(), 900.0, probe_every=30, forced=True),
        Circuit(HALF_OPEN, owner="env-1", lease_until=2000.0),
    ):
        await outage.change(before)
        circuit = await close_by_hand(outage.table, "orders", 1000.0, "me")
        assert (circuit.state, circuit.forced, circuit.closed_at, circuit.owner) == (CLOSED, False, 1000.0, "me")
        assert await close_by_hand(outage.table, "orders", 1500.0, "me") == circuit == await outage.circuit()


async def test_closing_a_closed_circuit_takes_over_its_held_messages(outage):
    """The one who closed it may have died."""
    await outage.hold(1)
    await outage.change(closed(await outage.circuit(), 990.0, "env-1"))
    circuit = await close_by_hand(outage.table, "orders", 1000.0, "me")
    assert (circuit.owner, circuit.closed_at) == ("me", 990.0)


class Changing(InMemoryBreakers):
    """A table in which another one changes the circuit before each of the first changes."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self._changes = changes

    async def change(self, name: str, before: Circuit, after: Circuit) -> bool:
        if self._changes > 0:
            self._changes -= 1
            await super().change(name, before, before)
        return await super().change(name, before, after)


async def test_a_change_is_decided_again_if_another_one_was_first():
    """Up to five times."""
    circuit = await open_by_hand(Changing(4), "orders", 1000.0)
    assert (circuit.version, circuit.forced) == (5, True)
    with pytest.raises(FanfoldError, match="breaker 'orders' was not changed: functions kept changing it"):
        await open_by_hand(Changing(5), "orders", 1000.0)


async def test_held_messages_become_visible_page_by_page(outage):
    """Progress is noted after each call and page; then nothing is left to do."""
    for count in (25, 3):
        await outage.hold(count)
    await close_by_hand(outage.table, "orders", outage.now, "me")
    assert await outage.visible() == 0
    released = Released()
    circuit = await outage.release(released)
    assert (released, circuit.has_held) == (Released(visible=28, pages=2), False)
    assert await outage.visible() == 28
    assert await outage.release(released) == circuit


async def test_messages_that_are_gone_are_counted(outage):
    """Those that were deleted, and those whose visibility timeout has ended."""
    await outage.hold(2, seconds=50)
    handles = await outage.hold(5)
    outage.queue.remove(handles[0])
    await close_by_hand(outage.table, "orders", outage.now, "me")
    outage.now += 60
    released = Released()
    await outage.release(released)
    assert released == Released(visible=4, gone=3, pages=2)


async def test_an_open_circuit_keeps_its_messages_held(outage):
    """Such as one that has opened again in the meantime."""
    await outage.hold(3)
    await outage.change(opened(await outage.circuit(), outage.now, probe_every=30))
    released = Released()
    assert (await outage.release(released)).state == OPEN
    assert (released, await outage.visible()) == (Released(), 0)


class Failing(InMemorySettler):
    """A settler that first refuses one message of each call, for a while or until the end, or that fails."""

    def __init__(self, queue: InMemoryQueue, refusals: int, error: FanfoldError | None = None) -> None:
        super().__init__(queue)
        self._refusals = refusals
        self._error = error

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        if self._error is not None:
            raise self._error
        if self._refusals > 0:
            self._refusals -= 1
            await super().change_visibility(changes[1:])
            return [Refusal(0, "ThrottlingException: slow down", final=False)]
        return await super().change_visibility(changes)


async def test_messages_that_sqs_refuses_for_a_moment_are_tried_again(outage):
    """The others of the call are not affected."""
    await outage.hold(3)
    await close_by_hand(outage.table, "orders", outage.now, "me")
    released = Released()
    await outage.release(released, Failing(outage.queue, refusals=3))
    assert (released, await outage.visible()) == (Released(visible=3, pages=1), 3)


async def test_after_an_error_the_rest_can_be_continued(outage):
    """The page stays, and what was made visible before is gone by then, or is made visible again."""
    await outage.hold(3)
    await close_by_hand(outage.table, "orders", outage.now, "me")
    released = Released()
    with pytest.raises(ServiceError, match=f"queue {ARN}: 1 messages cannot be made visible: ThrottlingException"):
        await outage.release(released, Failing(outage.queue, refusals=99))
    assert (released.visible, await outage.visible()) == (2, 2)
    with pytest.raises(FanfoldError, match="no such queue"):
        await outage.release(released, Failing(outage.queue, 0, FanfoldError("no such queue")))
    circuit = await outage.release(released)
    assert (circuit.has_held, await outage.visible()) == (False, 3)


class Damaged(InMemoryBreakers):
    """A table whose first page cannot be read."""

    code = UNREADABLE

    async def page(self, name: str, number: int) -> Sequence[Held]:
        if number == 1:
            raise ServiceError("item 'orders#held#1' is damaged", code=self.code, transient=False)
        return await super().page(name, number)


async def test_a_page_that_cannot_be_read_is_counted_and_skipped(outage):
    """The messages of the others become visible. Any other error of the table ends the command."""
    outage.table = Damaged()
    await outage.hold(2)
    await outage.hold(3)
    await close_by_hand(outage.table, "orders", outage.now, "me")
    outage.table.code = "InternalServerError"
    with pytest.raises(ServiceError):
        await outage.release(Released())
    outage.table.code = UNREADABLE
    released = Released()
    await outage.release(released)
    assert (released, await outage.visible()) == (Released(visible=3, pages=2, unreadable=1), 3)
