"""Whole consumers with a breaker: what starts while the service is down, and what happens to the messages."""

import asyncio
import threading

import pytest

import fanfold
from batches import ids, kinds
from fanfold import Backoff, Done, Failed, NotStarted, Rejected, Retrying
from fanfold._breakers.transitions import claimed, closed, opened
from fanfold._ports.breakers import CLOSED, OPEN
from fanfold.errors import TotalFailureError
from fanfold.testing import make_context, make_event
from outage_consumers import (
    Service,
    batch,
    consumer_of,
    fifo_batch,
    invoke,
    message,
    open_by_failures,
)
from recorded_outage import CopyingSettler, DownError, Outage
from settlers import STEADY

BOTH = pytest.mark.parametrize("name", ["call", "call_here"], ids=["async", "def"])


@pytest.fixture
def outage() -> Outage:
    return Outage()


def circuit_of(outage: Outage):
    return asyncio.run(outage.circuit())


def pages_of(outage: Outage):
    return asyncio.run(outage.pages())


def change(outage: Outage, decide) -> None:
    asyncio.run(outage.change(decide))


def open_now(outage: Outage) -> None:
    change(outage, lambda circuit: opened(circuit, outage.clock(), probe_every=30))


@BOTH
def test_five_failures_open_the_breaker_and_the_other_messages_are_held(outage, name):
    """They are held in the queue, each for another time, and their handles are in the table."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker(), concurrency=1)
    result = invoke(handler, batch(20))
    handler.close()
    assert len(service.calls) == 5
    assert sorted(kind.__name__ for kind in kinds(result)) == ["Failed"] * 5 + ["NotStarted"] * 15
    assert {outcome.reason for outcome in result.outcomes if isinstance(outcome, NotStarted)} == {
        "breaker 'payments' is open"
    }
    assert len(ids(result)) == 20
    held = outage.settler.changed
    assert set(held) == {f"m{number}" for number in range(20)}
    assert all(30 <= seconds <= 42_300 for seconds in held.values())
    assert len(set(held.values())) > 10
    (page,) = pages_of(outage)
    assert {message.receives_left for message in page} == {4}
    assert sorted(message.until - outage.clock() for message in page) == sorted(held.values())
    assert circuit_of(outage).state == OPEN


@BOTH
def test_nothing_starts_while_the_breaker_is_open(outage, name, caplog):
    """Not in this execution environment, and not in another one that starts during the outage."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker())
    open_by_failures(handler, service)
    other = consumer_of(getattr(service, name), outage, outage.breaker())
    for consumer in (handler, other):
        assert kinds(invoke(consumer, batch(20))) == [NotStarted] * 20
        consumer.close()
    assert service.calls == []
    assert len(pages_of(outage)) == 3
    assert len([line for line in caplog.messages if "is open" in line]) == 2


@BOTH
def test_a_healthy_service_costs_nothing_in_the_queue(outage, name):
    """Every message is acknowledged, and nothing is held."""
    service = Service(is_down=False)
    handler = consumer_of(getattr(service, name), outage, outage.breaker())
    for _ in range(3):
        assert ids(invoke(handler, batch(30))) == []
    handler.close()
    assert outage.settler.visibility_changes == []
    assert circuit_of(outage).version == 0


def test_a_new_execution_environment_starts_few_records_until_the_first_success(outage):
    """1, 2, 4, 8 … in flight while calls end with other errors; after a success, as many as are allowed."""
    service = Service()
    service.error = ValueError("a bad message")
    handler = consumer_of(service.call, outage, outage.breaker(), concurrency=8)
    invoke(handler, batch(15))
    assert service.in_flight[0] == 1
    assert max(service.in_flight[:3]) == 2
    assert max(service.in_flight[:7]) <= 4
    assert max(service.in_flight) > 2
    handler.close()


@BOTH
def test_a_new_execution_environment_meets_a_dead_service_with_few_calls(outage, name):
    """Not with as many as may be in flight."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker(), concurrency=100)
    assert len(ids(invoke(handler, batch(200)))) == 200
    handler.close()
    assert 5 <= len(service.calls) <= 8


def test_a_new_execution_environment_is_at_full_speed_after_the_first_success(outage):
    """The service works."""
    service = Service(is_down=False)
    handler = consumer_of(service.call, outage, outage.breaker(), concurrency=8)
    invoke(handler, batch(20))
    handler.close()
    assert service.in_flight[0] == 1
    assert max(service.in_flight) == 8


@BOTH
def test_one_record_is_the_probe_and_then_the_others_start_slowly(outage, name):
    """The breaker closes, and the messages of the outage are released."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker())
    open_by_failures(handler, service)
    outage.clock.advance(30)
    service.recover()
    assert kinds(invoke(handler, batch(20))) == [Done] * 20
    handler.close()
    assert service.in_flight[:2] == [1, 1]
    assert max(service.in_flight[:4]) <= 2
    assert max(service.in_flight[:8]) <= 4
    released = [entry for call in outage.settler.visibility_changes for entry in call if entry[1] == 0]
    assert len(released) == 5
    assert circuit_of(outage).state == CLOSED
    assert not circuit_of(outage).has_held


