"""How the time of a table scan falls with the number of its segments.

::

    python benchmarks/segment_scaling.py [--items 100000] [--latency-ms 200] [--stack] [--json FILE]

A table of items with 15 fields is counted by 1, 2, 4, 8 and 16 segments that are read at once in one process, as
``DynamoDBScan`` reads them. The table is a server's that answers each page of 250 items after a fixed time; with
``--stack`` it is the emulated DynamoDB's, as fast as that is. Ideal is one n-th of the time of one segment.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any

from machine import about_this_run, options_parser, positive, publish, run_child
from slow_service import CREDENTIALS, slow_service
from systems.articles import fill

SEGMENTS = (1, 2, 4, 8, 16)
PAGE_ITEMS = 250
TABLE = "articles"


async def count(address: str, segments: int) -> tuple[float, list[int]]:
    """Count the table by so many segments at once; return the seconds and each segment's items."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    from fanfold import DynamoDBScan, inmemory, sources
    from fanfold.aws.tables import DynamoDBTables, with_raw_items

    async with AsyncExitStack() as stack:
        session, config = with_raw_items(get_session()), AioConfig(max_pool_connections=64)
        client = session.create_client("dynamodb", endpoint_url=address, config=config, **CREDENTIALS)
        tables = DynamoDBTables(await stack.enter_async_context(client))
        backend = replace(inmemory.backend(), tables=tables)

        async def count_one(part: Any) -> int:
            return len([1 async for _ in sources.read_each(part, backend)])

        plan = await DynamoDBScan(TABLE, segments=segments, page_items=PAGE_ITEMS).pin(backend, "p")
        start = time.perf_counter()
        counts = await asyncio.gather(*map(count_one, sources.cut(plan)))
        return time.perf_counter() - start, list(counts)


@contextmanager
def table(items: int, latency: float, *, on_stack: bool) -> Iterator[str]:
    """Have a table; yield the address of its service."""
    if not on_stack:
        with slow_service(latency, items) as address:
            yield address
        return
    from fanfold._stack.emulator import local_stack

    with local_stack() as running:
        asyncio.run(fill({"endpoint_url": running.endpoint_url, **CREDENTIALS}, TABLE, items))
        yield running.endpoint_url


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure how the time of a scan falls with its segments.")
    parser.add_argument("--items", type=positive, default=100_000, help="items of the table (%(default)s)")
    parser.add_argument("--latency-ms", type=positive, default=200, help="milliseconds to a page (%(default)s)")
    parser.add_argument("--stack", action="store_true", help="on the emulated DynamoDB, as it comes")
    options = parser.parse_args()
    if options.child:
        seconds, counts = asyncio.run(count(options.child[0], int(options.child[1])))
        print(json.dumps([seconds, counts]))
        return
    about = about_this_run("aiobotocore")
    rows: list[dict[str, Any]] = []
    with table(options.items, options.latency_ms / 1000, on_stack=options.stack) as address:
        for segments in SEGMENTS:
            seconds, counts = run_child(os.path.abspath(__file__), address, str(segments))  # noqa: PTH100 - for a child
            if sum(counts) != options.items:
                raise SystemExit(f"segment_scaling.py: {sum(counts)} items of {options.items} were counted")
            rows.append(
                {
                    "segments": segments,
                    "seconds": seconds,
                    "% of one": 100 * seconds / (rows[0]["seconds"] if rows else seconds),
                    "ideal %": 100 / segments,
                    "items in a segment, least": min(counts),
                    "most": max(counts),
                    "most off the mean, %": 100 * max(abs(each * segments / options.items - 1) for each in counts),
                }
            )
    publish(about, rows, options.json, words=0)


if __name__ == "__main__":
    main()
