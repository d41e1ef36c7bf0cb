"""The figures of five systems that are described in articles, compared with the figures of this implementation.

::

    python benchmarks/five_systems.py [--quick] [--json FILE]

The examples are deployed to a local AWS with the same templates as for AWS, and run. The batch of ten thousand is
replayed with its template's settings, since the emulator's mapping only supports batches of ten. Two figures come from
committed results of other scripts, which measure against services with a delay: how the time of a scan depends on its
segments (``segment_scaling.py``), and how long a bucket takes (``archive_bucket.py``).

Each row has an evidence level: *emulated* on the local AWS, *proven here* with real processes and sockets on this
machine, or *simulated*, in a committed result. The exit code is 1 if a figure does not hold. With ``--quick``, the
inputs are smaller, and each job runs in only one way.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from measure import Rows, main, table
from fanfold._stack.emulator import local_stack
from systems import archive_bucket, member_points, offsets, table_count, ten_thousand
from systems.rows import Row


class Sizes(NamedTuple):
    """The sizes of the inputs."""

    items: int = 100_000
    objects: int = 1_000
    objects_by_map: int = 1_000
    orders: int = 10_000
    members: int = 1_000
    by_each_road: bool = True
    """True to run each job in one process, with SQS, and with Step Functions, where possible."""


QUICK = Sizes(items=1_000, objects=100, objects_by_map=0, orders=1_200, members=100, by_each_road=False)


def figures(sizes: Sizes) -> Iterator[Row]:
    """Run the five systems, one after another."""
    all_ways = sizes.by_each_road
    with tempfile.TemporaryDirectory() as temporary, local_stack() as stack:
        folder = Path(temporary)
        yield from asyncio.run(table_count.rows(stack, folder, sizes.items, by_each_road=all_ways))
        yield from asyncio.run(offsets.rows(stack, folder / "offsets", by_each_road=all_ways))
        yield from asyncio.run(archive_bucket.rows(stack, sizes.objects, sizes.objects_by_map))
        yield from ten_thousand.rows(folder, sizes.orders)
        yield from asyncio.run(member_points.rows(stack, folder, sizes.members, by_each_road=all_ways))


@table("aiobotocore", "boto3", "ministack", "openpyxl", holds=lambda rows: {row["holds"] for row in rows} == {"yes"})
def five_systems(*, quick: Annotated[bool, "with fewer items, objects and orders, in one way only"] = False) -> Rows:
    """Compare the figures of the five systems with this implementation."""
    return list(figures(QUICK if quick else Sizes()))


if __name__ == "__main__":
    main(five_systems)
