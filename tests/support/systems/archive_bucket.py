"""System 3: ``examples/archive_bucket`` on the local AWS, its bucket, and its notifications."""

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
"""Speedup in the article: 3 minutes with the listing in the Lambda function, 1.5 minutes with ten concurrent copies."""


class Archive:
    """The deployed example."""

    def __init__(self, stack: LocalStack, template: Path | None = None) -> None:
        self.topic, self.received = Topic(stack, "archived"), list[str]()
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
        """Upload objects; the content of each is its key."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: self.s3.put_object(Bucket=SOURCE, Key=key, Body=key.encode()), keys))

    def take(self, name: str) -> None:
        """Put another object at the target of this name."""
        self.s3.put_object(Bucket=SOURCE, Key=f"{ARCHIVE}/{name}", Body=b"another object")

    def keys(self, prefix: str) -> list[str]:
        """Return the keys with a prefix."""
        return list(self.written(prefix))

    def written(self, prefix: str) -> dict[str, Any]:
        """Return the modification times of the objects with a prefix, by key."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=SOURCE, Prefix=prefix)
        return {item["Key"]: item["LastModified"] for page in pages for item in page.get("Contents", [])}

    def text(self, key: str) -> str:
        """Return the text of an object."""
        return str(self.s3.get_object(Bucket=SOURCE, Key=key)["Body"].read().decode())

    def has_original(self, target: str, key: str) -> bool:
        """Return whether the object at a target is the one that was uploaded under ``key``."""
        try:
            return self.text(target) == key
        except self.s3.exceptions.NoSuchKey:
            return False

    async def report(self, run_id: str) -> list[str]:
        """Return the rows of the report, after the run has succeeded."""
        return await self.deployed.lines(await self.deployed.output(run_id))

    def notification(self, run_id: str) -> dict[str, Any]:
        """Return the notification of a run, which may arrive more than once.

        Raises:
            ValueError: If two notifications differ.
        """

        def received() -> list[dict[str, Any]]:
            self.received += self.topic.messages()
            return [message for message in map(json.loads, self.received) if message["run"] == run_id]

        until(lambda: bool(received()))
        first, *others = received()
        if any(other != first for other in others):
            raise ValueError(f"run {run_id} sent two different notifications")
        return first


@dataclass(frozen=True)
class Day:
    """The objects of one run: of each hundred, nine are of another day, and the target of one is taken."""

    run: str
    objects: int

    @property
    def of_day(self) -> list[str]:
        """Keys that must be moved."""
        return [f"{self.run}/{DAY}-{self.run}-{n:04d}.log" for n in range(self.objects - 10 * self._hundreds)]

    @property
    def others(self) -> list[str]:
        """Keys of other days, which must stay."""
        return [f"{self.run}/2026-11-0{1 + n % 9}-{n:04d}.log" for n in range(9 * self._hundreds)]

    @property
    def taken(self) -> list[str]:
        """Keys that cannot be moved, since their target is taken."""
        return [f"{self.run}/{DAY}-{self.run}-taken-{n:04d}.log" for n in range(self._hundreds)]

    def target_of(self, key: str) -> str:
        """Return the target of a key."""
        return f"{ARCHIVE}/{key.removeprefix(f'{self.run}/')}"

    @property
    def _hundreds(self) -> int:
        return self.objects // 100


async def rows(stack: LocalStack, by_sqs: int, by_map: int) -> list[Row]:
    """Move the objects of a day with SQS and with a Distributed Map, or with SQS only."""
    archive, all_rows = Archive(stack), list[Row]()
    for path, objects, start in (
        ("SQS", by_sqs, archive.deployed.scatter),
        ("Distributed Map", by_map, archive.deployed.execute),
    ):
        if objects:
            day = Day(path.replace(" ", "-").lower(), objects)
            all_rows += await archived(archive, day, path, start)
            all_rows += await rerun(archive, day, path, start)
    return [*all_rows, lambda_retries(archive), *times_committed()]


