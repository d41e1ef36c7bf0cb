"""The duration of a table scan, depending on the number of segments.

::

    python benchmarks/segment_scaling.py [--items 100000] [--latency-ms 200] [--stack] [--json FILE]

A table of items with 15 fields is counted with 1, 2, 4, 8 and 16 segments, which are read concurrently in one process,
as by ``DynamoDBScan``. The table is a server that returns each page of 250 items after a fixed time, or, with
``--stack``, the emulated DynamoDB. Ideally, n segments take one n-th of the time of one segment. In the last two rows,
the SDK makes each call, as before; they are compared with each other.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Annotated, Any

from measure import Meter, Rows, fail, isolated, main, table
from servers import CREDENTIALS, slow_aws
from systems.articles import fill

SEGMENTS = (1, 2, 4, 8, 16)
PAGE_ITEMS = 250
TABLE = "articles"
FANFOLD, SDK = "fanfold", "SDK"
CASES = [*((segments, FANFOLD) for segments in SEGMENTS), (SEGMENTS[0], SDK), (SEGMENTS[-1], SDK)]


@isolated
def count(address: str, segments: int, by: str) -> tuple[float, float, list[int]]:
    """Count the table with this many concurrent segments.

    Returns:
        Wall and processor seconds, and the items of each segment.
    """
    return asyncio.run(_count(address, segments, by))


async def _count(address: str, segments: int, by: str) -> tuple[float, float, list[int]]:
    from aiobotocore.config import AioConfig
    from aiobotocore.httpsession import AIOHTTPSession
    from aiobotocore.session import get_session

    from fanfold import DynamoDBScan, inmemory, sources
    from fanfold.aws.backend import config_of
    from fanfold.aws.tables import DynamoDBTables, with_raw_items

    async with AsyncExitStack() as stack:
        session, config = with_raw_items(get_session()), config_of("dynamodb")
        if by == SDK:
            config = config.merge(AioConfig(http_session_cls=AIOHTTPSession))
        client = session.create_client("dynamodb", endpoint_url=address, config=config, **CREDENTIALS)
        tables = DynamoDBTables(await stack.enter_async_context(client))
        backend = replace(inmemory.backend(), tables=tables)

        async def count_one(part: Any) -> int:
            return len([1 async for _ in sources.read_items(part, backend)])

        plan = await DynamoDBScan(TABLE, segments=segments, page_items=PAGE_ITEMS).pin(backend, "p")
        with Meter() as meter:
            counts = await asyncio.gather(*map(count_one, sources.cut(plan)))
        return meter.seconds, meter.cpu_seconds, list(counts)


@contextmanager
def articles(items: int, latency: float, *, on_stack: bool) -> Iterator[str]:
    """Provide a table; yield the address of its service."""
    if not on_stack:
        with slow_aws(latency, items) as port:
            yield f"http://127.0.0.1:{port}"
        return
    from fanfold._stack.emulator import local_stack

    with local_stack() as running:
        asyncio.run(fill({"endpoint_url": running.endpoint_url, **CREDENTIALS}, TABLE, items))
        yield running.endpoint_url


def pages(counts: Sequence[int]) -> int:
    """Return the number of pages that segments with these numbers of items have."""
    return sum(-(-count // PAGE_ITEMS) for count in counts)


@table("aiobotocore")
def scaling(
    *,
    items: Annotated[int, "items of the table"] = 100_000,
    latency_ms: Annotated[int, "milliseconds per page"] = 200,
    stack: Annotated[bool, "use the emulated DynamoDB"] = False,
) -> Rows:
    """Measure the duration of a scan, depending on the number of segments."""
    with articles(items, latency_ms / 1000, on_stack=stack) as address:
        counted = {case: count(address, *case) for case in CASES}
    if any(sum(counts) != items for _, _, counts in counted.values()):
        fail(f"{[sum(counts) for _, _, counts in counted.values()]} items of {items} were counted")
    return [
        {
            "calls by": by,
            "segments": segments,
            "seconds": seconds,
            "% of one": 100 * seconds / counted[1, by][0],
            "ideal %": 100 / segments,
            "CPU ms a page": 1000 * cpu / pages(counts),
            "items in a segment, least": min(counts),
            "most": max(counts),
            "most off the mean, %": 100 * max(abs(count * segments / items - 1) for count in counts),
        }
        for (segments, by), (seconds, cpu, counts) in counted.items()
    ]


if __name__ == "__main__":
    main(scaling)
