"""Text for settings in messages, and helpers that rules share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fanfold.check.values import EventMapping, Function, Model, NotKnown, Queue, Setting


def amount(value: float) -> str:
    """Return a number with thousands separators."""
    return f"{int(value):,}" if value == int(value) else f"{value:,g}"


def describe(setting: Setting[float], unit: str = "") -> str:
    """Return a known setting as ``Name 30 s``, followed by ``(the default)`` if the template does not set it."""
    value = "not set" if setting.value is None else f"{amount(setting.value)}{' ' if unit else ''}{unit}"
    return f"{setting.name} {value}{'' if setting.stated or setting.value is None else ' (the default)'}"


def not_known(*settings: Setting[Any]) -> list[NotKnown]:
    """Return a note for each of these settings that is not known."""
    return [NotKnown(setting.subject, setting.unknown, setting.place) for setting in settings if setting.unknown]


def function_of(model: Model, mapping: EventMapping) -> Function | None:
    """Return the function that a mapping invokes; None if it is not in the template."""
    return model.functions.get(mapping.function) if mapping.function is not None else None


def timeout_of(model: Model, mapping: EventMapping) -> Setting[float]:
    """Return the timeout of the function that a mapping invokes."""
    function = function_of(model, mapping)
    if function is not None:
        return function.timeout
    why = f"{mapping.function_name} is not {'a function of' if mapping.pipe else 'in'} this template"
    return Setting("Timeout", None, mapping.place, stated=False, unknown=why, subject=f"the function of {mapping.key}")


def synchronous(model: Model) -> Iterator[EventMapping]:
    """Yield the mappings, and the pipes that wait for the result of their target."""
    for reader in model.readers:
        if not reader.asynchronous.value:
            yield reader


def refusal(reader: EventMapping) -> str:
    """Return the effect of a setting that AWS does not accept."""
    return "EventBridge rejects the pipe" if reader.pipe else "Lambda rejects the mapping"


def invoked(model: Model) -> Iterator[Function]:
    """Yield each function that a mapping invokes, once."""
    for key in dict.fromkeys(mapping.function for mapping in model.mappings):
        if key is not None:
            yield model.functions[key]


def consumed(model: Model) -> Iterator[Queue]:
    """Yield each queue that a mapping or pipe reads, once."""
    for key in dict.fromkeys(reader.queue for reader in model.readers):
        yield model.queues[key]
