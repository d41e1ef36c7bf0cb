"""Messages of a dead-letter queue are shown, chosen, and sent back."""

import json
from typing import Any

import pytest

from dead_letter_queues import ARN, Letters, Target, failing_at
from fanfold._base.aws_limits import SQS_BATCH_BYTES
from fanfold._base.dead_letter import ATTRIBUTE
from fanfold._base.record import Record
from fanfold._dead_letters.letters import NO_REASON, Choice, grouped, letter_of
from fanfold._dead_letters.send_back import BEHIND, SentBack, look, send_back
from fanfold.errors import ServiceError
from fanfold.testing import ManualClock

ALL = Choice()


async def move(letters: Letters, target: Target, choice: Choice = ALL, **settings: Any) -> SentBack:
    """Send messages back without waiting; return the result."""
    clock, sent_back = ManualClock(), SentBack()

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    values = {"rate": 1_000.0, "most": 1_000, "clock": clock, "sleep": sleep, **settings}
    await send_back(letters, lambda letter: target, choice, sent_back=sent_back, **values)
    return sent_back


async def test_messages_are_grouped_by_reason_and_visible_again_after_a_look():
    """Reasons that differ only in numbers are one group, the largest first."""
    letters = Letters()
    for number in range(12):
        letters.put(f"a{number}", f"KeyError: row {number}")
    letters.put("b", "too old")
    letters.put("c")
    seen = await look(letters, 1_000)
    groups = grouped(seen, Choice(where="KeyError"))
    assert [(group.reason, group.count, group.chosen) for group in groups] == [
        ("KeyError: row 0", 12, 12),
        ("too old", 1, 0),
        (NO_REASON, 1, 0),
    ]
    assert (groups[0].source, groups[2].source) == (f"{ARN}orders", None)
    assert len(letters.visible()) == 14


async def test_only_chosen_messages_are_sent_and_deleted_and_the_others_are_visible_again():
    """By a part of the reason, or by id, in either queue."""
    letters, target = Letters(), Target()
    ids = [letters.put(f"a{number}", "KeyError" if number % 2 else "too old") for number in range(25)]
    result = await move(letters, target, Choice(where="Key"))
    assert (result.sent, result.refused, result.not_deleted) == (12, {}, 0)
    assert sorted(target.bodies) == sorted(f"a{number}" for number in range(25) if number % 2)
    assert sorted(letters.visible()) == sorted(f"a{number}" for number in range(25) if not number % 2)
    result = await move(letters, target, Choice(only=frozenset({ids[0], f"original-of-{ids[2]}"})))
    assert (result.sent, target.bodies[-2:]) == (2, ["a0", "a2"])
    assert Choice(only=frozenset({ids[0], "other"})).missing(await look(letters, 99)) == [ids[0], "other"]
    assert (await move(letters, target, Choice(sources=frozenset({None})))).sent == 0


async def test_a_message_is_sent_as_it_was_in_its_source_queue():
    """Without fanfold's attribute, and with the attributes that did not fit next to it."""
    letters, target = Letters(), Target()
    color = {"dataType": "Binary", "binaryValue": "aGk="}
    size = {"dataType": "Number", "stringValue": "3"}
    document = {"reason": "no", "attributes": {"size": size}}
    reason = {"dataType": "String", "stringValue": json.dumps(document)}
    record = {"messageId": "m", "body": "x", "messageAttributes": {"color": color, ATTRIBUTE: reason}}
    letters.queue.put({**record, "eventSourceARN": letters.arn})
    await move(letters, target)
    (sent,) = target.accepted
    assert sent.message_attributes == {"color": color, "size": size}
    for odd in ("[", "[1]", '{"attributes": 3}'):
        reason["stringValue"] = odd
        assert letter_of(Record({**record, "messageAttributes": {ATTRIBUTE: reason}})).reason == NO_REASON


async def test_the_rate_is_bounded():
    """On average, from the first message on."""
    letters, target = Letters(), Target()
    for number in range(30):
        letters.put(f"a{number}", "no")
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    await move(letters, target, rate=5.0, clock=lambda: 0.0, sleep=sleep)
    assert waits == [2.0, 4.0]


async def test_a_refused_message_stays_and_a_transient_refusal_is_retried():
    """The result names the message and the reason."""
    letters, target = Letters(), Target()
    ids = [letters.put(f"a{number}", "no") for number in range(3)]
    target.refuses, target.refuses_at_first = {"a1"}, {"a0"}
    result = await move(letters, target)
    assert (result.sent, result.refused) == (2, {ids[1]: "InvalidMessageContents"})
    assert (sorted(target.bodies), letters.visible()) == (["a0", "a2"], ["a1"])


async def test_a_target_that_is_never_available_keeps_all_messages():
    """After all attempts; each message is in the result."""
    letters = Letters()
    ids = [letters.put(f"a{number}", "no") for number in range(2)]

    def throttled(operation: str) -> None:
        raise ServiceError("slow down", code="RequestThrottled", transient=True)

    result = await move(letters, Target(gate=throttled))
    assert (result.sent, result.refused) == (0, dict.fromkeys(ids, "slow down"))
    assert sorted(letters.visible()) == ["a0", "a1"]


