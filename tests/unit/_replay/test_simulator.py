"""The simulator: that what it does to messages is what SQS and Lambda do to them."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any

import pytest

import fanfold
from fanfold import Backoff, Record, Reject, Retry
from fanfold._base.dead_letter import reason_in
from fanfold._replay.mapping import Errored, Returned
from fanfold._replay.queue import QueueSettings, SimulatedQueue
from fanfold._replay.simulator import Delivery, SimulatedSettler, Simulator
from fanfold.errors import ConfigurationError
from fanfold.testing import ManualClock, make_fifo_record, make_record

Event = dict[str, Any]


def ids_of(event: Event) -> list[str]:
    return [record["messageId"] for record in event["Records"]]


def count_of(record: dict[str, Any]) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def answer(failed: Iterable[str]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failed]}


def done(event: Event, context: Any) -> None:
    """Handle a batch, all of it."""


def failing(*ids: str, times: float = math.inf) -> Callable[[Event, Any], dict[str, Any]]:
    """Return a handler that fails these messages in their first so many deliveries."""

    def handler(event: Event, context: Any) -> dict[str, Any]:
        return answer(
            one["messageId"] for one in event["Records"] if one["messageId"] in ids and count_of(one) <= times
        )

    return handler


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


def in_groups(groups: str) -> list[dict[str, Any]]:
    """Return FIFO records ``a0``, ``b1`` …: one for each letter, which names its group."""
    return [make_fifo_record(number, group=group, message_id=f"{group}{number}") for number, group in enumerate(groups)]


def batches(deliveries: Sequence[Delivery]) -> list[list[str]]:
    return [[message.message_id for message in delivery.messages] for delivery in deliveries]


def times(deliveries: Sequence[Delivery]) -> list[tuple[float, float]]:
    return [(delivery.began_at, delivery.ended_at) for delivery in deliveries]


def counts(deliveries: Sequence[Delivery]) -> list[list[int]]:
    return [list(delivery.receive_counts) for delivery in deliveries]


def dead(simulator: Simulator) -> list[str]:
    return [record.message_id for record in simulator.dead_letters]


def acknowledged(simulator: Simulator) -> list[str]:
    """Return the ids that deliveries acknowledged, in the order of delivery."""
    return [
        message.message_id
        for delivery in simulator.deliveries
        for message in delivery.messages
        if message.message_id not in delivery.verdict.failed
    ]


def most_at_once(deliveries: Sequence[Delivery]) -> int:
    """Return how many deliveries overlap at most; one that ends when another begins does not overlap it."""
    moments = sorted(
        [(one.began_at, 1) for one in deliveries if one.ended_at > one.began_at]
        + [(one.ended_at, -1) for one in deliveries if one.ended_at > one.began_at]
    )
    running = most = 0
    for _, step in moments:
        running += step
        most = max(most, running)
    return most


def summary(simulator: Simulator) -> list[Any]:
    """Return all that a run has done, as values."""
    fates = [
        (each.began_at, each.ended_at, list(each.handles), list(each.receive_counts), each.invocation, each.verdict)
        for each in simulator.deliveries
    ]
    letters = [(each.message_id, each.history) for each in simulator.dead_letter_queue.messages()]
    return [fates, batches(simulator.deliveries), letters]


# --- The plain case.


def test_an_empty_queue_is_delivered_nowhere():
    """The function is not invoked."""
    simulator = Simulator(done)
    assert list(simulator.run()) == []
    assert simulator.clock.now == 0


def test_what_succeeds_is_delivered_once_and_deleted():
    """In batches of ten, in the order of sending."""
    simulator = Simulator(done)
    simulator.send(*range(25))
    deliveries = simulator.run()
    assert [len(delivery.messages) for delivery in deliveries] == [10, 10, 5]
    assert acknowledged(simulator) == [f"message-{number}" for number in range(25)]
    assert [delivery.number for delivery in deliveries] == [0, 1, 2]
    assert len(simulator.queue) == 0
    assert not simulator.dead_letters


def test_a_handler_gets_the_event_that_lambda_would_give_it():
    """Bodies, counts, handles, attributes; a context with the time left; a copy that is its own to spoil."""
    seen = []

    def handler(event: Event, context: Any) -> None:
        seen.append((json.loads(json.dumps(event)), context.get_remaining_time_in_millis()))
        event["Records"].clear()

    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    record = make_record({"order": 1}, message_id="sent", message_attributes=attributes)
    simulator = Simulator(handler, function_timeout=60)
    simulator.send("text", records=[record])
    (delivery,) = simulator.run()
    ((event, remaining),) = seen
    assert [one["body"] for one in event["Records"]] == ["text", '{"order": 1}']
    assert event["Records"][1] == {**record, "receiptHandle": delivery.handles[1]}
    assert event["Records"][1]["messageAttributes"] == attributes
    assert 0 < remaining <= 60_000
    assert acknowledged(simulator) == ["message-0", "sent"]


def test_the_ids_of_messages_sent_later_are_new_ones():
    """Also when the queue has become shorter meanwhile: two messages of one id share their fate."""
    simulator = Simulator(failing("message-1", "message-2", times=1))
    simulator.send(0, 1, 2)
    simulator.run(until=10)
    simulator.send("later")
    assert len({message.message_id for message in simulator.queue.messages()}) == 3


def test_the_ids_of_messages_sent_to_an_empty_queue_are_new_ones():
    """What a test has seen of the first run is not mistaken for the second."""
    simulator = Simulator(done)
    simulator.send(0)
    simulator.run()
    simulator.send(1)
    simulator.run()
    assert len(set(acknowledged(simulator))) == 2


# --- Redelivery and dead letters.


def test_a_reported_message_comes_back_after_the_visibility_timeout_with_a_higher_count():
    """The rest is gone."""
    simulator = Simulator(failing("message-1", times=2), visibility_timeout=40)
    simulator.send(0, 1, 2)
    deliveries = simulator.run()
    assert batches(deliveries) == [["message-0", "message-1", "message-2"], ["message-1"], ["message-1"]]
    assert counts(deliveries) == [[1, 1, 1], [2], [3]]
    assert times(deliveries) == [(0, 1), (40, 41), (80, 81)]
    assert not simulator.dead_letters


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_message_is_a_dead_letter_after_its_last_receive(most: int):
    """It was delivered as often as the queue allows; what was well beside it is not touched."""
    simulator = Simulator(failing("message-0"), max_receive_count=most)
    simulator.send("poison", "well")
    deliveries = simulator.run()
    assert batches(deliveries) == [["message-0", "message-1"], *[["message-0"]] * (most - 1)]
    assert dead(simulator) == ["message-0"]
    assert simulator.dead_letters[0].body == "poison"
    assert reason_in(simulator.dead_letters[0]) is None
    assert len(simulator.queue) == 0


def test_a_dead_letter_tells_what_happened_to_it():
    """One line for each delivery, with the reason, and one for the move."""
    simulator = Simulator(failing("message-0"), max_receive_count=2)
    simulator.send("poison", "well")
    simulator.run()
    (letter,) = simulator.dead_letter_queue.messages()
    assert letter.history == [
        "delivery 0: came back (1 of 2 messages are reported)",
        "delivery 1: came back (every message of the batch is reported)",
        "moved to the dead-letter queue after 2 receives",
    ]


def test_a_dead_letter_keeps_its_attributes_and_its_count_of_receives():
    """What is looked at to find out why."""
    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    simulator = Simulator(failing("sent"), max_receive_count=3)
    simulator.send(records=[make_record(1, message_id="sent", message_attributes=attributes)])
    simulator.run()
    (letter,) = simulator.dead_letters
    assert letter.message_attributes == attributes
    assert letter.receive_count >= 3


def test_without_a_redrive_policy_nothing_is_ever_a_dead_letter():
    """It comes back until it succeeds."""
    simulator = Simulator(failing("message-0", times=50), max_receive_count=None)
    simulator.send(1)
    assert counts(simulator.run()) == [[number] for number in range(1, 52)]
    assert not simulator.dead_letters


def test_a_message_that_arrives_with_receives_behind_it_goes_on_from_there():
    """Records captured from a real queue have been received before."""
    simulator = Simulator(failing("old"), max_receive_count=5)
    simulator.send(records=[make_record(1, message_id="old", receive_count=4)])
    assert counts(simulator.run()) == [[4], [5]]
    assert dead(simulator) == ["old"]


def test_more_dead_letters_than_a_receive_holds_do_not_keep_what_is_behind_them():
    """SQS moves them when they would be received once more."""
    simulator = Simulator(failing(*[f"old-{number}" for number in range(25)]), max_receive_count=1)
    simulator.send(records=[make_record(1, message_id=f"old-{number}") for number in range(25)])
    simulator.run(until=10)
    simulator.send(records=[make_record(1, message_id="new")])
    simulator.run()
    assert len(dead(simulator)) == 25
    assert acknowledged(simulator) == ["new"]


def test_two_messages_of_one_id_are_both_delivered_and_share_their_fate():
    """An answer cannot tell them apart, so one that fails takes the other along."""
    seen = []

    def handler(event: Event, context: Any) -> dict[str, Any]:
        seen.append([record["body"] for record in event["Records"]])
        bad = [one for one in event["Records"] if one["body"] == "bad" and count_of(one) == 1]
        return answer(one["messageId"] for one in bad)

    simulator = Simulator(handler)
    simulator.send(records=[make_record(body, message_id="same") for body in ("good", "bad")])
    simulator.run()
    assert seen == [["good", "bad"], ["good", "bad"]]
    assert len(simulator.queue) == 0


# --- What handlers are.


def test_a_fanfold_consumer_is_delivered_to():
    """The failed message comes back, the others do not."""
    ran = Counter()

    @fanfold.consumer
    async def handler(record: Record) -> None:
        ran[record.body, record.receive_count] += 1
        if record.body == "1" and record.receive_count < 3:
            raise ValueError

    simulator = Simulator(handler)
    simulator.send(0, 1, 2)
    simulator.run()
    assert ran == {("0", 1): 1, ("1", 1): 1, ("2", 1): 1, ("1", 2): 1, ("1", 3): 1}
    assert not simulator.dead_letters


def test_a_consumer_of_a_plain_function_is_delivered_to():
    """Its handlers run on threads."""
    ran = []

    @fanfold.consumer
    def handler(number: int) -> None:
        ran.append(number)

    simulator = Simulator(handler)
    simulator.send(*range(12))
    simulator.run()
    assert sorted(ran) == list(range(12))


def test_what_a_consumer_has_opened_can_be_closed_by_whoever_made_it():
    """Closing the consumer, or the simulator, ends the lifespan that the run began."""
    steps = []

    @asynccontextmanager
    async def lifespan():
        steps.append("begin")
        yield
        steps.append("end")

    @fanfold.consumer(lifespan=lifespan)
    async def handler(number: int) -> None: ...

    simulator = Simulator(handler)
    simulator.send(1)
    simulator.run()
    handler.close()
    getattr(simulator, "close", lambda: None)()
    assert steps == ["begin", "end"]


def test_the_consumer_itself_keeps_its_settings():
    """The simulator works on a copy, with queues of its own."""

    @fanfold.consumer
    async def handler(number: int) -> None: ...

    before = handler.settings
    simulator = Simulator(handler)
    simulator.send(1)
    simulator.run()
    assert handler.settings == before


def test_powertools_batch_processor_is_delivered_to():
    """Its partial response, and the error that it raises when all fail."""
    batch = pytest.importorskip("aws_lambda_powertools.utilities.batch", reason="Powertools is not installed")
    processor = batch.BatchProcessor(event_type=batch.EventType.SQS)

    def record_handler(record: Any) -> None:
        if record.body == "1":
            raise ValueError

    def handler(event: Event, context: Any) -> Any:
        return batch.process_partial_response(event, record_handler, processor, context)

    simulator = Simulator(handler, max_receive_count=2)
    simulator.send(0, 1, 2)
    deliveries = simulator.run()
    assert [delivery.verdict.kind for delivery in deliveries] == ["partial success", "complete failure"]
    assert isinstance(deliveries[1].invocation, Errored)
    assert deliveries[1].invocation.reason.startswith("BatchProcessingError: ")
    assert acknowledged(simulator) == ["message-0", "message-2"]
    assert dead(simulator) == ["message-1"]


def test_powertools_fifo_processor_keeps_a_group_in_order():
    """Behind a failure it reports the rest of the batch."""
    batch = pytest.importorskip("aws_lambda_powertools.utilities.batch", reason="Powertools is not installed")
    processor = batch.SqsFifoPartialProcessor(skip_group_on_error=True)

    def record_handler(record: Any) -> None:
        if record.message_id == "a2" and record.attributes.approximate_receive_count == "1":
            raise ValueError

    def handler(event: Event, context: Any) -> Any:
        return batch.process_partial_response(event, record_handler, processor, context)

    simulator = Simulator(handler, fifo=True)
    simulator.send(records=in_groups("abaaba"))
    simulator.run()
    assert acknowledged(simulator) == ["a0", "b1", "b4", "a2", "a3", "a5"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), asyncio.CancelledError("no")])
def test_a_handler_that_raises_brings_the_whole_batch_back(error: BaseException):
    """Whatever it raises: in Lambda the runtime reports it, or dies of it."""

    def handler(event: Event, context: Any) -> None:
        if count_of(event["Records"][0]) == 1:
            raise error

    simulator = Simulator(handler)
    simulator.send(0, 1)
    deliveries = simulator.run()
    assert batches(deliveries) == [["message-0", "message-1"]] * 2
    assert isinstance(deliveries[0].invocation, Errored)
    assert type(error).__name__ in deliveries[0].invocation.reason


def test_whoever_stops_the_run_stops_it():
    """An interrupt from the keyboard is no answer of the function."""

    def handler(event: Event, context: Any) -> None:
        raise KeyboardInterrupt

    simulator = Simulator(handler)
    simulator.send(0)
    with pytest.raises(KeyboardInterrupt):
        simulator.run()


@pytest.mark.parametrize("value", [object(), b"bytes", {"batchItemFailures": {1, 2}}, {(1, 2): 3}])
def test_a_value_that_is_not_json_brings_the_whole_batch_back(value: object):
    """Lambda's runtime fails at it, after the handler has done its work."""
    simulator = Simulator(lambda event, context: value, max_receive_count=2)
    simulator.send(0, 1)
    deliveries = simulator.run()
    assert all(delivery.invocation.reason.startswith("Runtime.MarshalError: ") for delivery in deliveries)
    assert dead(simulator) == ["message-0", "message-1"]


