"""Time from the start of a process to its first response to a batch of one record.

::

    python benchmarks/cold_start.py [--repeats 21] [--json FILE]

Each peer is a small program in a separate process. It imports the packages that its handler needs, handles one record
with a JSON body, and prints the response. The wall clock is measured from just before the start of the process to the
response; the process itself reports its processor time. The peers take turns; compiled modules are cached, as in a
deployed package. "bare" decodes and awaits with only the standard library: the minimum of any handler on asyncio.
"""

import json
import sys
import textwrap
import time
from statistics import median

from measure import Repeats, Rows, fail, first_line, in_turn, main, spread, table

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
import json, time
print(json.dumps([handler(event, Context()), time.process_time() * 1000]), flush=True)
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
"""A handler for each peer, as in its documentation."""


def first_response_ms(peer: str) -> tuple[float, float]:
    """Start a peer's program; return wall-clock and processor milliseconds until it responds."""
    program = textwrap.dedent(PROGRAMS[peer]) + EVENT
    start = time.perf_counter()
    with first_line(sys.executable, "-c", program) as line:
        seconds = time.perf_counter() - start
    response, cpu_ms = json.loads(line or "[null, 0]")
    if response != {"batchItemFailures": []}:
        fail(f"{peer} responded {line!r}")
    return seconds * 1000, cpu_ms


@table("aws-lambda-powertools")
def cold_start(*, repeats: Repeats = 21) -> Rows:
    """Measure the time from process start to the first response."""
    for peer in PROGRAMS:
        first_response_ms(peer)  # compiles the modules
    samples = in_turn(first_response_ms, list(PROGRAMS), repeats)
    wall = {peer: [milliseconds for milliseconds, _ in taken] for peer, taken in samples.items()}
    cpu = {peer: [milliseconds for _, milliseconds in taken] for peer, taken in samples.items()}
    return [
        {
            "peer": f"{peer}, async",
            "repeats": repeats,
            "median ms": median(wall[peer]),
            "min-max ms": spread(wall[peer], 0),
            "/ Powertools": median(wall[peer]) / median(wall["Powertools"]),
            "CPU ms": median(cpu[peer]),
            "CPU min-max ms": spread(cpu[peer], 0),
            "CPU / Powertools": median(cpu[peer]) / median(cpu["Powertools"]),
        }
        for peer in PROGRAMS
    ]


if __name__ == "__main__":
    main(cold_start)
