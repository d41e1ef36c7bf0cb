"""Memory is full when what is resident stays over the limit, freed memory given back."""

from fanfold._base.operating_system import MEMORY_NOT_REPORTED, resident_bytes
from fanfold._consumer.memory_guard import (
    RELEASE_SECONDS,
    MemoryGuard,
    _warn_once_unguarded,
    release_free_memory,
)
from fanfold.testing import ManualClock


class Allocator:
    """Resident memory, of which some is free and can be given back."""

    def __init__(self, used: int, free: int, *, slow: float = 0.0) -> None:
        self.used, self.free, self.asked = used, free, 0
        self.clock = ManualClock()
        self._slow = slow

    def resident(self) -> int:
        return self.used + self.free

    def release_free_memory(self) -> None:
        self.asked += 1
        self.free = 0
        self.clock.advance(self._slow)

    def guard(self, limit: int) -> MemoryGuard:
        return MemoryGuard(
            limit, resident=self.resident, release_free_memory=self.release_free_memory, clock=self.clock
        )


def test_memory_under_the_limit_is_not_full_and_nothing_is_given_back():
    """The usual case costs one look."""
    allocator = Allocator(used=50, free=50)
    assert not allocator.guard(100).full()
    assert allocator.asked == 0


def test_memory_that_was_freed_does_not_count():
    """It is given back to the system first."""
    allocator = Allocator(used=50, free=60)
    assert not allocator.guard(100).full()
    assert allocator.resident() == 50


def test_memory_that_is_used_does():
    """Whatever is given back."""
    assert Allocator(used=101, free=60).guard(100).full()


def test_giving_back_takes_a_twentieth_of_the_time_at_most():
    """Between two requests memory is full as it stands."""
    for slow, pause in ((0.0, RELEASE_SECONDS), (0.5, 10.0)):
        allocator = Allocator(used=101, free=0, slow=slow)
        guard = allocator.guard(100)
        began = allocator.clock()
        assert guard.full()
        assert guard.full()
        allocator.clock.advance(began + pause - allocator.clock() - 0.001)
        assert guard.full()
        assert allocator.asked == 1
        allocator.clock.advance(0.002)
        assert guard.full()
        assert allocator.asked == 2


def test_where_the_system_does_not_tell_memory_is_never_full():
    """A guard that cannot see holds nothing back."""
    assert not MemoryGuard(0, resident=lambda: None).full()


def test_what_is_resident_here_is_told_and_may_be_given_back():
    """In any process, with any C library."""
    release_free_memory()
    assert (resident_bytes() or 1) > 0


def test_that_nothing_is_guarded_is_said_once_in_a_process(caplog):
    """However many guards and batches there are."""
    _warn_once_unguarded.cache_clear()
    for _ in range(2):
        guard = MemoryGuard(0, resident=lambda: None)
        assert not guard.full()
        assert not guard.full()
    [record] = caplog.records
    assert record.getMessage() == f"the memory guard is off: {MEMORY_NOT_REPORTED}"