async def archived(archive: Archive, day: Day, path: str, start: Callable[..., object]) -> list[Row]:
    """Move the objects by one path."""
    archive.upload(*day.of_day, *day.others, *day.taken)
    for key in day.taken:
        archive.take(key.removeprefix(f"{day.run}/"))
    start(day.run, bucket=SOURCE, prefix=f"{day.run}/", day=DAY)
    report, notification = await archive.report(day.run), archive.notification(day.run)
    no_target = sorted(line.partition(",")[0] for line in report if ",no target," in line)
    reported = sorted(failure.partition(": ")[0] for failure in notification["failures"].values())
    remaining, targets = set(archive.keys(f"{day.run}/")), set(archive.keys(f"{ARCHIVE}/{DAY}-{day.run}-"))
    moved = [key for key in day.of_day if key not in remaining and day.target_of(key) in targets]
    skipped, failed = len(remaining.intersection(no_target)), len(remaining.intersection(reported))
    all_skipped = no_target == sorted(day.others) and remaining.issuperset(day.others)
    all_failed = reported == day.taken and notification["failed"] == len(day.taken) and remaining.issuperset(day.taken)
    others, taken = (
        f"{path}: other objects kept, reported as no target",
        f"{path}: not moved, kept, named in the notification",
    )
    return [
        row(3, f"{path}: of {day.objects:,} objects, those of the day moved", len(day.of_day), len(moved), EMULATED),
        row(3, others, len(day.others), skipped, EMULATED, holds=all_skipped),
        row(3, taken, len(day.taken), failed, EMULATED, holds=all_failed),
    ]


async def rerun(archive: Archive, day: Day, path: str, start: Callable[..., object]) -> list[Row]:
    """Run again with some originals restored, as if a delivery had copied and not deleted them."""
    second_run, restored = f"{day.run}-again", day.of_day[: day.objects // 10]
    archive.upload(*restored)
    copied = archive.written(f"{ARCHIVE}/{DAY}-{day.run}-")
    start(second_run, bucket=SOURCE, prefix=f"{day.run}/", day=DAY)
    await archive.report(second_run)
    copied_again = sum(at != copied.get(key) for key, at in archive.written(f"{ARCHIVE}/{DAY}-{day.run}-").items())
    remaining = len(set(restored).intersection(archive.keys(f"{day.run}/")))
    targets = {key: day.target_of(key) for key in day.of_day} | {key: key for key in (*day.others, *day.taken)}
    with ThreadPoolExecutor(8) as threads:
        lost = day.objects - sum(threads.map(archive.has_original, targets.values(), targets))
    figure = f"{path}: rerun with {len(restored)} originals restored: remaining, copied again, lost"
    return [row(3, figure, [0, 0, 0], [remaining, copied_again, lost], EMULATED)]


def lambda_retries(archive: Archive) -> Row:
    """Return how the deployed state machine retries errors of Lambda."""
    work = archive.deployed.states()["Process segments"]["ItemProcessor"]["States"]["Process batch"]
    (retry,) = [retrier for retrier in work["Retry"] if "Lambda.ServiceException" in retrier["ErrorEquals"]]
    got = [retry["IntervalSeconds"], retry["BackoffRate"], retry["MaxAttempts"]]
    return row(3, "Distributed Map: retries of Lambda's errors: seconds, factor, attempts", [2, 2, 6], got, EMULATED)


def times_committed() -> list[Row]:
    """Return the speedup of ten concurrent copies over a loop in one Lambda function, from the committed result."""
    evidence = f"{SIMULATED}, in {RESULT}"
    return [
        row(
            3,
            f"{result['objects']:,} objects, ten concurrently: times as fast as a loop",
            f"at least {ARTICLE_TIMES}",
            f"{result['times as fast as the loop']:.1f}",
            evidence,
            holds=result["times as fast as the loop"] >= ARTICLE_TIMES,
        )
        for result in committed(RESULT)
        if result["peer"].startswith("fanfold")
    ]
