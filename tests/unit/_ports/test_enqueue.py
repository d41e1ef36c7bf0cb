"""How messages are batched and sent: limits, delays, and errors for refused messages."""

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
    """A queue that accepts all messages except those with one body."""

    body: str
    final: bool
    calls: list[list[str]] = field(default_factory=list)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        bodies = [message.body for message in messages]
        self.calls.append(bodies)
        return [
            Refusal(position, "InvalidMessage: no", self.final)
            for position, body in enumerate(bodies)
            if body == self.body
        ]


@dataclass
class Crowded:
    """A queue that records the maximum number of calls in flight."""

    in_flight: int = 0
    peak: int = 0

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        await anyio.lowlevel.checkpoint()
        self.in_flight -= 1
        return []


@dataclass
class Slow:
    """A queue whose first call blocks until it is released."""

    bodies: set[str] = field(default_factory=set)
    others_accepted: anyio.Event = field(default_factory=anyio.Event)
    released: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        if messages[0].body == "0":
            await self.released.wait()
        self.bodies.update(message.body for message in messages)
        if len(self.bodies) == 90:
            self.others_accepted.set()
        return []


@dataclass
class Slept:
    """A sleep that returns immediately and records the delays."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@dataclass
class Drawn:
    """Messages that count how many of them have been read."""

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

    async def on_accepted(count: int) -> None:
        progress.append(count)

    await enqueue(queue, messages, on_accepted=on_accepted, sleep=slept or Slept())
    return progress


THROTTLED = ServiceError("slow down", code="ThrottlingException", transient=True)


def test_no_messages_make_no_batch():
    """Without messages, no batch is created; SQS would refuse an empty one."""
    assert list(batches([])) == []


def test_a_batch_holds_ten_messages():
    """The eleventh message begins a new batch."""
    assert [len(batch) for batch in batches(numbered(21))] == [10, 10, 1]


def test_a_message_of_one_mebibyte_is_the_largest():
    """A message of the maximum size is sent in a separate batch."""
    assert [len(batch) for batch in batches([Message("x" * MEBIBYTE), Message("y")])] == [1, 1]


@pytest.mark.parametrize(
    "message",
    [Message("x" * (MEBIBYTE + 1)), Message("é" * (MEBIBYTE // 2) + "x"), Message("x" * (MEBIBYTE - 8), {"ab": "c"})],
    ids=["characters", "bytes of characters", "attributes"],
)
def test_a_message_that_is_too_large_is_refused_by_its_position(message):
    """The bytes of the body and the attributes count; over 1 MiB, the message is refused before it is sent."""
    with pytest.raises(
        EnqueueError, match=r"^message 1 is too large: 10485\d\d bytes, over the SQS limit of 1048576$"
    ) as e:
        list(batches([Message("small"), message]))
    assert [position for position, _ in e.value.rejected] == [1]


def test_attributes_count_towards_the_size_of_a_message():
    """The size of a message is the bytes of its body and of the name, type, and value of each attribute."""
    assert Message("é", {"name": "väl"}).size_bytes == 2 + len("name") + len("String") + 4


async def test_without_messages_the_queue_is_not_called():
    """Without messages, no progress is reported either."""
    queue = Refusing(THROTTLED)
    assert await send(queue, []) == []
    assert queue.calls == 0


async def test_progress_is_reported_as_batches_are_accepted():
    """The callback receives the number of messages accepted without a gap, up to all of them."""
    assert await send(InMemoryQueue(), numbered(345)) == [*range(10, 345, 10), 345]


async def test_a_slow_batch_delays_the_progress_but_no_other_batch():
    """Later batches are sent, and reported when the gap is closed."""
    slow, reported = Slow(), []

    async def on_accepted(count: int) -> None:
        reported.append(count)
        if count == 100:
            assert slow.bodies == {str(number) for number in range(100)}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: enqueue(slow, numbered(100), concurrency=2, on_accepted=on_accepted))
        await slow.others_accepted.wait()
        assert reported == []
        slow.released.set()
    assert reported == [100]


async def test_after_a_stop_no_more_batches_are_sent():
    """Calls in flight are awaited, and their messages are counted."""
    queue = Crowded()
    assert await enqueue(queue, numbered(200), concurrency=4, should_stop=lambda: queue.peak == 4) == 40


async def test_the_concurrency_limits_the_calls_in_flight():
    """The limit is also reached."""
    queue = Crowded()
    assert await enqueue(queue, numbered(200), concurrency=3, sleep=Slept()) == 200
    assert queue.peak == 3


async def test_messages_are_read_lazily():
    """Few more messages are read than those that have been accepted or are in flight."""
    messages = Drawn(1_000)

    async def on_accepted(count: int) -> None:
        assert messages.drawn <= count + 21

    await enqueue(InMemoryQueue(), messages, concurrency=2, on_accepted=on_accepted, sleep=Slept())


async def test_an_error_of_the_progress_callback_stops_the_sending():
    """If, for example, the ledger cannot store the position, no more batches are sent."""
    messages = Drawn(1_000)

    async def on_accepted(_: int) -> None:
        raise THROTTLED

    with pytest.raises(ServiceError):
        await enqueue(InMemoryQueue(), messages, concurrency=2, on_accepted=on_accepted)
    assert messages.drawn <= 31


async def test_a_throttled_call_is_made_eight_times():
    """A transient error allows 8 attempts, the first included; then the error lists every message of the call."""
    queue, slept = Refusing(THROTTLED), Slept()
    with pytest.raises(EnqueueError) as raised:
        await send(queue, numbered(3), slept)
    assert ATTEMPTS == 8
    assert (queue.calls, len(slept.seconds)) == (8, 7)
    assert raised.value.rejected == ((0, "slow down"), (1, "slow down"), (2, "slow down"))


async def test_delays_grow_and_are_bounded():
    """The delay before attempt n + 1 is at most 0.1 * 2^n seconds, and never more than 5."""
    slept = Slept()
    with pytest.raises(EnqueueError):
        await send(Refusing(THROTTLED), numbered(1), slept)
    bounds = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert all(0 <= seconds <= bound for seconds, bound in zip(slept.seconds, bounds, strict=True))


async def test_a_permanent_error_is_not_retried():
    """A call with a permanent error is made once, and the error lists its messages."""
    queue = Refusing(ServiceError("invalid", code="InvalidParameterValue", transient=False))
    with pytest.raises(EnqueueError) as raised:
        await send(queue, numbered(2))
    assert queue.calls == 1
    assert raised.value.rejected == ((0, "invalid"), (1, "invalid"))


async def test_a_queue_that_does_not_exist_is_a_configuration_error():
    """The error that the user must fix is raised itself, not in an exception group."""
    with pytest.raises(ConfigurationError, match="queue q: does not exist"):
        await send(Refusing(ConfigurationError("queue q: does not exist")), numbered(30))


async def test_a_message_refused_because_of_the_sender_is_sent_once():
    """Only messages that the queue may still accept are retried; the error lists the others with the queue's reason."""
    queue = RefusingOne("1", final=True)
    with pytest.raises(EnqueueError) as raised:
        await send(queue, numbered(3))
    assert queue.calls == [["0", "1", "2"]]
    assert raised.value.rejected == ((1, "InvalidMessage: no"),)


