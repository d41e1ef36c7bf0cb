"""The self-adjusting limit collects latencies and errors, and holds starts back."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from fanfold import Done, Failed, Reject, Rejected, Retry
from fanfold._consumer.auto import Auto
from fanfold._consumer.auto_limit import AutoLimit
from fanfold._consumer.learned_limit import Drain, Learned


class TooManyRequestsError(Exception):
    """An error of overload."""

    def __init__(self, retry_after: str | None = None) -> None:
        super().__init__("too many requests")
        self.status = 429
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}


class Clock:
    """A clock that a test sets, monotonic and by the wall."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def limit_of(clock: Clock | None = None, learned: Learned | None = None, **bounds: int) -> AutoLimit:
    """Return a limit, which may have learned something already."""
    clock = clock or Clock()
    limit = AutoLimit(Auto(**bounds), clock=clock, wall=lambda: 1_000.0 + clock())
    if learned is not None:
        limit._learn(learned)
    return limit


def end(limit: AutoLimit, now: float, count: int = 1, *, latency: float = 0.02, value: object = None) -> bool:
    """End records with a latency, in a process in which as many run as the limit allows."""
    changes = [limit.ended(now - latency, now, value, limit.workers) for _ in range(count)]
    return any(changes)


STEADY = Learned(limit=20.0, slow_start=False, base=0.02, latency=0.02, drain_at=5.0, samples=10)


@pytest.mark.parametrize(
    ("bounds", "maximum", "workers"),
    [({}, None, 10), ({"maximum": 4}, None, 4), ({"minimum": 30}, None, 30), ({"minimum": 30}, 12, 12), ({}, 0, 1)],
)
def test_the_limit_starts_at_ten_within_its_bounds(bounds: dict[str, int], maximum: int | None, workers: int):
    """The limits of the process are bounds, too."""
    assert AutoLimit(Auto(**bounds), maximum=maximum).workers == workers


def test_the_limit_changes_when_a_window_closes():
    """Ten records in slow start: the limit doubles. Until then, nothing changes."""
    limit = limit_of()
    assert not end(limit, 0.02, 9)
    assert end(limit, 0.02)
    assert limit.workers == 20


def test_in_slow_start_many_records_may_end_before_others_start():
    """The records that were in flight count, not those that are left."""
    limit = limit_of()
    for running in range(10, 0, -1):
        limit.ended(0.0, 0.02, None, running)
    for running in range(20, 0, -1):
        limit.ended(0.02, 0.04, None, running)
    assert limit.workers == 40


def test_after_a_change_the_records_from_before_are_no_samples():
    """First as many must run as the limit allows, and then a latency must pass."""
    limit = limit_of(learned=STEADY._replace(settle=0.02))
    assert end(limit, 1.0, 10) is False
    assert limit.learned.limit == 20
    assert end(limit, 1.01, 20) is False
    assert end(limit, 1.03, 10)
    assert limit.workers == 24


def test_a_limit_that_was_not_reached_does_not_grow():
    """Three records were in flight at most."""
    limit = limit_of(learned=STEADY)
    for moment in range(30):
        limit.ended(1.0, 1.02 + moment / 100, None, 3)
    assert limit.workers == 20


@pytest.mark.parametrize("value", ["returned", Done(1), Reject("no"), Retry("later"), Rejected("no"), [None, 1]])
def test_results_and_what_the_handler_chose_are_samples(value: object):
    """It takes its time to reject a message, too."""
    limit = limit_of()
    assert end(limit, 0.02, 10, value=value)


@pytest.mark.parametrize("value", [ValueError(), TimeoutError(), Failed(KeyError()), [ValueError(), KeyError()]])
def test_other_errors_change_nothing(value: object):
    """Their latencies mean nothing, and the service is not overloaded."""
    limit = limit_of()
    assert not end(limit, 0.02, 50, value=value)
    assert limit.workers == 10