@BOTH
def test_a_probe_that_fails_lets_no_other_record_start(outage, name):
    """The messages are held, those of the probe included."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker())
    open_by_failures(handler, service)
    outage.clock.advance(30)
    result = invoke(handler, batch(20))
    handler.close()
    assert len(service.calls) == 1
    assert sorted(kind.__name__ for kind in kinds(result)) == ["Failed"] + ["NotStarted"] * 19
    assert len(pages_of(outage)[-1]) == 20


def test_a_probe_that_shows_nothing_is_followed_by_another_one(outage):
    """A bad message does not show whether the service is back."""
    calls: list[int] = []

    async def call(body: int) -> None:
        calls.append(body)
        if body >= 100:
            raise DownError
        if body == 0:
            raise ValueError

    handler = consumer_of(call, outage, outage.breaker())
    invoke(handler, batch(5, first=100))
    outage.clock.advance(30)
    assert kinds(invoke(handler, batch(3))) == [Failed, Done, Done]
    handler.close()
    assert circuit_of(outage).state == CLOSED


def test_while_another_execution_environment_probes_nothing_starts(outage):
    """Its lease has not ended."""
    service = Service(is_down=False)
    change(outage, lambda circuit: claimed(opened(circuit, outage.clock(), probe_every=30), outage.clock(), "a", 60))
    handler = consumer_of(service.call, outage, outage.breaker())
    assert kinds(invoke(handler, batch(3))) == [NotStarted] * 3
    handler.close()


def test_a_function_probes_in_place_of_a_record(outage):
    """No message is spent on it."""
    service, probes = Service(), list[str]()

    async def probe() -> None:
        probes.append("probe")
        if len(probes) == 1:
            raise DownError

    handler = consumer_of(service.call, outage, outage.breaker(probe=probe))
    open_by_failures(handler, service)
    outage.clock.advance(30)
    assert kinds(invoke(handler, batch(3))) == [NotStarted] * 3
    outage.clock.advance(30)
    service.recover()
    assert kinds(invoke(handler, batch(3))) == [Done] * 3
    handler.close()
    assert len(probes) == 2


@BOTH
def test_a_message_on_its_last_receive_is_tried_although_the_breaker_is_open(outage, name):
    """It would be moved to the dead-letter queue anyway; if it succeeds, the service is back."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker())
    open_by_failures(handler, service)
    service.recover()
    event = make_event(records=[message(0), message(1, receive_count=5), message(2)])
    result = invoke(handler, event)
    handler.close()
    assert isinstance(result.outcomes[1], Done)
    assert service.calls[0] == 1 or service.calls == [1]
    assert circuit_of(outage).state == CLOSED


