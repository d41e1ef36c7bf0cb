"""For any behavior of the queue, each message is accepted or listed as rejected, and the progress is correct."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import inmemory
from fanfold._base.retry import ATTEMPTS
from fanfold._ports.enqueue import batches, enqueue
from fanfold._ports.queue import Message, Queue, Refusal
from fanfold.errors import EnqueueError, ServiceError

MEBIBYTE = 1_048_576


@dataclass(frozen=True)
class Ok:
    """Every message is accepted."""


@dataclass(frozen=True)
class Throttled:
    """The call is refused with a transient error."""


@dataclass(frozen=True)
class Denied:
    """The call is refused with a permanent error."""


@dataclass(frozen=True)
class Lost:
    """The call fails, but some of its first messages have been accepted."""

    accepted: int


@dataclass(frozen=True)
class Partial:
    """Some entries are refused, some of them permanently."""

    later: frozenset[int]
    never: frozenset[int] = frozenset()


Fault = Ok | Throttled | Denied | Lost | Partial
POSITIONS = st.frozensets(st.integers(0, 9), max_size=4)
FAULTS = st.one_of(
    st.just(Ok()), st.just(Throttled()), st.builds(Lost, st.integers(0, 10)), st.builds(Partial, POSITIONS, POSITIONS)
)
TRANSIENT_FAULTS = st.one_of(
    st.just(Ok()), st.just(Throttled()), st.builds(Lost, st.integers(0, 10)), st.builds(Partial, POSITIONS)
)


@dataclass
class Faulty:
    """A queue that responds as scripted, one script entry per call, and then accepts all messages."""

    queue: Queue
    script: Sequence[Fault]
    calls: list[list[int]] = field(default_factory=list)
    accepted: set[int] = field(default_factory=set)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        numbers = [int(message.body.rstrip(".")) for message in messages]
        fault = self.script[len(self.calls)] if len(self.calls) < len(self.script) else Ok()
        self.calls.append(numbers)
        await self.queue.send(messages)  # raises an error if the batch exceeds a limit
        if isinstance(fault, Partial):
            refused = [position for position in sorted(fault.later | fault.never) if position < len(numbers)]
            self.accepted.update(number for position, number in enumerate(numbers) if position not in refused)
            return [Refusal(position, f"refused {position}", position in fault.never) for position in refused]
        if isinstance(fault, Ok | Lost):
            self.accepted.update(numbers[: fault.accepted] if isinstance(fault, Lost) else numbers)
        if isinstance(fault, Ok):
            return []
        raise ServiceError(f"{fault}", code=type(fault).__name__, transient=not isinstance(fault, Denied))

    @property
    def sent(self) -> set[int]:
        return {number for numbers in self.calls for number in numbers}


async def no_sleep(seconds: float) -> None:
    """Return immediately."""


def numbered(sizes: Iterable[int]) -> list[Message]:
    return [Message(f"{number}".ljust(size, ".")) for number, size in enumerate(sizes)]


async def send_all(queue: Faulty, messages: Sequence[Message], concurrency: int) -> tuple[list[int], set[int] | None]:
    """Return the progress, and the positions of rejected messages; None if all were accepted."""
    progress: list[int] = []

    async def on_accepted(count: int) -> None:
        assert queue.accepted >= set(range(count))
        progress.append(count)

    try:
        count = await enqueue(queue, messages, concurrency=concurrency, on_accepted=on_accepted, sleep=no_sleep)
    except EnqueueError as error:
        return progress, {position for position, _ in error.rejected}
    assert count == len(messages)
    return progress, None


SIZES = st.lists(st.sampled_from([1, 1, 1, 300, 100_000, 500_000, MEBIBYTE]), max_size=60)


@given(SIZES)
@settings(deadline=None, max_examples=40)
def test_batches_keep_every_message_in_order(sizes):
    """The concatenated batches are the messages: none is lost, duplicated, or reordered."""
    messages = numbered(sizes)
    assert [message for batch in batches(messages) for message in batch] == messages


@given(SIZES)
@settings(deadline=None, max_examples=40)
def test_no_batch_exceeds_the_sqs_limits(sizes):
    """A batch has 1 to 10 messages of at most 1 MiB in total."""
    for batch in batches(numbered(sizes)):
        assert 1 <= len(batch) <= 10
        assert sum(message.size_bytes for message in batch) <= MEBIBYTE


@given(SIZES)
@settings(deadline=None, max_examples=40)
def test_a_batch_ends_only_where_the_next_message_does_not_fit(sizes):
    """The first message of the next batch would have exceeded a limit."""
    for batch, following in pairwise(batches(numbered(sizes))):
        assert len(batch) == 10 or sum(message.size_bytes for message in [*batch, following[0]]) > MEBIBYTE


@given(st.integers(0, 120), st.lists(FAULTS, max_size=30), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_every_message_that_was_sent_is_accepted_or_rejected(count, script, concurrency):
    """After any faults, each message that was sent is accepted or rejected; without an error, all are accepted."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    _, rejected = await send_all(queue, numbered([1] * count), concurrency)
    if rejected is None:
        assert queue.accepted == set(range(count))
    else:
        assert queue.sent == queue.accepted | rejected


@given(st.integers(0, 120), st.lists(FAULTS, max_size=30), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_the_messages_that_were_sent_are_a_prefix(count, script, concurrency):
    """An error leaves no gap, so a second attempt knows where to resume."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    await send_all(queue, numbered([1] * count), concurrency)
    assert queue.sent == set(range(len(queue.sent)))


@given(st.integers(1, 120), st.lists(FAULTS, max_size=30), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_progress_only_grows_and_counts_only_accepted_messages(count, script, concurrency):
    """Each reported number is larger than the last, counts only accepted messages, and finally all of them."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    progress, rejected = await send_all(queue, numbered([1] * count), concurrency)
    assert progress == sorted(set(progress))
    assert rejected is not None or progress[-1] == count
    assert rejected is None or not progress or progress[-1] <= min(rejected)


@given(st.integers(1, 60), st.lists(TRANSIENT_FAULTS, max_size=ATTEMPTS - 1), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_transient_faults_lose_no_message(count, script, concurrency):
    """With fewer transient faults than attempts, in any calls, every message is accepted."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    progress, rejected = await send_all(queue, numbered([1] * count), concurrency)
    assert rejected is None
    assert progress[-1] == count
    assert queue.accepted == set(range(count))


@given(st.integers(1, 60), st.lists(FAULTS | st.just(Denied()), max_size=40), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_no_message_is_sent_more_often_than_the_attempts(count, script, concurrency):
    """For any responses of the queue, a message is sent at most 8 times."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    await send_all(queue, numbered([1] * count), concurrency)
    assert all(sum(number in call for call in queue.calls) <= 8 for number in range(count))


@given(st.integers(1, 60), POSITIONS, st.lists(TRANSIENT_FAULTS, max_size=5))
@settings(deadline=None, max_examples=60)
async def test_a_permanently_refused_message_is_sent_once_and_rejected(count, never, script):
    """A message that the queue refuses because of the sender is rejected without a retry."""
    queue = Faulty(inmemory.InMemoryQueue(), [Partial(frozenset(), never), *script])
    _, rejected = await send_all(queue, numbered([1] * count), concurrency=1)
    assert (rejected or set()) == {number for number in never if number < count}
    assert all(sum(number in call for call in queue.calls) == 1 for number in rejected or ())