@pytest.mark.parametrize(
    "value", [TooManyRequestsError(), Failed(TooManyRequestsError()), [None, TooManyRequestsError()]]
)
def test_an_overload_halves_the_limit(value: object):
    """Also if it is that of one record of a list."""
    limit = limit_of(learned=STEADY)
    assert limit.ended(1.0, 1.02, value, 20)
    assert limit.workers == 10
    assert not limit.ended(1.0, 1.02, value, 20)


def test_a_predicate_of_the_user_names_further_overloads():
    """Nothing else tells that the service is full."""
    limit = AutoLimit(Auto(overload_on=lambda error: "full" in str(error)), clock=Clock())
    limit.ended(1.0, 1.02, ValueError("the queue is full"), 10)
    assert limit.workers == 5


def test_nothing_starts_before_a_retry_after_and_then_at_a_rate():
    """100 successes in 1 s, then a pause of 1 s: 71 starts per second at first."""
    clock = Clock()
    limit = limit_of(clock, STEADY)
    assert (limit.wait(0.5, 3), limit.started(0.5, 3), limit.gates) == (0.0, math.inf, False)
    end(limit, 0.5, 100)
    assert limit.ended(0.9, 1.0, TooManyRequestsError("1"), 20)
    clock.now = 1.2
    assert (limit.wait(1.2, 3), limit.gates) == (pytest.approx(0.8), True)
    clock.now = 2.0
    assert limit.wait(2.0, 3) == 0.0
    assert limit.started(2.0, 3) == -math.inf
    waits = []
    for _ in range(3):
        waits.append(limit.wait(2.0, 3))
        limit.started(2.0, 3)
    assert waits == [0.0, pytest.approx(0.0083, abs=1e-3), pytest.approx(0.0224, abs=1e-3)]


def test_a_further_retry_after_of_a_record_from_before_is_respected():
    """It cuts nothing a second time."""
    limit = limit_of(learned=STEADY)
    limit.ended(0.9, 1.0, TooManyRequestsError("1"), 20)
    rate = limit.learned.rate
    assert limit.ended(0.95, 1.01, TooManyRequestsError("9"), 20)
    assert (limit.learned.not_before, limit.learned.rate) == (pytest.approx(10.01), rate)


def test_the_delay_of_a_message_is_the_retry_after_of_its_error():
    """Other errors have none."""
    limit = limit_of()
    assert limit.delay_after(TooManyRequestsError("7")) == 7.0
    assert limit.delay_after(TooManyRequestsError()) is None
    assert limit.delay_after(ValueError()) is None


# --- Drains.


def draining(clock: Clock) -> AutoLimit:
    """Return a limit of 20 that has begun a drain at 5 s: nothing starts until 5.02 s, and then five at a time."""
    limit = limit_of(clock, STEADY)
    clock.now = 5.0
    end(limit, 4.9)  # settles
    assert end(limit, 5.0)
    assert (limit.learned.drain, limit.workers, limit.gates) == (Drain(20.0, 5.02), 20, True)
    return limit


def test_a_drain_waits_until_the_queue_is_gone_and_then_starts_few_records():
    """The sixth waits for an eighth of a latency, and looks again."""
    clock = Clock()
    limit = draining(clock)
    assert limit.wait(5.01, 15) == pytest.approx(0.01)
    clock.now = 5.02
    for running in range(5):
        assert limit.wait(5.02, running) == 0.0
        assert limit.started(5.02, running) == -math.inf
    assert limit.wait(5.02, 5) == pytest.approx(0.0025)
    assert not limit.ended(5.02, 5.05, None, 5)
    assert limit.wait(5.05, 4) == 0.0


