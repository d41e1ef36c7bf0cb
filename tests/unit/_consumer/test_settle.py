"""Handing failed messages back while others still run."""

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
from settlers import STEADY, NotingSettler


class HangingSettler(NotingSettler):
    """Never answers."""

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

    async def __call__(self) -> NotingSettler:
        raise MissingExtraError("aws", "delays and dead letters")


def record(message_id: str = "m", receive_count: int = 1) -> Record:
    return Record(make_record("body", message_id=message_id, receive_count=receive_count))


def settling(settler, *, backoff: Backoff | None = None, dead_letters: bool = True) -> Settling:
    return Settling(settler, backoff=backoff, dead_letters=dead_letters, retry_seconds=(0, 0, None))


async def settled(settler, *ended: tuple[Record, Outcome], seconds: float = 10, **settings) -> Settling:
    """Settle a batch whose records ended so, in order."""
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
def test_a_delay_is_what_the_handler_asked_for_else_the_back_off(outcome, receive_count, backoff, seconds):
    """Whole seconds, rounded up, at most twelve hours; None for the queue's own timeout."""
    assert delay_of(outcome, receive_count, backoff) == seconds


async def test_a_failure_is_hidden_by_its_receive_count():
    """And the delay is told to who asks."""
    settler = NotingSettler()
    batch = settling(settler, backoff=STEADY)
    assert batch.add(0, record("m", 2), Failed(OSError())) == 20
    await batch.finish(10)
    assert settler.visibility_changes == [[("m", 20)]]


async def test_a_retry_at_once_is_visible_at_once():
    """Nought seconds is a delay like any other: the queue's own timeout would be longer."""
    settler = NotingSettler()
    await settled(settler, (record(), Retrying(0)))
    assert settler.visibility_changes == [[("m", 0)]]


@pytest.mark.parametrize("outcome", [Done(1), Failed(OSError()), Retrying(None), NotStarted("no time")])
async def test_what_has_no_delay_is_left_to_the_queue(outcome):
    """No settler is opened for it."""
    batch = settling(MissingSettler())
    assert batch.add(0, record(), outcome) is None
    await batch.finish(10)


async def test_a_reject_is_buried_with_its_reason():
    """And known as such by its position."""
    settler = NotingSettler()
    batch = settling(settler)
    assert batch.add(7, record("m"), Rejected("no such customer")) is None
    await batch.finish(10)
    assert settler.dead_letters == [[("m", "no such customer")]]
    assert batch.forwarded == {7}


async def test_without_a_dead_letter_queue_a_reject_is_not_forwarded():
    """It comes back."""
    batch = await settled(MissingSettler(), (record(), Rejected("never")), dead_letters=False)
    assert batch.forwarded == set()


async def test_what_ends_in_one_turn_of_the_loop_goes_in_one_call():
    """Three delays make one call, three rejects another."""
    settler = NotingSettler()
    batch = settling(settler)
    for number in range(3):
        batch.add(number, record(f"a{number}"), Retrying(5))
        batch.add(number + 3, record(f"b{number}"), Rejected("r"))
    await batch.finish(10)
    assert settler.visibility_changes == [[("a0", 5), ("a1", 5), ("a2", 5)]]
    assert settler.dead_letters == [[("b0", "r"), ("b1", "r"), ("b2", "r")]]


async def test_a_call_has_ten_messages_at_most():
    """Twenty-five make three."""
    settler = NotingSettler()
    batch = settling(settler)
    for number in range(25):
        batch.add(number, record(f"m{number}"), Retrying(5))
        batch.add(number, record(f"m{number}"), Rejected("r"))
    await batch.finish(10)
    assert [len(call) for call in settler.visibility_changes] == [10, 10, 5]
    assert [len(call) for call in settler.dead_letters] == [10, 10, 5]
    assert batch.forwarded == set(range(25))


async def test_what_is_added_after_all_was_settled_is_settled_too():
    """A batch goes on."""
    settler = NotingSettler()
    batch = settling(settler)
    for number in range(2):
        batch.add(number, record(f"m{number}"), Retrying(5))
        await batch.finish(10)
    assert settler.visibility_changes == [[("m0", 5)], [("m1", 5)]]


