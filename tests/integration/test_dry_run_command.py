"""``fanfold run --dry-run``, as a user has it."""

import json
from pathlib import Path

import boto3
import pytest

from command import FLIGHTS, fanfold, only_line

pytestmark = pytest.mark.stack


def test_a_dry_run_tells_what_a_run_would_be_and_leaves_nothing_behind(bucket, tmp_path: Path):
    """Without queues, table or results bucket; reading the first segment says how long that takes."""
    params = json.dumps({"bucket": bucket, "key": "flights.csv", "chunk_bytes": 200_000})
    arguments = ("run", "app:job", "--params", params, "--dry-run", "--read-first")
    done = fanfold(*arguments, "--json", folder=FLIGHTS)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    size = boto3.client("s3").head_object(Bucket=bucket, Key="flights.csv")["ContentLength"]
    assert told["data_bytes"] == size
    assert told["segments"] == -(-size // 200_000)
    assert told["sample"]["ended"]
    assert told["sample"]["items"] > 1_000
    assert told["warnings"] == []
    shown = fanfold(*arguments, folder=FLIGHTS, COLUMNS="120")
    assert shown.returncode == 0, shown.stderr
    assert "bytes of all messages" in shown.stdout
    assert 'segment 0 {"type": "s3-lines"' in shown.stdout
    assert len(boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]) == 1
    assert "none-in-a-dry-run" not in {each["Name"] for each in boto3.client("s3").list_buckets()["Buckets"]}


def test_what_there_is_to_cut_and_is_not_there_is_one_clear_line(bucket):
    """As in a run."""
    params = json.dumps({"bucket": bucket, "key": "none.csv"})
    done = fanfold("run", "app:job", "--params", params, "--dry-run", folder=FLIGHTS)
    assert done.returncode == 1
    assert only_line(done.stderr) == f"fanfold: s3://{bucket}/none.csv does not exist: check the bucket and the key"