def test_a_drain_ends_with_the_samples_of_its_first_records():
    """Records from before it, and the quick ones after its first ten, do not count."""
    clock = Clock()
    limit = draining(clock)
    clock.now = 5.02
    assert not limit.ended(4.9, 5.03, None, 1)
    for _ in range(10):
        limit.started(5.02, 1)
    clock.now = 5.03
    limit.started(5.03, 1)
    assert not limit.ended(5.03, 5.031, None, 1)
    for _ in range(9):
        assert not limit.ended(5.02, 5.06, None, 1)
    assert limit.ended(5.02, 5.06, None, 1)
    assert (limit.learned.base, limit.learned.drain, limit.workers) == (pytest.approx(0.04), None, 20)


def test_a_drain_does_not_wait_for_slow_records():
    """After four latencies, they are only known to be slow."""
    clock = Clock()
    limit = draining(clock)
    for _ in range(10):
        limit.started(5.02, 1)
    for _ in range(8):
        limit.ended(5.02, 5.04, None, 2)
    assert not limit.ended(5.04, 5.06, None, 2)
    assert limit.ended(5.04, 5.2, None, 2)
    assert limit.learned.base == pytest.approx(0.02 * 4**0.2)


def test_a_drain_ends_if_its_records_are_abandoned():
    """The base stays, and the place of an abandoned handler does not stop others."""
    clock = Clock()
    limit = draining(clock)
    for _ in range(10):
        limit.started(5.02, 1)
    assert limit.wait(5.02, 5) > 0
    assert limit.wait(60.0, 0) == 0.0
    assert limit.ended(5.03, 60.0, None, 1)
    assert (limit.learned.base, limit.learned.drain) == (0.02, None)


def test_a_drain_ends_if_its_records_hang():
    """They stop no other record for more than 30 latencies, and the base stays."""
    clock = Clock()
    limit = draining(clock)
    for _ in range(5):
        assert limit.wait(5.02, 5) == 0.0
        limit.started(5.02, 5)
    assert limit.wait(5.6, 5) > 0
    assert limit.wait(5.7, 5) == 0.0
    assert (limit.learned.base, limit.learned.drain, limit.workers, limit.gates) == (0.02, None, 20, False)


def test_a_drain_ends_if_its_records_fail():
    """There is no sample, so the base stays."""
    clock = Clock()
    limit = draining(clock)
    for _ in range(10):
        limit.started(5.02, 1)
    assert not any(limit.ended(5.02, 5.03, ValueError(), 1) for _ in range(9))
    assert limit.ended(5.02, 5.03, ValueError(), 1)
    assert (limit.learned.base, limit.learned.drain) == (0.02, None)


def test_another_thread_may_have_begun_the_drain_or_closed_the_window():
    """Then there is nothing to do."""
    clock = Clock()
    limit = draining(clock)
    assert not limit._close(5.0)
    steady = limit_of(clock, STEADY)
    assert not steady._close(1.0)
    assert not steady._ended_in_drain(1.0, 1.02, is_sample=True)


# --- Batches.


def test_after_idle_time_the_limit_is_lower_and_grows_quickly():
    """A minute halves it; the limit before is the target."""
    clock = Clock()
    limit = limit_of(clock, STEADY._replace(limit=80.0))
    limit.ended(0.98, 1.0, None, 1)
    clock.now = 61.5
    limit.batch_starts()
    assert (limit.workers, limit.learned.slow_start, limit.learned.target) == (40, True, 80)


def test_the_first_window_of_a_batch_is_longer():
    """Of records that start together, the quick ones end first."""
    limit = limit_of(learned=STEADY)
    limit.ended(0.98, 1.0, None, 2)
    limit.batch_starts()
    assert limit.learned.samples == 10
    limit.ended(0.98, 1.0, None, 1)
    limit.batch_starts()
    assert limit.learned.samples == 40


def test_ends_on_many_threads_are_all_counted():
    """The limit stays within its bounds, and nothing raises."""
    limit = limit_of(maximum=50)

    def work(_: int) -> None:
        for number in range(500):
            limit.ended(number / 100, number / 100 + 0.02, TooManyRequestsError() if number % 97 == 0 else None, 20)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert 1 <= limit.workers <= 50
