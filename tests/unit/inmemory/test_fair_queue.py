"""A standard queue whose messages have groups is a fair queue."""

from collections.abc import Callable
from typing import Any

import pytest

from fanfold._replay.simulator import Simulator
from fanfold.inmemory import InMemoryQueue
from fanfold.inmemory.fairness import Load, TenantLoads, is_noisy
from fanfold.testing import ManualClock, make_fair_record, make_record
from simulated import done


@pytest.mark.parametrize(
    ("tenant", "queue", "noisy"),
    [
        (Load(29, 0), Load(29, 0), False),
        (Load(30, 0), Load(299, 0), True),
        (Load(30, 0), Load(300, 0), False),
        (Load(1, 1.1), Load(1_000, 10), True),
        (Load(1, 1), Load(1_000, 10), False),
        (Load(500, 9, quiet_seconds=299), Load(1_000, 10), True),
        (Load(500, 9, quiet_seconds=300), Load(1_000, 10), False),
    ],
)
def test_a_tenant_is_noisy_by_the_published_thresholds(tenant: Load, queue: Load, noisy: bool):
    """More than 10 % of the messages in flight and at least 30, or more than 10 % of the processing time."""
    assert is_noisy(tenant, queue) is noisy


def test_a_load_ends_with_its_messages_and_five_minutes_later():
    """Processing time counts until a deletion, a changed, or an expired visibility timeout, and is then forgotten."""
    loads = TenantLoads()
    loads.sent("a", 0)
    loads.sent("b", 0)
    for number in range(3):
        loads.received(number, "a", 0, 60)
    loads.received(3, "b", 0, 60)
    loads.changed(3, 100)
    loads.changed(99, 100)
    loads.ended(0, 10)
    loads.ended(99, 10)
    assert loads.noisy(50) == {"a": 2, "b": 1}
    assert loads.noisy(60) == {"a": 0, "b": 1}
    assert loads.noisy(299) == {"a": 0, "b": 0}
    for tenant in "ab":
        loads.sent(tenant, 390)
    assert loads.noisy(390) == {"b": 0}
    assert loads.noisy(400) == {}


def fill(queue: InMemoryQueue, tenants: str) -> None:
    for number, tenant in enumerate(tenants):
        record = make_record(number) if tenant == "-" else make_fair_record(number, tenant=tenant)
        queue.put({**record, "messageId": f"{tenant}{number}"})


def grouped(tenant: str, number: int) -> Any:
    return make_fair_record(number, tenant=tenant, message_id=f"{tenant}{number}")


def ungrouped(tenant: str, number: int) -> Any:
    return make_record(number, message_id=f"{tenant}{number}")


def receive(queue: InMemoryQueue, count: int) -> str:
    """Return the tenants of the next messages."""
    return "".join(message.message_id[0] for message in queue.take(count))


def test_messages_of_quiet_tenants_overtake_those_of_a_noisy_one():
    """Between receives, never within one: the tenant becomes noisy when 30 of its messages are in flight."""
    queue = InMemoryQueue(clock=ManualClock())
    fill(queue, "a" * 60 + "bc")
    assert [receive(queue, 10) for _ in range(4)] == ["a" * 10, "a" * 10, "a" * 10, "bc" + "a" * 8]


def test_of_noisy_tenants_the_one_with_the_fewest_messages_in_flight_comes_first():
    """With equally many, they take turns."""
    queue = InMemoryQueue(clock=ManualClock())
    fill(queue, "a" * 60 + "b" * 40)
    for _ in range(10):
        queue.take(10)
    fill(queue, "aaabb")
    assert receive(queue, 4) == "bbaa"
    fill(queue, "b" * 25)
    assert receive(queue, 10) == "b" * 10
    assert receive(queue, 10) == "b" * 10
    assert receive(queue, 10) == "abbbbb"


def test_messages_without_a_group_are_quiet():
    """Each counts as a separate tenant, but they count among the messages in flight."""
    queue = InMemoryQueue(clock=ManualClock())
    fill(queue, "-" * 300 + "a" * 40 + "-")
    for _ in range(33):
        queue.take(10)
    assert receive(queue, 10) == "a" * 10
    assert receive(queue, 10) == "-"


def test_a_tenant_that_sends_nothing_for_five_minutes_is_quiet():
    """Its backlog is then delivered in the order in which it became visible."""
    clock = ManualClock()
    queue = InMemoryQueue(clock=clock, visibility_timeout=1_000)
    fill(queue, "a" * 60 + "b")
    for _ in range(3):
        queue.take(10)
    clock.advance(300)
    assert receive(queue, 10) == "a" * 10


def test_a_message_that_was_not_delivered_is_not_in_flight():
    """The simulator returns the surplus of a batch."""
    queue = InMemoryQueue(clock=ManualClock())
    fill(queue, "a" * 40 + "b")
    for _ in range(2):
        queue.take(10)
    taken = queue.take(10)
    queue.undo_receive(taken[0])
    queue.change_visibility(taken[1].handle, 0)
    assert receive(queue, 10) == "a" * 10
    assert receive(queue, 10) == "baa"


def test_messages_in_flight_count_before_the_first_message_with_a_group():
    """Here, 300 without a group: 30 of one tenant are not more than a tenth of all."""
    queue = InMemoryQueue(clock=ManualClock())
    fill(queue, "-" * 300)
    for _ in range(30):
        queue.take(10)
    fill(queue, "a" * 40 + "b")
    for _ in range(3):
        queue.take(10)
    assert receive(queue, 11) == "a" * 10 + "b"


def test_a_message_is_delivered_once_although_its_visibility_was_set_twice():
    """To the same time, by two calls."""
    clock = ManualClock()
    queue = InMemoryQueue(clock=clock)
    fill(queue, "a" * 31 + "b")
    for _ in range(4):
        taken = queue.take(10)
    for message in taken[:1] * 2:
        assert queue.change_visibility(message.handle, 5)
    clock.advance(5)
    assert [message.message_id for message in queue.take(10)] == [taken[0].message_id]


def test_a_reordering_fair_queue_reorders_within_a_receive():
    """The receive contains the same messages."""
    queue = InMemoryQueue(clock=ManualClock(), reordered=True)
    fill(queue, "a" * 60 + "bc")
    for _ in range(5):
        queue.take(10)
    last = receive(queue, 10)
    assert sorted(last) == sorted("bc" + "a" * 8) or "b" not in last


@pytest.mark.parametrize(("make", "began_at"), [(grouped, 20), (ungrouped, 200)])
def test_simulated_quiet_messages_do_not_wait_for_a_noisy_backlog(make: Callable[..., Any], began_at: float):
    """They wait for the batches in flight only; without groups, for the whole backlog."""
    with Simulator(done, invocation_seconds=10, visibility_timeout=60, maximum_concurrency=5) as simulator:
        simulator.send(records=[make("noisy", number) for number in range(1_000)])
        simulator.at(15, lambda: simulator.send(records=[make("quiet", 0)]))
        deliveries = simulator.run()
    first = next(one for one in deliveries if "quiet0" in {message.message_id for message in one.messages})
    assert first.began_at == began_at
