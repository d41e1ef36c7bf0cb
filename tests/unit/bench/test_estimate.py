"""Estimates for a backlog from a measured cell."""

import pytest

from bench_cells import PRICES, sample
from fanfold._replay.scaling import ManagedInstances, Pollers
from fanfold.bench.cells import OUT_OF_MEMORY, cells_of
from fanfold.bench.estimate import (
    GROWTH,
    RAMP,
    READING,
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
    assert result.seconds == pytest.approx(20.6)
    assert result.concurrency == 102


def test_a_mapping_with_a_maximum_concurrency_works_in_waves():
    """Two run concurrently: 25 batches of 2 s take 13 waves."""
    result = estimate(Rates(10, 2.0, 512), Backlog(250, maximum_concurrency=2), PRICES)
    assert (result.seconds, result.concurrency) == (26.0, 2)
    assert result.binds == "the mapping's maximum concurrency"


def test_in_provisioned_mode_a_mapping_starts_with_ten_batches_per_poller():
    """Here, two pollers run 20 batches of 50 s each; they have read 20 batches of ten after a second."""
    pollers = Pollers(2, 2)
    result = estimate(Rates(10, 50.0, 512), Backlog(400, pollers=pollers), PRICES)
    assert (result.seconds, result.concurrency) == (pytest.approx(100.95), 20)
    assert result.binds == "the mapping's pollers"
    assert quotas_of(Backlog(1, pollers=Pollers(2, 1_000)), 1)[-1].batches == 120_000


def test_the_throughput_of_pollers_limits_quick_batches():
    """Two pollers make 20 receive calls per second: 1,000 batches of ten take 50 s, however quick they are."""
    result = estimate(Rates(10, 0.01, 512), Backlog(10_000, pollers=Pollers(2, 2)), PRICES)
    assert result.seconds == pytest.approx(50.0, rel=0.01)
    assert result.binds == READING
    large = estimate(Rates(10, 0.01, 512), Backlog(10_000_000, pollers=Pollers(2, 2)), PRICES)
    assert large.seconds == pytest.approx(50_000, rel=0.01)
    assert large.binds == READING


def test_a_function_on_managed_instances_limits_the_mapping():
    """Three environments of two processes; the price is that of the instances, and of requests."""
    instances = ManagedInstances(2, maximum_environments=3)
    backlog = Backlog(100, instances=instances, hourly_price=3.6)
    result = estimate(Rates(1, 60.0, 2_048, cold_start_seconds=5.0), backlog, PRICES)
    assert (result.seconds, result.concurrency) == (pytest.approx(1_020, rel=0.01), 6)
    assert result.binds == "the function's execution environments"
    assert result.lambda_dollars == pytest.approx(result.seconds * 0.001 + 100 * PRICES.requests_million / 1e6)


def test_managed_instances_grow():
    """They double every five minutes, which is slower than the mapping."""
    result = estimate(Rates(1, 60.0, 2_048), Backlog(100, instances=ManagedInstances(1)), PRICES)
    assert result.binds == GROWTH
    assert 3 < result.concurrency < 24


def test_messages_of_quiet_tenants_are_processed_first():
    """On a fair queue, they wait for 30 messages of the noisy tenant, and then get nine tenths of the capacity."""
    backlog = Backlog(10_000, maximum_concurrency=5, noisy_share=0.91)
    result = estimate(Rates(10, 2.0, 512, cold_start_seconds=1.0), backlog, PRICES)
    assert result.seconds == 401.0
    assert result.quiet_seconds == 41.0
    assert estimate(Rates(10, 2.0, 512), Backlog(100, noisy_share=1.0), PRICES).quiet_seconds == 0
    assert estimate(Rates(10, 2.0, 512), Backlog(100), PRICES).quiet_seconds is None


def test_a_large_backlog_is_the_work_of_all_slots():
    """Of more than 50,000 batches, the estimate differs from that of each batch by less than a hundredth."""
    for batch_seconds in ((1.0,), (0.5, 1.5)):
        few = estimate(Rates(1, 1.0, 512, batch_seconds=batch_seconds), Backlog(50_000), PRICES)
        many = estimate(Rates(1, 1.0, 512, batch_seconds=batch_seconds), Backlog(50_001), PRICES)
        assert many.seconds == pytest.approx(few.seconds, rel=0.01)
        assert many.concurrency == pytest.approx(few.concurrency, rel=0.01)


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
    """With the mapping's scaling; at most 400 batches are simulated."""
    trial = against_the_simulator(Rates(1_000, 2.0, 512), Backlog(10**6))
    assert (trial.batches, trial.concurrency) == (400, 84)
    assert trial.error == pytest.approx(0.0, abs=1e-6)


def test_a_few_batches_are_simulated_several_times():
    """The mean of their durations is compared, not one of them."""
    rates = Rates(1_000, 2.0, 512, batch_seconds=(1.0, 1.0, 1.0, 5.0))
    assert abs(against_the_simulator(rates, Backlog(2_000)).error) < 0.1
