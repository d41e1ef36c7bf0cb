"""The simulator: duplicates and the order of messages."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import fanfold
from fanfold import Record, Retry
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_fifo_record, make_record
from simulated import Event, acknowledged, batch_response, batches, count_of, dead, done, failing, in_groups, simulate


def in_group_order(failed: Callable[[dict[str, Any]], bool]) -> Callable[[Event, Any], dict[str, Any]]:
    """Return a FIFO handler that reports each failed message and all later messages of its group."""

    def handler(event: Event, context: Any) -> dict[str, Any]:
        blocked: set[str] = set()
        reported = []
        for record in event["Records"]:
            group = record["attributes"]["MessageGroupId"]
            if group in blocked or failed(record):
                blocked.add(group)
                reported.append(record["messageId"])
        return batch_response(reported)

    return handler


def summary(simulator: Simulator) -> list[Any]:
    """Return the results of a run as values."""
    deliveries = [
        (one.began_at, one.ended_at, list(one.handles), list(one.receive_counts), one.invocation, one.verdict)
        for one in simulator.deliveries
    ]
    dead_letters = [(message.message_id, message.history) for message in simulator.dead_letter_queue.messages()]
    return [deliveries, batches(simulator.deliveries), dead_letters]


# --- Duplicates and order.


def test_messages_are_duplicated_even_if_all_succeed():
    """Standard queues deliver at least once; no message is lost."""
    simulator = simulate(done, *range(200), duplicates=0.3, max_receive_count=None, seed=1)
    handled = Counter(acknowledged(simulator))
    assert set(handled) == {f"message-{number}" for number in range(200)}
    assert max(handled.values()) > 1
    assert len(simulator.queue) == 0


def test_without_duplicates_each_message_is_handled_once():
    """If it succeeds within its visibility timeout."""
    simulator = simulate(done, *range(200))
    assert set(Counter(acknowledged(simulator)).values()) == {1}


def test_a_deleted_message_may_be_redelivered():
    """Its history states this."""
    deliveries = simulate(done, records=in_groups("a"), fifo=True, duplicates=1, max_receive_count=2).deliveries
    assert batches(deliveries) == [["a0"], ["a0"]]
    assert "deleted, but redelivered by the queue (at-least-once delivery)" in deliveries[0].messages[0].history


def test_a_standard_queue_may_deliver_messages_out_of_order():
    """On request; each message is delivered once."""
    simulator = simulate(done, *range(100), reordered=True, seed=3)
    sent = [f"message-{number}" for number in range(100)]
    assert acknowledged(simulator) != sent
    assert sorted(acknowledged(simulator)) == sorted(sent)


@pytest.mark.parametrize("fifo", [False, True])
def test_the_same_seed_gives_the_same_run(fifo: bool):
    """Another seed gives a different run."""

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
def test_a_group_is_handled_in_the_order_of_its_messages(groups: str, batch_size: int, concurrency: int):
    """Every third message fails on its first receive; later messages of its group wait."""
    handler = in_group_order(lambda record: int(record["body"]) % 3 == 0 and count_of(record) == 1)
    simulator = Simulator(
        handler, fifo=True, batch_size=batch_size, maximum_concurrency=concurrency, max_receive_count=None
    )
    sent = in_groups(groups)
    simulator.send(records=sent)
    simulator.run()
    for group in set(groups):
        handled = [message_id for message_id in acknowledged(simulator) if message_id.startswith(group)]
        assert handled == [record["messageId"] for record in sent if record["messageId"].startswith(group)]


def test_a_group_is_locked_while_one_of_its_messages_is_in_flight():
    """Its second batch begins after its first has ended; other groups are delivered concurrently."""
    simulator = Simulator(done, fifo=True, batch_size=1, invocation_seconds=5)
    simulator.send(records=in_groups("aab"))
    spans = {delivery.messages[0].message_id: (delivery.began_at, delivery.ended_at) for delivery in simulator.run()}
    assert spans == {"a0": (0, 5), "b2": (0, 5), "a1": (5, 10)}


def test_a_group_is_locked_until_its_failed_messages_are_visible_again():
    """The failed message, and the later messages of its group in that batch."""

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
    """Messages that did not fit into 6 MB wait for those that did."""
    handler = in_group_order(lambda record: record["messageId"] == "a0" and count_of(record) == 1)
    simulator = Simulator(handler, fifo=True)
    simulator.send(
        records=[make_fifo_record("x" * 1_048_000, group="a", message_id=f"a{number}") for number in range(9)]
    )
    simulator.run()
    assert acknowledged(simulator) == [f"a{number}" for number in range(9)]


def test_a_poison_message_blocks_its_group_until_it_is_dead_lettered():
    """Later messages of its group wait; other groups are handled."""
    handler = in_group_order(lambda record: record["messageId"] == "a0")
    simulator = simulate(handler, records=in_groups("aabb"), fifo=True, batch_size=1, max_receive_count=3)
    deliveries = simulator.deliveries
    assert acknowledged(simulator) == ["b2", "b3", "a1"]
    assert dead(simulator) == ["a0"]
    assert [delivery.began_at for delivery in deliveries if delivery.messages[0].group == "a"] == [0, 30, 60, 90]


def test_later_messages_of_a_poison_messages_batch_use_up_their_receives():
    """They are reported with the poison message each time, so they are dead-lettered without an attempt."""
    handler = in_group_order(lambda record: record["messageId"] == "a0")
    simulator = simulate(handler, records=in_groups("aab"), fifo=True, max_receive_count=3)
    assert dead(simulator) == ["a0", "a1"]
    assert acknowledged(simulator) == ["b2"]


def test_bodies_sent_to_a_fifo_queue_form_one_group():
    """Only records have groups that the caller chooses."""
    simulator = simulate(done, 1, 2, fifo=True)
    assert {message.group for delivery in simulator.deliveries for message in delivery.messages} == {"group-0"}
    assert acknowledged(simulator) == ["message-0", "message-1"]


def test_message_groups_of_a_fair_queue_are_not_ordered():
    """Message groups on a standard queue do not lock."""
    simulator = Simulator(failing("m0", times=1), batch_size=1)
    simulator.send(
        records=[make_record(1, message_id=f"m{number}", attributes={"MessageGroupId": "t"}) for number in range(3)]
    )
    simulator.run()
    assert acknowledged(simulator) == ["m1", "m2", "m0"]
