"""Admission decides when the next record may start."""

import pytest

from fanfold._base.operating_system import resident_bytes
from fanfold._consumer.admission import CHECK_SECONDS, WAIT_SECONDS, Admission, MemoryLimit, StartRate
from fanfold._consumer.memory_guard import MemoryGuard


class ScriptedGuard(MemoryGuard):
    """Reports memory as "full" or with "room" as scripted, check by check; the last entry repeats."""

    def __init__(self, *script: str) -> None:
        super().__init__(0)
        self.checks = 0
        self._script = script

    def full(self) -> bool:
        self.checks += 1
        return self._script[min(self.checks, len(self._script)) - 1] == "full"


def test_without_limits_every_record_may_start():
    """No start needs to call ``wait``."""
    admission = Admission()
    assert admission.free_until == float("inf")
    assert [admission.wait(100.0, running) for running in (0, 1, 1_000)] == [0, 0, 0]


RATE, MEMORY = StartRate(10, 100.0), MemoryLimit(ScriptedGuard("room"), 100.0)


@pytest.mark.parametrize("policies", [[RATE], [MEMORY], [RATE, MEMORY]])
def test_with_a_limit_the_first_record_is_checked(policies):
    """No record may start without a call of ``wait``."""
    assert Admission(policies).free_until < 100.0


def test_a_rate_spreads_starts_evenly():
    """At four per second, starts are 250 ms apart; the first is immediate."""
    admission = Admission([StartRate(4, 100.0)])
    assert admission.wait(100.0, 0) == 0
    assert admission.wait(100.0, 1) == 0.25
    assert admission.wait(100.125, 1) == 0.125
    assert admission.wait(100.25, 1) == 0
    assert admission.wait(100.25, 1) == 0.25


def test_a_wait_does_not_delay_later_starts():
    """Ten calls that return a wait do not move the next start."""
    admission = Admission([StartRate(1, 0.0)])
    admission.wait(0.0, 0)
    assert [admission.wait(0.5, 1) for _ in range(10)] == [0.5] * 10


def test_a_late_start_does_not_cause_a_burst():
    """The next start waits a whole interval from the late start."""
    admission = Admission([StartRate(2, 0.0)])
    admission.wait(0.0, 0)
    assert admission.wait(10.0, 1) == 0
    assert admission.wait(10.0, 1) == 0.5


def test_a_rate_below_one_per_second_is_a_long_interval():
    """A rate of 0.01 is one start in 100 seconds."""
    admission = Admission([StartRate(0.01, 0.0)])
    admission.wait(0.0, 0)
    assert admission.wait(1.0, 0) == 99


def test_full_memory_delays_a_start_while_others_run():
    """Each delay is counted."""
    admission = Admission([MemoryLimit(ScriptedGuard("full"), 0.0)])
    assert [admission.wait(0.0, 1), admission.wait(0.02, 1)] == [WAIT_SECONDS, WAIT_SECONDS]
    assert admission.held_for_memory == 2


def test_full_memory_admits_one_record_if_none_runs():
    """With no record in flight, waiting would not free any memory."""
    admission = Admission([MemoryLimit(ScriptedGuard("full"), 0.0)])
    assert admission.wait(0.0, 0) == 0
    assert admission.held_for_memory == 0


def test_after_the_one_record_that_full_memory_admits_the_next_is_checked():
    """The start of a record does not free memory."""
    admission = Admission([MemoryLimit(ScriptedGuard("full"), 0.0)])
    admission.wait(0.0, 0)
    assert admission.free_until <= 0.0
    assert admission.wait(0.0, 1) == WAIT_SECONDS


def test_a_record_starts_once_memory_has_fallen():
    """The wait ends with the first check that finds room."""
    admission = Admission([MemoryLimit(ScriptedGuard("full", "full", "room"), 0.0)])
    assert [admission.wait(now, 1) for now in (0.0, 0.02, 0.04)] == [WAIT_SECONDS, WAIT_SECONDS, 0]


def test_memory_with_room_is_checked_at_intervals():
    """Thousands of starts do not each check the memory."""
    guard = ScriptedGuard("room")
    admission = Admission([MemoryLimit(guard, 0.0)])
    for _ in range(1_000):
        admission.wait(0.0, 1)
    assert guard.checks == 1
    assert admission.free_until == CHECK_SECONDS
    admission.wait(CHECK_SECONDS, 1)
    assert guard.checks == 2


def test_a_start_delayed_by_memory_does_not_count_for_the_rate():
    """Once memory has room, the record starts immediately."""
    admission = Admission([MemoryLimit(ScriptedGuard("full", "room"), 0.0), StartRate(1, 0.0)])
    assert admission.wait(0.0, 1) == WAIT_SECONDS
    assert admission.wait(0.02, 1) == 0
    assert admission.wait(0.02, 1) == 1


@pytest.mark.linux
def test_a_guard_measures_current_resident_memory():
    """This process uses more than 1 byte and less than 1 TiB."""
    assert MemoryGuard(1).full()
    assert not MemoryGuard(2**40).full()
    assert resident_bytes() > 1_000_000


@pytest.mark.linux
def test_a_guard_sees_memory_fall():
    """The limit applies to current memory, not to the peak."""
    before = resident_bytes()
    block = bytearray(b"x" * 200_000_000)
    with_block = resident_bytes()
    del block
    assert with_block > before + 150_000_000
    assert resident_bytes() < with_block - 150_000_000
