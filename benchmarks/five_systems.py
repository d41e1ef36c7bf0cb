"""The figures of five systems that articles describe: what each article has, and what comes here.

::

    python benchmarks/five_systems.py [--quick] [--json FILE]

One local AWS is started, the examples are deployed to it from the templates that go to AWS, and run; the batch of ten
thousand is replayed under its template's settings, since the emulator's mapping knows batches of ten. How the time of a
scan falls with its segments is another script's to measure, ``segment_scaling.py``, against a server that takes its
time: its committed result is read.

The rung of a row says how far it goes: *emulated* on the local AWS, *proven here* by real processes and sockets on this
machine, or *simulated*, in that committed result. The exit code is 1 if a figure does not hold. With ``--quick`` less
is counted, moved and put, and by SQS alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from deployment import Deployment
from fanfold.local.stack import LocalStack, local_stack
from machine import about_this_run, options_parser, publish
from systems import member_points, offsets, table_count, ten_thousand
from systems.archive_bucket import ARCHIVE, DAY, SOURCE, Archive

SCALING = Path("benchmarks/results/segment_scaling.json")
ROOT = Path(__file__).parents[1]
EMULATED, PROVEN, COMMITTED = "emulated", "proven here", f"simulated, in {SCALING.name}"
ARTICLE_SHARE, ARTICLE_MOST, MEAN = 10.9, 6_577, 6_250
"""Of the first article: % of one segment's time, the most items that one of 16 segments read, and the mean of them."""
SAMPLE = [72.5, 75, 57]
AT_ONCE = 100
MAP_OBJECTS = 100


class Sizes(NamedTuple):
    """How much is done."""

    items: int = 100_000
    objects: int = 1_000
    orders: int = 10_000
    members: int = 1_000
    by_map: bool = True
    """Whether state machines run too."""


QUICK = Sizes(items=5_000, objects=100, orders=1_000, by_map=False)
Row = dict[str, Any]


def row(system: int, figure: str, expected: object, got: object, rung: str, *, holds: bool | None = None) -> Row:
    """Return a line of the table; unless told otherwise it holds if what came is what was expected."""
    held = expected == got if holds is None else holds
    return {
        "system": str(system),
        "figure": figure,
        "expected": in_words(expected),
        "got": in_words(got),
        "rung": rung,
        "holds": "yes" if held else "NO",
    }


def in_words(value: object) -> str:
    """Say a value: a list by its elements, an object as JSON, a number with its thousands apart."""
    if isinstance(value, list):
        return " / ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


# --- 1: a table counted by segments.


async def table_counted(stack: LocalStack, items: int) -> list[Row]:
    """Count a table by 16 segments."""
    segments = table_count.SEGMENTS
    await table_count.fill(stack.client_settings, "articles", items)
    job = Deployment(stack, "count", table_count.EXAMPLE, {**table_count.PARAMETERS, "SourceTable": "articles"})
    cut = job.scatter("count", table="articles", total=segments)["segments"]
    expected, got = {"total_count": items}, await job.output("count")
    figure = f"{items:,} items of {table_count.FIELDS} fields, by {segments} segments"
    return [row(1, figure, expected, got, EMULATED, holds=(cut, got) == (segments, expected))]


def scaling_committed() -> list[Row]:
    """Return what the committed result says of 16 segments beside one; nothing, and say so, if there is none."""
    try:
        results = json.loads((ROOT / SCALING).read_text(encoding="utf-8"))["results"]
    except FileNotFoundError:
        print(f"five_systems.py: {SCALING} is not there: its rows are left out", file=sys.stderr)
        return []
    (of_16,) = [each for each in results if each["segments"] == table_count.SEGMENTS]
    share, off, off_there = of_16["% of one"], of_16["most off the mean, %"], 100 * (ARTICLE_MOST / MEAN - 1)
    return [
        row(
            1,
            "16 segments' time, of one segment's",
            f"at most {ARTICLE_SHARE} %",
            f"{share:.1f} %",
            COMMITTED,
            holds=share <= ARTICLE_SHARE,
        ),
        row(
            1,
            "items of one of 16 segments, off the mean",
            f"at most {off_there:.1f} %",
            f"{off:.1f} %",
            COMMITTED,
            holds=off <= off_there,
        ),
    ]