def test_a_value_that_holds_itself_brings_the_whole_batch_back():
    """There is no end to writing it."""
    endless: list[Any] = []
    endless.append(endless)
    simulator = Simulator(lambda event, context: endless, max_receive_count=1)
    simulator.send(0)
    simulator.run()
    assert dead(simulator) == ["message-0"]


def test_a_misspelt_key_loses_what_it_names():
    """As in AWS: the batch is deleted, and nothing is red."""
    simulator = Simulator(lambda event, context: {"batchItemFailure": [{"itemIdentifier": "message-0"}]})
    simulator.send(0)
    assert [delivery.verdict.kind for delivery in simulator.run()] == ["complete success"]
    assert len(simulator.queue) == 0


def test_an_unknown_id_brings_the_whole_batch_back():
    """The verdict says why."""
    simulator = Simulator(lambda event, context: answer(["elsewhere"]), max_receive_count=1)
    simulator.send(0, 1)
    (delivery,) = simulator.run()
    assert "'elsewhere', which is not in the batch" in delivery.verdict.reason
    assert dead(simulator) == ["message-0", "message-1"]


def test_without_report_batch_item_failures_what_is_named_is_deleted():
    """An error still brings the batch back."""

    def handler(event: Event, context: Any) -> dict[str, Any]:
        if count_of(event["Records"][0]) == 1:
            raise ValueError
        return answer(ids_of(event))

    simulator = Simulator(handler, report_batch_item_failures=False)
    simulator.send(0, 1)
    assert [delivery.verdict.kind for delivery in simulator.run()] == ["complete failure", "complete success"]
    assert not simulator.dead_letters


