"""Items written in batches to tables that throttle, leave over, break off and time out: nothing is lost."""

import math
import random
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold._base.deadline import Deadline
from fanfold._ports.stores import Write
from fanfold.errors import ConfigurationError, ItemError, ServiceError, WriteError
from fanfold.inmemory import InMemoryItems
from fanfold.sinks import BatchWriter
from fanfold.testing import ManualClock


class FaultyItems(InMemoryItems):
    """Tables that take each call as a script says, and soundly once it is over."""

    def __init__(self, *script: str) -> None:
        super().__init__()
        self.script = list(script)
        self.calls: list[list[Any]] = []
        self.begun, self.go_on = anyio.Event(), anyio.Event()

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Write a batch as the script's next step says."""
        self.calls.append([write.key["id"] for write in writes])
        step = self.script.pop(0) if self.script else "sound"
        await anyio.lowlevel.checkpoint()
        if step == "held":  # until the test lets it go on
            self.begun.set()
            await self.go_on.wait()
        if step == "throttled":
            raise ServiceError("slow down", code="ProvisionedThroughputExceededException", transient=True)
        if step == "half":  # every second one is left over
            await super().write_batch(table, writes[::2])
            return range(1, len(writes), 2)
        if step == "none":
            return range(len(writes))
        await super().write_batch(table, writes)
        if step == "lost":  # written, and not known to be
            raise ServiceError("connection reset", code="ConnectionResetError", transient=True)
        if step == "refused":
            raise ServiceError("ValidationException", code="ValidationException", transient=False)
        return ()


FAULTS = ["sound", "throttled", "half", "none", "lost"]


