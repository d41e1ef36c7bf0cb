"""From the start of a process to its first answer to a batch of one record.

::

    python benchmarks/cold_start.py [--repeats 21] [--json FILE]

Each peer is a small program in a process of its own: it imports what its handler needs, handles one record with a JSON
body, and prints the answer. Measured is the wall clock from just before the process is started until the answer is
there. The peers take turns; compiled modules are cached, as in a deployed package. "bare" decodes and awaits with the
standard library alone: what any handler on asyncio pays.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from machine import NOT_FOR_CHILDREN, about_this_run, options_parser, positive, publish

EVENT = """
class Context:
    aws_request_id, function_name, memory_limit_in_mb = "request", "function", "1769"

    def get_remaining_time_in_millis(self):
        return 30_000

event = {"Records": [{
    "messageId": "message-0", "receiptHandle": "receipt", "body": '{"order": 1}', "messageAttributes": {},
    "attributes": {"ApproximateReceiveCount": "1"}, "md5OfBody": "", "eventSource": "aws:sqs",
    "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders", "awsRegion": "eu-west-1",
}]}
import json
print(json.dumps(handler(event, Context())), flush=True)
"""
PROGRAMS = {
    "fanfold": """
        import fanfold

        @fanfold.consumer
        async def handler(order: dict) -> None:
            assert order == {"order": 1}
    """,
    "Powertools": """
        from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

        processor = AsyncBatchProcessor(event_type=EventType.SQS)

        async def record_handler(record):
            assert record.json_body == {"order": 1}

        def handler(event, context):
            return async_process_partial_response(event, record_handler, processor, context)
    """,
    "bare": """
        import asyncio, json

        async def handle(record):
            assert json.loads(record["body"]) == {"order": 1}

        def handler(event, context):
            asyncio.run(handle(event["Records"][0]))
            return {"batchItemFailures": []}
    """,
}
"""A handler for each peer, as its documentation shows it."""


def first_answer_seconds(peer: str) -> float:
    """Start a peer's program and return the seconds until its answer was there.

    Raises:
        SystemExit: If the answer is not that the record is done.
    """
    environment = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CHILDREN}
    environment["LAMBDA_TASK_ROOT"] = str(Path(__file__).parent)
    program = textwrap.dedent(PROGRAMS[peer]) + EVENT
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None  # noqa: S101 - a pipe
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if not line or json.loads(line) != {"batchItemFailures": []}:
        raise SystemExit(f"cold_start.py: {peer} answered {line!r}")
    return seconds


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure the time from process start to the first answer.")
    parser.add_argument("--repeats", type=positive, default=21, help="processes for each peer (%(default)s)")
    options = parser.parse_args()
    about = about_this_run("aws-lambda-powertools")
    samples: dict[str, list[float]] = {peer: [] for peer in PROGRAMS}
    for peer in PROGRAMS:
        first_answer_seconds(peer)  # compiles what is not compiled yet
    names = list(PROGRAMS)
    for repeat in range(options.repeats):
        first = repeat % len(names)
        for peer in names[first:] + names[:first]:
            samples[peer].append(first_answer_seconds(peer) * 1000)
    theirs = statistics.median(samples["Powertools"])
    rows = [
        {
            "peer": peer,
            "repeats": len(milliseconds),
            "median ms": statistics.median(milliseconds),
            "min-max ms": f"{min(milliseconds):.0f}-{max(milliseconds):.0f}",
            "/ Powertools": statistics.median(milliseconds) / theirs,
        }
        for peer, milliseconds in samples.items()
    ]
    publish(about, rows, options.json)


if __name__ == "__main__":
    main()
