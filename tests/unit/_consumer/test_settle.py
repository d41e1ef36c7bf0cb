"""Failed messages are settled while other records still run."""

import asyncio
from collections.abc import Sequence

import pytest

from fanfold import Backoff, Done, Failed, NotStarted, Record, Rejected, Retrying
from fanfold._consumer.settle import delay_of
from fanfold._ports.queue import Refusal
from fanfold.errors import MissingExtraError
from fanfold.testing import make_record
from settled import record, settled, settling
from settlers import STEADY, RecordingSettler


class HangingSettler(RecordingSettler):
    """Never responds."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = 0

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        await super().change_visibility(changes)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return []


class MissingSettler:
    """Cannot be opened."""

    async def __call__(self) -> RecordingSettler:
        raise MissingExtraError("aws", "delays and dead letters")


@pytest.mark.parametrize(
    ("outcome", "receive_count", "backoff", "seconds"),
    [
        (Failed(OSError()), 1, None, None),
        (Failed(OSError()), 1, STEADY, 10),
        (Failed(OSError()), 3, STEADY, 40),
        (Failed(OSError()), 1, Backoff(base=0.1, jitter=0), 1),
        (Retrying(None), 1, None, None),
        (Retrying(None), 2, STEADY, 20),
        (Retrying(30), 2, STEADY, 30),
        (Retrying(30), 2, None, 30),
        (Retrying(0.2), 1, None, 1),
        (Retrying(0), 1, STEADY, 0),
        (Retrying(1e9), 1, None, 43_200),
        (Retrying(float("inf")), 1, None, 43_200),
        (Rejected("never"), 1, None, None),
        (NotStarted("no time"), 1, STEADY, None),
        (Done(), 1, STEADY, None),
    ],
)
def test_the_delay_is_the_handlers_or_else_the_backoff(outcome, receive_count, backoff, seconds):
    """An integer of seconds, rounded up, at most 12 hours; None for the queue's visibility timeout."""
    assert delay_of(outcome, receive_count, backoff) == seconds


async def test_the_backoff_of_a_failure_depends_on_its_receive_count():
    """``add`` returns the delay."""
    settler = RecordingSettler()
    batch = settling(settler, backoff=STEADY)
    assert batch.add(0, record("m", 2), Failed(OSError())) == 20
    await batch.finish(10)
    assert settler.visibility_changes == [[("m", 20)]]


async def test_an_immediate_retry_is_immediately_visible():
    """A delay of 0 seconds is set, because the queue's visibility timeout would be longer."""
    settler = RecordingSettler()
    await settled(settler, (record(), Retrying(0)))
    assert settler.visibility_changes == [[("m", 0)]]


@pytest.mark.parametrize("outcome", [Done(1), Failed(OSError()), Retrying(None), NotStarted("no time")])
async def test_a_message_without_a_delay_keeps_its_visibility_timeout(outcome):
    """No settler is opened for it."""
    batch = settling(MissingSettler())
    assert batch.add(0, record(), outcome) is None
    await batch.finish(10)


async def test_a_reject_is_sent_to_the_dead_letter_queue_with_its_reason():
    """``forwarded`` contains its position."""
    settler = RecordingSettler()
    batch = settling(settler)
    assert batch.add(7, record("m"), Rejected("no such customer")) is None
    await batch.finish(10)
    assert settler.dead_letters == [[("m", "no such customer")]]
    assert batch.forwarded == {7}


async def test_without_a_dead_letter_queue_a_reject_is_not_forwarded():
    """It is redelivered."""
    batch = await settled(MissingSettler(), (record(), Rejected("never")), dead_letters=False)
    assert batch.forwarded == set()


async def test_records_that_end_in_one_iteration_of_the_loop_share_a_call():
    """Three delays are one call, three rejects another."""
    settler = RecordingSettler()
    batch = settling(settler)
    for number in range(3):
        batch.add(number, record(f"a{number}"), Retrying(5))
        batch.add(number + 3, record(f"b{number}"), Rejected("r"))
    await batch.finish(10)
    assert settler.visibility_changes == [[("a0", 5), ("a1", 5), ("a2", 5)]]
    assert settler.dead_letters == [[("b0", "r"), ("b1", "r"), ("b2", "r")]]


async def test_a_call_contains_at_most_ten_messages():
    """25 messages are three calls."""
    settler = RecordingSettler()
    batch = settling(settler)
    for number in range(25):
        batch.add(number, record(f"m{number}"), Retrying(5))
        batch.add(number, record(f"m{number}"), Rejected("r"))
    await batch.finish(10)
    assert [len(call) for call in settler.visibility_changes] == [10, 10, 5]
    assert [len(call) for call in settler.dead_letters] == [10, 10, 5]
    assert batch.forwarded == set(range(25))


async def test_a_message_added_after_all_were_settled_is_settled():
    """The batch continues."""
    settler = RecordingSettler()
    batch = settling(settler)
    for number in range(2):
        batch.add(number, record(f"m{number}"), Retrying(5))
        await batch.finish(10)
    assert settler.visibility_changes == [[("m0", 5)], [("m1", 5)]]


