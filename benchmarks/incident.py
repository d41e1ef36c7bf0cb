"""Replay a known incident: batches of 50, a function timeout, and occasional slow records.

::

    python benchmarks/incident.py [--uploads 300] [--seed 1] [--json FILE]

In the incident, a batch of 50 uploads did not always fit a timeout of 30 s. After each timeout, the whole batch was
redelivered, including finished uploads: 4,384 uploads became 14,727 executions, without any alarm. Here, the times are
a thirtieth (a timeout of 1 s, uploads of 5 to 25 ms, one in a hundred of 300 ms). The handlers run in real processes
with real timeouts, on a simulated queue. A handler that processes the records one by one is compared with Powertools'
processor, sequential and concurrent, and with fanfold, with the same timeout.
"""

import logging
import os
import random
import sys
import tempfile
import textwrap
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from measure import Rows, main, table
from fanfold._replay.function import LocalFunction
from fanfold._replay.mapping import Invocation
from fanfold.testing import Simulator

BATCH, TIMEOUT_SECONDS, RECEIVES = 50, 1.0, 20
SLOW_SHARE, SLOW_SECONDS = 0.01, 0.3

UPLOADS = """
    import asyncio, json, os, time

    log = open(os.environ["UPLOADS"], "a", buffering=1)

    def upload(order):
        log.write(f"{order['number']}\\n")
        time.sleep(order["seconds"])

    async def upload_async(order):
        log.write(f"{order['number']}\\n")
        await asyncio.sleep(order["seconds"])
"""
HANDLERS = {
    "a loop": """
        def handler(event, context):
            failures = []
            for record in event["Records"]:
                try:
                    upload(json.loads(record["body"]))
                except Exception:
                    failures.append({"itemIdentifier": record["messageId"]})
            return {"batchItemFailures": failures}
    """,
    "Powertools, one by one": """
        from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

        processor = BatchProcessor(event_type=EventType.SQS)

        def handler(event, context):
            return process_partial_response(event, lambda record: upload(record.json_body), processor, context)
    """,
    "Powertools, all at once": """
        from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

        processor = AsyncBatchProcessor(event_type=EventType.SQS)

        async def record_handler(record):
            await upload_async(record.json_body)

        def handler(event, context):
            return async_process_partial_response(event, record_handler, processor, context)
    """,
    "fanfold, one by one": """
        import fanfold

        @fanfold.consumer(concurrency=1, deadline_margin=0.5)
        async def handler(order):
            await upload_async(order)
    """,
    "fanfold, ten at once": """
        import fanfold

        @fanfold.consumer(concurrency=10, deadline_margin=0.5)
        async def handler(order):
            await upload_async(order)
    """,
}
"""A module for each peer. The last one limits its concurrency, as for a service with limited capacity."""


def executions(peer: str, orders: list[dict[str, Any]], folder: Path) -> tuple[Counter[int], Simulator]:
    """Return how often each upload was executed until the queue was empty, and the simulation."""
    (folder / "incident_app.py").write_text(
        textwrap.dedent(UPLOADS) + textwrap.dedent(HANDLERS[peer]), encoding="utf-8"
    )
    log = folder / "uploads"
    log.write_text("", encoding="utf-8")
    function = LocalFunction(
        "incident_app:handler",
        timeout_seconds=TIMEOUT_SECONDS,
        memory_mb=1769,
        environment={"UPLOADS": str(log), "PYTHONPATH": os.pathsep.join([str(folder), *sys.path[1:]])},
    )

    def invoke(event: dict[str, Any]) -> Invocation:
        return function.invoke(event).invocation

    with function:
        simulator = Simulator(
            invoke=invoke,
            batch_size=BATCH,
            window_seconds=1,
            function_timeout=TIMEOUT_SECONDS,
            visibility_timeout=6 * TIMEOUT_SECONDS + 1,
            max_receive_count=RECEIVES,
        )
        simulator.send(*orders)
        simulator.run()
    return Counter(int(line) for line in log.read_text(encoding="utf-8").split()), simulator


@table("aws-lambda-powertools")
def incident(
    *, uploads: Annotated[int, "messages in the queue"] = 300, seed: Annotated[int, "seed of the durations"] = 1
) -> Rows:
    """Count executions per upload if batches sometimes exceed the function timeout."""
    logging.disable()
    rng = random.Random(seed)  # noqa: S311 - reproducible
    orders = [
        {"number": number, "seconds": SLOW_SECONDS if rng.random() < SLOW_SHARE else rng.uniform(0.005, 0.025)}
        for number in range(uploads)
    ]

    def row(peer: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            counted, simulator = executions(peer, orders, Path(folder))
        return {
            "handler": peer,
            "uploads": uploads,
            "executions": counted.total(),
            "per upload": counted.total() / uploads,
            "timeouts": sum("timed out" in delivery.verdict.reason for delivery in simulator.deliveries),
            "deliveries": len(simulator.deliveries),
            "dead-lettered": len(simulator.dead_letters),
        }

    return [row(peer) for peer in HANDLERS]


if __name__ == "__main__":
    main(incident)
