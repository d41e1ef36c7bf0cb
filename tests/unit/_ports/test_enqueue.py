"""How messages are grouped and sent: limits, delays, and what is said of those that were refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import anyio
import pytest

from fanfold._base.retry import ATTEMPTS
from fanfold._ports.enqueue import batches, enqueue
from fanfold._ports.queue import Message, Queue, Refusal
from fanfold.errors import ConfigurationError, EnqueueError, ServiceError
from fanfold.inmemory import InMemoryQueue

MEBIBYTE = 1_048_576


@dataclass
class Refusing:
    """A queue that refuses every call with one error, and counts the calls."""

    error: Exception
    calls: int = 0

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        self.calls += 1
        raise self.error


@dataclass
class RefusingOne:
    """A queue that accepts all messages but those of one body."""

    body: str
    final: bool
    calls: list[list[str]] = field(default_factory=list)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        bodies = [message.body for message in messages]
        self.calls.append(bodies)
        return [
            Refusal(place, "InvalidMessage: no", self.final) for place, body in enumerate(bodies) if body == self.body
        ]


@dataclass
class Crowded:
    """A queue that tells how many calls were in flight at once."""

    in_flight: int = 0
    most: int = 0

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await anyio.lowlevel.checkpoint()
        self.in_flight -= 1
        return []


@dataclass
class Slow:
    """A queue whose first call takes until it is told to go on."""

    bodies: set[str] = field(default_factory=set)
    others_are_in: anyio.Event = field(default_factory=anyio.Event)
    go_on: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        if messages[0].body == "0":
            await self.go_on.wait()
        self.bodies.update(message.body for message in messages)
        if len(self.bodies) == 90:
            self.others_are_in.set()
        return []


@dataclass
class Slept:
    """A sleep that takes no time and remembers how long it should have been."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@dataclass
class Drawn:
    """Messages that tell how many of them have been drawn."""

    count: int
    drawn: int = 0

    def __iter__(self) -> Iterator[Message]:
        for number in range(self.count):
            self.drawn += 1
            yield Message(str(number))


def numbered(count: int) -> list[Message]:
    return [Message(str(number)) for number in range(count)]


async def send(queue: Queue, messages: Sequence[Message], slept: Slept | None = None) -> list[int]:
    progress: list[int] = []

    async def reached(count: int) -> None:
        progress.append(count)

    await enqueue(queue, messages, on_accepted=reached, sleep=slept or Slept())
    return progress


THROTTLED = ServiceError("slow down", code="ThrottlingException", transient=True)


def test_no_messages_make_no_batch():
    """Nothing to send is no batch, not an empty one, which SQS would refuse."""
    assert list(batches([])) == []


def test_a_batch_holds_ten_messages():
    """The eleventh message begins a new batch."""
    assert [len(batch) for batch in batches(numbered(21))] == [10, 10, 1]


def test_a_message_of_one_mebibyte_is_the_largest():
    """A message as large as SQS takes is sent, alone."""
    assert [len(batch) for batch in batches([Message("x" * MEBIBYTE), Message("y")])] == [1, 1]


