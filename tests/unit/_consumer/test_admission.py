"""When the next record may start."""

import pytest

from fanfold._consumer.admission import CHECK_SECONDS, WAIT_SECONDS, Admission
from fanfold._consumer.memory_guard import MemoryGuard, resident_bytes


class ScriptedGuard(MemoryGuard):
    """Finds memory "full" or with "room" as its script says, look by look; the last word holds."""

    def __init__(self, *script: str) -> None:
        super().__init__(0)
        self.looks = 0
        self._script = script

    def full(self) -> bool:
        self.looks += 1
        return self._script[min(self.looks, len(self._script)) - 1] == "full"


def test_without_limits_every_record_may_start():
    """And none need ask."""
    admission = Admission(starts_per_second=None, guard=None, now=100.0)
    assert admission.free_until == float("inf")
    assert [admission.wait(100.0, running) for running in (0, 1, 1_000)] == [0, 0, 0]


@pytest.mark.parametrize(("rate", "guard"), [(10, None), (None, ScriptedGuard("room")), (10, ScriptedGuard("room"))])
def test_with_a_limit_the_first_record_asks(rate, guard):
    """Nothing starts unasked."""
    assert Admission(starts_per_second=rate, guard=guard, now=100.0).free_until < 100.0


def test_a_rate_spreads_starts_evenly():
    """Four a second are 250 ms apart; the first starts at once."""
    admission = Admission(starts_per_second=4, guard=None, now=100.0)
    assert admission.wait(100.0, 0) == 0
    assert admission.wait(100.0, 1) == 0.25
    assert admission.wait(100.125, 1) == 0.125
    assert admission.wait(100.25, 1) == 0
    assert admission.wait(100.25, 1) == 0.25


def test_waiting_books_nothing():
    """Ten that ask in vain do not move the next start."""
    admission = Admission(starts_per_second=1, guard=None, now=0.0)
    admission.wait(0.0, 0)
    assert [admission.wait(0.5, 1) for _ in range(10)] == [0.5] * 10


def test_a_late_start_lets_no_burst_through():
    """The next one waits a whole interval from the start that was late."""
    admission = Admission(starts_per_second=2, guard=None, now=0.0)
    admission.wait(0.0, 0)
    assert admission.wait(10.0, 1) == 0
    assert admission.wait(10.0, 1) == 0.5


def test_a_rate_below_one_a_second_is_a_long_interval():
    """One in a hundred seconds."""
    admission = Admission(starts_per_second=0.01, guard=None, now=0.0)
    admission.wait(0.0, 0)
    assert admission.wait(1.0, 0) == 99


def test_full_memory_holds_a_start_while_others_run():
    """It is counted each time it is held."""
    admission = Admission(starts_per_second=None, guard=ScriptedGuard("full"), now=0.0)
    assert [admission.wait(0.0, 1), admission.wait(0.02, 1)] == [WAIT_SECONDS, WAIT_SECONDS]
    assert admission.held_for_memory == 2


def test_full_memory_lets_one_record_run():
    """With nothing in flight there is nothing that could free it."""
    admission = Admission(starts_per_second=None, guard=ScriptedGuard("full"), now=0.0)
    assert admission.wait(0.0, 0) == 0
    assert admission.held_for_memory == 0


def test_after_the_one_record_that_full_memory_lets_run_the_next_has_to_ask():
    """Its start frees nothing."""
    admission = Admission(starts_per_second=None, guard=ScriptedGuard("full"), now=0.0)
    admission.wait(0.0, 0)
    assert admission.free_until <= 0.0
    assert admission.wait(0.0, 1) == WAIT_SECONDS


def test_a_start_goes_on_when_memory_has_fallen():
    """The wait ends with the first look that finds room."""
    admission = Admission(starts_per_second=None, guard=ScriptedGuard("full", "full", "room"), now=0.0)
    assert [admission.wait(now, 1) for now in (0.0, 0.02, 0.04)] == [WAIT_SECONDS, WAIT_SECONDS, 0]


def test_memory_with_room_is_looked_at_now_and_then():
    """Not once for each of thousands of starts."""
    guard = ScriptedGuard("room")
    admission = Admission(starts_per_second=None, guard=guard, now=0.0)
    for _ in range(1_000):
        admission.wait(0.0, 1)
    assert guard.looks == 1
    assert admission.free_until == CHECK_SECONDS
    admission.wait(CHECK_SECONDS, 1)
    assert guard.looks == 2


def test_a_start_held_for_memory_books_no_turn():
    """When there is room again it starts at once."""
    admission = Admission(starts_per_second=1, guard=ScriptedGuard("full", "room"), now=0.0)
    assert admission.wait(0.0, 1) == WAIT_SECONDS
    assert admission.wait(0.02, 1) == 0
    assert admission.wait(0.02, 1) == 1


def test_a_guard_tells_by_what_is_resident_now():
    """This process has more than nothing and less than a tebibyte."""
    assert MemoryGuard(1).full()
    assert not MemoryGuard(2**40).full()
    assert resident_bytes() > 1_000_000


def test_a_guard_sees_memory_fall():
    """The peak is not held against the process."""
    before = resident_bytes()
    block = bytearray(b"x" * 200_000_000)
    with_block = resident_bytes()
    del block
    assert with_block > before + 150_000_000
    assert resident_bytes() < with_block - 150_000_000
