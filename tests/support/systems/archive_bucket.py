"""System 3: ``examples/archive_bucket`` on the local AWS, its bucket, and what it tells people."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deployment import Deployment, Topic, until
from fanfold._stack.emulator import LocalStack
from systems.rows import EMULATED, SIMULATED, Row, committed, row

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "archive_bucket"
SOURCE, DAY, ARCHIVE = "shop-logs", "2026-11-24", "S3/2026/11/24"
RESULT: Final = "archive_bucket.json"
ARTICLE_TIMES: Final = 2
"""Of the article: 3 minutes with the listing inside the Lambda, 1.5 minutes ten at a time."""


class Archive:
    """The deployed example."""

    def __init__(self, stack: LocalStack, template: Path | None = None) -> None:
        self.topic, self.heard = Topic(stack, "archived"), list[str]()
        parameters = {
            "FunctionTimeout": "60",
            "MaximumConcurrency": "5",
            "NotificationTopicArn": self.topic.arn,
            "SourceBucket": SOURCE,
            "SourceBucketAccess": "move",
            "StateMachine": "distributed",
        }
        self.deployed = Deployment(stack, "archive", EXAMPLE, parameters, template=template)
        self.s3 = self.deployed.clients["s3"]
        self.s3.create_bucket(Bucket=SOURCE)

    def upload(self, *keys: str) -> None:
        """Put objects that hold their own keys."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: self.s3.put_object(Bucket=SOURCE, Key=key, Body=key.encode()), keys))

    def take(self, name: str) -> None:
        """Put another object where one of this name should go."""
        self.s3.put_object(Bucket=SOURCE, Key=f"{ARCHIVE}/{name}", Body=b"another object")

    def keys(self, prefix: str) -> list[str]:
        """What lies there."""
        return list(self.written(prefix))

    def written(self, prefix: str) -> dict[str, Any]:
        """When what lies there was written, by its key."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=SOURCE, Prefix=prefix)
        return {each["Key"]: each["LastModified"] for page in pages for each in page.get("Contents", [])}

    def text(self, key: str) -> str:
        """An object of the bucket."""
        return str(self.s3.get_object(Bucket=SOURCE, Key=key)["Body"].read().decode())

    def holds(self, place: str, key: str) -> bool:
        """Whether the object that was uploaded under a key lies there."""
        try:
            return self.text(place) == key
        except self.s3.exceptions.NoSuchKey:
            return False

    async def report(self, run_id: str) -> list[str]:
        """The rows of a run's report, once it has succeeded."""
        return await self.deployed.lines(await self.deployed.output(run_id))

    def notification(self, run_id: str) -> dict[str, Any]:
        """What people were told of a run; more than once, perhaps, but the same.

        Raises:
            ValueError: If it was not the same.
        """

        def heard() -> list[dict[str, Any]]:
            self.heard += self.topic.messages()
            return [told for told in map(json.loads, self.heard) if told["run"] == run_id]

        until(lambda: bool(heard()))
        first, *others = heard()
        if any(other != first for other in others):
            raise ValueError(f"of {run_id} people were told one thing, and another")
        return first


@dataclass(frozen=True)
class Day:
    """The objects of a run by one road: of a hundred nine are of another day, and one finds its place taken."""

    run: str
    objects: int

    @property
    def of_day(self) -> list[str]:
        """What is to be moved."""
        return [f"{self.run}/{DAY}-{self.run}-{n:04d}.log" for n in range(self.objects - 10 * self._many)]

    @property
    def others(self) -> list[str]:
        """What is to be left alone."""
        return [f"{self.run}/2026-11-0{1 + n % 9}-{n:04d}.log" for n in range(9 * self._many)]

    @property
    def taken(self) -> list[str]:
        """What cannot be moved."""
        return [f"{self.run}/{DAY}-{self.run}-taken-{n:04d}.log" for n in range(self._many)]

    def place_of(self, key: str) -> str:
        """Where an object of the day goes."""
        return f"{ARCHIVE}/{key.removeprefix(f'{self.run}/')}"

    @property
    def _many(self) -> int:
        return self.objects // 100


