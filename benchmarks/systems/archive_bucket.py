"""System 3: ``examples/archive_bucket`` on the local AWS, its bucket, and what it tells people."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from deployment import Deployment, Topic, until
from fanfold.local.stack import LocalStack

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "archive_bucket"
SOURCE, DAY, ARCHIVE = "shop-logs", "2026-11-24", "S3/2026/11/24"


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
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=SOURCE, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def text(self, key: str) -> str:
        """An object of the bucket."""
        return str(self.s3.get_object(Bucket=SOURCE, Key=key)["Body"].read().decode())

    async def report(self, run_id: str) -> list[str]:
        """The rows of a run's report, once it has succeeded."""
        return await self.deployed.lines(await self.deployed.output(run_id))

    def told(self, run_id: str) -> dict[str, Any]:
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
