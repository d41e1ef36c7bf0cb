"""How close a batch of waiting handlers comes to the time that its bound allows.

::

    python benchmarks/io_efficiency.py [--records 10000] [--repeats 3] [--json FILE]

Every handler waits 50 ms. With a bound of c, n records take at least ceil(n / c) waits: that is the ideal. The wall
clock is given as a share of it, for fanfold and for a bare pool of c workers over one iterator. Each measurement is a
process of its own.
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
    """Wait as for one request."""
    await asyncio.sleep(IO_SECONDS)


@isolated
def seconds(peer: str, records: int, concurrency: int) -> float:
    """Warm a peer up, handle a batch, and return how long that took."""
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
    """Measure how close waiting handlers come to the ideal time."""
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
