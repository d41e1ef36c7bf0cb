"""The throughput of ``def`` handlers that wait, compared with a ``ThreadPoolExecutor``.

::

    python benchmarks/threads.py [--records 10 50 1000 5000] [--concurrency 50] [--repeats 5] [--json FILE]

Every handler waits 10 ms. The executor has as many threads as fanfold runs handlers. Both process as many records,
in turns, in the same process.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Annotated

from measure import Repeats, Rows, isolated, main, table
from peers import check

IO_SECONDS = 0.010


def wait(_body: str) -> None:
    """Wait as for a request."""
    time.sleep(IO_SECONDS)


@isolated
def seconds(records: int, concurrency: int, repeats: int) -> tuple[float, float]:
    """Return the median duration of a batch with fanfold, and with an executor."""
    import fanfold
    from fanfold import testing

    handler, event = fanfold.consumer(concurrency=concurrency)(wait), testing.make_event(*["body"] * records)
    context = testing.make_context(900.0)
    ours, theirs = [], []
    with ThreadPoolExecutor(concurrency) as pool:
        for _ in range(repeats + 1):  # the first warms up
            start = time.perf_counter()
            check("fanfold", handler(event, context))
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            list(pool.map(wait, ["body"] * records))
            theirs.append(time.perf_counter() - start)
    handler.close()
    return median(ours[1:]), median(theirs[1:])


@table()
def throughput(
    *,
    records: Annotated[tuple[int, ...], "records in a batch"] = (10, 50, 1_000, 5_000),
    concurrency: Annotated[int, "handlers at once"] = 50,
    repeats: Repeats = 5,
) -> Rows:
    """Compare the throughput of ``def`` handlers that wait with an executor."""
    rows = []
    for count in records:
        ours, theirs = seconds(count, concurrency, repeats)
        rows.append(
            {
                "records": count,
                "handlers at once": concurrency,
                "fanfold s": ours,
                "executor s": theirs,
                "throughput / executor": theirs / ours,
            }
        )
    return rows


if __name__ == "__main__":
    main(throughput)