async def test_a_message_that_the_dead_letter_queue_refuses_is_not_forwarded(caplog: pytest.LogCaptureFixture):
    """The others are, and the log contains its ID and the reason."""
    batch = await settled(RecordingSettler("m1"), *((record(f"m{number}"), Rejected("r")) for number in range(3)))
    assert batch.forwarded == {0, 2}
    assert "the dead-letter queue refused message m1: AccessDenied" in caplog.text


async def test_a_message_that_the_dead_letter_queue_refuses_gets_the_backoff():
    """Its delay depends on its receive count, as for a failure."""
    settler = RecordingSettler("m1")
    await settled(settler, *((record(f"m{number}", 2), Rejected("r")) for number in range(3)), backoff=STEADY)
    assert settler.visibility_changes[0] == [("m1", 20)]


@pytest.mark.parametrize(("more", "calls"), [(0, [2]), (1, [1, 1])])
async def test_a_call_contains_at_most_1_mib_of_rejects(more: int, calls: list[int]):
    """Bodies count in UTF-8, reasons with 4 bytes per character, and 1 KiB is added for the attribute."""
    settler = RecordingSettler()
    body = "日" * ((1_048_576 // 2 - 1_024 - 4 * 5) // 3) + "x" * ((1_048_576 // 2 - 1_024 - 4 * 5) % 3)
    await settled(settler, *[(Record(make_record(body + "x" * more)), Rejected("never"))] * 2)
    assert [len(call) for call in settler.dead_letters] == calls


async def test_attributes_count_toward_the_size_of_a_call():
    """They are sent with the message: with 2/3 MiB of attributes, a second message does not fit."""
    settler = RecordingSettler()
    attribute = {"stringValue": "x" * 175_000, "dataType": "String"}
    with_attribute = Record(make_record("body", message_attributes={"name": attribute}))
    await settled(settler, *[(with_attribute, Rejected("r"))] * 2)
    assert [len(call) for call in settler.dead_letters] == [1, 1]


async def test_a_delay_that_is_refused_is_halved_until_it_is_accepted():
    """SQS does not report how much of the 12 hours is left; an accepted delay is not sent again."""
    settler = RecordingSettler(longest=1_000)
    await settled(settler, (record("long"), Retrying(3_600)), (record("short"), Retrying(900)))
    assert settler.visibility_changes == [[("long", 3_600), ("short", 900)], [("long", 1_800)], [("long", 900)]]


async def test_a_delay_that_is_never_accepted_is_dropped():
    """The message was deleted or received again; the number of attempts is small."""
    settler = RecordingSettler("m")
    await settled(settler, (record("m"), Retrying(43_200)))
    assert len(settler.visibility_changes) == 16
    assert settler.visibility_changes[-1] == [("m", 1)]


async def test_the_error_of_a_settler_that_cannot_be_opened_is_logged(caplog: pytest.LogCaptureFixture):
    """No message is forwarded."""
    batch = await settled(MissingSettler(), (record(), Rejected("r")))
    assert batch.forwarded == set()
    assert "they will be redelivered: delays and dead letters needs an extra: pip install 'fanfold[aws]'" in caplog.text


async def test_the_log_mentions_only_the_kind_of_settling_that_failed(caplog: pytest.LogCaptureFixture):
    """Without rejects, it does not mention rejects."""
    await settled(MissingSettler(), (record(), Retrying(5)))
    assert "delays could not be set" in caplog.text
    assert "rejected messages" not in caplog.text


async def test_a_settler_that_hangs_is_cancelled_when_the_response_is_due(caplog: pytest.LogCaptureFixture):
    """Messages that are not settled keep their visibility timeout, and a warning is logged."""
    settler = HangingSettler()
    await settled(settler, *((record(f"m{number}"), Retrying(5)) for number in range(15)), seconds=0.01)
    await asyncio.sleep(0)
    assert settler.cancelled == 1
    assert "messages could not be settled in time" in caplog.text


async def test_dead_letters_are_sent_before_delays_are_set():
    """A delay that hangs does not prevent a reject that was added with it."""
    settler = HangingSettler()
    batch = await settled(settler, (record("delay"), Retrying(5)), (record("reject"), Rejected("r")), seconds=0.01)
    await asyncio.sleep(0)
    assert batch.forwarded == {1}


async def test_a_message_added_after_a_stop_is_not_settled():
    """The response has been returned: a message whose handler ends later keeps its visibility timeout."""
    settler = RecordingSettler()
    batch = settling(settler)
    batch.stop()
    batch.add(0, record("late"), Retrying(0))
    batch.add(1, record("later"), Rejected("r"))
    await batch.finish(10)
    assert (settler.visibility_changes, settler.dead_letters, batch.forwarded) == ([], [], set())


async def test_a_batch_without_messages_to_settle_does_not_wait():
    """A batch of successes opens no settler."""
    await settling(MissingSettler()).finish(0)


async def test_without_a_deadline_the_response_waits_until_all_is_settled():
    """The wait has no limit."""
    settler = RecordingSettler()
    batch = settling(settler)
    batch.change_visibility(record("m"), 9)
    await batch.finish(None)
    assert settler.visibility_changes == [[("m", 9)]]


def test_a_delay_that_is_not_a_number_means_the_visibility_timeout():
    """NaN raises no error."""
    assert delay_of(Retrying(float("nan")), 1, None) is None
