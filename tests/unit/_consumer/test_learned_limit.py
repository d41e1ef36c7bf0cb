"""The decisions of the self-adjusting limit, on values."""

import math

import pytest

from fanfold._consumer.learned_limit import (
    START,
    Drain,
    Learned,
    Window,
    after_idle,
    after_refusal,
    after_window,
    at_drain_time,
    drained,
    rate_at,
    window_of,
)

STEADY = Learned(limit=64.0, slow_start=False, base=0.02, latency=0.02, drain_at=5.0)


def window(
    latency: float, *, in_flight: int = 64, reached: bool = True, samples: int = 30, variance: float = 0.0
) -> Window:
    """Return a window that closes at 1 s, 1.5 s after a multiple of 5 s of the wall clock."""
    return Window(samples, math.log(latency), variance, in_flight, reached, 1.0, 1_001.5)


def refused(
    learned: Learned, *, started: float = 0.9, running: int = 64, retry_after: float | None = None, successes: int = 0
) -> Learned:
    """Return what is known after an overload at 1 s; the service was first called at 0 s."""
    return after_refusal(learned, started, 1.0, running, retry_after, successes, 0.0)


# --- Windows.


def test_a_window_has_the_geometric_mean_of_its_latencies():
    """Its error falls with the number of samples."""
    result = window_of([0.01, 0.02, 0.04], in_flight=3, reached=True, now=1.0, wall=9.0)
    assert result.latency == pytest.approx(0.02)
    assert result.error == pytest.approx(math.log(2) / math.sqrt(3))
    assert result[3:] == (3, True, 1.0, 9.0)


def test_a_slow_record_counts_at_most_four_times_the_lower_quartile():
    """So do records that have not ended after that time."""
    ended = window_of([0.01] * 9 + [9.0], in_flight=1, reached=False, now=1.0, wall=9.0)
    unfinished = window_of([0.01] * 9, in_flight=1, reached=False, now=1.0, wall=9.0, unfinished=1)
    assert ended.latency == pytest.approx(0.01 * 4**0.1)
    assert (unfinished.samples, unfinished.latency) == (10, pytest.approx(ended.latency))


def test_a_window_without_samples_is_empty():
    """Every record of a drain may fail. A latency of 0 counts as a microsecond: clocks have a resolution."""
    assert window_of([0.0, 0.0], in_flight=1, reached=True, now=1.0, wall=9.0).latency == pytest.approx(1e-6)
    assert window_of([], in_flight=0, reached=False, now=1.0, wall=9.0).samples == 0


# --- Slow start.


def test_the_first_window_is_the_base():
    """The limit grows by the records that ended."""
    learned = after_window(Learned(), window(0.03, in_flight=10, samples=10))
    assert (learned.base, learned.limit, learned.slow_start) == (pytest.approx(0.03), 20, True)


def test_slow_start_grows_to_at_most_twice_the_records_in_flight():
    """A limit that is not used does not grow."""
    assert after_window(Learned(base=0.02), window(0.02, in_flight=3)).limit == START


def test_slow_start_ends_when_records_queue():
    """The limit becomes the number of records that the service was able to serve."""
    learned = after_window(Learned(limit=160, base=0.02), window(0.04, in_flight=160))
    assert (learned.limit, learned.slow_start, learned.drain) == (pytest.approx(88), False, None)
    assert learned.drain_at == pytest.approx(1.0 + 3.5)


def test_a_drain_follows_if_records_queued_from_the_start():
    """The base was measured with a queue."""
    learned = after_window(Learned(limit=20, base=0.02), window(0.04, in_flight=20))
    assert learned.drain == Drain(pytest.approx(11), pytest.approx(1.04))


@pytest.mark.parametrize("bounds", [{"maximum": 25.0}, {"target": 25.0}])
def test_slow_start_ends_at_the_highest_limit_or_at_the_one_before_idle_time(bounds: dict[str, float]):
    """It does not exceed it."""
    learned = after_window(Learned(limit=20, base=0.02, **bounds), window(0.02, in_flight=20))
    assert (learned.limit, learned.slow_start) == (25, False)


# --- Steady state.


def test_the_limit_grows_by_its_square_root_while_the_queue_is_short():
    """Far below the target, it grows by a fifth."""
    assert after_window(STEADY, window(0.0225)).limit == 72
    assert after_window(STEADY._replace(limit=100.0), window(0.02, in_flight=100)).limit == 120


def test_a_small_limit_grows_by_half_a_record():
    """Its target is a quarter of it."""
    assert after_window(STEADY._replace(limit=2.0), window(0.02, in_flight=2)).limit == 2.5


def test_the_limit_stays_while_the_queue_is_near_its_target():
    """The target is the square root of the limit, up to twice that."""
    assert after_window(STEADY, window(0.02 / (1 - 12 / 64))).limit == 64


