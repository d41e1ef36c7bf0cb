"""The duration of a batch of waiting handlers, compared with the ideal at its concurrency.

::

    python benchmarks/io_efficiency.py [--records 10000] [--repeats 3] [--json FILE]

Every handler waits 50 ms. At a concurrency of c, n records take at least ceil(n / c) waits, which is the ideal. The
table compares the wall clock with it, for fanfold and for a bare pool of c workers over one iterator. Each measurement
runs in a separate process.
"""

import asyncio
import math
from itertools import product
from statistics import median

from measure import Meter, Records, Repeats, Rows, in_turn, isolated, main, table
from peers import PEERS, Workload, check

IO_SECONDS = 0.050
CONCURRENCIES = (100, 500)
COMPARED = {"fanfold": "fanfold", "bare pool": "bare"}


async def wait(_body: str) -> None:
    """Wait as for a request."""
    await asyncio.sleep(IO_SECONDS)


@isolated
def seconds(peer: str, records: int, concurrency: int) -> float:
    """Warm up a peer, handle a batch, and return its duration."""
    from fanfold import testing

    handler = PEERS[COMPARED[peer]](Workload(wait, wait, concurrency=concurrency, waits=True))
    context, event = testing.make_context(900.0), testing.make_event(*range(records))
    handler(testing.make_event(1), context)
    with Meter() as meter:
        response = handler(event, context)
    check(peer, response)
    return meter.seconds


@table()
def efficiency(*, records: Records = 10_000, repeats: Repeats = 3) -> Rows:
    """Compare the duration of waiting handlers with the ideal."""
    cases = list(product(CONCURRENCIES, COMPARED))
    samples = in_turn(lambda case: seconds(case[1], records, case[0]), cases, repeats)
    ideal = {concurrency: math.ceil(records / concurrency) * IO_SECONDS for concurrency in CONCURRENCIES}
    return [
        {
            "peer": peer,
            "handlers at once": concurrency,
            "records": records,
            "ideal s": ideal[concurrency],
            "wall s": median(walls),
            "% of the ideal": 100 * median(walls) / ideal[concurrency],
        }
        for (concurrency, peer), walls in samples.items()
    ]


if __name__ == "__main__":
    main(efficiency)