@pytest.mark.parametrize("kind", ["error", "timeout", "killed", "throttled"])
def test_a_function_may_be_invoked_in_another_way(kind: str):
    """What it comes to is a value; a timeout has lasted as long as the function may."""
    endings = iter([Errored(kind, "because"), Returned("null")])
    simulator = Simulator(invoke=lambda event: next(endings), function_timeout=20)
    simulator.send(0)
    deliveries = simulator.run()
    assert deliveries[0].invocation == Errored(kind, "because")
    assert times(deliveries) == [(0, 20 if kind == "timeout" else 1), (30, 31)]


# --- Visibility.


def test_back_off_and_retry_hide_a_message_for_their_own_time():
    """Instead of the queue's visibility timeout, which a failure without them keeps."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.receive_count == 1:
            raise {"5": Retry(after=5), "100": Retry(after=100)}.get(record.body, ValueError())

    simulator = Simulator(handler, visibility_timeout=30)
    simulator.send("5", "100", "timeout")
    deliveries = simulator.run()
    assert [delivery.began_at for delivery in deliveries] == [0, 5, 30, 100]
    assert batches(deliveries)[1:] == [["message-0"], ["message-2"], ["message-1"]]


@pytest.mark.parametrize("fifo", [False, True])
@pytest.mark.parametrize("after", [0, 5])
def test_a_message_that_asks_for_a_retry_does_not_come_back_before_its_own_invocation_has_ended(after: int, fifo: bool):
    """It is alone in its batch, so the invocation ends with the handler that asked."""

    @fanfold.consumer
    async def handler(number: int) -> None:
        raise Retry(after=after)

    simulator = Simulator(handler, fifo=fifo, invocation_seconds=20, max_receive_count=3)
    simulator.send(1)
    deliveries = simulator.run()
    assert len(deliveries) == 3
    assert most_at_once(deliveries) == 1


def test_back_off_grows_with_each_delivery():
    """Seconds from one delivery to the next."""

    @fanfold.consumer(backoff=Backoff(base=10, jitter=0))
    async def handler(number: int) -> None:
        raise ValueError

    simulator = Simulator(handler, max_receive_count=4)
    simulator.send(1)
    assert [delivery.began_at for delivery in simulator.run()] == [0, 10, 30, 70]
    assert simulator.dead_letter_queue.messages()[0].history[:2] == [
        "hidden for 10 s by the handler",
        "delivery 0: came back (every message of the batch is reported)",
    ]


def test_the_jitter_of_a_back_off_is_the_same_for_the_same_seed():
    """All chance is the simulator's."""

    @fanfold.consumer(backoff=Backoff(base=1_000, jitter=1))
    async def handler(number: int) -> None:
        raise ValueError

    def began() -> list[float]:
        simulator = Simulator(handler, seed=7)
        simulator.send(1, 2, 3)
        return [delivery.began_at for delivery in simulator.run()]

    assert began() == began()


