"""``fanfold run --dry-run``, as a user runs it."""

import json
from pathlib import Path

import boto3
import pytest

from command import FLIGHTS, fanfold, only_line

pytestmark = pytest.mark.stack


def test_a_dry_run_shows_the_plan_and_leaves_nothing_behind(bucket, tmp_path: Path):
    """It needs no queues, table, or results bucket. Reading the first segment measures its time."""
    params = json.dumps({"bucket": bucket, "key": "flights.csv", "chunk_bytes": 200_000})
    arguments = ("run", "app:job", "--params", params, "--dry-run", "--read-first")
    done = fanfold(*arguments, "--json", folder=FLIGHTS)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    size = boto3.client("s3").head_object(Bucket=bucket, Key="flights.csv")["ContentLength"]
    assert document["data_bytes"] == size
    assert document["segments"] == -(-size // 200_000)
    assert document["sample"]["ended"]
    assert document["sample"]["items"] > 1_000
    assert document["warnings"] == []
    shown = fanfold(*arguments, folder=FLIGHTS, COLUMNS="120")
    assert shown.returncode == 0, shown.stderr
    assert "bytes of all messages" in shown.stdout
    assert 'segment 0 {"type": "s3-lines"' in shown.stdout
    assert len(boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]) == 1
    assert "none-in-a-dry-run" not in {bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]}


def test_a_missing_object_is_one_clear_line(bucket):
    """Like in a real run."""
    params = json.dumps({"bucket": bucket, "key": "none.csv"})
    done = fanfold("run", "app:job", "--params", params, "--dry-run", folder=FLIGHTS)
    assert done.returncode == 1
    assert only_line(done.stderr) == f"fanfold: s3://{bucket}/none.csv does not exist: check the bucket and the key"
