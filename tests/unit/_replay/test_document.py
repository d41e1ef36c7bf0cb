"""The document of a replay, from a simulation without processes; and invocations that overlap."""

from collections.abc import Sequence
from typing import Any

import pytest

from fanfold._base.sample_events import make_record
from fanfold._replay.document import Run, Sent, document_of
from fanfold._replay.function import InvocationResult
from fanfold._replay.mapping import Errored, Invocation, Returned
from fanfold._replay.simulator import Simulator

ENDED = Returned('{"batchItemFailures": []}')


class Replay:
    """A simulated replay whose function returns a fixed result."""

    def __init__(self, messages: int, result: Invocation = ENDED, **settings: Any) -> None:
        self.batches: list[list[list[str]]] = []
        """For each time, the bodies of the batches that begin then."""
        self._result = result
        self._results: list[InvocationResult] = []
        self.simulator = Simulator(invoke_together=self._invoke, **settings)
        self.sent = [self._send(number) for number in range(messages)]

    def document(self, *filtered: Sent) -> dict[str, Any]:
        self.simulator.run()
        queue, dead_letters = self.simulator.queue, self.simulator.dead_letter_queue
        run = Run(self.simulator.deliveries, self._results, queue.messages(), dead_letters.messages())
        return document_of("app:handler", {}, [*filtered, *self.sent], run, is_consumer=False, seconds=1.0)

    def _send(self, number: int) -> Sent:
        record = make_record(number, message_id=f"m{number}")
        return Sent("file", record["messageId"], record["body"], self.simulator.queue.put(record))

    def _invoke(self, events: Sequence[dict[str, Any]]) -> list[Invocation]:
        self.batches.append([[record["body"] for record in event["Records"]] for event in events])
        for event in events:
            handles = {record["receiptHandle"]: ("Done", None) for record in event["Records"]}
            spans = [{"handle": handle, "slot": 0, "start_ms": 0, "end_ms": 1} for handle in handles]
            self._results.append(InvocationResult(self._result, {"outcomes": handles, "spans": spans}, 0.1, None))
        return [self._result for _ in events]


def test_batches_that_begin_at_one_time_are_invoked_together():
    """As many as the concurrency allows; the next ones follow when these have ended."""
    replay = Replay(5, batch_size=1, maximum_concurrency=2)
    document = replay.document()
    assert replay.batches == [[["0"], ["1"]], [["2"], ["3"]], [["4"]]]
    assert [delivery["began_at"] for delivery in document["deliveries"]] == [0, 0, 1, 1, 2]
    assert document["summary"]["deleted"] == 5


def test_a_throttled_delivery_has_no_result():
    """It uses up a receive of a healthy message, without an invocation."""
    document = Replay(3, batch_size=1, reserved_concurrency=1, invocation_seconds=20).document()
    throttled = [delivery for delivery in document["deliveries"] if delivery["measured"]["seconds"] == 0]
    assert {delivery["error"]["kind"] for delivery in throttled} == {"throttled"}
    assert {delivery["error"] and delivery["error"]["kind"] for delivery in document["deliveries"]} == {
        None,
        "throttled",
    }
    assert document["messages"][2]["receives"] > 1
    assert document["messages"][2]["attempts"][0]["error"].startswith("the function had no free concurrency")


def test_with_a_reserved_concurrency_of_0_healthy_messages_are_dead_lettered():
    """They have never run."""
    document = Replay(2, reserved_concurrency=0, max_receive_count=3).document()
    assert document["summary"]["dead_lettered"] == 2
    assert {message["outcome"] for message in document["messages"]} == {None}


def test_filtered_messages_have_rows_but_no_deliveries():
    """The numbers of the others are those of the document, not of the queue."""
    document = Replay(2).document(Sent("file", "gone", "x", None))
    assert [(row["number"], row["end"]) for row in document["messages"]] == [
        (0, "filtered out"),
        (1, "deleted"),
        (2, "deleted"),
    ]
    assert document["deliveries"][0]["messages"] == [1, 2]
    assert [span["message"] for span in document["deliveries"][0]["measured"]["spans"]] == [1, 2]
    assert document["summary"]["filtered"] == 1


def test_messages_that_the_handler_sends_are_numbered_after_the_others():
    """They have no row."""
    replay = Replay(1)
    replay.simulator.send("more")
    document = replay.document(Sent("file", "gone", "x", None))
    assert document["deliveries"][0]["messages"] == [1, 2]
    assert len(document["messages"]) == 2


@pytest.mark.parametrize("reason", ["out of memory", "Task timed out"])
def test_an_error_of_the_invocation_is_the_error_of_its_messages(reason: str):
    """Dead letters keep the order and the ids of their messages."""
    document = Replay(3, Errored("killed", reason), max_receive_count=1).document()
    assert {message["error"] for message in document["messages"]} == {reason}
    assert [letter["id"] for letter in document["dead_letters"]] == ["m0", "m1", "m2"]