async def test_what_the_dead_letter_queue_refuses_is_not_buried(caplog: pytest.LogCaptureFixture):
    """The others are, and the log names the one with the reason."""
    batch = await settled(NotingSettler("m1"), *((record(f"m{number}"), Rejected("r")) for number in range(3)))
    assert batch.forwarded == {0, 2}
    assert "the dead-letter queue refused message m1: AccessDenied" in caplog.text


async def test_what_the_dead_letter_queue_refuses_is_backed_off():
    """As any other record that comes back, by its own receive count."""
    settler = NotingSettler("m1")
    await settled(settler, *((record(f"m{number}", 2), Rejected("r")) for number in range(3)), backoff=STEADY)
    assert settler.visibility_changes[0] == [("m1", 20)]


@pytest.mark.parametrize(("more", "calls"), [(0, [2]), (1, [1, 1])])
async def test_a_call_has_one_mebibyte_of_rejects_at_most(more: int, calls: list[int]):
    """Bodies by their UTF-8, reasons by the four bytes that a character may take, and 1 KiB for what is around them."""
    settler = NotingSettler()
    body = "日" * ((1_048_576 // 2 - 1_024 - 4 * 5) // 3) + "x" * ((1_048_576 // 2 - 1_024 - 4 * 5) % 3)
    await settled(settler, *[(Record(make_record(body + "x" * more)), Rejected("never"))] * 2)
    assert [len(call) for call in settler.dead_letters] == calls


async def test_attributes_count_in_a_call_of_rejects():
    """They go along: two thirds of a mebibyte of them leave no room for a second message."""
    settler = NotingSettler()
    attribute = {"stringValue": "x" * 175_000, "dataType": "String"}
    with_attribute = Record(make_record("body", message_attributes={"name": attribute}))
    await settled(settler, *[(with_attribute, Rejected("r"))] * 2)
    assert [len(call) for call in settler.dead_letters] == [1, 1]


async def test_a_delay_that_is_refused_is_halved_until_it_is_taken():
    """How much of the twelve hours is left only a try tells; what was taken is not sent again."""
    settler = NotingSettler(longest=1_000)
    await settled(settler, (record("long"), Retrying(3_600)), (record("short"), Retrying(900)))
    assert settler.visibility_changes == [[("long", 3_600), ("short", 900)], [("long", 1_800)], [("long", 900)]]


async def test_a_delay_that_is_never_taken_is_given_up():
    """The message is gone, or received again; the tries are few."""
    settler = NotingSettler("m")
    await settled(settler, (record("m"), Retrying(43_200)))
    assert len(settler.visibility_changes) == 16
    assert settler.visibility_changes[-1] == [("m", 1)]


async def test_a_call_that_keeps_failing_is_logged_and_the_next_ones_are_made(caplog: pytest.LogCaptureFixture):
    """SQS redelivers its messages after their visibility timeout."""
    settler = NotingSettler(fails=throttled(), failures=3)
    batch = settling(settler)
    for number in range(20):
        batch.add(number, record(f"m{number}"), Retrying(5))
        batch.add(number, record(f"m{number}"), Rejected("r"))
    await batch.finish(10)
    assert [len(call) for call in settler.visibility_changes] == [10, 10, 10, 10]
    assert batch.forwarded == set(range(10, 20))
    assert (
        "rejected messages could not be sent to the dead-letter queue; they will be redelivered: slow down"
        in caplog.text
    )
    assert (
        "delays could not be set; the messages will be redelivered after their visibility timeout: slow down"
        in caplog.text
    )


@pytest.mark.parametrize("error", [throttled(), RuntimeError("broken")])
async def test_a_call_that_fails_once_settles_its_messages_after_all(error: Exception):
    """A transient error is retried; after any other one, each message is settled alone."""
    settler = NotingSettler(fails=error)
    rejects = [(record(f"m{number}"), Rejected("r")) for number in range(12)]
    batch = await settled(settler, *rejects, (record("late"), Retrying(5)))
    assert batch.forwarded == set(range(12))
    assert settler.visibility_changes[-1] == [("late", 5)]


async def test_a_message_that_breaks_its_call_affects_no_other(caplog: pytest.LogCaptureFixture):
    """The settler fails whenever message m3 is in a call."""

    class BreaksOn3(NotingSettler):
        async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
            if any(rejected.message_id == "m3" for rejected, _ in rejects):
                raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
            return await super().send_dead_letters(rejects)

    batch = await settled(BreaksOn3(), *((record(f"m{number}"), Rejected("r")) for number in range(12)), backoff=STEADY)
    assert batch.forwarded == set(range(12)) - {3}
    assert "surrogates not allowed" in caplog.text


async def test_a_transient_refusal_keeps_its_delay():
    """``InternalError`` for a delay of 600 s is retried with 600 s, not halved."""

    class RefusesOnce(NotingSettler):
        async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
            await super().change_visibility(changes)
            return [Refusal(0, "InternalError", final=False)] if len(self.visibility_changes) == 1 else []

    settler = RefusesOnce()
    await settled(settler, (record("m0"), Retrying(600)), (record("m1"), Retrying(600)))
    assert settler.visibility_changes == [[("m0", 600), ("m1", 600)], [("m0", 600)]]


async def test_a_dead_letter_queue_that_hangs_delays_no_delay():
    """The two kinds of calls are independent."""

    class HangsOnDeadLetters(NotingSettler):
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


@pytest.mark.parametrize("position", [True, -1, 2, "0", None, 0.0])
async def test_a_refusal_without_a_valid_position_acknowledges_nothing(position):
    """Which of the dead letters the queue took is unknown."""

    class Odd(NotingSettler):
        async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
            return [Refusal(position, "no", final=True)]

    batch = await settled(Odd(), (record("m0"), Rejected("r")), (record("m1"), Rejected("r")))
    assert batch.forwarded == set()


async def test_a_backoff_that_raises_is_logged_once(caplog: pytest.LogCaptureFixture):
    """The messages keep the queue's visibility timeout."""

    class Raising(Backoff):
        def next_delay(self, receive_count: int) -> float:
            raise OverflowError("too large")

    settler = NotingSettler()
    await settled(settler, *((record(f"m{number}"), Failed(OSError())) for number in range(50)), backoff=Raising())
    assert settler.visibility_changes == []
    assert caplog.text.count("the backoff failed") == 1


async def test_a_settler_that_cannot_be_opened_names_what_is_missing(caplog: pytest.LogCaptureFixture):
    """Nothing is buried."""
    batch = await settled(MissingSettler(), (record(), Rejected("r")))
    assert batch.forwarded == set()
    assert "they will be redelivered: delays and dead letters needs an extra: pip install 'fanfold[aws]'" in caplog.text


async def test_the_log_complains_of_what_was_to_be_settled_alone(caplog: pytest.LogCaptureFixture):
    """Without rejects there is no word of rejects."""
    await settled(MissingSettler(), (record(), Retrying(5)))
    assert "delays could not be set" in caplog.text
    assert "rejected messages" not in caplog.text


async def test_a_settler_that_hangs_is_cancelled_when_the_answer_is_due(caplog: pytest.LogCaptureFixture):
    """What is not settled is left to the queue's timeout, and the log says so."""
    settler = HangingSettler()
    await settled(settler, *((record(f"m{number}"), Retrying(5)) for number in range(15)), seconds=0.01)
    await asyncio.sleep(0)
    assert settler.cancelled == 1
    assert "messages could not be settled in time" in caplog.text


async def test_rejects_are_forwarded_before_delays_are_set():
    """A delay that hangs keeps no reject of the same turn."""
    settler = HangingSettler()
    batch = await settled(settler, (record("delay"), Retrying(5)), (record("reject"), Rejected("r")), seconds=0.01)
    await asyncio.sleep(0)
    assert batch.forwarded == {1}


async def test_what_is_added_after_a_stop_is_not_settled():
    """The batch is answered: a message whose handler ends later must not be hurried back."""
    settler = NotingSettler()
    batch = settling(settler)
    batch.stop()
    batch.add(0, record("late"), Retrying(0))
    batch.add(1, record("later"), Rejected("r"))
    await batch.finish(10)
    assert (settler.visibility_changes, settler.dead_letters, batch.forwarded) == ([], [], set())


async def test_nothing_to_settle_takes_no_time():
    """A batch of successes waits for nothing."""
    await settling(MissingSettler()).finish(0)


async def test_an_answer_without_a_deadline_waits_for_the_settling():
    """As long as it takes."""
    settler = NotingSettler()
    batch = settling(settler)
    batch.change_visibility(record("m"), 9)
    await batch.finish(None)
    assert settler.visibility_changes == [[("m", 9)]]


def test_a_delay_that_is_no_number_is_the_queues_own():
    """It spoils nothing."""
    assert delay_of(Retrying(float("nan")), 1, None) is None
