"""A process that shares memory with others runs the records that fit into its share."""

import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._base.operating_system import peak_resident_bytes, reset_peak_resident_bytes, resident_bytes
from fanfold._consumer.admission import CHECK_SECONDS, Admission, StartRate
from fanfold._consumer.memory_share import REMEMBERED_BATCHES, SLOW_RECORD_SECONDS, MemoryShare

BASE = 40


class Process:
    """Resident memory and its peak, in bytes, and the batches of a process."""

    def __init__(self, limit: int, *, resets: bool = True, reports: bool = True) -> None:
        self.resident = self.peak = BASE
        self.now = 100.0
        self._resets, self._reports = resets, reports
        self.share = MemoryShare(
            limit,
            resident=lambda: self.resident if reports else None,
            peak=lambda: self.peak if reports else None,
            reset_peak=self.reset_peak,
            release_free_memory=lambda: None,
        )

    def reset_peak(self) -> None:
        if self._resets:
            self.peak = self.resident

    def take(self, record_bytes: int) -> None:
        self.resident += record_bytes
        self.peak = max(self.peak, self.resident)

    def start(self, running: int) -> bool:
        """Start a record if there is room, and return whether there was."""
        if self.share.wait(self.now, running):
            return False
        self.share.started(self.now, running)
        return True

    def run_batch(self, records: int, record_bytes: int) -> int:
        """Run a batch as fast as the share allows, and return the most records in flight."""
        self.share.batch_starts()
        left, running, most = records, 0, 0
        while left or running:
            while left and self.start(running):
                left, running = left - 1, running + 1
                self.take(record_bytes)
            most = max(most, running)
            running -= 1
            self.resident -= record_bytes
        return most


def admission_of(process: Process, *, starts_per_second: float | None = None) -> Admission:
    """Return the limits of a batch that has just started."""
    process.share.batch_starts()
    return Admission([process.share, *([StartRate(starts_per_second, 0.0)] if starts_per_second else [])])


def test_the_first_record_of_a_process_runs_alone():
    """The memory of a record is not known before one has ended."""
    process = Process(230)
    assert process.start(0)
    assert not process.start(1)
    assert not process.share.learned


def test_as_many_records_run_as_fit_into_the_share():
    """Of 230 bytes, 190 are left for records: one of 150 fits, three of 50."""
    for record_bytes, fitting in ((150, 1), (96, 1), (95, 2), (50, 3), (10, 19)):
        process = Process(230)
        assert process.run_batch(40, record_bytes) == fitting
        assert process.run_batch(40, record_bytes) == fitting


def test_one_record_always_runs(caplog: pytest.LogCaptureFixture):
    """Waiting would not make it smaller; one warning states what to do."""
    process = Process(230)
    for _ in range(3):
        assert process.run_batch(5, 250 * 1024 * 1024) == 1
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "a record takes about 250 MB" in record.getMessage()
    assert "reduce PerExecutionEnvironmentMaxConcurrency" in record.getMessage()


def test_records_without_memory_are_not_limited():
    """Their number is limited by the concurrency alone."""
    process = Process(230)
    process.run_batch(1, 0)
    assert process.run_batch(5_000, 0) == 5_000


def test_a_system_that_does_not_report_memory_limits_nothing_after_the_first_record():
    """The guard has no effect there, either, and logs that."""
    process = Process(230, reports=False)
    process.run_batch(1, 150)
    assert process.run_batch(50, 150) == 50


def test_memory_that_stays_after_a_record_is_not_the_records():
    """Clients and modules that the first record opened belong to the process from then on."""
    process = Process(230)
    assert process.start(0)
    process.take(100)
    process.resident -= 10
    assert not process.share.wait(process.now, 0)
    assert process.run_batch(50, 10) == 10  # 100 bytes are left


def test_a_large_record_is_forgotten_after_some_batches():
    """Records are small again, so more of them run."""
    process = Process(230)
    process.run_batch(1, 150)
    for _ in range(REMEMBERED_BATCHES):
        assert process.run_batch(20, 10) == 1
    assert process.run_batch(20, 10) == 19


def test_a_large_record_reduces_the_next_batch():
    """The memory of a batch is measured when the next one starts."""
    process = Process(230)
    process.run_batch(2, 10)
    process.run_batch(1, 150)
    assert process.run_batch(20, 10) == 1


def test_a_peak_that_cannot_be_reset_counts_once():
    """It was of another batch, with more records in flight."""
    process = Process(230, resets=False)
    process.run_batch(1, 10)
    process.run_batch(19, 10)
    process.run_batch(1, 10)
    assert process.run_batch(19, 10) == 19


def test_a_slow_first_record_does_not_hold_back_the_others_for_ever():
    """One more starts at intervals; as soon as one of them has ended, it is known what a record takes."""
    process = Process(230)
    process.start(0)
    process.now += SLOW_RECORD_SECONDS
    assert process.start(1)
    assert not process.start(2)
    process.now += SLOW_RECORD_SECONDS
    assert process.start(2)
    assert not process.start(3)
    assert process.start(2)  # one has ended
    assert process.share.learned
    assert all(process.start(running) for running in range(3, 50))


def test_a_slow_first_record_that_takes_its_share_holds_back_the_others():
    """A second one would not fit."""
    process = Process(230)
    process.start(0)
    process.take(150)
    process.now += 10 * SLOW_RECORD_SECONDS
    assert not process.start(1)


def test_waiting_for_the_first_record_is_not_reported_as_full_memory():
    """It happens once in each process; later, a wait is a wait for memory."""
    process = Process(230)
    admission = admission_of(process)
    assert [admission.wait(0.0, 0), admission.wait(0.0, 1)] == [0, CHECK_SECONDS]
    assert admission.held_for_memory == 0
    process.take(150)
    process.resident -= 150
    assert [admission.wait(0.0, 0), admission.wait(0.0, 1)] == [0, CHECK_SECONDS]
    assert admission.held_for_memory == 1


def test_a_start_that_the_rate_delays_is_not_counted_as_in_flight():
    """Otherwise a record would seem to take half of what it takes."""
    process = Process(230)
    process.run_batch(1, 0)
    admission = admission_of(process, starts_per_second=1)
    assert admission.wait(0.0, 0) == 0
    process.take(100)
    assert [admission.wait(0.0, 1), admission.wait(0.5, 1)] == [1, 0.5]
    process.resident -= 100
    assert process.run_batch(5, 100) == 1


def test_with_a_share_every_start_is_checked():
    """Between two checks, more records could start than fit."""
    process = Process(230)
    admission = admission_of(process)
    assert admission.wait(0.0, 0) == 0
    assert admission.free_until == -math.inf


@given(
    limit=st.integers(1, 1_000),
    batches=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 300)), min_size=1, max_size=6),
)
def test_records_no_larger_than_earlier_ones_never_exceed_the_share(limit, batches):
    """Except for the one record that always runs."""
    process = Process(limit)
    largest = max(record_bytes for _, record_bytes in batches)
    process.run_batch(1, largest)
    for records, record_bytes in batches:
        most = process.run_batch(records, record_bytes)
        assert 1 <= most <= records
        assert most == 1 or BASE + most * record_bytes <= limit


@pytest.mark.linux
def test_the_peak_of_this_process_can_be_reset():
    """Afterwards it is the resident memory, and rises again."""
    block = bytearray(b"x" * 100_000_000)
    del block
    assert peak_resident_bytes() > resident_bytes() + 50_000_000
    reset_peak_resident_bytes()
    assert peak_resident_bytes() < resident_bytes() + 50_000_000