async def rows(stack: LocalStack, by_sqs: int, by_map: int) -> list[Row]:
    """Move the objects of a day, so many by SQS and so many by a Distributed Map, or by SQS alone."""
    archive, found = Archive(stack), list[Row]()
    for road, objects, start in (
        ("SQS", by_sqs, archive.deployed.scatter),
        ("Distributed Map", by_map, archive.deployed.execute),
    ):
        if objects:
            day = Day(road.replace(" ", "-").lower(), objects)
            found += await archived(archive, day, road, start)
            found += await delivered_again(archive, day, road, start)
    return [*found, tried_again(archive), *times_committed()]


async def archived(archive: Archive, day: Day, road: str, start: Callable[..., object]) -> list[Row]:
    """Move them by one road."""
    archive.upload(*day.of_day, *day.others, *day.taken)
    for key in day.taken:
        archive.take(key.removeprefix(f"{day.run}/"))
    start(day.run, bucket=SOURCE, prefix=f"{day.run}/", day=DAY)
    report, told = await archive.report(day.run), archive.notification(day.run)
    no_target = sorted(line.partition(",")[0] for line in report if ",no target," in line)
    named = sorted(why.partition(": ")[0] for why in told["failures"].values())
    left, there = set(archive.keys(f"{day.run}/")), set(archive.keys(f"{ARCHIVE}/{DAY}-{day.run}-"))
    moved = [key for key in day.of_day if key not in left and day.place_of(key) in there]
    alone, still = len(left.intersection(no_target)), len(left.intersection(named))
    all_alone = no_target == sorted(day.others) and left.issuperset(day.others)
    all_still = named == day.taken and told["failed"] == len(day.taken) and left.issuperset(day.taken)
    others, taken = (
        f"{road}: others left alone, reported as no target",
        f"{road}: not moved, still there, named to people",
    )
    return [
        row(3, f"{road}: of {day.objects:,} objects, the day's moved", len(day.of_day), len(moved), EMULATED),
        row(3, others, len(day.others), alone, EMULATED, holds=all_alone),
        row(3, taken, len(day.taken), still, EMULATED, holds=all_still),
    ]


async def delivered_again(archive: Archive, day: Day, road: str, start: Callable[..., object]) -> list[Row]:
    """Run it again, with some originals back, as where a delivery copied and did not come to delete."""
    again, back = f"{day.run}-again", day.of_day[: day.objects // 10]
    archive.upload(*back)
    copied = archive.written(f"{ARCHIVE}/{DAY}-{day.run}-")
    start(again, bucket=SOURCE, prefix=f"{day.run}/", day=DAY)
    await archive.report(again)
    copied_again = sum(at != copied.get(key) for key, at in archive.written(f"{ARCHIVE}/{DAY}-{day.run}-").items())
    left = len(set(back).intersection(archive.keys(f"{day.run}/")))
    places = {key: day.place_of(key) for key in day.of_day} | {key: key for key in (*day.others, *day.taken)}
    with ThreadPoolExecutor(8) as threads:
        lost = day.objects - sum(threads.map(archive.holds, places.values(), places))
    figure = f"{road}: again, {len(back)} originals back: left, copied again, lost"
    return [row(3, figure, [0, 0, 0], [left, copied_again, lost], EMULATED)]


def tried_again(archive: Archive) -> Row:
    """Say how errors of Lambda itself are tried again, by the deployed state machine."""
    work = archive.deployed.states()["Process segments"]["ItemProcessor"]["States"]["Process batch"]
    (retry,) = [each for each in work["Retry"] if "Lambda.ServiceException" in each["ErrorEquals"]]
    got = [retry["IntervalSeconds"], retry["BackoffRate"], retry["MaxAttempts"]]
    return row(3, "Distributed Map: Lambda's errors: seconds, factor, attempts", [2, 2, 6], got, EMULATED)


def times_committed() -> list[Row]:
    """Return what the committed result says of moving ten at a time beside listing and moving in one Lambda."""
    rung = f"{SIMULATED}, in {RESULT}"
    return [
        row(
            3,
            f"{each['objects']:,} objects, ten at once: times as fast as a loop",
            f"at least {ARTICLE_TIMES}",
            f"{each['times as fast as the loop']:.1f}",
            rung,
            holds=each["times as fast as the loop"] >= ARTICLE_TIMES,
        )
        for each in committed(RESULT)
        if each["peer"].startswith("fanfold")
    ]
