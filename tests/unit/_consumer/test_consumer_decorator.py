"""What the decorator makes of a function and of settings, and what it refuses."""

from __future__ import annotations

import functools
import inspect

import pytest

import fanfold
from fanfold.errors import ConfigurationError
from fanfold.testing import deliver


def test_the_environment_overrides_the_concurrency(monkeypatch: pytest.MonkeyPatch):
    """So that a benchmark can sweep it without touching the code."""
    handler = fanfold.consumer(concurrency=3)(lambda body: None)
    assert handler.concurrency == 3
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "250")
    assert handler.concurrency == 250


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_an_impossible_concurrency_in_the_environment_is_named(value: str, monkeypatch: pytest.MonkeyPatch):
    """One clear line names the variable."""
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
def test_impossible_settings_are_refused_at_decoration(settings: dict):
    """Before anything is deployed."""
    with pytest.raises(ConfigurationError):
        fanfold.consumer(**settings)


def test_a_consumer_looks_like_its_function_to_decorators_and_like_a_lambda_handler_to_lambda():
    """Powertools' decorators and the runtime both find what they look for."""

    @fanfold.consumer
    async def ship(order: dict) -> None:
        """Ship an order."""

    assert (ship.__name__, ship.__doc__, ship.function) == ("ship", "Ship an order.", ship.__wrapped__)
    assert str(inspect.signature(ship)) == "(event, context)"
    assert repr(ship).startswith("<fanfold.Consumer test_a_consumer_looks_like")


def test_with_settings_leaves_the_original_as_it_was():
    """Settings are values."""
    handler = fanfold.consumer(concurrency=3)(lambda body: None)
    changed = handler.with_settings(concurrency=5, deadline_margin=2)
    assert (handler.concurrency, changed.concurrency, changed.settings.deadline_margin) == (3, 5, 2)
    with pytest.raises(ConfigurationError, match="unknown setting concurency"):
        handler.with_settings(concurency=1)


def test_a_consumer_is_shown_by_its_function():
    """By what it has for a name."""

    def handle(kind: str, number) -> None: ...

    assert "handle concurrency=3>" in repr(fanfold.consumer(concurrency=3)(handle))
    nameless = functools.partial(handle, "orders")
    assert repr(fanfold.consumer(nameless)) == f"<fanfold.Consumer {nameless} concurrency=10>"


def test_settings_count_however_the_decorator_is_called(monkeypatch):
    """With the function beside them, too; and a consumer is shown though the environment's number is none."""
    handler = fanfold.consumer(lambda body: None, concurrency=3)
    assert handler.concurrency == 3
    with pytest.raises(ConfigurationError, match="concurency"):
        fanfold.consumer(lambda body: None, concurency=3)
    monkeypatch.setenv("FANFOLD_CONCURRENCY", "many")
    assert "concurrency=3>" in repr(handler)
