"""The simulator: duplicates, and the order of messages."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import fanfold
from fanfold import Record, Retry
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_fifo_record, make_record
from simulated import Event, acknowledged, answer, batches, count_of, dead, done, failing, in_groups, simulate


def in_group_order(failed: Callable[[dict[str, Any]], bool]) -> Callable[[Event, Any], dict[str, Any]]:
    """Return a FIFO handler: what fails comes back with all that follows in its group."""

    def handler(event: Event, context: Any) -> dict[str, Any]:
        blocked: set[str] = set()
        reported = []
        for record in event["Records"]:
            group = record["attributes"]["MessageGroupId"]
            if group in blocked or failed(record):
                blocked.add(group)
                reported.append(record["messageId"])
        return answer(reported)

    return handler


def summary(simulator: Simulator) -> list[Any]:
    """Return all that a run has done, as values."""
    fates = [
        (each.began_at, each.ended_at, list(each.handles), list(each.receive_counts), each.invocation, each.verdict)
        for each in simulator.deliveries
    ]
    letters = [(each.message_id, each.history) for each in simulator.dead_letter_queue.messages()]
    return [fates, batches(simulator.deliveries), letters]


# --- Duplicates and order.


def test_duplicates_come_although_everything_succeeds():
    """At least once is what standard queues promise; nothing is lost by it."""
    simulator = simulate(done, *range(200), duplicates=0.3, max_receive_count=None, seed=1)
    handled = Counter(acknowledged(simulator))
    assert set(handled) == {f"message-{number}" for number in range(200)}
    assert max(handled.values()) > 1
    assert len(simulator.queue) == 0


def test_without_duplicates_nothing_is_handled_twice():
    """If it succeeds, and is visible no earlier than it has to be."""
    simulator = simulate(done, *range(200))
    assert set(Counter(acknowledged(simulator)).values()) == {1}


def test_a_deletion_may_be_forgotten():
    """The message comes back although it was deleted; its history says so."""
    deliveries = simulate(done, records=in_groups("a"), fifo=True, duplicates=1, max_receive_count=2).deliveries
    assert batches(deliveries) == [["a0"], ["a0"]]
    assert "deleted, but redelivered by the queue (at-least-once delivery)" in deliveries[0].messages[0].history


def test_a_standard_queue_may_give_messages_out_of_order():
    """On demand; all of them, once."""
    simulator = simulate(done, *range(100), reordered=True, seed=3)
    sent = [f"message-{number}" for number in range(100)]
    assert acknowledged(simulator) != sent
    assert sorted(acknowledged(simulator)) == sorted(sent)


@pytest.mark.parametrize("fifo", [False, True])
def test_the_same_seed_gives_the_same_run(fifo: bool):
    """And another one another."""

    def run(seed: int) -> list[Any]:
        chance = random.Random(0)
        simulator = simulate(
            failing(*[f"a{number}" for number in range(0, 60, 7)], times=2),
            records=in_groups("".join(chance.choice("abcdefgh") for _ in range(60))),
            fifo=fifo,
            throttled=0.2,
            duplicates=0.2,
            reordered=True,
            seed=seed,
        )
        return summary(simulator)

    assert run(1) == run(1)
    assert run(1) != run(2)


# --- FIFO.


@pytest.mark.parametrize("groups", ["aaaaaaaaaaaaa", "ababababab" * 3, "abcdefghijklm" * 2, "aaaaaabbbbbbcbabac"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
@pytest.mark.parametrize("concurrency", [1, 2, 5])
def test_a_group_is_handled_in_the_order_of_sending(groups: str, batch_size: int, concurrency: int):
    """Every third message fails at first; whatever other groups do, nothing passes it."""
    handler = in_group_order(lambda record: int(record["body"]) % 3 == 0 and count_of(record) == 1)
    simulator = Simulator(
        handler, fifo=True, batch_size=batch_size, maximum_concurrency=concurrency, max_receive_count=None
    )
    sent = in_groups(groups)
    simulator.send(records=sent)
    simulator.run()
    for group in set(groups):
        handled = [one for one in acknowledged(simulator) if one.startswith(group)]
        assert handled == [one["messageId"] for one in sent if one["messageId"].startswith(group)]


def test_a_group_is_locked_while_one_of_its_messages_is_in_flight():
    """Its second batch begins when its first has ended; other groups go on beside it."""
    simulator = Simulator(done, fifo=True, batch_size=1, invocation_seconds=5)
    simulator.send(records=in_groups("aab"))
    spans = {delivery.messages[0].message_id: (delivery.began_at, delivery.ended_at) for delivery in simulator.run()}
    assert spans == {"a0": (0, 5), "b2": (0, 5), "a1": (5, 10)}


def test_a_group_is_locked_while_a_message_of_it_is_hidden_after_a_failure():
    """The failed message, and all that was in its batch, until the last of them is visible again."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.message_id == "a0" and record.receive_count == 1:
            raise Retry(after=100)

    simulator = simulate(handler, records=in_groups("aab"), fifo=True, visibility_timeout=30)
    deliveries = simulator.deliveries
    assert [(delivery.began_at, ids) for delivery, ids in zip(deliveries, batches(deliveries), strict=True)] == [
        (0, ["a0", "a1", "b2"]),
        (100, ["a0", "a1"]),
    ]
    assert acknowledged(simulator) == ["b2", "a0", "a1"]