@pytest.mark.parametrize(
    "message",
    [Message("x" * (MEBIBYTE + 1)), Message("é" * (MEBIBYTE // 2) + "x"), Message("x" * (MEBIBYTE - 8), {"ab": "c"})],
    ids=["characters", "bytes of characters", "attributes"],
)
def test_a_message_that_no_batch_can_hold_is_named(message):
    """A message over 1 MiB, by its bytes and with its attributes, is refused by its number before it is sent."""
    with pytest.raises(EnqueueError, match=r"^message 1 is too large: 10485\d\d bytes, where SQS takes 1048576$") as e:
        list(batches([Message("small"), message]))
    assert [position for position, _ in e.value.rejected] == [1]


def test_attributes_count_towards_the_size_of_a_message():
    """A message's size is its body's and that of each attribute's name, type and value, in bytes."""
    assert Message("é", {"name": "väl"}).size_bytes == 2 + len("name") + len("String") + 4


async def test_nothing_to_send_calls_nobody():
    """Without messages the queue is not called and no progress is told."""
    queue = Refusing(THROTTLED)
    assert await send(queue, []) == []
    assert queue.calls == 0


async def test_progress_is_told_as_batches_are_accepted():
    """How many of the first messages have been accepted, and at the end all."""
    assert await send(InMemoryQueue(), numbered(345)) == [*range(10, 345, 10), 345]


async def test_a_batch_that_is_slow_holds_up_no_other_but_the_progress():
    """What comes after it is sent, and told of once there is no gap."""
    slow, told = Slow(), []

    async def reached(count: int) -> None:
        told.append(count)
        if count == 100:
            assert slow.bodies == {str(number) for number in range(100)}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: enqueue(slow, numbered(100), concurrency=2, on_accepted=reached))
        await slow.others_are_in.wait()
        assert told == []
        slow.go_on.set()
    assert told == [100]


async def test_told_to_stop_it_offers_no_further_batch():
    """What is in flight is awaited, and counted."""
    queue = Crowded()
    assert await enqueue(queue, numbered(200), concurrency=4, should_stop=lambda: queue.most == 4) == 40


async def test_no_more_calls_are_in_flight_than_allowed():
    """As many batches are sent at once as the concurrency says, and no more."""
    queue = Crowded()
    assert await enqueue(queue, numbered(200), concurrency=3, sleep=Slept()) == 200
    assert queue.most == 3


async def test_messages_are_drawn_as_they_can_be_sent():
    """At any time, hardly more than what has been accepted and what is in flight."""
    messages = Drawn(1_000)

    async def reached(count: int) -> None:
        assert messages.drawn <= count + 21

    await enqueue(InMemoryQueue(), messages, concurrency=2, on_accepted=reached, sleep=Slept())


async def test_an_error_of_whoever_is_told_ends_it():
    """As a ledger that cannot keep the position: what follows is not offered."""
    messages = Drawn(1_000)

    async def reached(_: int) -> None:
        raise THROTTLED

    with pytest.raises(ServiceError):
        await enqueue(InMemoryQueue(), messages, concurrency=2, on_accepted=reached)
    assert messages.drawn <= 31


async def test_a_call_that_is_throttled_is_made_eight_times():
    """A fault that may pass is tried 8 times in all, the first included; then every message of the call is named."""
    queue, slept = Refusing(THROTTLED), Slept()
    with pytest.raises(EnqueueError) as raised:
        await send(queue, numbered(3), slept)
    assert ATTEMPTS == 8
    assert (queue.calls, len(slept.seconds)) == (8, 7)
    assert raised.value.rejected == ((0, "slow down"), (1, "slow down"), (2, "slow down"))


async def test_delays_grow_and_are_bounded():
    """Before attempt n + 1 at most 0.1 * 2^n seconds are waited, and never more than 5."""
    slept = Slept()
    with pytest.raises(EnqueueError):
        await send(Refusing(THROTTLED), numbered(1), slept)
    bounds = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert all(0 <= seconds <= bound for seconds, bound in zip(slept.seconds, bounds, strict=True))


async def test_a_fault_that_will_not_pass_is_not_tried_again():
    """A call that is refused for good is made once, and its messages are named."""
    queue = Refusing(ServiceError("invalid", code="InvalidParameterValue", transient=False))
    with pytest.raises(EnqueueError) as raised:
        await send(queue, numbered(2))
    assert queue.calls == 1
    assert raised.value.rejected == ((0, "invalid"), (1, "invalid"))


async def test_a_queue_that_does_not_exist_is_a_configuration_error():
    """What the user has to mend comes through as it is, not wrapped in a group."""
    with pytest.raises(ConfigurationError, match="queue q: does not exist"):
        await send(Refusing(ConfigurationError("queue q: does not exist")), numbered(30))


async def test_a_message_refused_by_the_sender_s_fault_is_sent_once():
    """Only what the queue may still accept is sent again; the rest is named with the queue's words."""
    queue = RefusingOne("1", final=True)
    with pytest.raises(EnqueueError) as raised:
        await send(queue, numbered(3))
    assert queue.calls == [["0", "1", "2"]]
    assert raised.value.rejected == ((1, "InvalidMessage: no"),)


async def test_only_the_message_that_was_refused_is_sent_again():
    """The messages of a batch that were accepted are not sent a second time."""
    queue = RefusingOne("1", final=False)
    with pytest.raises(EnqueueError):
        await send(queue, numbered(3))
    assert queue.calls == [["0", "1", "2"]] + [["1"]] * 7


async def test_the_error_tells_how_many_and_the_first():
    """The error names the number of messages, the first of them and the queue's reason."""
    with pytest.raises(EnqueueError) as raised:
        await send(Refusing(THROTTLED), numbered(7))
    assert str(raised.value) == "7 messages were not accepted by the queue, the first is number 0: slow down"
    assert [position for position, _ in raised.value.rejected] == list(range(7))


async def test_nothing_is_offered_after_a_failure():
    """But what was in flight: a second try begins before it."""
    messages = Drawn(1_000)
    queue = RefusingOne("15", final=True)
    with pytest.raises(EnqueueError):
        await enqueue(queue, messages, concurrency=2, sleep=Slept())
    assert len(queue.calls) <= 3
    assert messages.drawn <= 31


async def test_a_message_that_is_too_large_ends_it_after_what_is_in_flight():
    """The messages before it are sent."""
    queue = InMemoryQueue()
    with pytest.raises(EnqueueError, match="message 25 is too large"):
        await enqueue(queue, [*numbered(25), Message("x" * (MEBIBYTE + 1)), *numbered(5)])
    assert len(queue) == 20


async def test_a_concurrency_of_none_is_refused():
    """It would send nothing, and say nothing."""
    with pytest.raises(ValueError, match="concurrency starts at 1, not 0"):
        await enqueue(InMemoryQueue(), [Message("a")], concurrency=0)