@BOTH
def test_a_message_on_its_last_receive_waits_in_the_invocation(outage, name):
    """Until half of its time has passed; meanwhile the service may recover."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker(waits=True))
    open_by_failures(handler, service)
    service.recover()
    result = invoke(handler, batch(1, receive_count=5), seconds=0.8)
    handler.close()
    assert kinds(result) == [Done]


def test_a_message_that_waits_starts_when_another_one_closes_the_breaker(outage):
    """A read notices it: the message need not wait for half of the time."""
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker(waits=True))
    open_by_failures(handler, service)
    service.recover()
    change(outage, lambda circuit: closed(circuit, outage.clock()))
    assert kinds(invoke(handler, batch(1, receive_count=5), seconds=3_000)) == [Done]
    handler.close()


def test_a_last_try_that_fails_is_redelivered_for_the_queue_to_move_it(outage):
    """It has no receive left, and is held like the others: the redrive policy decides at its next receive."""
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker())
    open_by_failures(handler, service)
    result = invoke(handler, batch(1, receive_count=5))
    handler.close()
    assert kinds(result) == [Failed]
    assert ids(result) == ["m0"]


@BOTH
def test_failures_are_delayed_by_the_backoff_if_the_breaker_is_closed_at_the_end(outage, name):
    """Nothing would release messages that are held for long while it is closed."""
    service = Service()
    handler = consumer_of(getattr(service, name), outage, outage.breaker(), backoff=STEADY)
    result = invoke(handler, batch(2))
    handler.close()
    assert kinds(result) == [Failed] * 2
    assert list(outage.settler.changed.values()) == [30, 30]  # more than the backoff: no call has succeeded so far
    assert pages_of(outage) == []


def test_failures_of_a_service_that_works_for_others_are_delayed_by_the_backoff(outage):
    """As without a breaker; without a backoff, by the visibility timeout."""

    async def call(body: int) -> None:
        if body == 0:
            raise DownError

    for backoff, changed in ((STEADY, {"m0": 10}), (None, {})):
        outage.settler.visibility_changes.clear()
        handler = consumer_of(call, outage, outage.breaker(), backoff=backoff, concurrency=1)
        invoke(handler, batch(3))
        handler.close()
        assert outage.settler.changed == changed


@pytest.mark.parametrize(("receive_count", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60)])
def test_a_failure_with_few_receives_left_waits_for_half_a_minute(outage, receive_count, seconds):
    """So that a second failure opens the breaker before the message has none left."""

    async def call(body: int) -> None:
        if body == 0:
            raise DownError

    backoff = Backoff(base=10, factor=2, cap=60, jitter=0)
    handler = consumer_of(call, outage, outage.breaker(), backoff=backoff, concurrency=1)
    invoke(handler, make_event(records=[message(0, receive_count), message(1)]))
    handler.close()
    assert outage.settler.changed == {"m0": max(seconds, 30 if receive_count >= 3 else 0)}


def test_rejected_messages_and_other_errors_are_settled_immediately(outage):
    """They have nothing to do with the service."""

    async def call(body: int) -> None:
        if body == 0:
            raise fanfold.Reject("bad")
        if body == 1:
            raise fanfold.Retry(after=7)
        if body == 2:
            raise ValueError

    handler = consumer_of(call, outage, outage.breaker(), backoff=STEADY)
    assert kinds(invoke(handler, batch(4))) == [Rejected, Retrying, Failed, Done]
    handler.close()
    assert outage.settler.changed == {"m0": 10, "m1": 7, "m2": 10}


def test_the_errors_of_two_breakers_open_only_their_own(outage):
    """Each holds its messages; what is not started is held by the one that is open."""

    async def call(body: int) -> None:
        raise KeyError if body == 5 else DownError

    breakers = [outage.breaker(), outage.breaker(name="stock", on=KeyError)]
    handler = consumer_of(call, outage, breakers, backoff=STEADY, concurrency=1)
    invoke(handler, make_event(records=[message(5), *map(message, range(5)), message(6)]))
    handler.close()
    assert [len(page) for page in pages_of(outage)] == [6]
    assert circuit_of(outage).state == OPEN
    assert asyncio.run(outage.circuit("stock")).is_closed
    assert outage.settler.changed["m5"] == 30  # by the backoff, and its minimum


def test_a_group_of_a_fifo_queue_has_one_delay(outage):
    """Otherwise it would wait for the longest; its order is kept."""
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker(), concurrency=1)
    result = invoke(handler, fifo_batch(*"abcdeaabbxyz"))
    handler.close()
    changed, calls = outage.settler.changed, len(service.calls)
    assert calls == 5
    assert set(kinds(result)) == {Failed, NotStarted}
    assert len(changed) == 12
    assert changed["m0"] == changed["m5"] == changed["m6"]
    assert changed["m1"] == changed["m7"] == changed["m8"]
    assert len(set(changed.values())) == 8
    assert len(pages_of(outage)[0]) == 12


@pytest.mark.parametrize("scarce", [0, 1])
def test_a_group_of_a_fifo_queue_is_held_for_its_message_with_the_fewest_receives(outage, scarce):
    """One receive left: for all that remains of the budget."""
    open_now(outage)
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker(outage_budget=7_200))
    event = fifo_batch("a", "a", "b")
    event["Records"][scarce]["attributes"]["ApproximateReceiveCount"] = "4"
    invoke(handler, event)
    handler.close()
    assert outage.settler.changed["m0"] == outage.settler.changed["m1"] == 7_200


def test_a_message_that_is_done_is_not_held_with_its_group(outage):
    """It is acknowledged; the messages behind it are held."""

    async def call(body: int) -> None:
        if body:
            raise DownError

    handler = consumer_of(call, outage, outage.breaker(share=0.1), concurrency=1)
    result = invoke(handler, fifo_batch(*"abcdefaa"))
    handler.close()
    assert isinstance(result.outcomes[0], Done)
    assert set(outage.settler.changed) == {f"m{number}" for number in range(1, 8)}
    assert outage.settler.changed["m6"] == outage.settler.changed["m7"]


def test_a_group_that_failed_while_the_breaker_is_closed_has_the_delay_of_its_failure(outage):
    """The messages behind it wait for it."""
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker(), backoff=STEADY)
    result = invoke(handler, fifo_batch("a", "b", "a", receive_count=2))
    handler.close()
    assert kinds(result) == [Failed, Failed, NotStarted]
    assert outage.settler.changed == {"m0": 30, "m1": 30, "m2": 30}


def test_a_batch_that_a_breaker_holds_back_is_no_total_failure(outage):
    """An error would not help: the messages are held. Other failures still raise."""
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker(), raise_on_total_failure=True)
    assert len(ids(invoke(handler, batch(7)))) == 7
    assert len(ids(invoke(handler, batch(7)))) == 7
    outage.clock.advance(30)
    service.error = ValueError("a bad message")
    with pytest.raises(TotalFailureError):
        invoke(handler, batch(1))
    handler.close()


def test_without_a_maximum_of_receives_messages_have_two_left(outage, monkeypatch):
    """The environment variable names the maximum."""
    open_now(outage)
    for maximum, left in ((None, 2), ("4", 1)):
        if maximum is not None:
            monkeypatch.setenv("FANFOLD_MAX_RECEIVE_COUNT", maximum)
        handler = consumer_of(Service().call, outage, outage.breaker(max_receives=None))
        invoke(handler, batch(1, receive_count=3))
        handler.close()
        assert pages_of(outage)[-1][0].receives_left == left


async def test_a_consumer_on_the_callers_loop_has_breakers_too(outage):
    """``process``, and batches that run concurrently in a session."""
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker(), concurrency=1)
    result = await handler.process(batch(20), make_context(20))
    assert len(service.calls) == 5
    assert len(ids(result)) == 20
    async with handler.session() as process:
        results = await asyncio.gather(*(process(batch(10), make_context(20)) for _ in range(3)))
    assert [len(ids(result)) for result in results] == [10] * 3
    assert len(service.calls) == 5


async def test_concurrent_batches_share_the_breaker_and_its_probe(outage):
    """One record of all batches is the probe."""
    service = Service()
    handler = consumer_of(service.call, outage, outage.breaker())
    async with handler.session() as process:
        await process(batch(5, first=100), make_context(20))
        outage.clock.advance(30)
        results = await asyncio.gather(*(process(batch(10), make_context(20)) for _ in range(3)))
        assert len(service.calls) == 6
        assert all(len(ids(result)) == 10 for result in results)
        outage.clock.advance(30)
        service.recover()
        results = await asyncio.gather(*(process(batch(10), make_context(20)) for _ in range(3)))
        assert [ids(result) for result in results] == [[]] * 3


def test_a_list_that_fails_is_one_failure_and_its_messages_are_held(outage):
    """A handler of lists."""
    calls: list[int] = []

    @fanfold.consumer(breaker=outage.breaker(), settler=outage.settler, chunk_size=3, concurrency=4)
    async def handler(numbers: list[int]) -> None:
        calls.append(len(numbers))
        raise DownError

    result = invoke(handler, batch(30))
    handler.close()
    assert calls == [3] * 5
    assert len(ids(result)) == 30
    assert len(outage.settler.changed) == 30


def test_records_of_a_list_that_fail_on_their_own_are_held(outage):
    """A handler of lists that returns a result for each record; the others are acknowledged."""
    open_now(outage)
    outage.clock.advance(30)

    @fanfold.consumer(breaker=outage.breaker(), settler=outage.settler, chunk_size=3, concurrency=1)
    async def handler(numbers: list[int]) -> list[object]:
        return [Done(), Failed(DownError()), Done()]

    result = invoke(handler, batch(3))
    handler.close()
    assert ids(result) == ["m1"]
    assert set(outage.settler.changed) == {"m1"}


def test_a_copying_settler_is_not_asked_for_copies_without_an_outage(outage):
    """A message on its last receive succeeds as usual."""
    service = Service(is_down=False)
    handler = consumer_of(service.call, outage, outage.breaker(last="copy"))
    assert kinds(invoke(handler, batch(3, receive_count=5))) == [Done] * 3
    handler.close()
    assert outage.settler.copies == []


def test_an_empty_batch_is_empty(outage):
    """Also while the breaker is open."""
    open_now(outage)
    handler = consumer_of(Service().call, outage, outage.breaker())
    assert ids(handler.invoke({"Records": []}, make_context(5))) == []
    handler.close()


def test_a_second_failure_after_the_response_changes_nothing(outage):
    """A thread of an abandoned handler ends late."""
    release, ended = threading.Event(), threading.Event()

    def call(body: int) -> None:
        release.wait()
        ended.set()
        raise DownError

    handler = consumer_of(call, outage, outage.breaker())
    assert kinds(invoke(handler, batch(1), seconds=0.2)) == [Failed]
    release.set()
    ended.wait(10)
    handler.close()
    assert outage.settler.visibility_changes == []


def test_custom_settlers_are_refused_messages_like_any(outage):
    """A hold that SQS refuses is halved until it accepts it."""
    outage.settler = CopyingSettler(longest=1_000)
    open_now(outage)
    handler = consumer_of(Service().call, outage, outage.breaker(outage_budget=36_000))
    invoke(handler, batch(1, receive_count=4))
    handler.close()
    assert outage.settler.changed["m0"] == 562
