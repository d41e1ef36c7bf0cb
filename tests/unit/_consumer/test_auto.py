"""The setting of a self-adjusting limit."""

import pytest

from fanfold._consumer.auto import Auto
from fanfold.errors import ConfigurationError


async def awaits(error: BaseException) -> bool:
    return bool(error)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"minimum": 0}, "Auto: minimum must be an integer of at least 1, not 0"),
        ({"minimum": True}, "Auto: minimum must be an integer of at least 1, not True"),
        ({"maximum": 2.5}, "Auto: maximum must be an integer of at least 1, not 2.5"),
        ({"maximum": None}, "Auto: maximum must be an integer of at least 1, not None"),
        ({"minimum": 20, "maximum": 10}, "Auto: maximum must be at least the minimum, 20, not 10"),
        ({"overload_on": "429"}, "Auto: overload_on must be an exception type, .* not '429'"),
        ({"overload_on": int}, "Auto: overload_on must be an exception type, .* not <class 'int'>"),
        ({"overload_on": (ValueError, 5)}, "Auto: overload_on must be an exception type, .*"),
        ({"overload_on": awaits}, "Auto: overload_on must be an exception type, .*"),
    ],
)
def test_an_invalid_value_is_refused_with_one_line(values: dict[str, object], message: str):
    """The error names the value and what is expected."""
    with pytest.raises(ConfigurationError, match=f"^{message}") as raised:
        Auto(**values)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("overload_on", [None, ValueError, (), (ValueError, KeyError), lambda error: True])
def test_valid_values_are_kept(overload_on: object):
    """The lowest and the highest limit may be equal."""
    auto = Auto(minimum=5, maximum=5, overload_on=overload_on)
    assert (auto.minimum, auto.maximum, auto.overload_on) == (5, 5, overload_on)


def test_the_default_is_from_1_to_1000():
    """The process may limit it further."""
    assert (Auto().minimum, Auto().maximum) == (1, 1_000)
