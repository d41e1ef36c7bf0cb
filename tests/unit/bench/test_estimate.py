"""From a measured cell to a backlog."""

import pytest

from bench_cells import PRICES, sample
from fanfold.bench.cells import OUT_OF_MEMORY, cells_of
from fanfold.bench.estimate import (
    RAMP,
    Backlog,
    Rates,
    against_the_simulator,
    estimate,
    held_out_errors,
    quotas_of,
    rates_of,
)


def test_a_small_backlog_is_one_batch():
    """And the start of an execution environment."""
    found = estimate(Rates(1_000, 3.0, 512, cold_start_seconds=0.5), Backlog(800), PRICES)
    assert (found.batches, found.concurrency, found.binds) == (1, 1, "no more batches")
    assert found.seconds == 3.5


def test_an_empty_queue_takes_nothing():
    """No time, no money."""
    found = estimate(Rates(1_000, 3.0, 512, cold_start_seconds=0.5), Backlog(0), PRICES)
    assert (found.seconds, found.batches, found.lambda_dollars, found.sqs_dollars) == (0.0, 0, 0.0, 0.0)


def test_messages_in_flight_bind_large_batches():
    """120,000 in flight are twelve batches of 10,000, whatever the account may run."""
    found = estimate(Rates(10_000, 30.0, 512), Backlog(10**9), PRICES)
    assert found.concurrency == 12
    assert found.binds == "messages in flight"
    assert found.seconds == pytest.approx(10**5 * 30 / 12, rel=0.001)


def test_a_mapping_that_scales_up_holds_short_work_back():
    """Five at first and five more a second: what is done in twenty seconds never sees a thousand."""
    found = estimate(Rates(10, 1.0, 512), Backlog(11_000), PRICES)
    assert found.binds == RAMP
    assert found.seconds == pytest.approx(20.0)
    assert found.concurrency == 105


def test_without_scaling_all_begin_at_once():
    """Whole waves of batches, as in the simulator."""
    found = estimate(Rates(10, 2.0, 512), Backlog(250, maximum_concurrency=10, scales=False), PRICES)
    assert found.seconds == 6.0
    assert found.concurrency == 10


def test_the_tightest_quota_comes_first():
    """The mapping's own maximum counts if there is one."""
    assert [quota.batches for quota in quotas_of(Backlog(1), 100)] == [1_000, 1_200, 1_250]
    assert quotas_of(Backlog(1, maximum_concurrency=50), 100)[0].name == "the mapping's maximum concurrency"
    assert quotas_of(Backlog(1), 500_000)[0].batches == 1


def test_records_that_come_back_are_delivered_again():
    """Half of them failing each time is twice the batches."""
    found = estimate(Rates(100, 1.0, 512, failed_share=0.5), Backlog(1_000), PRICES)
    assert found.batches == 20


def test_sqs_bills_requests_of_ten_and_of_64_kilobytes():
    """Sent, received and deleted: three requests for ten small messages, more for large ones."""
    small = estimate(Rates(100, 1.0, 512), Backlog(1_000_000, record_bytes=640), PRICES)
    large = estimate(Rates(100, 1.0, 512), Backlog(1_000_000, record_bytes=65_536), PRICES)
    assert small.sqs_dollars == pytest.approx(0.12)
    assert large.sqs_dollars == pytest.approx(2.1 / 3 * 0.12 * 10)


def test_rates_are_those_of_the_cell():
    """The mean of its batches; other cells' and other ends' samples do not count."""
    samples = [sample(10, 512, seconds=2.0), sample(10, 512, repeat=1, seconds=4.0), sample(1, 128, seconds=9.0)]
    cell = cells_of(samples, PRICES)[1]
    assert cell.setting.concurrency == 10
    found = rates_of(cell, [*samples, sample(10, 512, repeat=2, end=OUT_OF_MEMORY)], 100)
    assert (found.records, found.seconds, found.memory_mb, found.cold_start_seconds) == (100, 1.5, 512, 0.2)


def test_each_repeat_is_predicted_from_the_others():
    """With two repeats of 2 and 4 seconds, one is predicted twice as long, the other half."""
    samples = [sample(10, 512, seconds=2.0), sample(10, 512, repeat=1, seconds=4.0)]
    (cell,) = cells_of(samples, PRICES)
    assert held_out_errors(cell, samples) == [1.0, -0.5]
    assert held_out_errors(cell, samples[:1]) == []


def test_the_estimate_is_held_against_the_simulator():
    """Batches that all take the same take in the simulator what was estimated."""
    trial = against_the_simulator(Rates(1_000, 2.0, 512), [2.0], Backlog(10**6), PRICES)
    assert (trial.batches, trial.concurrency, trial.error) == (200, 10, 0.0)


def test_the_simulator_shows_what_the_mean_hides():
    """A few long batches at the end keep all waiting: the estimate is too short, and says by how much."""
    trial = against_the_simulator(Rates(1_000, 2.0, 512), [1.0, 1.0, 1.0, 5.0], Backlog(60_000), PRICES)
    assert trial.batches == 60
    assert -0.5 < trial.error < 0
