"""Time that other message groups of a FIFO queue wait for their deletion while one record runs for 12 s.

::

    python benchmarks/worker_groups.py [--seconds 12] [--groups 20] [--records 5] [--json FILE]

The first record of one group takes 12 s; all others, 100 in 20 groups by default, take no time. ``fanfold worker`` is
compared with a loop that processes the groups of one ReceiveMessage call concurrently and deletes its messages
together, as a Lambda invocation does. Both poll a queue of the emulated AWS with a concurrency of 10. A record waits
from its receive until SQS has deleted it. The exit code is 1 if a record of another group waits for 0.5 s or longer.
"""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Sequence
from statistics import median
from typing import Annotated, Any

from measure import Rows, isolated, main, table

SLOW = "slow"
LIMIT_SECONDS = 0.5
CONCURRENCY = 10


class Waits:
    """Times of receives and deletions, by receipt handle."""

    def __init__(self, records: int) -> None:
        self.remaining = records
        self.received: dict[str, tuple[float, str]] = {}
        self.seconds: list[float] = []
        """Wait of each record of the other groups."""
        self.others_done = 0.0
        """Time from the first receive to the last deletion of the other groups, in seconds."""
        self.done = asyncio.Event()

    def receive(self, handle: str, group: str) -> None:
        """Note that a message was received."""
        self.received[handle] = (time.monotonic(), group)

    def delete(self, handles: Sequence[str]) -> None:
        """Note that messages were deleted."""
        for handle in handles:
            received_at, group = self.received[handle]
            if group != SLOW:
                self.seconds.append(time.monotonic() - received_at)
                self.others_done = time.monotonic() - min(at for at, _ in self.received.values())
            self.remaining -= 1
        if not self.remaining:
            self.done.set()


async def handle(order: dict[str, float]) -> None:
    """Wait as long as the record specifies."""
    await asyncio.sleep(order["seconds"])


async def run_worker(url: str, waits: Waits) -> None:
    """Process the queue with a worker."""
    import fanfold
    from fanfold._worker.worker import Worker
    from fanfold.aws.renewing import open_renewing_queue

    async with open_renewing_queue(url) as queue:
        receive, delete = queue.receive_records, queue.delete

        async def timed_receive(**arguments: Any) -> Any:
            records = await receive(**arguments)
            for record in records:
                waits.receive(record["receiptHandle"], record["attributes"]["MessageGroupId"])
            return records

        async def timed_delete(handles: Sequence[str]) -> Any:
            refusals = await delete(handles)
            waits.delete(handles)
            return refusals

        queue.receive_records, queue.delete = timed_receive, timed_delete  # type: ignore[method-assign,assignment]
        worker = Worker(fanfold.consumer(concurrency=CONCURRENCY)(handle), queue, queue)
        running = asyncio.ensure_future(worker.run())
        await waits.done.wait()
        worker.stop()
        worker.stop()
        await running


async def run_loop(url: str, waits: Waits) -> None:
    """Process the queue with a loop over receives."""
    from fanfold.aws.sqs import open_client

    async def in_order(bodies: list[str]) -> None:
        for body in bodies:
            await handle(json.loads(body))

    async with open_client() as sqs:
        while not waits.done.is_set():
            received = await sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=CONCURRENCY, WaitTimeSeconds=1, MessageSystemAttributeNames=["All"]
            )
            groups: dict[str, list[str]] = {}
            for message in received.get("Messages", []):
                group = message["Attributes"]["MessageGroupId"]
                waits.receive(message["ReceiptHandle"], group)
                groups.setdefault(group, []).append(message["Body"])
            await asyncio.gather(*map(in_order, groups.values()))
            handles = [message["ReceiptHandle"] for message in received.get("Messages", [])]
            if handles:
                entries = [{"Id": str(number), "ReceiptHandle": name} for number, name in enumerate(handles)]
                await sqs.delete_message_batch(QueueUrl=url, Entries=entries)
                waits.delete(handles)


PEERS = {"fanfold worker": run_worker, "a loop over receives": run_loop}


@isolated
def waits_of(peer: str, url: str, records: int) -> tuple[list[float], float]:
    """Process a queue; return the wait of each record of the other groups, and when the last one was deleted."""

    async def run() -> tuple[list[float], float]:
        waits = Waits(records)
        await PEERS[peer](url, waits)
        return waits.seconds, waits.others_done

    return asyncio.run(run())


def filled_queue(sqs: Any, seconds: float, groups: int, records: int) -> str:
    """Return the URL of a FIFO queue: the slow group's first record is the second message."""
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true", "VisibilityTimeout": "60"}
    url: str = sqs.create_queue(QueueName=f"{uuid.uuid4().hex}.fifo", Attributes=attributes)["QueueUrl"]
    names = [f"group-{number}" for number in range(groups)]
    names.insert(1, SLOW)
    for number in range(records):
        for name in names:
            order = {"name": name, "number": number, "seconds": seconds if name == SLOW and number == 0 else 0}
            sqs.send_message(QueueUrl=url, MessageBody=json.dumps(order), MessageGroupId=name)
    return url


def below_limit(rows: Rows) -> bool:
    """Return whether no record of another group waited too long for the worker."""
    return all(row["wait s, longest"] < LIMIT_SECONDS for row in rows if row["peer"] == "fanfold worker")


@table("aiobotocore", holds=below_limit)
def worker_groups(
    *,
    seconds: Annotated[float, "duration of the slow record"] = 12.0,
    groups: Annotated[int, "other message groups"] = 20,
    records: Annotated[int, "records of each group"] = 5,
) -> Rows:
    """Measure how long other message groups wait for a slow record."""
    import boto3

    from fanfold._stack.emulator import local_stack

    with local_stack() as stack:
        os.environ.update(stack.environment)
        sqs = boto3.client("sqs")
        waits = {
            peer: waits_of(peer, filled_queue(sqs, seconds, groups, records), (groups + 1) * records) for peer in PEERS
        }
        sqs.close()
    longest = max(waits["a loop over receives"][0])
    return [
        {
            "peer": peer,
            "records of other groups": len(values),
            "wait s, median": float(median(values)),
            "wait s, longest": max(values),
            "/ loop": max(values) / longest,
            "others deleted after s": done,
        }
        for peer, (values, done) in waits.items()
    ]


if __name__ == "__main__":
    main(worker_groups)
