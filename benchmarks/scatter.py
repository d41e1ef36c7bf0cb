"""The rate of sending segments to a queue, compared with boto3, and the memory of a million segments.

::

    python benchmarks/scatter.py [--messages 10000] [--repeats 3] [--forgotten 10000 1000000] [--json FILE]

Segments are cut from a range and sent in batches of ten to a server that accepts everything, with a delay of 10 ms and
without: by fanfold's scatter step, which saves its position in an in-memory ledger; by the same with each call made by
the SDK, as before; by boto3 in a loop; and by boto3 in 16 threads that share a client. Each measurement runs in a
separate process, and so does the server. Creating the clients is not measured. The second table shows a scatter into an
in-memory queue that discards messages: the growth of memory.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from typing import Annotated, Any

from measure import Meter, Repeats, Rows, fail, in_turn, isolated, main, table
from fanfold.protocols import Backend
from servers import CREDENTIALS, slow_aws

LATENCIES = (0.010, 0.0)
LOOP = "boto3 in a loop"
POOL = "boto3 in 16 threads"
OWN_CALLS = "fanfold"
PEERS = (OWN_CALLS, "fanfold, the SDK's calls", POOL, LOOP)
QUEUE = "http://127.0.0.1/123456789012/work"
THREADS = 16


async def scattered(backend: Backend, run: str, segments: int) -> None:
    """Scatter this many segments into the queue of a backend."""
    from fanfold import Deadline, Ranges
    from fanfold._jobs.scatter import scatter

    terms: dict[str, Any] = {"watch_seconds": 900, "deadline": Deadline.never()}
    done = await scatter("job", Ranges(segments, size=1), run_id=run, params={}, backend=backend, **terms)
    if done.segments != segments:
        fail("not every segment was enqueued")


async def fanfold_seconds(address: str, messages: int, *, own_calls: bool) -> tuple[float, float]:
    """Scatter; return wall and processor seconds."""
    from aiobotocore.config import AioConfig
    from aiobotocore.httpsession import AIOHTTPSession
    from aiobotocore.session import get_session

    from fanfold import inmemory
    from fanfold.aws.backend import config_of
    from fanfold.aws.sqs import SqsQueue

    config = config_of("sqs") if own_calls else config_of("sqs").merge(AioConfig(http_session_cls=AIOHTTPSession))
    settings = {"endpoint_url": address, "config": config, **CREDENTIALS}
    async with get_session().create_client("sqs", **settings) as client:
        backend = replace(inmemory.backend(), work_queue=SqsQueue(client, QUEUE))
        await scattered(backend, "warm", 10)
        with Meter() as meter:
            await scattered(backend, "run", messages)
        return meter.seconds, meter.cpu_seconds


def boto3_seconds(address: str, messages: int, threads: int) -> tuple[float, float]:
    """Send the same messages with boto3; return wall and processor seconds."""
    import boto3
    from botocore.config import Config

    from fanfold import Segment

    config = Config(max_pool_connections=64)
    client = boto3.client("sqs", endpoint_url=address, config=config, **CREDENTIALS)

    def send(first: int) -> None:
        parts = ({"type": "ranges", "start": n, "stop": n + 1, "yields": "numbers"} for n in range(first, first + 10))
        bodies = [Segment("job", "run", first + n, part).to_body() for n, part in enumerate(parts)]
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
        if client.send_message_batch(QueueUrl=QUEUE, Entries=entries).get("Failed"):
            fail("a message was refused")

    send(0)
    with Meter() as meter, ThreadPoolExecutor(threads) as pool:
        list((map if threads == 1 else pool.map)(send, range(0, messages, 10)))
    return meter.seconds, meter.cpu_seconds


class Forgetful:
    """A queue that accepts everything and stores nothing."""

    async def send(self, messages: Sequence[Any]) -> Sequence[Any]:  # noqa: ARG002 - forgotten
        """Accept."""
        return []


@isolated
def seconds(peer: str, port: int, messages: int) -> tuple[float, float]:
    """Send this many messages as a peer; return wall and processor seconds."""
    address = f"http://127.0.0.1:{port}"
    if peer.startswith("fanfold"):
        return asyncio.run(fanfold_seconds(address, messages, own_calls=peer == OWN_CALLS))
    return boto3_seconds(address, messages, THREADS if peer == POOL else 1)


@isolated
def flat_scatter(segments: int) -> dict[str, Any]:
    """Scatter into a queue that discards messages; return a row."""
    from fanfold import inmemory

    backend = replace(inmemory.backend(), work_queue=Forgetful())  # type: ignore[arg-type] # only sent to
    with Meter() as meter:
        asyncio.run(scattered(backend, "run", segments))
    return {"segments": segments, "seconds": meter.seconds, "peak MB": meter.peak_mb}


@table("aiobotocore", "boto3")
def scattering(
    *,
    messages: Annotated[int, "segments to send"] = 10_000,
    repeats: Repeats = 3,
    forgotten: Annotated[tuple[int, ...], "segments to a queue that discards them"] = (10_000, 1_000_000),
) -> dict[str, Any]:
    """Measure the rate of sending segments, compared with boto3."""
    rows: Rows = []
    for latency in LATENCIES:
        with slow_aws(latency) as port:
            samples = in_turn(lambda peer: seconds(peer, port, messages), PEERS, repeats)
        medians = {peer: [median(values) for values in zip(*taken, strict=True)] for peer, taken in samples.items()}
        rows += [
            {
                "peer": peer,
                "server ms": round(1_000 * latency),
                "seconds": wall,
                "messages a second": round(messages / wall),
                "times as fast as the loop": medians[LOOP][0] / wall,
                "CPU µs a message": 1e6 * cpu / messages,
                "CPU / 16 threads": cpu / medians[POOL][1],
            }
            for peer, (wall, cpu) in medians.items()
        ]
    return {"results": rows, "flat": list(map(flat_scatter, forgotten))}


if __name__ == "__main__":
    main(scattering)
