"""Parameters are shown without secrets, and compared without values."""

import pytest

from fanfold._jobs.masking import difference_of, masked


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "passwd", "pwd", "secret", "api_key", "apiKey", "access-key", "token", "authToken"],
)
def test_a_value_whose_name_suggests_a_secret_is_masked(name: str):
    """At any depth."""
    assert masked({name: "x", "deep": [{name: {"a": 1}}]}) == {name: "***", "deep": [{name: "***"}]}


@pytest.mark.parametrize("name", ["bucket", "key", "keys", "count", "passenger", "day", "author"])
def test_other_values_are_shown(name: str):
    """The key of an object is not a secret."""
    assert masked({name: "x", "token": None}) == {name: "x", "token": None}


def test_params_are_compared_by_name_without_values():
    """An error for one caller does not show the values of another."""
    started = {"key": "a", "password": "x", "same": [1, {"b": 2}]}
    assert difference_of(started, {"same": [1, {"b": 2}], "key": "b"}) == "'key', 'password'"
    assert difference_of(started, dict(reversed(started.items()))) is None
    assert difference_of({}, {f"name {number}": number for number in range(7)}) == (
        "'name 0', 'name 1', 'name 2', 'name 3', 'name 4' and 2 more"
    )