def test_a_delay_beyond_twelve_hours_since_the_receive_is_halved():
    """The batch was gathered for a while, so of the twelve hours that are asked for some seconds are gone."""

    @fanfold.consumer
    async def handler(record: Record) -> None:
        if record.receive_count == 1:
            raise Retry(after=43_200)

    simulator = Simulator(handler, window_seconds=20)
    simulator.send(1)
    assert [delivery.began_at for delivery in simulator.run()] == [20, 20 + 21_600 + 20]


def test_a_rejected_message_is_a_dead_letter_at_once_with_its_reason():
    """And deleted from the queue, in its first delivery; its own attributes stay."""

    @fanfold.consumer
    async def handler(body: str) -> None:
        if body == "bad":
            raise Reject("no such customer")

    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    simulator = Simulator(handler)
    simulator.send("good", records=[make_record("bad", message_id="sent", message_attributes=attributes)])
    assert len(simulator.run()) == 1
    (letter,) = simulator.dead_letters
    assert (letter.message_id, letter.body, reason_in(letter)) == ("sent", "bad", "no such customer")
    assert letter.message_attributes["tenant"] == attributes["tenant"]
    why = json.loads(letter.message_attributes["fanfold"]["stringValue"])
    assert (why["message_id"], why["receive_count"]) == ("sent", 1)
    assert simulator.dead_letter_queue.messages()[0].history == ["rejected by the handler: no such customer"]
    assert len(simulator.queue) == 0


def test_a_body_that_cannot_be_decoded_is_a_dead_letter_at_once():
    """It would never succeed."""

    @fanfold.consumer
    async def handler(number: int) -> None: ...

    simulator = Simulator(handler)
    simulator.send("{", 1)
    assert len(simulator.run()) == 1
    assert dead(simulator) == ["message-0"]