def test_the_limit_stays_if_it_was_not_reached():
    """Nothing is known about more records than were in flight."""
    assert after_window(STEADY, window(0.02, reached=False)).limit == 64


def test_the_limit_grows_to_a_quarter_more_than_was_in_flight():
    """It is never far above what was tried."""
    assert after_window(STEADY, window(0.02, in_flight=56)).limit == 70
    assert after_window(STEADY, window(0.02, in_flight=20)).limit == 64


def test_the_limit_shrinks_by_half_its_square_root_while_the_queue_is_long():
    """Far above the target, it shrinks by half of the excess."""
    assert after_window(STEADY, window(0.03)).limit == 60
    assert after_window(STEADY, window(0.08)).limit == pytest.approx(64 - (48 - 16) / 2)


def test_the_limit_stays_within_its_bounds():
    """A minimum of 63 and a maximum of 65."""
    bounded = STEADY._replace(minimum=63.0, maximum=65.0)
    assert (after_window(bounded, window(0.08)).limit, after_window(bounded, window(0.02)).limit) == (63, 65)


def test_noise_delays_a_decision():
    """If latencies differ, the queue may be shorter than it seems: without noise, the limit would shrink."""
    assert after_window(STEADY, window(0.03, samples=16, variance=0.09)).limit == 64


def test_the_base_falls_halfway_to_a_window_that_is_certainly_below_it():
    """If it falls by more than 15 %, a drain measures it."""
    lower = after_window(STEADY, window(0.018))
    assert (lower.base, lower.drain) == (pytest.approx(math.sqrt(0.018 * 0.02)), None)
    assert after_window(STEADY, window(0.012)).drain is not None
    assert after_window(STEADY, window(0.019, samples=4, variance=0.09)).base == 0.02


def test_a_limit_that_shrinks_without_effect_causes_a_drain():
    """The service itself became slower; the limit returns to the one before."""
    learned = STEADY
    for _ in range(6):
        learned = after_window(learned, window(0.05, in_flight=int(learned.limit)))
        if learned.drain:
            break
    assert learned.drain == Drain(64, pytest.approx(1.05))


def test_a_limit_that_shrinks_with_effect_causes_no_drain():
    """The latency falls with the queue."""
    learned = STEADY._replace(limit=200.0)
    for _ in range(40):
        in_flight = int(learned.limit)
        learned = after_window(learned, window(0.02 * max(1.0, in_flight / 50), in_flight=in_flight))
        assert learned.drain is None
    assert 50 <= learned.limit <= 75


# --- Drains.


def test_a_drain_takes_the_base_and_returns_to_the_limit():
    """While it lasts, the limit is a quarter."""
    draining = drained(STEADY, 1.0)
    assert (draining.limit, draining.drain, draining.samples) == (16, Drain(64, 1.02), 10)
    after = after_window(draining, window(0.05, in_flight=16))
    assert (after.base, after.limit, after.drain) == (pytest.approx(0.05), 64, None)


def test_a_drain_of_different_latencies_takes_more_samples():
    """Forty instead of ten."""
    assert drained(STEADY._replace(var_log=0.2), 1.0).samples == 40


def test_a_drain_without_samples_keeps_the_base():
    """Every record failed, and not because of overload."""
    after = after_window(drained(STEADY, 1.0), window_of([], in_flight=0, reached=False, now=1.0, wall=1_001.5))
    assert (after.base, after.limit, after.drain) == (0.02, 64, None)


def test_a_drain_is_skipped_while_the_limit_keeps_no_record_from_starting():
    """Unless the latency is above the base: then, it may be too low."""
    skipped = at_drain_time(STEADY, 5.0, 1_005.0, reached=False)
    assert (skipped.drain, skipped.drain_at) == (None, 10.0)
    assert at_drain_time(STEADY, 5.0, 1_005.0, reached=True).drain is not None
    assert at_drain_time(STEADY._replace(latency=0.03), 5.0, 1_005.0, reached=False).drain is not None


def test_drains_are_at_multiples_of_the_wall_clock():
    """Of 5 s, doubled until it is at least 50 latencies: all processes drain together."""
    quick = after_window(drained(STEADY, 1.0), window(0.02))
    slow = after_window(drained(STEADY, 1.0), window(0.3))
    assert (quick.drain_at - 1.0, slow.drain_at - 1.0) == (pytest.approx(3.5), pytest.approx(20 - 1_001.5 % 20))


# --- Overload.


def test_an_overload_without_a_time_halves_the_limit():
    """Or what was in flight, if that is less."""
    cut = refused(STEADY)
    assert (cut.limit, cut.ceiling, cut.cut_at) == (32, pytest.approx(57.6), 1.0)
    assert refused(STEADY, running=40).limit == 20


