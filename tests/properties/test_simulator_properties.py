"""Properties of every run of the simulator, with any failures."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fanfold._replay.delivery import Delivery
from fanfold._replay.mapping import Errored
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_fifo_record, make_record
from worlds import FUNCTION_TIMEOUT, settings_of

NEVER = 100
"""A number of failures above the receive limit of every queue."""


@dataclass(frozen=True)
class Case:
    """A message: its group, the number of deliveries that fail, and how the invocation ends in that case."""

    group: str
    failures: int
    ending: str


@dataclass(frozen=True)
class World:
    """Messages and the settings of their delivery."""

    cases: list[Case]
    settings: dict[str, Any]
    times: list[float] = field(default_factory=lambda: [1.0])

    @property
    def ids(self) -> list[str]:
        return [f"m{number}" for number in range(len(self.cases))]

    def case_of(self, record: Any) -> Case:
        return self.cases[int(record["messageId"].removeprefix("m"))]

    def seconds(self, event: Any) -> float:
        """Return the duration of an invocation, which is the same for the same batch."""
        return self.times[sum(count_of(record) for record in event["Records"]) % len(self.times)]

    def simulator(self, handler: Any, **changes: Any) -> Simulator:
        simulator = Simulator(
            handler,
            **{"function_timeout": FUNCTION_TIMEOUT, "invocation_seconds": self.seconds, **self.settings, **changes},
        )
        make = make_fifo_record if simulator.mapping.fifo else make_record
        for message_id, case in zip(self.ids, self.cases, strict=True):
            grouped = {"group": case.group} if simulator.mapping.fifo else {}
            simulator.send(records=[make(case.failures, message_id=message_id, **grouped)])
        return simulator

    def handler(self, event: Any, context: Any) -> Any:
        """Report failed messages and, in a FIFO queue, the rest of their groups; or fail the whole invocation."""
        blocked: set[str] = set()
        reported = []
        for record in event["Records"]:
            case = self.case_of(record)
            group = record["attributes"].get("MessageGroupId")
            fails = count_of(record) <= case.failures
            if fails and case.ending == "raise":
                raise ValueError
            if fails and case.ending == "unknown id":
                return {"batchItemFailures": [{"itemIdentifier": "elsewhere"}]}
            if fails or group in blocked:
                blocked |= {group} - {None}
                reported.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": reported}


def count_of(record: Any) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


cases = st.builds(
    Case,
    group=st.sampled_from("abc"),
    failures=st.integers(0, 6) | st.just(0) | st.just(NEVER),
    ending=st.sampled_from(["report", "report", "report", "raise", "unknown id"]),
)


well = st.builds(Case, group=st.sampled_from("abc"), failures=st.just(0), ending=st.just("report"))


@st.composite
def worlds(draw: st.DrawFn, *, of: Any = cases, fifo: bool | None = None, **fixed: Any) -> World:
    kind = draw(st.booleans()) if fifo is None else fifo
    times = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 10.0, 30.0, 31.0]), min_size=1, max_size=4))
    return World(draw(st.lists(of, max_size=40)), draw(settings_of(fifo=kind, **fixed)), times)


def known(cases: list[Case], **settings: Any) -> World:
    """Return a world that has violated a property before."""
    defaults = {
        "fifo": False,
        "batch_size": 1,
        "window_seconds": 0.0,
        "maximum_concurrency": 1,
        "visibility_timeout": 180.0,
        "max_receive_count": 2,
        "throttled": 0.0,
        "duplicates": 0.0,
        "reordered": False,
        "seed": 0,
    }
    return World(cases, defaults | settings)


WELL = Case("a", 0, "report")
FAILS_ONCE = Case("a", 1, "report")


def acknowledged(deliveries: list[Delivery] | Any) -> list[str]:
    """Return the ids that deliveries acknowledged, in order of delivery."""
    return [
        message.message_id
        for delivery in deliveries
        for message in delivery.messages
        if message.message_id not in delivery.verdict.failed
    ]


def summary(simulator: Simulator) -> list[Any]:
    """Return the history of a run, as values."""
    deliveries = [
        (
            delivery.began_at,
            delivery.ended_at,
            [message.message_id for message in delivery.messages],
            list(delivery.handles),
            list(delivery.receive_counts),
            delivery.invocation,
            delivery.verdict,
        )
        for delivery in simulator.deliveries
    ]
    queues = (simulator.queue, simulator.dead_letter_queue)
    return [deliveries, [[(message.message_id, message.history) for message in queue.messages()] for queue in queues]]


def invoked(simulator: Simulator) -> list[Delivery]:
    """Return the deliveries that were not throttled."""
    return [
        delivery
        for delivery in simulator.deliveries
        if not isinstance(delivery.invocation, Errored) or delivery.invocation.kind != "throttled"
    ]


def assert_no_message_is_lost_or_invented(world: World, simulator: Simulator) -> None:
    """Assert that every message is in exactly one state: queued, dead-lettered, or acknowledged."""
    waiting = [message.message_id for message in simulator.queue.messages()]
    letters = [record.message_id for record in simulator.dead_letters]
    assert max(Counter(waiting + letters).values(), default=1) == 1
    assert set(waiting) | set(letters) <= set(world.ids)
    gone = set(world.ids) - set(waiting) - set(letters)
    assert gone <= set(acknowledged(simulator.deliveries))


def assert_no_invocation_runs(simulator: Simulator) -> None:
    assert all(delivery.ended_at <= simulator.clock.now for delivery in simulator.deliveries)


@given(worlds())
@settings(deadline=None)
def test_every_message_is_finally_acknowledged_or_dead_lettered(world: World):
    """No message is lost or invented; the queue is empty, no message is in flight, and another run has no effect."""
    simulator = world.simulator(world.handler)
    deliveries = simulator.run()
    assert_no_message_is_lost_or_invented(world, simulator)
    assert_no_invocation_runs(simulator)
    assert len(simulator.queue) == 0
    assert simulator.queue.next_visible_at() == math.inf
    before = len(deliveries)
    assert len(simulator.run()) == before


@given(worlds(), st.lists(st.floats(0, 200) | st.integers(0, 6), max_size=6))
@settings(deadline=None)
def test_a_run_that_is_interrupted_anywhere_can_be_continued(world: World, cuts: list[float | int]):
    """A time or a number of deliveries may end it; running invocations are completed, and no message is lost."""
    simulator = world.simulator(world.handler)
    for cut in cuts:
        if isinstance(cut, float):
            simulator.run(until=simulator.clock.now + cut)
        else:
            simulator.run(most_deliveries=len(simulator.deliveries) + cut)
        assert_no_message_is_lost_or_invented(world, simulator)
        assert_no_invocation_runs(simulator)
    simulator.run()
    assert_no_message_is_lost_or_invented(world, simulator)
    assert len(simulator.queue) == 0


@given(worlds())
@settings(deadline=None)
def test_a_message_that_was_never_acknowledged_is_a_dead_letter(world: World):
    """This includes messages that never succeed; only a batch response that omits a message deletes it."""
    simulator = world.simulator(world.handler)
    acknowledgements = set(acknowledged(simulator.run()))
    letters = {record.message_id for record in simulator.dead_letters}
    poison = {message_id for message_id, case in zip(world.ids, world.cases, strict=True) if case.failures == NEVER}
    assert poison <= letters
    assert not poison & acknowledgements
    assert set(world.ids) - acknowledgements <= letters


@given(worlds())
@example(known([WELL], batch_size=2, window_seconds=0.5, max_receive_count=3, duplicates=0.9))
@settings(deadline=None)
def test_no_message_exceeds_the_receive_limit_of_its_queue(world: World):
    """Receive counts grow with each delivery, and the handler sees them."""
    received_counts: list[list[int]] = []

    def handler(event: Any, context: Any) -> Any:
        received_counts.append([count_of(record) for record in event["Records"]])
        return world.handler(event, context)

    simulator = world.simulator(handler)
    counts: dict[str, list[int]] = defaultdict(list)
    for delivery in simulator.run():
        for message, count in zip(delivery.messages, delivery.receive_counts, strict=True):
            counts[message.message_id].append(count)
    for seen in counts.values():
        assert max(seen) <= world.settings["max_receive_count"]
        assert seen == sorted(set(seen))
    assert received_counts == [list(delivery.receive_counts) for delivery in invoked(simulator)]


@given(worlds())
@settings(deadline=None)
def test_batches_and_times_respect_the_settings(world: World):
    """No batch is too large, the concurrency is limited, and no invocation exceeds the function timeout."""
    durations: list[float] = []

    def seconds(event: Any) -> float:
        durations.append(world.seconds(event))
        return durations[-1]

    simulator = world.simulator(world.handler, invocation_seconds=seconds)
    deliveries = simulator.run()
    assert [delivery.number for delivery in deliveries] == list(range(len(deliveries)))
    for delivery, longest in zip(invoked(simulator), durations, strict=True):
        assert 1 <= len(delivery.messages) <= world.settings["batch_size"]
        assert 0 <= delivery.ended_at - delivery.began_at <= min(longest, FUNCTION_TIMEOUT) + 1e-6
        concurrent = [other for other in deliveries if other.began_at <= delivery.began_at < other.ended_at]
        assert len(concurrent) <= world.settings["maximum_concurrency"]
        if longest > FUNCTION_TIMEOUT:
            assert isinstance(delivery.invocation, Errored)
    starts = [delivery.began_at for delivery in deliveries]
    assert starts == sorted(starts)


@given(worlds())
@settings(deadline=None)
def test_the_same_seed_gives_the_same_run(world: World):
    """The times, batches, receipt handles, verdicts, and histories are equal."""
    runs = [world.simulator(world.handler) for _ in range(2)]
    for simulator in runs:
        simulator.run()
    assert summary(runs[0]) == summary(runs[1])


@given(worlds(of=well, throttled=0.0, reserved_concurrency=None, max_receive_count=7))
@settings(deadline=None)
def test_a_message_that_always_succeeds_is_processed_at_least_once(world: World):
    """This holds with and without duplicates, if no invocation is throttled or times out."""
    simulator = world.simulator(world.handler, invocation_seconds=1.0)
    assert set(acknowledged(simulator.run())) == set(world.ids)


@given(
    worlds(of=well, throttled=0.0, reserved_concurrency=None, duplicates=0.0),
    st.sampled_from([0.0, 1.0, FUNCTION_TIMEOUT]),
)
@example(known([WELL] * 3, fifo=True, maximum_concurrency=2), FUNCTION_TIMEOUT)
@example(known([WELL] * 10, batch_size=3), FUNCTION_TIMEOUT)
@settings(deadline=None)
def test_a_message_that_always_succeeds_is_processed_exactly_once(world: World, seconds: float):
    """This holds without duplicates and throttling, if the visibility timeout covers window and function timeout."""
    visibility = world.settings["window_seconds"] + FUNCTION_TIMEOUT
    simulator = world.simulator(
        world.handler, invocation_seconds=seconds, visibility_timeout=visibility, max_receive_count=1
    )
    assert sorted(acknowledged(simulator.run())) == sorted(world.ids)
    assert not simulator.dead_letters
    assert all(set(delivery.receive_counts) == {1} for delivery in simulator.deliveries)


@given(worlds(fifo=True, duplicates=0.0, visibility_timeout=6 * FUNCTION_TIMEOUT))
@example(known([FAILS_ONCE, WELL], fifo=True))
@settings(deadline=None)
def test_a_fifo_group_is_acknowledged_in_the_order_of_sending(world: World):
    """Each message is acknowledged at most once, and after all earlier ones that are not dead letters."""
    simulator = world.simulator(world.handler)
    deliveries = simulator.run()
    letters = {record.message_id for record in simulator.dead_letters}
    processed = acknowledged(deliveries)
    assert letters.isdisjoint(processed)
    for group in "abc":
        sent = [message_id for message_id, case in zip(world.ids, world.cases, strict=True) if case.group == group]
        in_order = [message_id for message_id in sent if message_id not in letters]
        assert [message_id for message_id in processed if message_id in sent] == in_order


@given(worlds(fifo=True, duplicates=0.0, visibility_timeout=6 * FUNCTION_TIMEOUT))
@example(known([FAILS_ONCE, WELL], fifo=True))
@example(known([WELL, WELL], fifo=True, maximum_concurrency=2))
@settings(deadline=None)
def test_a_fifo_group_is_in_one_invocation_at_a_time_and_in_order_in_it(world: World):
    """No message of a group is delivered while an earlier one waits for its redelivery."""
    simulator = world.simulator(world.handler)
    ends: dict[str, float] = {}
    gone: set[str] = set()
    for delivery in simulator.run():
        groups = {message.group for message in delivery.messages}
        assert all(ends.get(group, 0.0) <= delivery.began_at for group in groups)
        ends |= dict.fromkeys(groups, delivery.ended_at)
        for group in groups:
            delivered = [message.message_id for message in delivery.messages if message.group == group]
            waiting = [
                message_id
                for message_id, case in zip(world.ids, world.cases, strict=True)
                if case.group == group and message_id not in gone | exhausted(simulator, delivery)
            ]
            assert delivered == waiting[: len(delivered)]
        gone |= set(acknowledged([delivery]))


def exhausted(simulator: Simulator, until: Delivery) -> set[str]:
    """Return the messages that had reached the receive limit before a delivery."""
    limit = simulator.queue.max_receive_count
    return {
        message.message_id
        for delivery in simulator.deliveries[: until.number]
        for message, count in zip(delivery.messages, delivery.receive_counts, strict=True)
        if count == limit
    }
