"""When a breaker opens."""

import pytest

from fanfold._breakers.window import RESULTS, SPAN_SECONDS, ResultWindow


def window_of(results: str, *, every: float = 0.1, failures: int = 5, share: float = 0.8) -> tuple[ResultWindow, float]:
    """Return a window after results, ``f`` for a failure and ``s`` for a success, and the time of the last one."""
    window, now = ResultWindow(failures, share), 0.0
    for number, result in enumerate(results):
        now = number * every
        window.failed(now) if result == "f" else window.succeeded()
    return window, now


def is_down(results: str, failures_of_all: int = 0, **settings: float) -> bool:
    """Return whether a service is down immediately after some results."""
    window, now = window_of(results, **settings)  # type: ignore[arg-type] # floats and an integer
    return window.is_down(now, failures_of_all)


@pytest.mark.parametrize(
    ("results", "expected"), [("fffff", True), ("ffff", False), ("sfffff", True), ("ssfffff", False), ("ff", False)]
)
def test_it_opens_after_enough_failures_with_a_high_share(results: str, expected: bool):
    """With the defaults: five failures that are 80 % of the results."""
    assert is_down(results) is expected


def test_only_the_last_results_count():
    """After a long healthy time, 16 of the last 20 results are enough."""
    assert not is_down("s" * 500 + "f" * 15)
    assert is_down("s" * 500 + "f" * 16)


@pytest.mark.parametrize(("results", "of_all", "expected"), [("fff", 5, True), ("fff", 4, False), ("ff", 50, False)])
def test_failures_of_other_environments_count_with_three_of_its_own(results: str, of_all: int, expected: bool):
    """Other environments alone do not open it: this one may be healthy."""
    assert is_down(results, of_all) is expected


@pytest.mark.parametrize(
    ("results", "expected"), [("ff", True), ("f", False), ("fsf", False), ("sf", False), ("s" * 20 + "ff", True)]
)
def test_two_failures_half_a_minute_apart_are_enough(results: str, expected: bool):
    """Where there is little traffic, five failures would take too many receives; old successes do not count."""
    assert is_down(results, every=SPAN_SECONDS) is expected


def test_time_that_passes_after_a_failure_opens_nothing():
    """Two failures in one second do not become a span of half a minute, or part of a later count."""
    window, now = window_of("fff")

    assert not window.is_down(now + SPAN_SECONDS, 0)
    assert not window.is_down(now + SPAN_SECONDS, 40)
    assert window.is_down(now + 1, 40)


def test_a_window_that_is_cleared_forgets_its_results():
    """After an outage, old failures do not open it again."""
    window, now = window_of("f" * RESULTS)
    window.clear()

    assert not window.is_down(now, 100)
    assert (window.bits, window.count) == (0, 0)


def test_fewer_failures_can_be_set():
    """With ``failures=2``, two failures of this environment are enough."""
    assert is_down("ff", failures=2)
