"""Estimates for a backlog from a measured cell."""

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
    """The start of an execution environment is added."""
    result = estimate(Rates(1_000, 3.0, 512, cold_start_seconds=0.5), Backlog(800), PRICES)
    assert (result.batches, result.concurrency, result.binds) == (1, 1, "the number of batches")
    assert result.seconds == 3.5


def test_an_empty_queue_takes_no_time_and_costs_nothing():
    """It needs no invocation."""
    result = estimate(Rates(1_000, 3.0, 512, cold_start_seconds=0.5), Backlog(0), PRICES)
    assert (result.seconds, result.batches, result.lambda_dollars, result.sqs_dollars) == (0.0, 0, 0.0, 0.0)


def test_messages_in_flight_limit_large_batches():
    """120,000 messages in flight are twelve batches of 10,000, regardless of the account's concurrency."""
    result = estimate(Rates(10_000, 30.0, 512), Backlog(10**9), PRICES)
    assert result.concurrency == 12
    assert result.binds == "messages in flight"
    assert result.seconds == pytest.approx(10**5 * 30 / 12, rel=0.001)


def test_the_scaling_rate_of_the_mapping_limits_short_backlogs():
    """Five invocations at first and five more per second: work of twenty seconds never reaches 1,000."""
    result = estimate(Rates(10, 1.0, 512), Backlog(11_000), PRICES)
    assert result.binds == RAMP
    assert result.seconds == pytest.approx(20.0)
    assert result.concurrency == 105


def test_without_scaling_all_invocations_start_immediately():
    """In full waves of batches, as in the simulator."""
    result = estimate(Rates(10, 2.0, 512), Backlog(250, maximum_concurrency=10, scales=False), PRICES)
    assert result.seconds == 6.0
    assert result.concurrency == 10


def test_the_tightest_quota_comes_first():
    """The mapping's MaximumConcurrency is a quota if it is set."""
    assert [quota.batches for quota in quotas_of(Backlog(1), 100)] == [1_000, 1_200, 1_250]
    assert quotas_of(Backlog(1, maximum_concurrency=50), 100)[0].name == "the mapping's maximum concurrency"
    assert quotas_of(Backlog(1), 500_000)[0].batches == 1


def test_failed_records_are_redelivered():
    """If half of them fail each time, twice as many batches are needed."""
    result = estimate(Rates(100, 1.0, 512, failed_share=0.5), Backlog(1_000), PRICES)
    assert result.batches == 20


def test_sqs_bills_requests_of_ten_and_of_64_kilobytes():
    """Send, receive and delete: three requests for ten small messages, more for large ones."""
    small = estimate(Rates(100, 1.0, 512), Backlog(1_000_000, record_bytes=640), PRICES)
    large = estimate(Rates(100, 1.0, 512), Backlog(1_000_000, record_bytes=65_536), PRICES)
    assert small.sqs_dollars == pytest.approx(0.12)
    assert large.sqs_dollars == pytest.approx(2.1 / 3 * 0.12 * 10)


def test_rates_are_those_of_the_cell():
    """The mean of its batches. Samples of other cells, and samples that were not measured, are ignored."""
    samples = [sample(10, 512, seconds=2.0), sample(10, 512, repeat=1, seconds=4.0), sample(1, 128, seconds=9.0)]
    cell = cells_of(samples, PRICES)[1]
    assert cell.setting.concurrency == 10
    result = rates_of(cell, [*samples, sample(10, 512, repeat=2, end=OUT_OF_MEMORY)], 100)
    assert (result.records, result.seconds, result.memory_mb, result.cold_start_seconds) == (100, 1.5, 512, 0.2)


def test_each_repeat_is_predicted_from_the_others():
    """With repeats of 2 and 4 seconds, the predictions are twice and half the true duration."""
    samples = [sample(10, 512, seconds=2.0), sample(10, 512, repeat=1, seconds=4.0)]
    (cell,) = cells_of(samples, PRICES)
    assert held_out_errors(cell, samples) == [1.0, -0.5]
    assert held_out_errors(cell, samples[:1]) == []


def test_the_estimate_is_compared_with_the_simulator():
    """If all batches take equally long, both agree."""
    trial = against_the_simulator(Rates(1_000, 2.0, 512), [2.0], Backlog(10**6), PRICES)
    assert (trial.batches, trial.concurrency, trial.error) == (200, 10, 0.0)


def test_the_simulator_shows_the_effect_of_a_few_long_batches():
    """The last ones delay the end: the estimate is too short, and the error is reported."""
    trial = against_the_simulator(Rates(1_000, 2.0, 512), [1.0, 1.0, 1.0, 5.0], Backlog(60_000), PRICES)
    assert trial.batches == 60
    assert -0.5 < trial.error < 0
