"""How rules speak of settings, and what they share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fanfold.check.values import EventMapping, Function, Model, NotKnown, Queue, Setting


def amount(value: float) -> str:
    """Return a number for people."""
    return f"{int(value):,}" if value == int(value) else f"{value:,g}"


def describe(setting: Setting[float], unit: str = "") -> str:
    """Return a known setting as ``Name 30 s``, and whether that is AWS's default."""
    value = "not set" if setting.value is None else f"{amount(setting.value)}{' ' if unit else ''}{unit}"
    return f"{setting.name} {value}{'' if setting.stated or setting.value is None else ' (the default)'}"


def not_known(*settings: Setting[Any]) -> list[NotKnown]:
    """Return what has to be said of those settings that are not known."""
    return [NotKnown(each.subject, each.unknown, each.place) for each in settings if each.unknown]


def function_of(model: Model, mapping: EventMapping) -> Function | None:
    """Return the function a mapping calls, if it is in the template."""
    return model.functions.get(mapping.function) if mapping.function is not None else None


def timeout_of(model: Model, mapping: EventMapping) -> Setting[float]:
    """Return the timeout of the function a mapping calls."""
    function = function_of(model, mapping)
    if function is not None:
        return function.timeout
    why = f"{mapping.function_name} is not in this template"
    return Setting("Timeout", None, mapping.place, stated=False, unknown=why, subject=f"the function of {mapping.key}")


def consumed(model: Model) -> Iterator[Queue]:
    """Yield each queue that a mapping reads, once."""
    for key in dict.fromkeys(mapping.queue for mapping in model.mappings):
        yield model.queues[key]
