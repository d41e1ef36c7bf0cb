"""However a redrive of dead letters is interrupted and repeated, no message is lost and groups stay in order."""

from collections.abc import Callable
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from dead_letter_queues import Letters, Target
from fanfold._dead_letters.letters import NO_REASON, Choice
from fanfold._dead_letters.send_back import SentBack, send_back
from fanfold.errors import ServiceError

LETTERS = st.lists(st.tuples(st.sampled_from(["no stock", "too late", None]), st.sampled_from("gh")), max_size=25)
FAULTS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=4)


class Gate:
    """Fails one call, before or after it takes effect: for good, or so that a retry succeeds."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.transient = False

    def __call__(self, operation: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise ServiceError("failed", code="Failed", transient=self.transient and operation != "receive")


async def move(letters: Letters, target: Target, choice: Choice) -> SentBack:
    async def sleep(seconds: float) -> None:
        pass

    sent_back = SentBack()
    await send_back(
        letters, lambda letter: target, choice, rate=1e9, most=1_000, sent_back=sent_back, clock=lambda: 0, sleep=sleep
    )
    return sent_back


def in_order(bodies: list[str], is_member: Callable[[str], bool]) -> list[str]:
    """Return the members of a group in the order in which they were first accepted."""
    return list(dict.fromkeys(filter(is_member, bodies)))


@given(
    drawn=LETTERS, fifo=st.booleans(), where=st.sampled_from([None, "stock", "o"]), faults=FAULTS, refused=st.integers()
)
async def test_after_any_interruptions_chosen_messages_are_sent_in_order_and_the_others_are_visible(
    drawn, fifo, where, faults, refused
):
    """After each attempt, every message is in the target or visible in the dead-letter queue."""
    gate = Gate()
    letters, target = Letters(fifo=fifo, gate=gate), Target(fifo=fifo, gate=gate)
    for number, (reason, group) in enumerate(drawn):
        letters.put(f"{group}{number:02}", reason, group=group if fifo else None)
    bodies = [f"{group}{number:02}" for number, (_, group) in enumerate(drawn)]
    reasons = [reason or NO_REASON for reason, _ in drawn]
    chosen = {body for body, reason in zip(bodies, reasons, strict=True) if where is None or where in reason}
    if bodies:
        target.refuses = {bodies[refused % len(bodies)]}
    choice = Choice(where=where)
    for calls, transient in faults:
        gate.left, gate.transient = calls, transient
        with suppress(ServiceError):
            await move(letters, target, choice)
        gate.left = None
        assert set(target.bodies) | set(letters.visible()) == set(bodies)
        assert len(letters.visible()) == len(letters.queue)
        assert set(target.bodies) <= chosen
    target.refuses = set()
    for _ in drawn:  # behind ten others of a FIFO group, a message is read only when these are deleted
        await move(letters, target, choice)
    missing = chosen - set(target.bodies)
    assert sorted([*letters.visible()]) == sorted(set(bodies) - chosen | missing)
    if not fifo:
        assert not missing
        return
    assert len(target.bodies) == len(set(target.bodies))
    for group in "gh":
        members = [body for body in bodies if body[0] == group]
        sent = in_order(target.bodies, lambda body, group=group: body[0] == group)
        assert sent == sorted(sent)
        others = [body for body in members if body not in chosen]
        assert not missing or len(others) >= 1
        if len(others) < 1:
            assert sent == members
