"""The decorator: functions and settings that it accepts or refuses."""

from __future__ import annotations

import functools
import inspect

import pytest

import fanfold
from fanfold.errors import ConfigurationError
from fanfold.testing import deliver


def test_the_environment_overrides_the_concurrency(monkeypatch: pytest.MonkeyPatch):
    """A benchmark can vary it without changing the code."""
    handler = fanfold.consumer(concurrency=3)(lambda body: None)
    assert handler.concurrency == 3
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "250")
    assert handler.concurrency == 250


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_an_invalid_concurrency_in_the_environment_is_refused(value: str, monkeypatch: pytest.MonkeyPatch):
    """The error contains the name of the variable."""
    monkeypatch.setenv("FANFOLD_CONCURRENCY", value)
    with pytest.raises(ConfigurationError, match="FANFOLD_CONCURRENCY must be an integer of at least 1"):
        deliver(fanfold.consumer(lambda body: None), 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 0},
        {"concurrency": True},
        {"concurrency": "10"},
        {"deadline_margin": -1},
        {"deadline_margin": "1"},
        {"lifespan": 5},
        {"commit": 5},
        {"concurency": 10},
    ],
)
def test_invalid_settings_are_refused_at_decoration(settings: dict):
    """The error occurs before anything is deployed."""
    with pytest.raises(ConfigurationError):
        fanfold.consumer(**settings)


def test_a_consumer_looks_like_its_function_to_decorators_and_like_a_lambda_handler_to_lambda():
    """Powertools' decorators and the Lambda runtime both work with it."""

    @fanfold.consumer
    async def ship(order: dict) -> None:
        """Ship an order."""

    assert (ship.__name__, ship.__doc__, ship.function) == ("ship", "Ship an order.", ship.__wrapped__)
    assert str(inspect.signature(ship)) == "(event, context)"
    assert repr(ship).startswith("<fanfold.Consumer test_a_consumer_looks_like")


def test_with_settings_does_not_change_the_original():
    """It returns a new consumer."""
    handler = fanfold.consumer(concurrency=3)(lambda body: None)
    changed = handler.with_settings(concurrency=5, deadline_margin=2)
    assert (handler.concurrency, changed.concurrency, changed.settings.deadline_margin) == (3, 5, 2)
    with pytest.raises(ConfigurationError, match="unknown setting concurency"):
        handler.with_settings(concurency=1)


def test_the_repr_of_a_consumer_contains_its_function():
    """By its qualified name, or by its repr if it has no name."""

    def handle(kind: str, number) -> None: ...

    assert "handle concurrency=3>" in repr(fanfold.consumer(concurrency=3)(handle))
    nameless = functools.partial(handle, "orders")
    assert repr(fanfold.consumer(nameless)) == f"<fanfold.Consumer {nameless} concurrency=10>"


def test_settings_apply_however_the_decorator_is_called(monkeypatch):
    """Also alongside the function; and ``repr`` works although ``FANFOLD_CONCURRENCY`` is invalid."""
    handler = fanfold.consumer(lambda body: None, concurrency=3)
    assert handler.concurrency == 3
    with pytest.raises(ConfigurationError, match="concurency"):
        fanfold.consumer(lambda body: None, concurency=3)
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "many")
    assert "concurrency=3>" in repr(handler)
