"""Values given by whoever starts the run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any, Final

from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError

MOST_BYTES: Final = 100_000
"""JSON of all values together: the plan is kept in the run's item of the ledger, which every batch reads, and which
DynamoDB limits to 400 KB."""


class Items:
    """JSON values, ``size`` of them in a segment. They travel in the messages themselves.

    For thousands of values, not for millions: more than 100 KB of JSON belongs into an object, read by ``S3Lines``.

    Args:
        values: The values, in order; taken once, when the source is made.
        size: Most values in a segment, from 1.

    Raises:
        ConfigurationError: If a value is no JSON value, they are too large together, or size is impossible.
    """

    def __init__(self, values: Iterable[Any], *, size: int = 1) -> None:
        if type(size) is not int or size < 1:
            raise ConfigurationError(f"Items: size must be a whole number from 1, not {size!r}")
        if isinstance(values, str | bytes | Mapping):
            raise ConfigurationError(f"Items: values must be several, such as a list, not one {type(values).__name__}")
        self.size: int = size
        self.values: list[Any] = [_checked(value, position) for position, value in enumerate(values)]
        taken = len(json.dumps(self.values, ensure_ascii=False).encode())
        if taken > MOST_BYTES:
            raise ConfigurationError(
                f"Items: {len(self.values)} values are {taken:,} bytes of JSON, over {MOST_BYTES:,}: write them to an "
                "object, one a line, and use S3Lines"
            )

    async def pin(self, backend: Backend, prefix: str = "") -> Mapping[str, Any]:  # noqa: ARG002 - there is nothing live to look at
        """Return the plan: the values themselves."""
        return {"type": "items", "values": self.values, "size": self.size}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the values of each segment, from segment number ``first`` on."""
        values, size = plan["values"], plan["size"]
        for begin in range(first * size, len(values), size):
            yield {"type": "items", "values": values[begin : begin + size]}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int]], None]:  # noqa: ARG004 - nothing to fetch
        """Yield the values of one segment, each with how many there have been."""
        yield ((value, taken) for taken, value in enumerate(part["values"], 1))

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the values that are left after so many."""
        return {**part, "values": part["values"][mark:]}


def _checked(value: Any, position: int) -> Any:
    try:
        text = json.dumps(value, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"Items: value {position} is no JSON value: {error}") from error
    return json.loads(text)  # what a segment will read: tuples are lists, keys are texts