# --- 2: records counted out to jobs.


async def records_counted_out(stack: LocalStack, folder: Path, *, by_map: bool) -> list[Row]:
    """Count records out, so many at most to a job or to so many jobs, by SQS and by a Map without a bound."""
    job = offsets.deployed(stack, folder)
    roads = {"SQS": job.scatter, "Map": job.execute} if by_map else {"SQS": job.scatter}
    return [await counted_out(job, road, start, case) for road, start in roads.items() for case in offsets.CASES]


async def counted_out(job: Deployment, road: str, start: Callable[..., object], case: str) -> Row:
    """Run one case by one road."""
    (params, counts), run = offsets.CASES[case], f"{road}-{case}"
    start(run, **params)
    jobs = [json.loads(line) for line in await job.lines(await job.output(run))]
    figure, wanted = f"{road}: {asked_in_words(**params)}", jobs_in_words(counts)
    came = jobs_in_words([each["count"] for each in jobs])
    return row(2, figure, wanted, came, EMULATED, holds=jobs == offsets.expected(case))


def asked_in_words(*, records: int, at_most: int = 0, jobs: int = 0) -> str:
    """Say what a run was started with."""
    return f"{records} records, " + (f"at most {at_most} a job" if at_most else f"over {jobs} jobs")


def jobs_in_words(counts: list[int]) -> str:
    """Say how many jobs there are, and of how many records."""
    if len(set(counts)) > 1 and len(counts) <= 4:  # noqa: PLR2004 - a few are all shown
        return f"{len(counts)} jobs: {'/'.join(map(str, counts))}"
    return f"{len(counts)} jobs, first {counts[0]}, last {counts[-1]}" if counts else "none"


# --- 3: a bucket archived.


async def bucket_archived(stack: LocalStack, objects: int, *, by_map: bool) -> list[Row]:
    """Move the objects of a day, by SQS and by a Distributed Map."""
    archive = Archive(stack)
    rows = await archived(archive, "by-sqs", objects)
    return [*rows, *(await archived(archive, "by-map", MAP_OBJECTS) if by_map else [])]


async def archived(archive: Archive, run: str, objects: int) -> list[Row]:
    """Move them by one road: of a hundred nine are of another day, and one finds its place taken."""
    prefix, many = f"{run}/", objects // 100
    others = [f"{prefix}2026-11-0{1 + n % 9}-{n:04d}.log" for n in range(9 * many)]
    taken = [f"{prefix}{DAY}-{run}-taken-{n:04d}.log" for n in range(many)]
    of_day = [f"{prefix}{DAY}-{run}-{n:04d}.log" for n in range(objects - 10 * many)]
    archive.upload(*of_day, *others, *taken)
    for key in taken:
        archive.take(key.removeprefix(prefix))
    start = archive.deployed.execute if run == "by-map" else archive.deployed.scatter
    start(run, bucket=SOURCE, prefix=prefix, day=DAY)
    report, told = await archive.report(run), archive.told(run)
    no_target = sorted(line.partition(",")[0] for line in report if ",no target," in line)
    named = sorted(why.partition(": ")[0] for why in told["failures"].values())
    left, there = set(archive.keys(prefix)), set(archive.keys(f"{ARCHIVE}/{DAY}-{run}-"))
    moved = [key for key in of_day if key not in left and f"{ARCHIVE}/{key.removeprefix(prefix)}" in there]
    road = "SQS" if run == "by-sqs" else "Distributed Map"
    return [
        row(3, f"{road}: of {objects:,} objects, the day's moved", len(of_day), len(moved), EMULATED),
        row(
            3,
            f"{road}: others left alone, reported as no target",
            len(others),
            len(left.intersection(no_target)),
            EMULATED,
            holds=no_target == sorted(others) and left.issuperset(others),
        ),
        row(
            3,
            f"{road}: not moved, still there, named to people",
            len(taken),
            len(left.intersection(named)),
            EMULATED,
            holds=named == taken and told["failed"] == many and left.issuperset(taken),
        ),
    ]