def test_a_consumer_without_dead_letters_reports_what_it_rejects():
    """An empty address turns them off; the queue's own limit of receives is what is left."""

    @fanfold.consumer(dead_letter_queue_url="")
    async def handler(number: int) -> None:
        raise Reject("never")

    simulator = Simulator(handler, max_receive_count=3)
    simulator.send(1)
    assert counts(simulator.run()) == [[1], [2], [3]]
    assert reason_in(simulator.dead_letters[0]) is None


def test_a_message_whose_visibility_is_shorter_than_its_invocation_is_delivered_twice():
    """The first deletion does not hold, since the message was received again meanwhile."""
    simulator = Simulator(done, visibility_timeout=10, invocation_seconds=25, max_receive_count=None)
    simulator.send(1)
    deliveries = simulator.run(most_deliveries=2)
    assert times(deliveries) == [(0, 25), (10, 35)]
    assert counts(deliveries) == [[1], [2]]
    assert deliveries[0].messages[0].history == [
        "delivery 0: not deleted: received again meanwhile (the response is null or empty)",
        "delivery 1: deleted (the response is null or empty)",
    ]
    assert len(simulator.queue) == 0


def test_a_message_whose_visibility_is_shorter_than_its_invocation_can_die_of_success():
    """Every invocation succeeds, and the receives are used up all the same."""
    simulator = Simulator(done, visibility_timeout=10, invocation_seconds=25, max_receive_count=2)
    simulator.send(1)
    assert len(simulator.run()) == 2
    assert dead(simulator) == ["message-0"]


def test_the_visibility_clock_starts_before_the_window():
    """Received at 0, invoked at 20: visible again at 30, in the middle of the invocation."""
    simulator = Simulator(done, visibility_timeout=30, window_seconds=20, invocation_seconds=25)
    simulator.send(1)
    assert simulator.run()[0].began_at == 20
    assert simulator.deliveries[1].receive_counts == [2]
    assert simulator.deliveries[1].began_at == 50


# --- Batches.


@pytest.mark.parametrize(
    ("batch_size", "window", "messages", "sizes"),
    [
        (1, 0, 3, [1, 1, 1]),
        (3, 0, 10, [3, 3, 3, 1]),
        (10, 0, 10, [10]),
        (10, 0, 11, [10, 1]),
        (11, 1, 12, [11, 1]),
        (100, 1, 250, [100, 100, 50]),
        (10_000, 5, 10_001, [10_000, 1]),
    ],
)
def test_batches_are_as_large_as_the_mapping_says(batch_size: int, window: float, messages: int, sizes: list[int]):
    """From 1 to 10,000."""
    simulator = Simulator(done, batch_size=batch_size, window_seconds=window)
    simulator.send(*range(messages))
    assert [len(delivery.messages) for delivery in simulator.run()] == sizes
    assert acknowledged(simulator) == [f"message-{number}" for number in range(messages)]


def test_a_batch_is_gathered_for_the_window_and_no_longer():
    """From its first message on; what comes later opens the next window."""
    simulator = Simulator(done, window_seconds=5)
    for number, delay in enumerate([0, 2, 4.5, 5.5, 30]):
        simulator.queue.send(make_record(number, message_id=f"m{number}"), delay_seconds=delay)
    deliveries = simulator.run()
    assert batches(deliveries) == [["m0", "m1", "m2"], ["m3"], ["m4"]]
    assert [delivery.began_at for delivery in deliveries] == [5, 10.5, 35]


def test_a_full_batch_does_not_wait_for_its_window():
    """Ten are there at once."""
    simulator = Simulator(done, window_seconds=300, visibility_timeout=1_800)
    simulator.send(*range(12))
    assert [(delivery.began_at, len(delivery.messages)) for delivery in simulator.run()] == [(0, 10), (300, 2)]


def test_a_batch_ends_at_six_megabytes():
    """However many it may hold, and whatever its window."""
    simulator = Simulator(done, batch_size=100, window_seconds=10)
    simulator.send(*["x" * 1_048_000 for _ in range(14)])
    deliveries = simulator.run()
    assert [len(delivery.messages) for delivery in deliveries] == [6, 6, 2]
    assert len(acknowledged(simulator)) == len(set(acknowledged(simulator))) == 14


def test_no_more_is_received_than_a_batch_holds():
    """What waits in a poller's hands uses up its visibility timeout: here it would be delivered twice in one batch."""
    simulator = Simulator(done, batch_size=3, maximum_concurrency=1, invocation_seconds=10, visibility_timeout=30)
    simulator.send(*range(10))
    simulator.run()
    assert acknowledged(simulator) == [f"message-{number}" for number in range(10)]
    assert all(set(delivery.receive_counts) == {1} for delivery in simulator.deliveries)


def test_the_counts_of_a_delivery_are_what_its_handler_was_told():
    """Also where a message stands in a batch twice, since its visibility is shorter than the window."""
    told = []

    def handler(event: Event, context: Any) -> None:
        told.append([count_of(record) for record in event["Records"]])

    simulator = Simulator(handler, window_seconds=50, visibility_timeout=30)
    simulator.send(1)
    assert counts(simulator.run()) == told


