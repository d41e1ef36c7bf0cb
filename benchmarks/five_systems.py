"""The figures of five systems that articles describe: what each article has, and what comes here.

::

    python benchmarks/five_systems.py [--quick] [--json FILE]

One local AWS is started, the examples are deployed to it from the templates that go to AWS, and run; the batch of ten
thousand is replayed under its template's settings, since the emulator's mapping knows batches of ten. Two things are
other scripts' to measure, against services that take their time, and their committed results are read: how the time of
a scan falls with its segments, ``segment_scaling.py``, and how long a bucket takes, ``archive_bucket.py``.

The evidence of a row is *emulated* on the local AWS, *proven here* by real processes and sockets on this
machine, or *simulated*, in a committed result. The exit code is 1 if a figure does not hold. With ``--quick`` less is
counted, moved and put, and by one road alone.
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
    """How much is done."""

    items: int = 100_000
    objects: int = 1_000
    objects_by_map: int = 1_000
    orders: int = 10_000
    members: int = 1_000
    by_each_road: bool = True
    """Whether what can be done in one process, by SQS and by Step Functions is done by each."""


QUICK = Sizes(items=5_000, objects=100, objects_by_map=0, orders=2_000, by_each_road=False)


def figures(sizes: Sizes) -> Iterator[Row]:
    """Run the five systems, one after another."""
    each = sizes.by_each_road
    with tempfile.TemporaryDirectory() as temporary, local_stack() as stack:
        folder = Path(temporary)
        yield from asyncio.run(table_count.rows(stack, folder, sizes.items, by_each_road=each))
        yield from asyncio.run(offsets.rows(stack, folder / "offsets", by_each_road=each))
        yield from asyncio.run(archive_bucket.rows(stack, sizes.objects, sizes.objects_by_map))
        yield from ten_thousand.rows(folder, sizes.orders)
        yield from asyncio.run(member_points.rows(stack, folder, sizes.members, by_each_road=each))


@table("aiobotocore", "boto3", "ministack", "openpyxl", holds=lambda rows: {row["holds"] for row in rows} == {"yes"})
def five_systems(*, quick: Annotated[bool, "with fewer items, objects and orders, by one road alone"] = False) -> Rows:
    """Compare the figures of the five systems with those that come here."""
    return list(figures(QUICK if quick else Sizes()))


if __name__ == "__main__":
    main(five_systems)
