"""How close a batch of waiting handlers comes to the time that its bound allows.

::

    python benchmarks/io_efficiency.py [--records 10000] [--repeats 3] [--json FILE]

Every handler waits 50 ms. With a bound of c, n records take at least ceil(n / c) waits: that is the ideal. The wall
clock is given as a share of it, for fanfold and for a bare pool of c workers over one iterator. Each measurement is a
process of its own.
"""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from machine import about_this_run, options_parser, positive, publish, run_child, set_up_child

Handler: TypeAlias = Callable[[dict[str, Any], Any], Any]
"""What Lambda calls: an event and a context in, a partial batch response out."""

IO_SECONDS = 0.050
CONCURRENCIES = (100, 500)
PEERS = ("fanfold", "bare pool")


def fanfold_handler(concurrency: int) -> Handler:
    """Make fanfold's consumer."""
    import fanfold

    @fanfold.consumer(concurrency=concurrency)
    async def handler(_body: str) -> None:
        await asyncio.sleep(IO_SECONDS)

    return handler


def bare_handler(concurrency: int) -> Handler:
    """Make a bare pool of workers over one iterator."""
    loop = asyncio.new_event_loop()

    async def work(pending: Iterator[dict[str, Any]]) -> None:
        for _ in pending:
            await asyncio.sleep(IO_SECONDS)

    async def run(event: dict[str, Any]) -> dict[str, Any]:
        pending = iter(event["Records"])
        await asyncio.gather(*(work(pending) for _ in range(min(concurrency, len(event["Records"])))))
        return {"batchItemFailures": []}

    return lambda event, _: loop.run_until_complete(run(event))


def child_main(peer: str, records: int, concurrency: int) -> None:
    """Warm a peer up, handle a batch and print the seconds as JSON."""
    from fanfold import testing

    set_up_child()
    handler = {"fanfold": fanfold_handler, "bare pool": bare_handler}[peer](concurrency)
    context, event = testing.make_context(900.0), testing.make_event(*range(records))
    handler(testing.make_event(1), context)
    start = time.perf_counter()
    response = handler(event, context)
    seconds = time.perf_counter() - start
    if response["batchItemFailures"]:
        raise SystemExit(f"{peer} reported failures")
    sys.stdout.write(json.dumps(seconds))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure how close waiting handlers come to the ideal time.")
    parser.add_argument("--records", type=positive, default=10_000, help="records in the batch (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=3, help="processes for each measurement (%(default)s)")
    options = parser.parse_args()
    if options.child:
        peer, records, concurrency = options.child
        child_main(peer, int(records), int(concurrency))
        return
    about = about_this_run()
    rows = []
    for concurrency in CONCURRENCIES:
        ideal = math.ceil(options.records / concurrency) * IO_SECONDS
        for peer in PEERS:
            arguments = (peer, str(options.records), str(concurrency))
            seconds = statistics.median(run_child(__file__, *arguments) for _ in range(options.repeats))
            rows.append(
                {
                    "peer": peer,
                    "handlers at once": concurrency,
                    "records": options.records,
                    "ideal s": ideal,
                    "wall s": seconds,
                    "% of the ideal": 100 * seconds / ideal,
                }
            )
    publish(about, rows, options.json)


if __name__ == "__main__":
    main()
