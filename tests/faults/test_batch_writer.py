"""Batch writes to tables that throttle, leave items unprocessed, disconnect, and time out: no item is lost."""

import math
import random
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold._base.backoff import jitter_from
from fanfold._base.deadline import Deadline
from fanfold._ports.stores import Write
from fanfold.errors import ConfigurationError, ItemError, ServiceError, WriteError
from fanfold.inmemory import InMemoryItems
from fanfold.sinks import BatchWriter
from fanfold.testing import ManualClock


class FaultyItems(InMemoryItems):
    """Tables that process each call as scripted, and without failures after the script."""

    def __init__(self, *script: str) -> None:
        super().__init__()
        self.script = list(script)
        self.calls: list[list[Any]] = []
        self.started, self.release = anyio.Event(), anyio.Event()

    async def write_batch(self, table: str, writes: Sequence[Write]) -> Collection[int]:
        """Write a batch as the next step of the script specifies."""
        self.calls.append([write.key["id"] for write in writes])
        step = self.script.pop(0) if self.script else "sound"
        await anyio.lowlevel.checkpoint()
        if step == "held":  # until the test releases it
            self.started.set()
            await self.release.wait()
        if step == "throttled":
            raise ServiceError("slow down", code="ProvisionedThroughputExceededException", transient=True)
        if step == "half":  # every second item is unprocessed
            await super().write_batch(table, writes[::2])
            return range(1, len(writes), 2)
        if step == "none":
            return range(len(writes))
        await super().write_batch(table, writes)
        if step == "lost":  # written, but the response is lost
            raise ServiceError("connection reset", code="ConnectionResetError", transient=True)
        if step == "refused":
            raise ServiceError("ValidationException", code="ValidationException", transient=False)
        return ()


FAULTS = ["sound", "throttled", "half", "none", "lost"]