@pytest.mark.parametrize("concurrency", [1, 2, 3, 7])
def test_no_more_invocations_run_at_once_than_the_maximum(concurrency: int):
    """In simulated time; with enough to do it is reached."""
    simulator = Simulator(
        done,
        batch_size=1,
        maximum_concurrency=concurrency,
        invocation_seconds=lambda event: 1 + len(event["Records"][0]["body"]) % 3,
        visibility_timeout=1_800,
    )
    simulator.send(*["x" * number for number in range(40)])
    assert most_at_once(simulator.run()) == concurrency
    assert len(simulator.deliveries) == 40


def test_an_invocation_may_take_its_time_from_its_event():
    """Simulated seconds."""
    simulator = Simulator(done, invocation_seconds=lambda event: len(event["Records"]) * 2)
    simulator.send(*range(12))
    assert times(simulator.run()) == [(0, 20), (0, 4)]


# --- Timeouts and throttles.


def test_a_timeout_brings_the_whole_batch_back():
    """What was done in it comes back too."""
    simulator = Simulator(
        failing("message-1"),
        invocation_seconds=lambda event: 31 if count_of(event["Records"][0]) == 1 else 30,
        function_timeout=30,
        visibility_timeout=180,
        max_receive_count=2,
    )
    simulator.send(0, 1, 2)
    deliveries = simulator.run()
    assert deliveries[0].invocation == Errored("timeout", "timed out after 30 s")
    assert times(deliveries) == [(0, 30), (180, 210)]
    assert batches(deliveries) == [["message-0", "message-1", "message-2"]] * 2
    assert acknowledged(simulator) == ["message-0", "message-2"]


def test_an_invocation_that_would_fail_after_its_timeout_times_out():
    """It does not get as far as its error."""

    def handler(event: Event, context: Any) -> None:
        raise ValueError

    simulator = Simulator(handler, invocation_seconds=31, function_timeout=30, max_receive_count=1)
    simulator.send(0)
    (delivery,) = simulator.run()
    assert delivery.invocation == Errored("timeout", "timed out after 30 s")


def test_a_function_that_always_times_out_makes_dead_letters_of_all():
    """Every delivery counts."""
    simulator = Simulator(done, invocation_seconds=math.inf, max_receive_count=3)
    simulator.send(*range(4))
    assert len(simulator.run()) == 3
    assert len(dead(simulator)) == 4


def test_a_throttled_batch_comes_back_without_the_handler_having_run():
    """And the receive counts."""
    ran = []

    def handler(event: Event, context: Any) -> None:
        ran.append(ids_of(event))

    simulator = Simulator(handler, throttled=1, max_receive_count=3)
    simulator.send(0, 1)
    deliveries = simulator.run()
    assert ran == []
    assert counts(deliveries) == [[1, 1], [2, 2], [3, 3]]
    assert {delivery.invocation for delivery in deliveries} == {Errored("throttled", "no concurrency was left")}
    assert dead(simulator) == ["message-0", "message-1"]


def test_some_batches_are_throttled():
    """About the share that is asked for, and the others are not."""
    simulator = Simulator(done, batch_size=1, throttled=0.5, max_receive_count=None)
    simulator.send(*range(400))
    throttled = sum(isinstance(delivery.invocation, Errored) for delivery in simulator.run())
    assert 0.4 < throttled / len(simulator.deliveries) < 0.6
    assert len(acknowledged(simulator)) == 400


# --- Duplicates and order.


def test_duplicates_come_although_everything_succeeds():
    """At least once is what standard queues promise; nothing is lost by it."""
    simulator = Simulator(done, duplicates=0.3, max_receive_count=None, seed=1)
    simulator.send(*range(200))
    simulator.run()
    handled = Counter(acknowledged(simulator))
    assert set(handled) == {f"message-{number}" for number in range(200)}
    assert max(handled.values()) > 1
    assert len(simulator.queue) == 0


def test_without_duplicates_nothing_is_handled_twice():
    """If it succeeds, and is visible no earlier than it has to be."""
    simulator = Simulator(done)
    simulator.send(*range(200))
    simulator.run()
    assert set(Counter(acknowledged(simulator)).values()) == {1}


def test_a_deletion_may_be_forgotten():
    """The message comes back although it was deleted; its history says so."""
    simulator = Simulator(done, fifo=True, duplicates=1, max_receive_count=2)
    simulator.send(records=in_groups("a"))
    deliveries = simulator.run()
    assert batches(deliveries) == [["a0"], ["a0"]]
    assert "deleted, but the queue delivers it once more (at least once)" in deliveries[0].messages[0].history


def test_a_standard_queue_may_give_messages_out_of_order():
    """On demand; all of them, once."""
    simulator = Simulator(done, reordered=True, seed=3)
    simulator.send(*range(100))
    simulator.run()
    sent = [f"message-{number}" for number in range(100)]
    assert acknowledged(simulator) != sent
    assert sorted(acknowledged(simulator)) == sorted(sent)