async def test_after_a_refused_message_nothing_of_its_fifo_group_is_sent():
    """Other groups are; the order within each group holds."""
    letters, target = Letters(fifo=True), Target(fifo=True)
    for number in range(4):
        letters.put(f"g{number}", "no", group="g")
        letters.put(f"h{number}", "no", group="h")
    target.refuses = {"g1"}
    result = await move(letters, target)
    assert [body for body in target.bodies if body[0] == "g"] == ["g0"]
    assert [body for body in target.bodies if body[0] == "h"] == ["h0", "h1", "h2", "h3"]
    assert sorted(set(result.refused.values())) == ["InvalidMessageContents", BEHIND]
    assert sorted(letters.visible()) == ["g1", "g2", "g3"]


async def test_a_message_that_fails_again_meanwhile_is_not_sent_twice():
    """Otherwise, a message that fails immediately would be moved in a circle."""
    letters = Letters()
    name = letters.put("a0", "no")

    class Circle(Target):
        async def resend(self, records):
            results = await super().resend(records)
            for result in results:
                document = {"reason": "no", "message_id": result}
                value = {"dataType": "String", "stringValue": json.dumps(document)}
                failed = {"messageId": f"again-{result}", "body": "a0", "messageAttributes": {ATTRIBUTE: value}}
                letters.queue.put({**failed, "eventSourceARN": letters.arn})
            return results

    target = Circle()
    result = await move(letters, target)
    assert (result.sent, result.failed_again) == (1, 1)
    assert [record.message_id for record in target.accepted] == [name]
    assert letters.visible() == ["a0"]


async def test_what_cannot_be_deleted_is_counted():
    """If SQS refuses it, or does not respond."""

    class Refusing(Letters):
        async def delete(self, receipt_handles):
            raise ServiceError("no", code="InternalError", transient=False)

    letters = Refusing()
    letters.put("a0", "no")
    result = await move(letters, Target())
    assert (result.sent, result.not_deleted) == (1, 1)
    assert letters.visible() == ["a0"]


async def test_an_interruption_makes_every_message_visible_again():
    """At whichever call; a repeat sends the rest."""
    for number in range(8):
        letters, target = Letters(), Target()
        letters._gate = failing_at(number)
        for name in range(23):
            letters.put(f"a{name}", "no" if name % 2 else "yes")
        try:
            await move(letters, target, Choice(where="no"))
        except ServiceError:
            assert len(letters.visible()) == len(letters.queue)
        letters._gate = len
        await move(letters, target, Choice(where="no"))
        assert set(target.bodies) == {f"a{name}" for name in range(23) if name % 2}
        assert sorted(letters.visible()) == sorted(f"a{name}" for name in range(23) if not name % 2)


async def test_a_target_that_fails_for_good_ends_the_command():
    """Every message that it has not accepted is visible again."""
    letters = Letters()
    for number in range(3):
        letters.put(f"a{number}", "no")
    with pytest.raises(ServiceError, match="no response to resend"):
        await move(letters, Target(gate=failing_at(0)))
    assert len(letters.visible()) == 3


async def test_what_a_target_has_accepted_before_it_fails_for_good_is_not_sent_again():
    """It accepted two of three messages; the retry of the third failed."""
    letters, target = Letters(), Target(gate=failing_at(2))
    for number in range(3):
        letters.put(f"a{number}", "no")
    target.refuses_at_first = {"a1"}
    with pytest.raises(ServiceError, match="no response to resend"):
        await move(letters, target)
    assert (target.bodies, letters.visible(), len(letters.queue)) == (["a0", "a2"], ["a1"], 1)


async def test_a_call_is_not_too_large_with_attributes_in_any_writing():
    """SQS counts bytes of UTF-8, and refuses a larger call for good."""
    letters = Letters()
    attribute = {"dataType": "String", "stringValue": "\N{CJK UNIFIED IDEOGRAPH-6F22}" * 60_000}
    for number in range(8):
        record = {"messageId": f"m{number}", "body": "x", "messageAttributes": {"text": attribute}}
        letters.queue.put({**record, "eventSourceARN": letters.arn})
    sizes: list[int] = []

    class Measuring(Target):
        async def resend(self, records):
            sizes.append(sum(len(str(record.message_attributes).encode()) for record in records))
            return await super().resend(records)

    target = Measuring()
    assert (await move(letters, target)).sent == 8
    assert max(sizes) < SQS_BATCH_BYTES


async def test_messages_that_cannot_be_made_visible_are_logged(caplog):
    """They are visible after their visibility timeout, and the result is not lost."""

    class Stubborn(Letters):
        async def change_visibility(self, changes):
            if changes[0][1] == 0:
                raise ServiceError("no", code="InternalError", transient=False)
            return await super().change_visibility(changes)

    letters = Stubborn()
    letters.put("a0", "no")
    assert len(await look(letters, 9)) == 1
    assert "messages are invisible for up to 120 s: no" in caplog.text


async def test_a_queue_that_returns_the_same_messages_is_read_only_for_a_while():
    """As a queue does whose messages become visible again before the others are read."""

    class Forgetful(Letters):
        async def change_visibility(self, changes):
            return await super().change_visibility([(record, 0) for record, _ in changes])

    letters = Forgetful()
    letters.put("a0", "no")
    assert [letter.reason for letter in await look(letters, 9)] == ["no"]
    assert await look(letters, 0) == []
