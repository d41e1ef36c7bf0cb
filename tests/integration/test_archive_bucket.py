"""System 3: a bucket archived with SQS and with a Distributed Map, by one deployment.

``benchmarks/archive_bucket.py`` measures the time for a thousand objects.
"""

import json

import pytest

from depth import by_depth
from fanfold._jobs.report import watch
from fanfold._stack.emulator import LocalStack
from fanfold._stack.project import project_folder
from fanfold.aws.backend import connect
from policies import denials, over_http
from systems.archive_bucket import ARCHIVE, DAY, SOURCE, Archive

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture(scope="module")
def archive(strict: LocalStack, tmp_path_factory) -> Archive:
    """Deploy the example on an emulator that enforces the functions' roles."""
    return Archive(strict, over_http(project_folder() / "template.yaml", tmp_path_factory.mktemp("a") / "t.yaml"))


# Slow: a segment for each object in real workers, which copy and delete it.
async def test_yesterdays_objects_are_archived_and_the_others_are_reported(archive: Archive):
    """With SQS: those of the day are moved, nine have no target, and one whose target exists is kept and reported."""
    count = by_depth(40, 190)
    of_day = [f"incoming/{DAY}-{n:04d}.log" for n in range(count)]
    others = [f"incoming/2026-11-{n:02d}.log" for n in range(10, 19)]
    taken = f"incoming/twice/{DAY}-taken.log"
    archive.upload(*of_day, *others, taken)
    archive.take(f"{DAY}-taken.log")
    started = archive.deployed.scatter("by-sqs", bucket=SOURCE, prefix="incoming/", day=DAY)
    assert started["segments"] == count + 10
    rows = await archive.report("by-sqs")
    assert archive.keys("incoming/") == sorted([*others, taken])
    moved = [f"{ARCHIVE}/{DAY}-{n:04d}.log" for n in range(count)]
    assert archive.keys("S3/") == [*moved, f"{ARCHIVE}/{DAY}-taken.log"]
    assert archive.text(f"{ARCHIVE}/{DAY}-0017.log") == f"incoming/{DAY}-0017.log"
    assert rows[0] == "key,result,to"
    assert sum(",archived,S3/" in row for row in rows) == count
    assert [row.partition(",")[0] for row in rows if ",no target," in row] == others
    notification = archive.notification("by-sqs")
    assert (notification["state"], notification["failed"]) == ("SUCCEEDED", 1)
    assert list(notification["failures"].values()) == [f"{taken}: s3://{SOURCE}/{ARCHIVE}/{DAY}-taken.log exists"]


# Slow: the state machine starts a process for each batch of items.
async def test_a_distributed_map_does_the_same(archive: Archive):
    """It uses the same ledger, report, and notification; up to a tenth of the keys may fail."""
    taken = f"map/{DAY}-m-taken.log"
    archive.upload(*(f"map/{DAY}-m{n:02d}.log" for n in range(8)), "map/readme.txt", taken)
    archive.take(f"{DAY}-m-taken.log")
    assert archive.deployed.execute("by-map", bucket=SOURCE, prefix="map/", day=DAY) == "SUCCEEDED"
    assert archive.keys("map/") == [taken, "map/readme.txt"]
    assert archive.keys(f"{ARCHIVE}/{DAY}-m0") == [f"{ARCHIVE}/{DAY}-m{n:02d}.log" for n in range(8)]
    rows = await archive.report("by-map")
    assert sum(",archived,S3/" in row for row in rows) == 8
    assert "map/readme.txt,no target," in rows
    notification = archive.notification("by-map")
    assert (notification["state"], notification["failed"]) == ("SUCCEEDED", 1)
    assert next(iter(notification["failures"].values())).startswith(f"{taken}: ")


async def test_a_run_that_fails_sends_a_notification_too(archive: Archive):
    """Two of three keys fail; separately, a bucket that does not exist fails the plan step of the state machine.

    Before that, no request was denied: ``SourceBucketAccess=move`` grants the functions all permissions.
    """
    keys = [f"bad/{DAY}-bad-{n}.log" for n in range(3)]
    archive.upload(*keys)
    for key in keys[:2]:
        archive.take(key.removeprefix("bad/"))
    archive.deployed.scatter("bad", bucket=SOURCE, prefix="bad/", day=DAY)
    async with connect(archive.deployed.variables, **archive.deployed.client_settings) as backend:
        assert [progress.state async for progress in watch(backend, "bad", within_seconds=600)][-1] == "FAILED"
    notification = archive.notification("bad")
    assert (notification["state"], notification["failed"]) == ("FAILED", 2)
    assert (
        sorted(reason.partition(": ")[0] for reason in notification["failures"].values())
        == keys[:2]
        == archive.keys("bad/")
    )
    assert denials(archive.deployed.stack, "archive") == []
    assert archive.deployed.execute("no-bucket", bucket=f"{SOURCE}-not") == "FAILED"
    assert any(message.startswith("execution ") for message in archive.topic.messages())


def test_errors_of_lambda_itself_are_retried_six_times():
    """After 2 s, then twice as long each time. The map tolerates the same share of failures as the job."""
    states = json.loads((project_folder() / "statemachine" / "distributed.asl.json").read_text())["States"]
    work = states["Process segments"]
    assert work["ToleratedFailurePercentage"] == 10
    (retry,) = [
        retry
        for retry in work["ItemProcessor"]["States"]["Process batch"]["Retry"]
        if "Lambda.ServiceException" in retry["ErrorEquals"]
    ]
    assert (retry["IntervalSeconds"], retry["BackoffRate"], retry["MaxAttempts"]) == (2, 2, 6)