class Naps:
    """A clock, and a sleep that moves it on."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await anyio.lowlevel.checkpoint()


def writer_of(items: InMemoryItems, sleep: Naps | None = None, **settings: Any) -> BatchWriter:
    return BatchWriter(items, "table", key=["id"], sleep=sleep or Naps(), **settings)


async def write(items: InMemoryItems, ids: Iterable[int], **settings: Any) -> BatchWriter:
    async with writer_of(items, **settings) as writer:
        for number in ids:
            await writer.put({"id": number, "value": str(number)})
    return writer


def held(items: InMemoryItems) -> dict[int, Any]:
    return {key[0]: item["value"] for key, item in items.tables.get("table", {}).items()}


@given(
    script=st.lists(st.sampled_from(FAULTS), max_size=30),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9) | st.none()), max_size=200),
    concurrency=st.integers(1, 3),
    flushes=st.sets(st.integers(0, 200), max_size=5),
)
@settings(deadline=None, max_examples=150)
async def test_a_table_ends_as_if_each_write_was_made_alone(script, changes, concurrency, flushes):
    """Whatever is throttled, left over or lost on the way, each key ends with the last that was written to it."""
    items = FaultyItems(*script)
    expected: dict[int, int] = {}
    naps = Naps()
    deadline = Deadline.after(10_000, clock=naps.clock)
    async with writer_of(items, naps, concurrency=concurrency, deadline=deadline) as writer:
        for position, (number, value) in enumerate(changes):
            if value is None:
                await writer.delete({"id": number})
                expected.pop(number, None)
            else:
                await writer.put({"id": number, "value": value})
                expected[number] = value
            if position in flushes:
                await writer.flush()
    assert held(items) == expected
    assert all(len(call) <= 25 and len(set(call)) == len(call) for call in items.calls)


@pytest.mark.parametrize("fault", ["throttled", "half", "none", "lost"])
async def test_what_was_not_accepted_is_sent_again(fault):
    """A batch of which any part failed is sent again, that part alone where it is known."""
    items = FaultyItems(fault, fault)
    writer = await write(items, range(10))
    assert held(items) == {number: str(number) for number in range(10)}
    assert writer.written == 10
    left = {"half": [10, 5, 2]}.get(fault, [10, 10, 10])
    assert [len(call) for call in items.calls] == left


async def test_batches_are_full_and_sent_together():
    """With room for four batches at once, 230 items are sent in ten calls."""
    items = FaultyItems()
    writer = await write(items, range(230))
    assert sorted(len(call) for call in items.calls) == [5] + [25] * 9
    assert writer.written == 230


async def test_of_two_writes_that_wait_the_later_is_sent():
    """The same key twice before a flush is one write, of the later content, behind what is older."""
    items = FaultyItems()
    async with writer_of(items) as writer:
        await writer.put({"id": 1, "value": "first"})
        await writer.put({"id": 2, "value": "other"})
        await writer.put({"id": 1, "value": "second"})
    assert items.calls == [[2, 1]]
    assert held(items) == {1: "second", 2: "other"}
    assert writer.written == 2


async def test_large_items_are_sent_in_smaller_batches():
    """Items that are several times as large as sent as they are stored do not make a call of over 16 MB."""
    items = FaultyItems()
    async with writer_of(items) as writer:
        for number in range(7):
            await writer.put({"id": number, "value": [None] * 200_000})
    assert sorted(len(call) for call in items.calls) == [2, 5]


@pytest.mark.parametrize("fault", ["throttled", "none"])
async def test_without_a_deadline_eight_attempts_without_effect_are_enough(fault):
    """What is never accepted ends in an error that holds it, and waits for a later flush."""
    items = FaultyItems(*[fault] * 8)
    naps = Naps()
    writer = writer_of(items, naps)
    await writer.put({"id": 1, "value": "1"})
    with pytest.raises(WriteError, match=r"^1 items were not accepted: ") as raised:
        await writer.flush()
    assert [write.key for write in raised.value.rejected] == [{"id": 1}]
    assert raised.value.permanent is False
    assert (len(items.calls), len(naps.slept)) == (8, 7)
    await writer.flush()
    assert held(items) == {1: "1"}


async def test_attempts_that_have_an_effect_do_not_count():
    """A batch that is accepted bit by bit is sent until nothing is left, however many calls it takes."""
    items = FaultyItems(*["none"] * 7, "half", *["none"] * 6, "half", *["none"] * 6)
    await write(items, range(3))
    assert held(items) == {number: str(number) for number in range(3)}


async def test_the_deadline_ends_the_attempts():
    """No attempt is waited for past the deadline; up to it there may be any number."""
    items = FaultyItems(*["throttled"] * 1_000)
    naps = Naps()
    writer = writer_of(items, naps, deadline=Deadline.after(60, margin=10, clock=naps.clock))
    await writer.put({"id": 1, "value": "1"})
    with pytest.raises(WriteError, match="slow down"):
        await writer.flush()
    assert naps.clock() < 50
    assert len(items.calls) > 8


async def test_a_deadline_that_never_comes_is_none():
    """Outside Lambda too a table that never accepts anything is given up."""
    items = FaultyItems(*["throttled"] * 1_000)
    with pytest.raises(WriteError):
        await write(items, [1], deadline=Deadline(math.inf))
    assert len(items.calls) == 8


async def test_pauses_grow_and_are_jittered():
    """A pause is drawn from nothing up to a bound that doubles to five seconds."""
    random.seed(1)
    naps = Naps()
    items = FaultyItems(*["throttled"] * 40)
    await write(items, [1], sleep=naps, deadline=Deadline.after(10_000, clock=naps.clock))
    assert all(seconds <= min(5.0, 0.1 * 2**attempt) for attempt, seconds in enumerate(naps.slept, 1))
    assert max(naps.slept) > 4
    assert len(set(naps.slept)) == 40


async def test_a_fault_that_stays_is_not_tried_again():
    """What the table refuses for good is an error at once; other batches are sent all the same."""
    items = FaultyItems("refused")
    with pytest.raises(WriteError, match="25 items were not accepted: ValidationException"):
        await write(items, range(50))
    assert sorted(held(items)) == list(range(50))
    assert len(items.calls) == 2


async def test_an_error_inside_flushes_nothing():
    """When the handler fails, what waits is not written: the segment comes back whole."""
    items = FaultyItems()

    async def handler() -> None:
        async with writer_of(items) as writer:
            await writer.put({"id": 1, "value": "1"})
            raise RuntimeError("handler failed")

    with pytest.raises(RuntimeError):
        await handler()
    assert items.calls == []


async def test_a_write_during_a_flush_is_not_lost():
    """A later write to a key that is under way is sent after it, and stays."""
    items = FaultyItems("held", "half", "none", "throttled")
    async with writer_of(items) as writer:
        for number in range(4):
            await writer.put({"id": number, "value": "first"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.flush)
            await items.begun.wait()
            for number in range(2):
                await writer.put({"id": number, "value": "second"})
            tasks.start_soon(writer.flush)
            items.go_on.set()
    assert held(items) == {0: "second", 1: "second", 2: "first", 3: "first"}
    assert items.calls[:3] == [[0, 1, 2, 3], [0, 1], [1]]


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"value": 1}, "has None as its key 'id', which has to be a number, or text or bytes of 1 to 2,048 bytes"),
        ({"id": ""}, "has '' as its key 'id'"),
        ({"id": True}, "has True as its key"),
        ({"id": "k" * 2_049}, "as its key 'id'"),
        ({"id": 1, "value": 1.5}, r"item \{'id': 1\} holds 1.5 is a float, .* use decimal.Decimal"),
        ({"id": 1, "value": "\ud800"}, "item .* holds 'utf-8' codec can't encode"),
        ({"id": 1, "value": "x" * 409_600}, r"item \{'id': 1\} has 409,6\d\d bytes, where DynamoDB takes 409,600"),
    ],
    ids=["no key", "empty", "bool", "long", "float", "surrogate", "large"],
)
async def test_an_item_that_no_table_takes_is_refused_alone(item, told):
    """It is named, for good, before anything is sent; what waits is written all the same."""
    items = FaultyItems()
    async with writer_of(items) as writer:
        await writer.put({"id": 7, "value": "7"})
        with pytest.raises(ItemError, match=told) as raised:
            await writer.put(item)
    assert raised.value.permanent is True
    assert held(items) == {7: "7"}


async def test_a_key_to_delete_has_the_names_of_the_key_and_no_others():
    """More than the key is refused: it would be taken for a condition."""
    writer = writer_of(FaultyItems())
    with pytest.raises(ItemError, match=r"table table: 'value' is not in the key, which is \['id'\]"):
        await writer.delete({"id": 1, "value": 1})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"key": "id"}, "key must be a list of one or two names, not 'id'"),
        ({"key": []}, "key must be a list of one or two names"),
        ({"key": ["a", "b", "c"]}, "key must be a list of one or two names"),
        ({"concurrency": 0}, "concurrency must be a whole number from 1, not 0"),
        ({"concurrency": True}, "concurrency must be a whole number from 1, not True"),
    ],
)
def test_impossible_settings_are_refused(arguments, told):
    """A setting that cannot work is a configuration error that names it."""
    with pytest.raises(ConfigurationError, match=told):
        BatchWriter(**{"items": InMemoryItems(), "table": "table", "key": ["id"], **arguments})