class RecordingSleep:
    """A sleep that records its calls and advances a clock."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await anyio.lowlevel.checkpoint()


def writer_of(items: InMemoryItems, sleep: RecordingSleep | None = None, **settings: Any) -> BatchWriter:
    return BatchWriter(items, "table", key=["id"], sleep=sleep or RecordingSleep(), **settings)


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
async def test_a_table_ends_as_if_each_write_was_a_separate_call(script, changes, concurrency, flushes):
    """Under any throttling, unprocessed items, and lost responses, each key ends with its last write."""
    items = FaultyItems(*script)
    expected: dict[int, int] = {}
    sleep = RecordingSleep()
    deadline = Deadline.after(10_000, clock=sleep.clock)
    async with writer_of(items, sleep, concurrency=concurrency, deadline=deadline) as writer:
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
async def test_items_that_were_not_accepted_are_sent_again(fault):
    """Only the failed part of a batch is sent again, if it is known."""
    items = FaultyItems(fault, fault)
    writer = await write(items, range(10))
    assert held(items) == {number: str(number) for number in range(10)}
    assert writer.written == 10
    sizes = {"half": [10, 5, 2]}.get(fault, [10, 10, 10])
    assert [len(call) for call in items.calls] == sizes


async def test_batches_are_full_and_sent_concurrently():
    """With four concurrent batches, 230 items are sent in ten calls."""
    items = FaultyItems()
    writer = await write(items, range(230))
    assert sorted(len(call) for call in items.calls) == [5] + [25] * 9
    assert writer.written == 230


async def test_the_later_of_two_waiting_writes_is_sent():
    """Two writes to a key before a flush become one write of the later content, after older writes."""
    items = FaultyItems()
    async with writer_of(items) as writer:
        await writer.put({"id": 1, "value": "first"})
        await writer.put({"id": 2, "value": "other"})
        await writer.put({"id": 1, "value": "second"})
    assert items.calls == [[2, 1]]
    assert held(items) == {1: "second", 2: "other"}
    assert writer.written == 2


# Slow: the sizes of a million values are added up.
@pytest.mark.slow
async def test_large_items_are_sent_in_smaller_batches():
    """Items that are several times larger when sent than when stored do not exceed 16 MB per call."""
    items = FaultyItems()
    async with writer_of(items) as writer:
        for number in range(7):
            await writer.put({"id": number, "value": [None] * 200_000})
    assert sorted(len(call) for call in items.calls) == [2, 5]


@pytest.mark.parametrize("fault", ["throttled", "none"])
async def test_without_a_deadline_a_write_fails_after_eight_attempts_without_effect(fault):
    """The error contains the items that were not accepted; a later flush retries them."""
    items = FaultyItems(*[fault] * 8)
    sleep = RecordingSleep()
    writer = writer_of(items, sleep)
    await writer.put({"id": 1, "value": "1"})
    with pytest.raises(WriteError, match=r"^1 items were not accepted: ") as raised:
        await writer.flush()
    assert [write.key for write in raised.value.rejected] == [{"id": 1}]
    assert raised.value.permanent is False
    assert (len(items.calls), len(sleep.slept)) == (8, 7)
    await writer.flush()
    assert held(items) == {1: "1"}


async def test_attempts_that_have_an_effect_do_not_count():
    """A batch that is accepted gradually is sent until no item remains, in any number of calls."""
    items = FaultyItems(*["none"] * 7, "half", *["none"] * 6, "half", *["none"] * 6)
    await write(items, range(3))
    assert held(items) == {number: str(number) for number in range(3)}


async def test_the_deadline_ends_the_attempts():
    """Attempts end at the deadline; before it, their number is not limited."""
    items = FaultyItems(*["throttled"] * 1_000)
    sleep = RecordingSleep()
    writer = writer_of(items, sleep, deadline=Deadline.after(60, margin=10, clock=sleep.clock))
    await writer.put({"id": 1, "value": "1"})
    with pytest.raises(WriteError, match="slow down"):
        await writer.flush()
    assert sleep.clock() < 50
    assert len(items.calls) > 8


async def test_an_infinite_deadline_means_no_deadline():
    """Outside Lambda, writes to a table that accepts nothing fail, too."""
    items = FaultyItems(*["throttled"] * 1_000)
    with pytest.raises(WriteError):
        await write(items, [1], deadline=Deadline(math.inf))
    assert len(items.calls) == 8


async def test_retry_delays_grow_and_have_jitter():
    """A delay is random, between 0 and a limit that doubles up to 5 seconds."""
    sleep = RecordingSleep()
    items = FaultyItems(*["throttled"] * 40)
    with jitter_from(random.Random(1).random):
        await write(items, [1], sleep=sleep, deadline=Deadline.after(10_000, clock=sleep.clock))
    assert all(seconds <= min(5.0, 0.1 * 2**attempt) for attempt, seconds in enumerate(sleep.slept, 1))
    assert max(sleep.slept) > 4
    assert len(set(sleep.slept)) == 40


async def test_a_permanent_error_is_not_retried():
    """A validation error is raised immediately; other batches are still sent."""
    items = FaultyItems("refused")
    with pytest.raises(WriteError, match="25 items were not accepted: ValidationException"):
        await write(items, range(50))
    assert sorted(held(items)) == list(range(50))
    assert len(items.calls) == 2


async def test_an_error_in_the_block_prevents_a_flush():
    """If the handler fails, waiting items are not written: the whole segment is redelivered."""
    items = FaultyItems()

    async def handler() -> None:
        async with writer_of(items) as writer:
            await writer.put({"id": 1, "value": "1"})
            raise RuntimeError("handler failed")

    with pytest.raises(RuntimeError):
        await handler()
    assert items.calls == []


async def test_a_write_during_a_flush_is_not_lost():
    """A later write to a key in flight is sent after it and is not overwritten."""
    items = FaultyItems("held", "half", "none", "throttled")
    async with writer_of(items) as writer:
        for number in range(4):
            await writer.put({"id": number, "value": "first"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.flush)
            await items.started.wait()
            for number in range(2):
                await writer.put({"id": number, "value": "second"})
            tasks.start_soon(writer.flush)
            items.release.set()
    assert held(items) == {0: "second", 1: "second", 2: "first", 3: "first"}
    assert items.calls[:3] == [[0, 1, 2, 3], [0, 1], [1]]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"value": 1}, "the key 'id' of an item must be a number, or a string or bytes of 1 to 2,048 bytes, not None"),
        ({"id": ""}, "the key 'id' of an item must be .*, not ''"),
        ({"id": True}, "the key 'id' of an item must be .*, not True"),
        ({"id": "k" * 2_049}, "the key 'id' of an item must be .*, not 'kkk"),
        ({"id": 1, "value": 1.5}, r"item \{'id': 1\} cannot be stored: .* the float 1.5 exactly: use decimal.Decimal"),
        ({"id": 1, "value": "\ud800"}, "item .* cannot be stored: attribute 'value': .* half of a surrogate pair"),
        (
            {"id": 1, "value": "x" * 409_600},
            r"item \{'id': 1\} has 409,6\d\d bytes, over the DynamoDB limit of 409,600",
        ),
    ],
    ids=["no key", "empty", "bool", "long", "float", "surrogate", "large"],
)
async def test_an_item_that_no_table_accepts_is_refused_alone(item, message):
    """The permanent error contains the item, before it is sent; waiting items are written."""
    items = FaultyItems()
    async with writer_of(items) as writer:
        await writer.put({"id": 7, "value": "7"})
        with pytest.raises(ItemError, match=message) as raised:
            await writer.put(item)
    assert raised.value.permanent is True
    assert held(items) == {7: "7"}


async def test_a_key_to_delete_contains_only_the_key_attributes():
    """Other attributes are refused, because they look like a condition."""
    writer = writer_of(FaultyItems())
    with pytest.raises(ItemError, match=r"table table: 'value' is not in the key, which is \['id'\]"):
        await writer.delete({"id": 1, "value": 1})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": "id"}, "key must be a list of one or two names, not 'id'"),
        ({"key": []}, "key must be a list of one or two names"),
        ({"key": ["a", "b", "c"]}, "key must be a list of one or two names"),
        ({"concurrency": 0}, "concurrency must be an integer of at least 1, not 0"),
        ({"concurrency": True}, "concurrency must be an integer of at least 1, not True"),
    ],
)
def test_invalid_settings_are_refused(arguments, message):
    """The configuration error contains the name of the setting."""
    with pytest.raises(ConfigurationError, match=message):
        BatchWriter(**{"items": InMemoryItems(), "table": "table", "key": ["id"], **arguments})
