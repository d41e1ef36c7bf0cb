"""A fair queue delivers in the order of a model that recomputes every load from the history of all messages."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from fanfold.inmemory import InMemoryQueue
from fanfold.testing import ManualClock, make_fair_record, make_record

VISIBILITY = 60


@dataclass
class ModelMessage:
    """A message of the model, with the times of its receives and of their ends."""

    number: int
    tenant: str
    visible_at: float
    flights: list[tuple[float, float]] = field(default_factory=list)
    deleted: bool = False

    def in_flight(self, now: float) -> bool:
        return bool(self.flights) and self.flights[-1][1] > now

    def processing_seconds(self, now: float) -> float:
        """Return its seconds in flight, unless they ended more than five minutes ago."""
        return sum(min(end, now) - began for began, end in self.flights if end > now - 300)


@dataclass
class Model:
    """A fair queue, as the developer guide describes it."""

    messages: list[ModelMessage] = field(default_factory=list)
    sent_at: dict[str, float] = field(default_factory=dict)

    def noisy(self, now: float) -> dict[str, int]:
        in_flight = [message.tenant for message in self.messages if message.in_flight(now)]
        seconds = sum(message.processing_seconds(now) for message in self.messages)
        noisy = {}
        for tenant in {message.tenant for message in self.messages} - {""}:
            own = sum(message.processing_seconds(now) for message in self.messages if message.tenant == tenant)
            many = in_flight.count(tenant) >= 30 and in_flight.count(tenant) > 0.1 * len(in_flight)
            if (many or own > 0.1 * seconds) and now - self.sent_at[tenant] < 300:
                noisy[tenant] = in_flight.count(tenant)
        return noisy

    def take(self, most: int, now: float) -> list[int]:
        noisy, taken = self.noisy(now), []
        for _ in range(most):
            waiting = [message for message in self.messages if not message.deleted and message.visible_at <= now]
            if not waiting:
                break
            first = min(
                waiting, key=lambda message: (noisy.get(message.tenant, -1), message.visible_at, message.number)
            )
            first.visible_at = now + VISIBILITY
            first.flights.append((now, first.visible_at))
            if first.tenant in noisy:
                noisy[first.tenant] += 1
            taken.append(first.number)
        return taken

    def end_flight(self, number: int, now: float, end: float) -> None:
        """Delete a message, or change the end of its visibility timeout, if it is in flight."""
        message = self.messages[number]
        if message.in_flight(now):
            message.visible_at = end
            message.flights[-1] = (message.flights[-1][0], end)


class Both:
    """A fair queue and its model, on one clock; the methods are steps."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.model = Model()
        self.queue = InMemoryQueue(visibility_timeout=VISIBILITY, clock=self.clock)
        self.handles: dict[int, str] = {}

    def send(self, tenant: str, count: int) -> None:
        for _ in range(count):
            number = len(self.model.messages)
            self.queue.put(make_fair_record(number, tenant=tenant) if tenant else make_record(number))
            self.model.messages.append(ModelMessage(number, tenant, self.clock.now))
            self.model.sent_at[tenant] = self.clock.now

    def take(self, most: int, times: int) -> None:
        for _ in range(times):
            taken = self.queue.take(most)
            assert [message.number for message in taken] == self.model.take(most, self.clock.now)
            self.handles.update({message.number: message.handle for message in taken})

    def delete(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            if number in self.handles and self.model.messages[number].in_flight(self.clock.now):
                assert self.queue.remove(self.handles.pop(number))
                self.model.end_flight(number, self.clock.now, self.clock.now)
                self.model.messages[number].deleted = True

    def change(self, number: int, seconds: int) -> None:
        if number in self.handles:
            self.queue.change_visibility(self.handles[number], seconds)
            self.model.end_flight(number, self.clock.now, self.clock.now + seconds)

    def wait(self, seconds: int, times: int) -> None:
        self.clock.advance(seconds * times)


steps = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(["", "a", "b", "c", "d"]), st.integers(1, 40)),
    st.tuples(st.just("take"), st.integers(1, 10), st.integers(1, 8)),
    st.tuples(st.just("delete"), st.integers(0, 200), st.integers(0, 40)),
    st.tuples(st.just("change"), st.integers(0, 200), st.integers(1, 100)),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 60, 299, 300]), st.just(1)),
)


@given(st.lists(steps, min_size=1, max_size=40))
def test_a_fair_queue_delivers_as_the_published_rules_say(taken_steps: list[tuple[str, str | int, int]]):
    """Quiet tenants come first; of noisy ones, the one with the fewest messages in flight."""
    both = Both()
    for step, subject, count in taken_steps:
        getattr(both, step)(subject, count)
