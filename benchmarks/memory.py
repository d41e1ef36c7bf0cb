"""The peak of memory when each record holds a buffer of 1 MB while it is worked on.

::

    python benchmarks/memory.py [--records 500] [--concurrency 10] [--repeats 3] [--json FILE]

Each measurement is a process of its own; the peak is that of resident memory above what was resident just before.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

from machine import about_this_run, options_parser, peak_bytes, positive, publish, reset_peak, run_child, set_up_child

Handler: TypeAlias = Callable[[dict[str, Any], Any], Any]
"""What Lambda calls: an event and a context in, a partial batch response out."""

BUFFER_BYTES = 1_000_000
IO_SECONDS = 0.010
WARM_UP_RECORDS = 10
"""Records of the call that imports what is left and starts the loop, before memory is measured."""
PEERS = ("fanfold", "Powertools")


async def hold() -> None:
    """Hold a buffer that is written to, as for what one request brings."""
    buffer = bytearray(b"x") * BUFFER_BYTES
    await asyncio.sleep(IO_SECONDS)
    del buffer


def fanfold_handler(concurrency: int) -> Handler:
    """Make fanfold's consumer."""
    import fanfold

    @fanfold.consumer(concurrency=concurrency)
    async def handler(_body: str) -> None:
        await hold()

    return handler


def powertools_handler(_concurrency: int) -> Handler:
    """Make the handler that Powertools' documentation shows; it has no bound."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

    processor = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    async def record_handler(record: Any) -> None:  # noqa: ARG001 - Powertools gives it by this name
        await hold()

    return lambda event, context: async_process_partial_response(event, record_handler, processor, context)


def child_main(peer: str, records: int, concurrency: int) -> None:
    """Handle a batch and print the growth of peak resident memory as JSON."""
    from fanfold import testing

    set_up_child()
    handler = {"fanfold": fanfold_handler, "Powertools": powertools_handler}[peer](concurrency)
    context = testing.make_context(900.0, memory_limit_in_mb=10_240)
    handler(testing.make_event(*range(min(WARM_UP_RECORDS, records))), context)
    event = testing.make_event(*range(records))
    start = reset_peak()
    response = handler(event, context)
    peak = peak_bytes()
    if response["batchItemFailures"]:
        raise SystemExit(f"{peer} reported failures")
    sys.stdout.write(json.dumps(None if start is None or peak is None else max(0, peak - start)))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure peak memory when each record holds 1 MB.")
    parser.add_argument("--records", type=positive, default=500, help="records in the batch (%(default)s)")
    parser.add_argument("--concurrency", type=positive, default=10, help="fanfold's bound (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="processes for each peer (%(default)s)")
    options = parser.parse_args()
    if options.child:
        peer, records, concurrency = options.child
        child_main(peer, int(records), int(concurrency))
        return
    about = about_this_run("aws-lambda-powertools")
    rows = []
    for peer in PEERS:
        arguments = (peer, str(options.records), str(options.concurrency))
        peaks = [run_child(__file__, *arguments) for _ in range(options.repeats)]
        rows.append(
            {
                "peer": peer,
                "handlers at once": options.concurrency if peer == "fanfold" else None,
                "records": options.records,
                "peak MB": None if None in peaks else statistics.median(peaks) / 1e6,
            }
        )
    publish(about, rows, options.json)


if __name__ == "__main__":
    main()
