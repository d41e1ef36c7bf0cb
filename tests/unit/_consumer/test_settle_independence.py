"""A message, a call or a kind of call that fails affects no other message."""

import asyncio
from collections.abc import Sequence

import pytest

from failing import throttled
from fanfold import Backoff, Failed, Record, Rejected, Retrying
from fanfold._ports.queue import Refusal
from fanfold.testing import make_record
from settled import record, settled, settling
from settlers import STEADY, RecordingSettler


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


async def test_a_dead_letter_that_is_refused_for_a_transient_reason_is_sent_again():
    """The others are not sent twice."""

    class RefusesOnce(RecordingSettler):
        async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
            await super().send_dead_letters(rejects)
            return [Refusal(1, "InternalError", final=False)] if len(self.dead_letters) == 1 else []

    settler = RefusesOnce()
    batch = await settled(settler, *((record(f"m{number}"), Rejected("r")) for number in range(3)))
    assert batch.forwarded == {0, 1, 2}
    assert [[message_id for message_id, _ in call] for call in settler.dead_letters] == [["m0", "m1", "m2"], ["m1"]]