async def test_only_the_refused_message_is_retried():
    """The accepted messages of a batch are not sent again."""
    queue = RefusingOne("1", final=False)
    with pytest.raises(EnqueueError):
        await send(queue, numbered(3))
    assert queue.calls == [["0", "1", "2"]] + [["1"]] * 7


async def test_the_error_states_the_number_of_messages_and_the_first():
    """The error states the number of refused messages, the position of the first, and the queue's reason."""
    with pytest.raises(EnqueueError) as raised:
        await send(Refusing(THROTTLED), numbered(7))
    assert str(raised.value) == "the queue did not accept 7 messages; the first is message 0: slow down"
    assert [position for position, _ in raised.value.rejected] == list(range(7))


async def test_no_batch_is_sent_after_a_failure():
    """Only the batches that were in flight are sent."""
    messages = Drawn(1_000)
    queue = RefusingOne("15", final=True)
    with pytest.raises(EnqueueError):
        await enqueue(queue, messages, concurrency=2, sleep=Slept())
    assert len(queue.calls) <= 3
    assert messages.drawn <= 31


async def test_a_message_that_is_too_large_stops_the_sending():
    """The messages before it are sent."""
    queue = InMemoryQueue()
    with pytest.raises(EnqueueError, match="message 25 is too large"):
        await enqueue(queue, [*numbered(25), Message("x" * (MEBIBYTE + 1)), *numbered(5)])
    assert len(queue) == 20


async def test_a_concurrency_of_zero_is_refused():
    """It would send no messages and raise no error."""
    with pytest.raises(ValueError, match="concurrency must be at least 1, not 0"):
        await enqueue(InMemoryQueue(), [Message("a")], concurrency=0)