def test_a_batch_of_large_fifo_messages_that_ends_early_keeps_the_group_in_order():
    """What did not fit into 6 MB waits for what did."""
    handler = in_group_order(lambda record: record["messageId"] == "a0" and count_of(record) == 1)
    simulator = Simulator(handler, fifo=True)
    simulator.send(
        records=[make_fifo_record("x" * 1_048_000, group="a", message_id=f"a{number}") for number in range(9)]
    )
    simulator.run()
    assert acknowledged(simulator) == [f"a{number}" for number in range(9)]


def test_a_poison_head_blocks_its_group_until_it_is_dead_lettered():
    """Nothing behind it is handled before; another group's messages are."""
    handler = in_group_order(lambda record: record["messageId"] == "a0")
    simulator = simulate(handler, records=in_groups("aabb"), fifo=True, batch_size=1, max_receive_count=3)
    deliveries = simulator.deliveries
    assert acknowledged(simulator) == ["b2", "b3", "a1"]
    assert dead(simulator) == ["a0"]
    assert [delivery.began_at for delivery in deliveries if delivery.messages[0].group == "a"] == [0, 30, 60, 90]


def test_what_stands_behind_a_poison_head_in_its_batch_uses_up_its_receives_with_it():
    """It is returned with the head each time, so it is dead-lettered untried."""
    handler = in_group_order(lambda record: record["messageId"] == "a0")
    simulator = simulate(handler, records=in_groups("aab"), fifo=True, max_receive_count=3)
    assert dead(simulator) == ["a0", "a1"]
    assert acknowledged(simulator) == ["b2"]


def test_the_bodies_sent_to_a_fifo_queue_are_one_group():
    """In the order of sending; records bring groups of their own."""
    simulator = simulate(done, 1, 2, fifo=True)
    assert {message.group for delivery in simulator.deliveries for message in delivery.messages} == {"group-0"}
    assert acknowledged(simulator) == ["message-0", "message-1"]


def test_the_tenants_of_a_fair_queue_are_not_kept_in_order():
    """Message groups on a standard queue lock nothing."""
    simulator = Simulator(failing("m0", times=1), batch_size=1)
    simulator.send(
        records=[make_record(1, message_id=f"m{number}", attributes={"MessageGroupId": "t"}) for number in range(3)]
    )
    simulator.run()
    assert acknowledged(simulator) == ["m1", "m2", "m0"]