@pytest.mark.parametrize("fifo", [False, True])
def test_the_same_seed_gives_the_same_run(fifo: bool):
    """And another one another."""

    def run(seed: int) -> list[Any]:
        chance = random.Random(0)
        simulator = Simulator(
            failing(*[f"a{number}" for number in range(0, 60, 7)], times=2),
            fifo=fifo,
            throttled=0.2,
            duplicates=0.2,
            reordered=True,
            seed=seed,
        )
        simulator.send(records=in_groups("".join(chance.choice("abcdefgh") for _ in range(60))))
        simulator.run()
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

    simulator = Simulator(handler, fifo=True, visibility_timeout=30)
    simulator.send(records=in_groups("aab"))
    deliveries = simulator.run()
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
    simulator = Simulator(handler, fifo=True, batch_size=1, max_receive_count=3)
    simulator.send(records=in_groups("aabb"))
    deliveries = simulator.run()
    assert acknowledged(simulator) == ["b2", "b3", "a1"]
    assert dead(simulator) == ["a0"]
    assert [delivery.began_at for delivery in deliveries if delivery.messages[0].group == "a"] == [0, 30, 60, 90]


def test_what_stands_behind_a_poison_head_in_its_batch_uses_up_its_receives_with_it():
    """It is returned with the head each time, so it is dead-lettered untried."""
    handler = in_group_order(lambda record: record["messageId"] == "a0")
    simulator = Simulator(handler, fifo=True, max_receive_count=3)
    simulator.send(records=in_groups("aab"))
    simulator.run()
    assert dead(simulator) == ["a0", "a1"]
    assert acknowledged(simulator) == ["b2"]


def test_the_bodies_sent_to_a_fifo_queue_are_one_group():
    """In the order of sending; records bring groups of their own."""
    simulator = Simulator(done, fifo=True)
    simulator.send(1, 2)
    simulator.run()
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


# --- How long a run is.


def test_a_run_ends_when_the_time_comes():
    """What runs then is let finish; the next run goes on from there."""
    simulator = Simulator(failing("message-0", times=5), max_receive_count=None)
    simulator.send(1)
    assert len(simulator.run(until=65)) == 3
    assert len(simulator.queue) == 1
    assert len(simulator.run(until=90)) == 4
    assert len(simulator.run()) == 6


def test_no_delivery_begins_after_the_time_that_a_run_ends():
    """Also when what was let finish has moved the clock beyond it."""
    simulator = Simulator(done, invocation_seconds=20)
    simulator.send(1)
    simulator.run(until=5)
    simulator.send(2)
    assert all(delivery.began_at <= 6 for delivery in simulator.run(until=6))


def test_a_run_ends_after_so_many_deliveries():
    """The next run goes on; nothing is lost between them."""
    simulator = Simulator(done, batch_size=1)
    simulator.send(*range(5))
    assert len(simulator.run(most_deliveries=2)) == 2
    assert len(simulator.queue) == 3
    assert simulator.clock.now == 1
    assert len(simulator.run()) == 5
    assert acknowledged(simulator) == [f"message-{number}" for number in range(5)]


def test_a_run_of_no_deliveries_delivers_nothing():
    """And a function that never succeeds is stopped by a number."""
    simulator = Simulator(failing("message-0"), max_receive_count=None)
    simulator.send(1)
    assert len(simulator.run(most_deliveries=0)) == 0
    assert len(simulator.run(most_deliveries=100)) == 100


def test_messages_can_be_sent_by_the_handler_while_it_runs():
    """A chain of messages is followed to its end."""

    def handler(event: Event, context: Any) -> None:
        for record in event["Records"]:
            if int(record["body"]):
                simulator.send(records=[make_record(int(record["body"]) - 1, message_id=record["body"])])

    simulator = Simulator(handler)
    simulator.send(10)
    assert len(simulator.run()) == 11


# --- Settings.


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batch_size": 11},
        {"batch_size": 10_001, "window_seconds": 1},
        {"window_seconds": 301},
        {"fifo": True, "window_seconds": 1},
        {"maximum_concurrency": 0},
        {"maximum_concurrency": -1},
        {"maximum_concurrency": 1.5},
        {"maximum_concurrency": "5"},
        {"max_receive_count": 0},
        {"max_receive_count": 2.5},
        {"throttled": -0.1},
        {"throttled": 1.1},
        {"throttled": math.nan},
        {"throttled": 1, "max_receive_count": None},
        {"duplicates": -0.1},
        {"duplicates": 1.1},
        {"duplicates": 1, "max_receive_count": None},
        {"visibility_timeout": -1},
        {"visibility_timeout": math.nan},
        {"visibility_timeout": 43_201},
        {"function_timeout": 0},
        {"function_timeout": -1},
        {"function_timeout": math.nan},
        {"invocation_seconds": -1},
        {"invocation_seconds": math.nan},
    ],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]):
    """When the simulator is made, not in the middle of a run."""
    with pytest.raises(ConfigurationError):
        Simulator(done, **settings)


def test_a_simulator_needs_a_handler():
    """Or another way to invoke one."""
    with pytest.raises(ConfigurationError, match="needs a handler"):
        Simulator()
    Simulator(invoke=lambda event: Returned("null"))


def test_a_handler_that_cannot_be_called_is_refused():
    """It would only make dead letters."""
    with pytest.raises(ConfigurationError):
        Simulator("orders.handler")


# --- The queue by itself.


def make_queue(**settings: Any) -> tuple[SimulatedQueue, ManualClock]:
    clock = ManualClock()
    chance = random.Random(0)
    return SimulatedQueue(QueueSettings(**settings), clock, chance), clock


