"""Memory is full if resident memory exceeds the limit even after free memory is released."""

from fanfold._base.operating_system import MEMORY_NOT_REPORTED, resident_bytes
from fanfold._consumer.memory_guard import (
    RELEASE_SECONDS,
    MemoryGuard,
    _warn_once_that_guard_is_off,
    release_free_memory,
)
from fanfold.testing import ManualClock


class Allocator:
    """Resident memory, part of which is free and can be released."""

    def __init__(self, used: int, free: int, *, slow: float = 0.0) -> None:
        self.used, self.free, self.releases = used, free, 0
        self.clock = ManualClock()
        self._slow = slow

    def resident(self) -> int:
        return self.used + self.free

    def release_free_memory(self) -> None:
        self.releases += 1
        self.free = 0
        self.clock.advance(self._slow)

    def guard(self, limit: int) -> MemoryGuard:
        return MemoryGuard(
            limit, resident=self.resident, release_free_memory=self.release_free_memory, clock=self.clock
        )


def test_memory_below_the_limit_is_not_full_and_is_not_released():
    """The usual case costs one check."""
    allocator = Allocator(used=50, free=50)
    assert not allocator.guard(100).full()
    assert allocator.releases == 0


def test_free_memory_does_not_count():
    """It is released to the system first."""
    allocator = Allocator(used=50, free=60)
    assert not allocator.guard(100).full()
    assert allocator.resident() == 50


def test_used_memory_counts():
    """Releasing free memory does not change it."""
    assert Allocator(used=101, free=60).guard(100).full()


def test_releasing_memory_takes_at_most_a_twentieth_of_the_time():
    """Between two releases, memory above the limit is full."""
    for slow, interval in ((0.0, RELEASE_SECONDS), (0.5, 10.0)):
        allocator = Allocator(used=101, free=0, slow=slow)
        guard = allocator.guard(100)
        started_at = allocator.clock()
        assert guard.full()
        assert guard.full()
        allocator.clock.advance(started_at + interval - allocator.clock() - 0.001)
        assert guard.full()
        assert allocator.releases == 1
        allocator.clock.advance(0.002)
        assert guard.full()
        assert allocator.releases == 2


def test_memory_is_never_full_if_the_system_does_not_report_it():
    """The guard then admits every record."""
    assert not MemoryGuard(0, resident=lambda: None).full()


def test_resident_memory_is_measured_and_free_memory_can_be_released():
    """In any process and with any C library."""
    release_free_memory()
    assert (resident_bytes() or 1) > 0


def test_a_guard_without_effect_is_logged_once_per_process(caplog):
    """The number of guards and checks does not matter."""
    _warn_once_that_guard_is_off.cache_clear()
    for _ in range(2):
        guard = MemoryGuard(0, resident=lambda: None)
        assert not guard.full()
        assert not guard.full()
    [record] = caplog.records
    assert record.getMessage() == f"the memory guard is off: {MEMORY_NOT_REPORTED}"
