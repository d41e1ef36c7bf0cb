"""Whatever the queue does, a message is accepted or named, and nothing is told to be accepted that is not."""

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
    """The call is refused; it may succeed later."""


@dataclass(frozen=True)
class Denied:
    """The call is refused; it never will succeed."""


@dataclass(frozen=True)
class Lost:
    """The call fails on its way; the first few of its messages have been accepted all the same."""

    accepted: int


@dataclass(frozen=True)
class Partial:
    """Some messages are refused one by one, some of those for good."""

    later: frozenset[int]
    never: frozenset[int] = frozenset()


Fault = Ok | Throttled | Denied | Lost | Partial
PLACES = st.frozensets(st.integers(0, 9), max_size=4)
FAULTS = st.one_of(
    st.just(Ok()), st.just(Throttled()), st.builds(Lost, st.integers(0, 10)), st.builds(Partial, PLACES, PLACES)
)
PASSING_FAULTS = st.one_of(
    st.just(Ok()), st.just(Throttled()), st.builds(Lost, st.integers(0, 10)), st.builds(Partial, PLACES)
)


@dataclass
class Faulty:
    """A queue that answers its calls as a script says, one entry a call, and accepts everything after its end."""

    queue: Queue
    script: Sequence[Fault]
    calls: list[list[int]] = field(default_factory=list)
    accepted: set[int] = field(default_factory=set)

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        numbers = [int(message.body.rstrip(".")) for message in messages]
        fault = self.script[len(self.calls)] if len(self.calls) < len(self.script) else Ok()
        self.calls.append(numbers)
        await self.queue.send(messages)  # refuses what is too much for one batch
        if isinstance(fault, Partial):
            refused = [place for place in sorted(fault.later | fault.never) if place < len(numbers)]
            self.accepted.update(number for place, number in enumerate(numbers) if place not in refused)
            return [Refusal(place, f"refused {place}", place in fault.never) for place in refused]
        if isinstance(fault, Ok | Lost):
            self.accepted.update(numbers[: fault.accepted] if isinstance(fault, Lost) else numbers)
        if isinstance(fault, Ok):
            return []
        raise ServiceError(f"{fault}", code=type(fault).__name__, transient=not isinstance(fault, Denied))

    @property
    def offered(self) -> set[int]:
        return {number for numbers in self.calls for number in numbers}


async def at_once(seconds: float) -> None:
    """Wait no time at all."""


def numbered(sizes: Iterable[int]) -> list[Message]:
    return [Message(f"{number}".ljust(size, ".")) for number, size in enumerate(sizes)]


async def send_all(queue: Faulty, messages: Sequence[Message], concurrency: int) -> tuple[list[int], set[int] | None]:
    """Return the progress, and what was rejected; None if nothing was."""
    progress: list[int] = []

    async def reached(count: int) -> None:
        assert queue.accepted >= set(range(count))
        progress.append(count)

    try:
        count = await enqueue(queue, messages, concurrency=concurrency, on_accepted=reached, sleep=at_once)
    except EnqueueError as error:
        return progress, {position for position, _ in error.rejected}
    assert count == len(messages)
    return progress, None


SIZES = st.lists(st.sampled_from([1, 1, 1, 300, 100_000, 500_000, MEBIBYTE]), max_size=60)


@given(SIZES)
@settings(deadline=None, max_examples=40)
def test_batches_keep_every_message_in_order(sizes):
    """All batches one after another are the messages, none lost, none twice, none moved."""
    messages = numbered(sizes)
    assert [message for batch in batches(messages) for message in batch] == messages


@given(SIZES)
@settings(deadline=None, max_examples=40)
def test_no_batch_is_more_than_sqs_takes(sizes):
    """A batch holds 1 to 10 messages of at most 1 MiB in total."""
    for batch in batches(numbered(sizes)):
        assert 1 <= len(batch) <= 10
        assert sum(message.size_bytes for message in batch) <= MEBIBYTE


@given(SIZES)
@settings(deadline=None, max_examples=40)
def test_a_batch_ends_only_where_the_next_message_does_not_fit(sizes):
    """No batch but the last could have taken the first message of the next one."""
    made = list(batches(numbered(sizes)))
    for batch, following in pairwise(made):
        assert len(batch) == 10 or sum(message.size_bytes for message in [*batch, following[0]]) > MEBIBYTE


@given(st.integers(0, 120), st.lists(FAULTS, max_size=30), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_every_message_that_was_offered_is_accepted_or_named(count, script, concurrency):
    """After any faults, a message that was offered is accepted or rejected by number; without an error, all are in."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    _, rejected = await send_all(queue, numbered([1] * count), concurrency)
    if rejected is None:
        assert queue.accepted == set(range(count))
    else:
        assert queue.offered == queue.accepted | rejected


@given(st.integers(0, 120), st.lists(FAULTS, max_size=30), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_what_was_not_offered_comes_after_everything_that_was(count, script, concurrency):
    """An error leaves no gap: what was offered are the first messages, so a second try knows where to go on."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    await send_all(queue, numbered([1] * count), concurrency)
    assert queue.offered == set(range(len(queue.offered)))


@given(st.integers(1, 120), st.lists(FAULTS, max_size=30), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_progress_only_grows_and_covers_only_what_is_accepted(count, script, concurrency):
    """Each number yielded is larger than the last, names accepted messages alone, and at the end all of them."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    progress, rejected = await send_all(queue, numbered([1] * count), concurrency)
    assert progress == sorted(set(progress))
    assert rejected is not None or progress[-1] == count
    assert rejected is None or not progress or progress[-1] <= min(rejected)


@given(st.integers(1, 60), st.lists(PASSING_FAULTS, max_size=ATTEMPTS - 1), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_faults_that_pass_lose_nothing(count, script, concurrency):
    """Fewer faults that pass than attempts, wherever they fall, end with every message accepted."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    progress, rejected = await send_all(queue, numbered([1] * count), concurrency)
    assert rejected is None
    assert progress[-1] == count
    assert queue.accepted == set(range(count))


@given(st.integers(1, 60), st.lists(FAULTS | st.just(Denied()), max_size=40), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
async def test_no_message_is_offered_more_often_than_the_attempts(count, script, concurrency):
    """Whatever the queue answers, a message is offered 8 times at most."""
    queue = Faulty(inmemory.InMemoryQueue(), script)
    await send_all(queue, numbered([1] * count), concurrency)
    assert all(sum(number in call for call in queue.calls) <= 8 for number in range(count))


@given(st.integers(1, 60), PLACES, st.lists(PASSING_FAULTS, max_size=5))
@settings(deadline=None, max_examples=60)
async def test_what_is_refused_for_good_is_offered_once_and_named(count, never, script):
    """A message that the queue refuses as the sender's fault is named and never sent again."""
    queue = Faulty(inmemory.InMemoryQueue(), [Partial(frozenset(), never), *script])
    _, rejected = await send_all(queue, numbered([1] * count), concurrency=1)
    assert (rejected or set()) == {number for number in never if number < count}
    assert all(sum(number in call for call in queue.calls) == 1 for number in rejected or ())
