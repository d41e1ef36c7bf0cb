"""The delay before a message is redelivered."""

import pytest

from fanfold import Backoff
from fanfold.errors import ConfigurationError


@pytest.mark.parametrize(
    ("receive_count", "seconds"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (100, 900), (10**9, 900)]
)
def test_without_jitter_the_delay_doubles_up_to_its_cap(receive_count: int, seconds: float):
    """The delays are 5, 10, 20 … seconds, and at most 15 minutes."""
    assert Backoff(jitter=0).next_delay(receive_count) == seconds


@pytest.mark.parametrize(("receive_count", "longest"), [(1, 5), (2, 10), (20, 900)])
def test_by_default_half_of_the_delay_is_random(receive_count: int, longest: float):
    """Delays are spread over the upper half of the range."""
    delays = {Backoff().next_delay(receive_count) for _ in range(200)}
    assert longest / 2 <= min(delays) < max(delays) <= longest
    assert min(delays) < longest * 0.7
    assert max(delays) > longest * 0.8


def test_full_jitter_draws_from_zero_to_the_delay():
    """A delay is anywhere between 0 and the cap."""
    delays = [Backoff(base=100, cap=40, jitter=1).next_delay(1) for _ in range(200)]
    assert 0 <= min(delays) < 10
    assert 30 < max(delays) <= 40


def test_a_factor_of_one_is_a_constant_delay():
    """The delay does not depend on the receive count."""
    backoff = Backoff(base=7, factor=1, jitter=0)
    assert [backoff.next_delay(count) for count in (1, 2, 50)] == [7, 7, 7]


@pytest.mark.parametrize("factor", [1e300, float("inf")])
def test_a_factor_that_overflows_a_float_yields_the_cap(factor: float):
    """An overflow of the formula is not an error."""
    assert Backoff(factor=factor, cap=60, jitter=0).next_delay(1_000_000) == 60


@pytest.mark.parametrize("receive_count", [0, -1])
def test_a_receive_count_below_one_is_refused(receive_count: int):
    """The count includes the current delivery."""
    with pytest.raises(ValueError, match="receive_count must be at least 1, not"):
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
def test_an_invalid_setting_is_refused_by_name(name: str, value: float):
    """The error names the setting, its value, and the valid values."""
    with pytest.raises(ConfigurationError, match=f"^Backoff: {name} must not be {value!r}: base and cap are seconds"):
        Backoff(**{name: value})


@pytest.mark.parametrize("name", ["base", "factor", "cap", "jitter"])
def test_a_setting_that_is_not_a_number_is_refused_by_name(name: str):
    """A string from the environment is not a number."""
    with pytest.raises(ConfigurationError, match=f"Backoff: {name} must not be '5'"):
        Backoff(**{name: "5"})


def test_the_limits_themselves_are_valid():
    """The maximum visibility timeout of SQS, 12 hours, is valid."""
    assert Backoff(base=43_200, factor=1, cap=43_200, jitter=0).next_delay(1) == 43_200
    assert 0 <= Backoff(jitter=1).next_delay(1) <= 5
