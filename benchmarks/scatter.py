"""How fast segment descriptors reach a queue, beside boto3, and that a million of them need no memory.

::

    python benchmarks/scatter.py [--messages 10000] [--repeats 3] [--json FILE]

So many segments are cut from a range and sent in batches of ten to a server that accepts everything, after 10 ms and
at once: by fanfold's scatter step, which keeps its position in a ledger in this process; by boto3 in a loop; by boto3
in 16 threads that share a client. Each measurement is a process of its own, and so is the server; making the clients
is not measured. Below it, a scatter into a queue in this process that accepts and forgets: peak memory above the start.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import about_this_run, options_parser, peak_bytes, positive, publish, report, reset_peak, run_child
from slow_service import CREDENTIALS, slow_service

LATENCIES = (0.010, 0.0)
PEERS = ("fanfold", "boto3 in 16 threads", "boto3 in a loop")
QUEUE = "http://127.0.0.1/123456789012/work"
THREADS = 16


async def fanfold_seconds(address: str, messages: int) -> tuple[float, float]:
    """Scatter; return wall and processor seconds."""
    from aiobotocore.session import get_session

    from fanfold import Deadline, Ranges, inmemory
    from fanfold._jobs.scatter import scatter
    from fanfold.aws.backend import config_of
    from fanfold.aws.sqs import SqsQueue

    settings = {"endpoint_url": address, "config": config_of("sqs"), **CREDENTIALS}
    async with get_session().create_client("sqs", **settings) as client:
        queue = SqsQueue(client, QUEUE)
        backend = replace(inmemory.backend(), work_queue=queue)
        await scatter("job", Ranges(10, size=1), run_id="warm", params={}, backend=backend, **_terms(Deadline.never()))
        start, cpu = time.perf_counter(), time.process_time()
        scattered = await scatter(
            "job", Ranges(messages, size=1), run_id="run", params={}, backend=backend, **_terms(Deadline.never())
        )
        if scattered.segments != messages:
            raise SystemExit("scatter.py: not every segment was enqueued")
        return time.perf_counter() - start, time.process_time() - cpu


def _terms(deadline: Any) -> dict[str, Any]:
    return {"watch_seconds": 900, "deadline": deadline}


def boto3_seconds(address: str, messages: int, threads: int) -> tuple[float, float]:
    """Send the same messages by boto3; return wall and processor seconds."""
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
            raise SystemExit("scatter.py: a message was refused")

    send(0)
    start, cpu = time.perf_counter(), time.process_time()
    if threads == 1:
        for first in range(0, messages, 10):
            send(first)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(send, range(0, messages, 10)))
    return time.perf_counter() - start, time.process_time() - cpu


class Forgetful:
    """A queue that accepts everything and keeps nothing."""

    async def send(self, messages: Sequence[Any]) -> Sequence[Any]:  # noqa: ARG002 - forgotten
        """Accept."""
        return []


async def flat_scatter(segments: int) -> tuple[float, float | None]:
    """Scatter into nothing; return seconds and the peak of memory above the start, MB."""
    from fanfold import Deadline, Ranges, inmemory
    from fanfold._jobs.scatter import scatter

    backend = replace(inmemory.backend(), work_queue=Forgetful())  # type: ignore[arg-type] # only sent to
    before, start = reset_peak(), time.perf_counter()
    source = Ranges(segments, size=1)
    await scatter("job", source, run_id="run", params={}, backend=backend, **_terms(Deadline.never()))
    seconds, peak = time.perf_counter() - start, peak_bytes()
    return seconds, None if before is None or peak is None else (peak - before) / 1e6


def child_main(peer: str, address: str, messages: int) -> None:
    """Measure a peer and print the seconds as JSON."""
    if peer == "flat":
        print(json.dumps(asyncio.run(flat_scatter(messages))))
        return
    if peer == "fanfold":
        seconds = asyncio.run(fanfold_seconds(address, messages))
    else:
        seconds = boto3_seconds(address, messages, THREADS if "threads" in peer else 1)
    print(json.dumps(seconds))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure how fast segments reach a queue, beside boto3.")
    parser.add_argument("--messages", type=positive, default=10_000, help="segments to send (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="processes for each measurement (%(default)s)")
    options = parser.parse_args()
    if options.child:
        child_main(options.child[0], options.child[1], int(options.child[2]))
        return
    about = about_this_run("aiobotocore", "boto3")
    rows = []
    for latency in LATENCIES:
        with slow_service(latency) as address:
            script, messages = str(Path(__file__).resolve()), str(options.messages)
            runs = [[run_child(script, peer, address, messages) for peer in PEERS] for _ in range(options.repeats)]
        medians = [[statistics.median(run[n][k] for run in runs) for k in (0, 1)] for n in range(len(PEERS))]
        rows += [
            {
                "peer": peer,
                "server ms": round(1_000 * latency),
                "seconds": wall,
                "messages a second": round(options.messages / wall),
                "times as fast as the loop": medians[-1][0] / wall,
                "CPU µs a message": 1e6 * cpu / options.messages,
            }
            for peer, (wall, cpu) in zip(PEERS, medians, strict=True)
        ]
    publish(about, rows, options.json)
    flat = []
    for segments in (10_000, 1_000_000):
        seconds, peak = run_child(str(Path(__file__).resolve()), "flat", "-", str(segments))
        flat.append({"segments": segments, "seconds": seconds, "peak MB": peak})
    print("\n" + "\n".join(report(about, flat, words=0).splitlines()[4:]))


if __name__ == "__main__":
    main()
