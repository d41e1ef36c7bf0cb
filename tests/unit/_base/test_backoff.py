"""Delays between deliveries."""

import pytest

from fanfold import Backoff
from fanfold.errors import ConfigurationError


@pytest.mark.parametrize(
    ("receive_count", "seconds"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (100, 900), (10**9, 900)]
)
def test_without_jitter_the_delay_doubles_up_to_its_cap(receive_count: int, seconds: float):
    """Five seconds, ten, twenty … fifteen minutes."""
    assert Backoff(jitter=0).next_delay(receive_count) == seconds


@pytest.mark.parametrize(("receive_count", "longest"), [(1, 5), (2, 10), (20, 900)])
def test_by_default_half_of_the_delay_is_left_to_chance(receive_count: int, longest: float):
    """Many draws lie in the upper half, and not all in one place."""
    drawn = {Backoff().next_delay(receive_count) for _ in range(200)}
    assert longest / 2 <= min(drawn) < max(drawn) <= longest
    assert min(drawn) < longest * 0.7
    assert max(drawn) > longest * 0.8


def test_full_jitter_draws_from_nothing_to_the_delay():
    """It never exceeds the cap."""
    drawn = [Backoff(base=100, cap=40, jitter=1).next_delay(1) for _ in range(200)]
    assert 0 <= min(drawn) < 10
    assert 30 < max(drawn) <= 40


def test_a_factor_of_one_is_a_constant_delay():
    """However often the message was received."""
    backoff = Backoff(base=7, factor=1, jitter=0)
    assert [backoff.next_delay(count) for count in (1, 2, 50)] == [7, 7, 7]


@pytest.mark.parametrize("factor", [1e300, float("inf")])
def test_a_factor_too_large_for_a_number_ends_at_the_cap(factor: float):
    """Nothing overflows."""
    assert Backoff(factor=factor, cap=60, jitter=0).next_delay(1_000_000) == 60


@pytest.mark.parametrize("receive_count", [0, -1])
def test_a_receive_count_below_one_is_refused(receive_count: int):
    """There was at least this delivery."""
    with pytest.raises(ValueError, match="receive_count starts at 1"):
        Backoff().next_delay(receive_count)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base", 0),
        ("base", -1),
        ("base", 43_201),
        ("base", float("nan")),
        ("factor", 0.99),
        ("factor", float("nan")),
        ("cap", 0),
        ("cap", 43_201),
        ("cap", float("inf")),
        ("jitter", -0.01),
        ("jitter", 1.01),
        ("jitter", float("nan")),
    ],
)
def test_an_impossible_setting_is_refused_and_named(name: str, value: float):
    """One line says which and what it may be."""
    with pytest.raises(ConfigurationError, match=f"^Backoff: {name} is {value!r}; base and cap are seconds"):
        Backoff(**{name: value})


@pytest.mark.parametrize("name", ["base", "factor", "cap", "jitter"])
def test_a_setting_that_is_no_number_is_refused_and_named(name: str):
    """A text from the environment is no number."""
    with pytest.raises(ConfigurationError, match=f"Backoff: {name} is '5'"):
        Backoff(**{name: "5"})


def test_the_limits_themselves_are_possible():
    """Twelve hours is the longest SQS hides a message."""
    assert Backoff(base=43_200, factor=1, cap=43_200, jitter=0).next_delay(1) == 43_200
    assert 0 <= Backoff(jitter=1).next_delay(1) <= 5
