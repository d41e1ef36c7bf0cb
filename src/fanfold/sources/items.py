"""Values that are specified when the run is started."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any, Final

from fanfold._base.json_problems import has_colliding_keys
from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError

MAX_BYTES: Final = 100_000
"""Maximum size of all values as JSON. The plan is part of the run's item in the ledger, which every batch reads and
which DynamoDB limits to 400 KB."""


class Items:
    """JSON values, ``size`` of them per segment. The messages contain the values.

    Use it for thousands of values, not for millions: write more than 100 KB of JSON to an object and use ``S3Lines``.

    Args:
        values: The values, in order; iterated once, when the source is created.
        size: Maximum number of values in a segment, from 1.

    Raises:
        ConfigurationError: If a value is not a JSON value, the values are too large in total, or size is invalid.
    """

    def __init__(self, values: Iterable[Any], *, size: int = 1) -> None:
        if type(size) is not int or size < 1:
            raise ConfigurationError(f"Items: size must be an integer of at least 1, not {size!r}")
        if isinstance(values, str | bytes | Mapping):
            raise ConfigurationError(f"Items: values must be an iterable such as a list, not a {type(values).__name__}")
        self.size: int = size
        self.values: list[Any] = [_checked(value, position) for position, value in enumerate(values)]
        size_bytes = len(json.dumps(self.values, ensure_ascii=False).encode())
        if size_bytes > MAX_BYTES:
            raise ConfigurationError(
                f"Items: {len(self.values)} values are {size_bytes:,} bytes of JSON, over the limit of {MAX_BYTES:,}: "
                "write them to an object, one per line, and use S3Lines"
            )

    async def pin(self, backend: Backend, prefix: str = "") -> Mapping[str, Any]:  # noqa: ARG002 - this source reads no live system
        """Return the plan: the values themselves."""
        return {"type": "items", "values": self.values, "size": self.size}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the values of each segment, from segment number ``first``."""
        values, size = plan["values"], plan["size"]
        for begin in range(first * size, len(values), size):
            yield {"type": "items", "values": values[begin : begin + size]}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, int]], None]:  # noqa: ARG004 - the part contains the values
        """Yield the values of one segment; the mark of a value is the number of values so far."""
        yield ((value, count) for count, value in enumerate(part["values"], 1))

    @staticmethod
    def rest(part: Mapping[str, Any], mark: int) -> Mapping[str, Any]:
        """Return the values after the first ``mark`` ones."""
        return {**part, "values": part["values"][mark:]}


def _checked(value: Any, position: int) -> Any:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        collide = has_colliding_keys(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"Items: value {position} is not a JSON value: {error}") from error
    if collide:
        raise ConfigurationError(f"Items: value {position} has two keys that are the same string in JSON")
    return json.loads(text)  # as a segment will read it: tuples become lists, keys become strings
