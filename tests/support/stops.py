"""A segment that stops and continues."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fanfold import sources
from fanfold._ports.backend import Backend


async def with_stops(part: Any, backend: Backend, stops: list[int]) -> AsyncIterator[Any]:
    """Yield the items of a segment that stops after some items, and continues, several times."""
    for stop in [*stops, 10**9]:
        count, mark = 0, None
        async with aclosing(sources.read(part, backend)) as chunks:
            async for chunk in chunks:
                for item, mark_after in chunk:
                    count, mark = count + 1, mark_after
                    yield item
                    if count == stop:
                        break
                if count == stop:
                    break
            else:
                return
        part = json.loads(json.dumps(sources.rest(part, mark)))