def test_an_empty_queue_has_nothing_to_wait_for():
    """Standard or FIFO."""
    for fifo in (False, True):
        queue, _ = make_queue(fifo=fifo)
        assert queue.next_visible_at() == math.inf
        assert queue.receive(10) == []


@pytest.mark.parametrize("fifo", [False, True])
def test_a_received_message_is_hidden_until_its_timeout(fifo: bool):
    """To the very moment."""
    queue, clock = make_queue(visibility_timeout=30, fifo=fifo)
    queue.send(make_fifo_record(1))
    assert len(queue.receive(10)) == 1
    assert queue.next_visible_at() == 30
    clock.advance(29.9)
    assert queue.receive(10) == []
    clock.advance(0.1)
    assert len(queue.receive(10)) == 1


@pytest.mark.parametrize("fifo", [False, True])
def test_only_the_handle_of_the_last_receive_deletes(fifo: bool):
    """An older one does nothing, one of a message that is gone neither."""
    queue, clock = make_queue(visibility_timeout=30, fifo=fifo)
    queue.send(make_fifo_record(1))
    first = queue.receive(1)[0].handle
    clock.advance(30)
    second = queue.receive(1)[0].handle
    assert not queue.delete(first)
    assert not queue.hide(first, 5)
    assert queue.delete(second)
    assert not queue.delete(second)
    assert not queue.hide(second, 5)
    assert len(queue) == 0
    assert queue.next_visible_at() == math.inf


def test_a_message_that_is_visible_cannot_be_hidden():
    """SQS says that it is not in flight."""
    queue, clock = make_queue(visibility_timeout=30)
    queue.send(make_record(1))
    handle = queue.receive(1)[0].handle
    assert queue.hide(handle, 10)
    clock.advance(10)
    assert not queue.hide(handle, 10)


def test_a_message_is_hidden_for_twelve_hours_at_most():
    """Since it was received."""
    queue, clock = make_queue(visibility_timeout=43_200)
    queue.send(make_record(1))
    handle = queue.receive(1)[0].handle
    clock.advance(10)
    assert not queue.hide(handle, 43_191)
    assert queue.hide(handle, 43_190)
    assert queue.next_visible_at() == 43_200


def test_a_hidden_message_that_is_hidden_again_comes_at_the_last_time_asked_for():
    """Earlier or later."""
    queue, clock = make_queue(visibility_timeout=30)
    queue.send(make_record(1))
    handle = queue.receive(1)[0].handle
    for seconds in (100, 5, 30, 8):
        assert queue.hide(handle, seconds)
        assert queue.next_visible_at() == seconds
    clock.advance(8)
    assert len(queue.receive(10)) == 1


@pytest.mark.parametrize("fifo", [False, True])
def test_a_delayed_message_is_not_received_before_its_time(fifo: bool):
    """In a FIFO queue it holds back what follows in its group, and is not taken along by what leads."""
    queue, clock = make_queue(fifo=fifo)
    queue.send(make_fifo_record(0, message_id="now"))
    queue.send(make_fifo_record(1, message_id="later"), delay_seconds=5)
    assert [message.message_id for message in queue.receive(10)] == ["now"]
    clock.advance(60)
    assert {message.message_id for message in queue.receive(10)} == {"now", "later"}


def test_a_receive_gives_no_more_than_it_is_asked_for():
    """In both kinds of queue, in any order."""
    for settings in ({}, {"fifo": True}, {"reordered": True}):
        queue, _ = make_queue(**settings)
        for record in in_groups("aabbccddee"):
            queue.send(record)
        taken = [message.message_id for most in (3, 4, 10) for message in queue.receive(most)]
        assert len(taken) == len(set(taken))
        assert len(taken) == 10 or settings == {"fifo": True}


def test_a_fifo_group_without_its_end_keeps_the_order_of_groups_between_them():
    """A receive may take several groups, each from its head on."""
    queue, _ = make_queue(fifo=True)
    for record in in_groups("abacab"):
        queue.send(record)
    taken = [message.message_id for message in queue.receive(10)]
    assert {group: list(ids) for group, ids in groupby(sorted(taken), key=lambda one: one[0])} == {
        "a": ["a0", "a2", "a4"],
        "b": ["b1", "b5"],
        "c": ["c3"],
    }
    assert [one for one in taken if one.startswith("a")] == ["a0", "a2", "a4"]


def test_too_many_receives_without_a_dead_letter_queue_drop_the_message():
    """There is nowhere for it to go."""
    queue, clock = make_queue(max_receive_count=1, visibility_timeout=30)
    queue.send(make_record(1))
    queue.receive(1)
    clock.advance(30)
    assert queue.receive(1) == []
    assert len(queue) == 0


async def test_a_settler_says_which_delays_the_queue_refused():
    """By position; the others hold."""
    queue, _ = make_queue()
    for number in range(2):
        queue.send(make_record(number, message_id=f"m{number}"))
    records = [Record(queue.as_event_record(message)) for message in queue.receive(10)]
    dead_letters, _ = make_queue()
    settler = await SimulatedSettler(queue, dead_letters)()
    assert list(await settler.hide([(records[0], 43_201), (records[1], 7)])) == [0]
    assert queue.next_visible_at() == 7
    assert await settler.bury([(records[0], "never")]) == {}
    assert [reason_in(Record(message.record)) for message in dead_letters.messages()] == ["never"]
