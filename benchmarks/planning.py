"""Planning of many objects: time against the ideal, and memory.

::

    python benchmarks/planning.py [--objects 2000 10000] [--latency-ms 20] [--json FILE]

A server on this machine has a bucket of small objects, and responds to each request after a delay. fanfold plans them
with the real S3 adapter; the chunks of the manifest are discarded. *CSV* takes one request for an object, whose start
has the header; *compressed* objects and *keys* take none, because the listing is enough.

The ideal is the time that the requests take without any processor time: the pages of the listing one after another, and
32 objects at a time. *one at a time* plans the CSV objects without concurrency. Each measurement runs in a separate
process. Peak memory is the growth of resident memory.
"""

import asyncio
from dataclasses import replace
from typing import Annotated, Any, Final

from measure import Meter, Rows, isolated, main, table
from fanfold import S3Lines, S3Objects, inmemory, sources
from fanfold.inmemory import InMemoryStore
from fanfold.sources import planning
from servers import CREDENTIALS, slow_bucket

PAGE_KEYS: Final = 1_000
MANY: Final = 100_000
MOST_SECONDS: Final = 180
"""Time in which ``MANY`` objects must be planned."""
PEERS: Final = {"CSV": ".csv", "compressed": ".jsonl.gz", "keys": ".bin", "one at a time": ".csv"}


class Results(InMemoryStore):
    """A results bucket that discards what is written."""

    async def put(self, *_place: Any, **_options: Any) -> None:
        """Discard an object."""


async def plan(peer: str, port: int) -> int:
    """Plan the bucket; return the number of items in the plan."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    from fanfold.aws.s3 import _CONFIG, S3Store

    client = get_session().create_client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", config=AioConfig(**_CONFIG), **CREDENTIALS
    )
    async with client as opened:
        store: Any = S3Store(opened)
        store.put = Results("results").put
        backend = replace(inmemory.backend(), store=store)
        source = S3Objects("bucket") if peer == "keys" else S3Lines("bucket", prefix="in/")
        planned = await source.pin(backend, "runs/run/source/0")
        assert next(iter(sources.cut(planned)))  # noqa: S101 - the plan has segments
        return int(planned["items"])


@isolated
def planned(peer: str, port: int) -> tuple[int, float, float, float | None]:
    """Plan the bucket; return items, seconds, processor seconds, and peak memory in MB."""
    import aiobotocore.session  # noqa: F401 - what is loaded before is not measured

    if peer == "one at a time":
        alone = planning.map_in_order.__kwdefaults__
        assert alone is not None  # noqa: S101 - it has a default
        alone["concurrency"] = 1
    with Meter() as meter:
        items = asyncio.run(plan(peer, port))
    return items, meter.seconds, meter.cpu_seconds, meter.peak_mb


def is_in_time(rows: Rows) -> bool:
    """Return whether the largest bucket of each peer is planned in time, in proportion to its objects."""
    last = {row["peer"]: row["s for 100,000"] for row in rows if row["concurrency"] > 1}
    return bool(max(last.values()) < MOST_SECONDS)


@table("aiobotocore", holds=is_in_time)
def many_objects(
    *,
    objects: Annotated[tuple[int, ...], "objects in the bucket"] = (2_000, 10_000),
    latency_ms: Annotated[int, "delay of each response"] = 20,
) -> Rows:
    """Measure the planning of many objects, in proportion to the ideal."""
    rows: Rows = []
    for peer, suffix in PEERS.items():
        for count in objects if peer != "one at a time" else objects[:1]:
            with slow_bucket(count, latency_ms / 1_000, suffix) as port:
                items, seconds, cpu, peak = planned(peer, port)
            assert items == count  # noqa: S101 - nothing is lost
            concurrency = 1 if peer == "one at a time" else planning.CONCURRENCY
            looked_at = count if suffix == ".csv" else 0
            ideal = (count / PAGE_KEYS + looked_at / concurrency) * latency_ms / 1_000
            rows.append(
                {
                    "peer": peer,
                    "objects": count,
                    "concurrency": concurrency,
                    "requests": looked_at + -(-count // PAGE_KEYS),
                    "seconds": seconds,
                    "/ ideal": seconds / ideal,
                    "CPU ms per object": 1_000 * cpu / count,
                    "s for 100,000": seconds * MANY / count,
                    "peak MB": peak,
                }
            )
    return rows


if __name__ == "__main__":
    main(many_objects)
