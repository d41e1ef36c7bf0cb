"""Failed messages are settled while other records still run."""

import asyncio
from collections.abc import Sequence

import pytest

from failing import throttled
from fanfold import Backoff, Done, Failed, NotStarted, Record, Rejected, Retrying
from fanfold._base.outcome import Outcome
from fanfold._consumer.settle import Settling, delay_of
from fanfold._ports.queue import Refusal
from fanfold.errors import MissingExtraError
from fanfold.testing import make_record
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


def record(message_id: str = "m", receive_count: int = 1) -> Record:
    return Record(make_record("body", message_id=message_id, receive_count=receive_count))


def settling(settler, *, backoff: Backoff | None = None, dead_letters: bool = True) -> Settling:
    return Settling(settler, backoff=backoff, dead_letters=dead_letters, retry_seconds=(0, 0, None))


async def settled(settler, *ended: tuple[Record, Outcome], seconds: float = 10, **settings) -> Settling:
    """Settle a batch with these outcomes, in order."""
    batch = settling(settler, **settings)
    for position, (ended_record, outcome) in enumerate(ended):
        batch.add(position, ended_record, outcome)
    await batch.finish(seconds)
    return batch


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


async def test_messages_whose_calls_keep_failing_are_given_up_after_three_attempts(caplog: pytest.LogCaptureFixture):
    """SQS redelivers them after their visibility timeout; the log states it."""
    settler = RecordingSettler(fails=throttled(), failures=100)
    batch = settling(settler)
    for number in range(20):
        batch.add(number, record(f"m{number}"), Retrying(5))
        batch.add(number, record(f"m{number}"), Rejected("r"))
    await batch.finish(10)
    assert [len(call) for call in settler.visibility_changes] == [10] * 6
    assert batch.forwarded == set()
    assert "rejected messages could not be sent to the dead-letter queue; they will be redelivered: slow" in caplog.text
    assert "the messages will be redelivered after their visibility timeout: slow down" in caplog.text


async def test_messages_with_transient_refusals_do_not_delay_the_others():
    """Every other message is settled before the first retry."""

    class RefusesOne(RecordingSettler):
        async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
            await super().change_visibility(changes)
            return [Refusal(0, "InternalError", final=False)] if len(self.visibility_changes) <= 5 else []

    settler = RefusesOne()
    await settled(settler, *((record(f"m{number}"), Retrying(5)) for number in range(50)))
    assert [len(call) for call in settler.visibility_changes] == [10, 10, 10, 10, 10, 5]


async def test_a_settler_that_raises_a_cancellation_affects_one_message():
    """It is an error like any other, unless the batch itself is cancelled."""

    class Cancels(RecordingSettler):
        async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
            if any(changed.message_id == "m3" for changed, _ in changes):
                raise asyncio.CancelledError
            return await super().change_visibility(changes)

    settler = Cancels()
    await settled(settler, *((record(f"m{number}"), Retrying(5)) for number in range(12)))
    changed = {message_id for call in settler.visibility_changes for message_id, _ in call}
    assert changed == {f"m{number}" for number in range(12)} - {"m3"}


@pytest.mark.parametrize("error", [throttled(), RuntimeError("broken")])
async def test_a_call_that_fails_once_settles_its_messages_after_all(error: Exception):
    """A transient error is retried; after any other one, each message is settled alone."""
    settler = RecordingSettler(fails=error)
    rejects = [(record(f"m{number}"), Rejected("r")) for number in range(12)]
    batch = await settled(settler, *rejects, (record("late"), Retrying(5)))
    assert batch.forwarded == set(range(12))
    assert settler.visibility_changes[-1] == [("late", 5)]


async def test_a_message_that_breaks_its_call_affects_no_other(caplog: pytest.LogCaptureFixture):
    """The settler fails whenever message m3 is in a call."""

    class BreaksOn3(RecordingSettler):
        async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
            if any(rejected.message_id == "m3" for rejected, _ in rejects):
                raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
            return await super().send_dead_letters(rejects)

    batch = await settled(BreaksOn3(), *((record(f"m{number}"), Rejected("r")) for number in range(12)), backoff=STEADY)
    assert batch.forwarded == set(range(12)) - {3}
    assert "surrogates not allowed" in caplog.text


async def test_a_transient_refusal_keeps_its_delay():
    """``InternalError`` for a delay of 600 s is retried with 600 s, not halved."""

    class RefusesOnce(RecordingSettler):
        async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
            await super().change_visibility(changes)
            return [Refusal(0, "InternalError", final=False)] if len(self.visibility_changes) == 1 else []

    settler = RefusesOnce()
    await settled(settler, (record("m0"), Retrying(600)), (record("m1"), Retrying(600)))
    assert settler.visibility_changes == [[("m0", 600), ("m1", 600)], [("m0", 600)]]


async def test_a_dead_letter_queue_that_hangs_delays_no_delay():
    """The two kinds of calls are independent."""

    class HangsOnDeadLetters(RecordingSettler):
        async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
            await asyncio.Event().wait()
            return []

    settler = HangsOnDeadLetters()
    batch = settling(settler)
    batch.add(0, record("rejected"), Rejected("r"))
    batch.add(1, record("retried"), Retrying(5))
    await batch.finish(0.05)
    assert settler.visibility_changes == [[("retried", 5)]]
    assert batch.forwarded == set()


async def test_a_delay_that_a_refused_dead_letter_gets_is_waited_for():
    """The batch ends only once it is set."""

    class Slow(RecordingSettler):
        async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
            for _ in range(20):
                await asyncio.sleep(0)
            return await super().change_visibility(changes)

    settler = Slow("m0")
    await settled(settler, (record("m0", 2), Rejected("r")), backoff=STEADY)
    assert settler.visibility_changes[0] == [("m0", 20)]


async def test_a_message_whose_attributes_have_another_shape_is_sent_in_a_separate_call():
    """Its size is unknown, and it must not prevent others from being sent."""
    odd = Record(make_record("odd", message_id="odd") | {"messageAttributes": ["not", "an", "object"]})
    settler = RecordingSettler()
    rejects = [(record("m0"), Rejected("r")), (odd, Rejected("r")), (record("m1"), Rejected("r"))]
    batch = await settled(settler, *rejects)
    assert batch.forwarded == {0, 1, 2}
    assert [[message_id for message_id, _ in call] for call in settler.dead_letters] == [["m0"], ["odd"], ["m1"]]


@pytest.mark.parametrize("position", [True, -1, 2, "0", None, 0.0])
async def test_a_refusal_without_a_valid_position_acknowledges_nothing(position):
    """Which of the dead letters the queue took is unknown."""

    class Odd(RecordingSettler):
        async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
            return [Refusal(position, "no", final=True)]

    batch = await settled(Odd(), (record("m0"), Rejected("r")), (record("m1"), Rejected("r")))
    assert batch.forwarded == set()


async def test_a_backoff_that_raises_is_logged_once(caplog: pytest.LogCaptureFixture):
    """The messages keep the queue's visibility timeout."""

    class Raising(Backoff):
        def next_delay(self, receive_count: int) -> float:
            raise OverflowError("too large")

    settler = RecordingSettler()
    await settled(settler, *((record(f"m{number}"), Failed(OSError())) for number in range(50)), backoff=Raising())
    assert settler.visibility_changes == []
    assert caplog.text.count("the backoff failed") == 1


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