# --- 4: ten thousand records in one batch.


def orders_put(folder: Path, orders: int) -> list[Row]:
    """Put orders into a shop, one batch of them, a hundred at once, under a sandbox's descriptors."""
    trouble = ten_thousand.Trouble(orders, hangs=3 * orders // 10 + 1, refuses=orders // 5 - 1)
    trouble.write(file := folder / "orders.json")
    with ten_thousand.shop(trouble) as url:
        expect = f"dead-lettered={len(trouble.refused)}"
        size = ("--batch-size", str(orders)) if orders != ten_thousand.Trouble().orders else ()
        document = ten_thousand.replay("app:handler", url, file, "--expect", expect, *size)
        seen = ten_thousand.seen_by(url)
    most, summary = seen["most_connections"], document["summary"]
    batch, named = len(document["deliveries"][0]["messages"]), ten_thousand.reported(document)
    arrive = sorted(set(range(1, orders + 1)) - set(trouble.refused))
    under = f"connections at once, under {ten_thousand.DESCRIPTORS:,} descriptors"
    return [
        row(4, "records in the first batch", orders, batch, PROVEN),
        row(4, under, f"at most {AT_ONCE}", most, PROVEN, holds=most <= AT_ONCE),
        row(4, "failures named, no other", len(trouble.failed), len(named), PROVEN, holds=named == trouble.failed),
        row(4, "orders that arrive", len(arrive), len(seen["taken"]), PROVEN, holds=seen["taken"] == arrive),
        row(4, "records lost, or left", 0, summary["lost"] + summary["left"], PROVEN),
    ]


# --- 5: members in one sheet.


def members_in_a_sheet(stack: LocalStack, folder: Path, count: int) -> list[Row]:
    """Run the example by its Makefile, on the local AWS that is there."""
    job = Deployment(stack, "members", member_points.EXAMPLE, {"HandlerModule": "app"})
    file = folder / "members.xlsx"
    member_points.make("on-queue", count, file, {**stack.environment, **job.variables})
    rows, expected = member_points.rows_of(file), member_points.expected(member_points.members_of(count))
    got = [each[-1] for each in rows[1 : len(SAMPLE) + 1]]
    right = sum(one == other for one, other in zip(rows[1:], expected[1:], strict=False))
    return [
        row(5, "bonus of the three sample members", SAMPLE, got, EMULATED),
        row(5, "members in one sheet, in order", count, right, EMULATED, holds=rows == expected),
    ]


# --- The run.


def figures(sizes: Sizes) -> Iterator[Row]:
    """Run the five systems, one after another."""
    with tempfile.TemporaryDirectory() as temporary, local_stack() as stack:
        folder = Path(temporary)
        yield from asyncio.run(table_counted(stack, sizes.items))
        yield from scaling_committed()
        yield from asyncio.run(records_counted_out(stack, folder, by_map=sizes.by_map))
        yield from asyncio.run(bucket_archived(stack, sizes.objects, by_map=sizes.by_map))
        yield from orders_put(folder, sizes.orders)
        yield from members_in_a_sheet(stack, folder, sizes.members)


def main() -> None:
    """Run the five systems and print the table."""
    parser = options_parser("Compare the figures of the five systems with those that come here.")
    parser.add_argument("--quick", action="store_true", help="with fewer items, objects and orders, and by SQS alone")
    options = parser.parse_args()
    about = about_this_run("aiobotocore", "boto3", "ministack", "openpyxl")
    rows = list(figures(QUICK if options.quick else Sizes()))
    publish(about, rows, options.json, words=len(rows[0]))
    sys.exit(1 if any(each["holds"] != "yes" for each in rows) else 0)


if __name__ == "__main__":
    main()