def test_an_overload_ends_slow_start_and_causes_a_drain():
    """The base may have been measured with a queue."""
    cut = refused(Learned(limit=40), running=40)
    assert (cut.slow_start, cut.drain_at) == (False, 1.0)


def test_records_from_before_a_cut_cause_no_further_cut():
    """Nor does an overload while more records run than the limit allows."""
    cut = refused(STEADY)
    assert refused(cut, started=0.95, running=33) is cut
    assert refused(cut, started=1.5, running=50) is cut
    assert refused(cut, started=1.5, running=32).limit == 16


def test_after_a_cut_the_limit_grows_slowly_above_the_ceiling():
    """By 5 % per second, for 10 s."""
    near = refused(STEADY)._replace(limit=56.0, base=0.02)
    assert after_window(near, window(0.02)).limit == pytest.approx(57.6)
    assert after_window(near._replace(cut_at=-9.5), window(0.02)).limit == 67.2


def test_an_overload_in_a_drain_ends_it():
    """The limit from before the drain counts for the ceiling."""
    cut = refused(drained(STEADY, 0.5), running=16)
    assert (cut.drain, cut.limit, cut.ceiling) == (None, 8, pytest.approx(57.6))
    assert refused(drained(STEADY, 0.5), running=16, retry_after=1.0).limit == 64


def test_a_retry_after_stops_all_starts_and_keeps_the_limit():
    """The later of two counts, and one of a record from before too."""
    paused = refused(STEADY, retry_after=2.0)
    assert (paused.not_before, paused.limit) == (3.0, 64)
    assert refused(paused, started=0.5, retry_after=5.0).not_before == 6.0
    assert refused(paused, started=0.5, retry_after=1.0).not_before == 3.0


def test_a_quota_in_a_window_is_measured():
    """400 records in the first of 1.2 s: 97 % of 333 per second."""
    paused = refused(STEADY, retry_after=0.2, successes=400)
    assert (paused.rate, paused.is_tight) == (pytest.approx(0.97 * 400 / 1.2), True)


def test_a_long_pause_is_only_a_hint_about_the_rate():
    """100 records in 1 s, and a pause of 3 s: between 25 and 100 per second."""
    paused = refused(STEADY, retry_after=3.0, successes=100)
    assert (paused.rate, paused.is_tight) == (pytest.approx(50), False)
    assert rate_at(paused, 4.0) == pytest.approx(50)
    assert rate_at(paused, 9.0) == pytest.approx(50 * math.e)


def test_a_rate_that_has_grown_too_far_is_cut():
    """The first time by 15 %, then by 10 %; then it grows slowly."""
    growing = STEADY._replace(rate=100.0, rate_at=1.0)
    first = refused(growing, retry_after=0.1, successes=10)
    assert (first.rate, first.is_tight) == (pytest.approx(85), True)
    assert refused(first._replace(rate_at=1.0), started=1.0, retry_after=0.1).rate == pytest.approx(76.5)
    assert rate_at(first, first.rate_at + 40) == pytest.approx(170)


def test_a_second_pause_soon_after_the_first_one_measures_again():
    """The rate is not yet tight, and the pause is longer than the time of the calls."""
    second = refused(STEADY._replace(rate=100.0, rate_at=1.0), retry_after=3.0, successes=40)
    assert (second.rate, second.is_tight) == (pytest.approx(20), True)


def test_a_rate_far_above_the_need_is_forgotten():
    """Four times what the limit allows."""
    assert after_window(STEADY._replace(rate=13_000.0), window(0.02)).rate == math.inf
    assert after_window(STEADY._replace(rate=10_000.0), window(0.02)).rate == 10_000


# --- Idle time.


@pytest.mark.parametrize(("seconds", "limit"), [(59, 64), (60, 32), (130, 16), (3_600, 10), (10**9, 10)])
def test_the_limit_halves_each_idle_minute_down_to_that_of_the_start(seconds: float, limit: float):
    """The limit before is the target of a new slow start; the base stays."""
    after = after_idle(STEADY, seconds)
    assert (after.limit, after.base) == (limit, 0.02)
    assert limit == 64 or (after.slow_start, after.target) == (True, 64)


def test_a_low_limit_does_not_grow_by_idle_time():
    """Neither does one in slow start get a lower target."""
    low = STEADY._replace(limit=3.0)
    assert after_idle(low, 10_000) is low
    assert after_idle(Learned(limit=40, target=90.0), 600).target == 90
    assert after_idle(STEADY._replace(minimum=30.0), 10_000).limit == 30


def test_idle_time_ends_a_drain():
    """The limit from before the drain counts."""
    assert after_idle(drained(STEADY, 1.0), 60)[:1] == (32,)
    assert after_idle(drained(STEADY, 1.0), 60).drain is None
