"""Archive a thousand objects with the example's handlers, ten at a time, and with one function that lists and loops.

::

    python benchmarks/archive_bucket.py [--objects 1000] [--latency-ms 50] [--repeats 3] [--json FILE]

The bucket is in the emulated S3, behind a proxy that delays each response by a fixed time, as a network and a service
do. Each peer runs in a separate process with separate objects; the start of the process is included. The benchmark
fails unless every object was moved.

- *boto3, one after another*: one Lambda function lists the bucket, and copies and deletes one object after another.
- *boto3, 10 threads*: the same work in ten threads.
- *fanfold, 10 at once*: ``examples/archive_bucket``, with its listing, plan and report. Queue and ledger are in memory.
  The handler checks the target before it copies, and records the source in the copy, so that a second delivery changes
  nothing: six requests per object, compared with two in the loop.
"""

import asyncio
import importlib
import itertools
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from measure import Meter, Repeats, Rows, fail, in_turn, isolated, main, spread, table
from servers import slow_road

DAY, TARGET = "2026-11-24", "S3/2026/11/24"
PREFIX = "incoming/"
AT_ONCE = 10
EXAMPLE = Path(__file__).parents[1] / "examples" / "archive_bucket"
CREDENTIALS = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
LOOP, THREADS, FANFOLD = "boto3, one after another", "boto3, 10 threads", "fanfold, 10 at once"


# --- The peers.


def client_of(address: str) -> Any:
    """Return an S3 client of boto3."""
    import boto3

    return boto3.client("s3", endpoint_url=address, **CREDENTIALS)


def by_boto3(address: str, bucket: str, threads: int) -> None:
    """List the bucket, and move the objects of the day."""
    s3 = client_of(address)

    def move(key: str) -> None:
        name = key.rpartition("/")[2]
        if DAY in name:
            s3.copy_object(Bucket=bucket, Key=f"{TARGET}/{name}", CopySource={"Bucket": bucket, "Key": key})
            s3.delete_object(Bucket=bucket, Key=key)

    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    with ThreadPoolExecutor(threads) as pool:
        list((map if threads == 1 else pool.map)(move, keys))


async def by_fanfold(address: str, bucket: str) -> None:
    """Start a run of the example, deliver its messages ten at a time, and fold."""
    from aiobotocore.session import get_session

    from fanfold import inmemory
    from fanfold.aws.backend import config_of
    from fanfold.aws.s3 import S3Store
    from fanfold.testing import make_context, make_event, make_record

    sys.path.insert(0, str(EXAMPLE))
    app = importlib.import_module("app")
    async with get_session().create_client("s3", endpoint_url=address, config=config_of("s3"), **CREDENTIALS) as s3:
        queue = inmemory.InMemoryQueue()
        backend = replace(inmemory.backend(), work_queue=queue, store=S3Store(s3), results_bucket=bucket)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Any]:
            yield backend

        job = app.job.with_changes(backend=opened, settler=inmemory.InMemorySettler(queue))
        await job.start(backend, {"bucket": bucket, "prefix": PREFIX, "day": DAY}, "run")
        for each_queue, handler in ((queue, job.segment_handler), (backend.fold_queue, job.fold_handler)):
            while received := await each_queue.receive(max_messages=10):
                records = [make_record(message.body, message_id=message.message_id) for message in received]
                response = await handler.handle_batch(make_event(records=records), make_context(900.0))
                if response["batchItemFailures"]:
                    fail(f"{len(response['batchItemFailures'])} messages failed")
                await each_queue.delete([message.receipt_handle for message in received])
        run = await backend.ledger.run("run")
        if run is None or run.state != "SUCCEEDED":
            fail("the run did not succeed")


@isolated
def seconds(peer: str, address: str, bucket: str) -> float:
    """Archive a bucket and return how long it took."""
    with Meter() as meter:
        if peer == FANFOLD:
            asyncio.run(by_fanfold(address, bucket))
        else:
            by_boto3(address, bucket, 1 if peer == LOOP else AT_ONCE)
    return meter.seconds


# --- The run.


def filled(address: str, bucket: str, objects: int) -> None:
    """Create a bucket with objects of the day."""
    s3 = client_of(address)
    s3.create_bucket(Bucket=bucket)
    with ThreadPoolExecutor(8) as pool:
        keys = [f"{PREFIX}{DAY}-{number:05d}.log" for number in range(objects)]
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode()), keys))


def check_moved(address: str, bucket: str, objects: int) -> None:
    """Fail unless every object is at its new key, and none at its old one."""
    pages = client_of(address).get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    moved, left = (sum(key.startswith(prefix) for key in keys) for prefix in (f"{TARGET}/", PREFIX))
    if (moved, left) != (objects, 0):
        fail(f"{moved} of {objects} objects were moved, {left} are left")


@table("aiobotocore", "boto3", "ministack")
def archiving(
    *,
    objects: Annotated[int, "objects in the bucket"] = 1_000,
    latency_ms: Annotated[int, "milliseconds until a response"] = 50,
    repeats: Repeats = 3,
) -> Rows:
    """Archive a bucket, ten objects at a time and one after another."""
    from fanfold._stack.emulator import local_stack

    buckets = itertools.count()
    with local_stack() as stack, slow_road(int(stack.endpoint_url.rpartition(":")[2]), latency_ms / 1000) as port:

        def archive(peer: str) -> float:
            bucket = f"bucket-{next(buckets)}"
            filled(stack.endpoint_url, bucket, objects)
            took = seconds(peer, f"http://127.0.0.1:{port}", bucket)
            check_moved(stack.endpoint_url, bucket, objects)
            return took

        samples = in_turn(archive, (LOOP, THREADS, FANFOLD), repeats)
    return [
        {
            "peer": peer,
            "objects": objects,
            "ms to an answer": latency_ms,
            "seconds": median(took),
            "min-max": spread(took, 1),
            "times as fast as the loop": median(samples[LOOP]) / median(took),
        }
        for peer, took in samples.items()
    ]


if __name__ == "__main__":
    main(archiving)
