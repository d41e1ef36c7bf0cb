"""The overhead of a batch without the work of its handlers: fanfold, Powertools, a bare loop, and no work at all.

::

    python benchmarks/overhead.py [--records 10000] [--repeats 7] [--json FILE]

Each measurement runs in a separate process, the peers take turns, and the table shows medians. README.md explains what
the numbers show and what they do not show.
"""

import asyncio
import gc
import json
from collections.abc import Iterable, Sequence
from itertools import product
from statistics import median
from typing import Any

from measure import Meter, Records, Repeats, Rows, in_turn, installed, isolated, main, spread, table
from peers import PEERS, Event, Workload, check

BODY_BYTES = 640
"""Approximate size of a JSON body."""
IO_SECONDS = 0.010
WARM_UP_RECORDS = 100
"""Records of the call that imports remaining modules and starts the loop, before memory is measured."""
INVOCATION_SECONDS = 900.0
TELLING_MB = 0.5
"""Minimum growth of memory for a ratio, because the kernel counts pages in batches."""


# --- Workloads: a handler of the body, and the same for Powertools, which passes its record.


async def accept(order: dict[str, Any]) -> None:
    """Do nothing with a decoded body."""


async def accept_record(record: Any) -> None:
    """Decode the body and do nothing with it."""
    _ = record.json_body


async def wait(_body: str) -> None:
    """Wait as for a request."""
    await asyncio.sleep(IO_SECONDS)


async def wait_record(record: Any) -> None:  # noqa: ARG001 - Powertools passes it by this name
    """Wait as for a request."""
    await asyncio.sleep(IO_SECONDS)


async def refuse(_body: str) -> None:
    """Fail."""
    raise ValueError("refused")


async def refuse_record(record: Any) -> None:  # noqa: ARG001 - Powertools passes it by this name
    """Fail."""
    raise ValueError("refused")


WORKLOADS = {
    "noop": Workload(accept, accept_record, "async no-op, JSON decoded", decodes=True),
    "io": Workload(wait, wait_record, "async, 10 ms of I/O", concurrency=1000, waits=True),
    "fail": Workload(refuse, refuse_record, "async, all fail", fails=True),
}


# --- One measurement, in a separate process.


def make_event(records: int) -> Event:
    """Return an event of orders, decoded from JSON as Lambda's runtime passes it."""
    from fanfold import testing

    text = json.dumps(testing.make_event(*(_order(number) for number in range(records))))
    event: Event = json.loads(text)
    return event


def _order(number: int) -> dict[str, Any]:
    order = {"order": number, "customer": f"customer-{number}", "placed_at": "2026-01-01T00:00:00Z", "note": ""}
    order["note"] = "x" * (BODY_BYTES - len(json.dumps(order)))
    return order


@isolated
def sample(peer: str, workload_name: str, records: int) -> dict[str, Any]:
    """Warm up a peer with a small batch, measure memory during the first full batch, and time during the second."""
    from fanfold import testing

    workload, context = WORKLOADS[workload_name], testing.make_context(INVOCATION_SECONDS)
    handler, event = PEERS[peer](workload), make_event(records)
    handler(make_event(min(records, WARM_UP_RECORDS)), context)
    gc.collect()
    with Meter() as memory:
        response = handler(event, context)
    check(peer, response, records if workload.fails and peer != "nothing" else 0)
    del response
    gc.collect()
    with Meter() as time:
        handler(event, context)
    return {"seconds": time.seconds, "cpu_seconds": time.cpu_seconds, "peak_mb": memory.peak_mb}


# --- The table.


def middle(samples: Iterable[dict[str, Any]], value: str) -> float | None:
    """Return the median of a measured value; None if it could not be measured."""
    known = [sample[value] for sample in samples if sample[value] is not None]
    return median(known) if known else None


def ratio(ours: float | None, theirs: float | None, least: float = 0.0) -> float | None:
    """Return the ratio of two values; None if one is not known, or the second one is too small."""
    return None if ours is None or theirs is None or theirs < least else ours / theirs


@table("aws-lambda-powertools", "anyio", *installed("fastsqs"))
def overhead(*, records: Records = 10_000, repeats: Repeats = 7) -> Rows:
    """Measure the overhead of a batch."""
    samples = in_turn(lambda case: sample(case[1], case[0], records), [*product(WORKLOADS, PEERS)], repeats)

    def row(name: str, peer: str, ours: Sequence[dict[str, Any]]) -> dict[str, Any]:
        workload, theirs, bare = WORKLOADS[name], samples[name, "Powertools"], samples[name, "bare"]
        micros = [sample["seconds"] / records * 1e6 for sample in ours]
        peak, seconds = middle(ours, "peak_mb"), middle(ours, "seconds")
        bare_name = f"bare pool of {workload.concurrency}" if workload.waits else "bare loop"
        return {
            "workload": workload.title,
            "peer": bare_name if peer == "bare" else peer,
            "µs/record": median(micros),
            "min-max": spread(micros, 2),
            "/ Powertools": ratio(seconds, middle(theirs, "seconds")),
            "/ bare": ratio(seconds, middle(bare, "seconds")),
            "CPU µs/record": median(sample["cpu_seconds"] for sample in ours) / records * 1e6,
            "peak MB": peak,
            "peak / Powertools": ratio(peak, middle(theirs, "peak_mb"), TELLING_MB),
            "peak / bare": ratio(peak, middle(bare, "peak_mb"), TELLING_MB),
            "samples": ours,
        }

    return [row(name, peer, ours) for (name, peer), ours in samples.items()]


if __name__ == "__main__":
    main(overhead)
