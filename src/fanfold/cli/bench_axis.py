"""The values of concurrency and memory that ``fanfold bench`` measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fanfold.errors import ConfigurationError

MAX_CONCURRENCY: Final = 10_000
"""The largest concurrency that can be measured."""


def axis(text: str, name: str, least: int, most: int) -> tuple[int, ...]:
    """Return the values of an axis, ascending, each once.

    Args:
        text: Integers, separated by commas.
        name: The name of the option or setting, for the error.
        least: The smallest allowed value.
        most: The largest allowed value.

    Raises:
        ConfigurationError: If a value is not an integer in this range.
    """
    values = set()
    for part in text.split(","):
        value = int(part) if part.strip().isdecimal() else -1
        if not least <= value <= most:
            raise ConfigurationError(
                f"{name} must be integers from {least:,} to {most:,}, such as {least},{most}, not {part.strip()!r}"
            )
        values.add(value)
    return tuple(sorted(values))


def distinct(concurrencies: Sequence[int], records: int) -> tuple[int, ...]:
    """Return the concurrencies with which a batch of this many records can run differently.

    More handlers than records never run: of the values from the number of records on, the first one represents all.
    """
    return (
        tuple(value for value in concurrencies if value < records)
        + tuple(value for value in concurrencies if value >= records)[:1]
    )
