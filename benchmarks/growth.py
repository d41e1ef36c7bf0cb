"""The cost of a record, depending on the size of the batch and of the message.

::

    python benchmarks/growth.py [--repeats 5] [--json FILE]

Batches have 10 to 10,000 records of 100 bytes, or records of up to 1 MB that fill an event of 6 MB. The handler
receives the decoded body and does nothing. Each measurement runs in a separate process, the peers take turns, and the
table shows medians. The measured time is the billed one: decoding the event, and the call of the handler.
"""

import json
import time
from itertools import product
from statistics import median
from typing import Any

from measure import Repeats, Rows, in_turn, isolated, main, table
from fanfold.bench.prices import prices_of
from overhead import INVOCATION_SECONDS, WORKLOADS
from peers import PEERS

SHAPES = (
    (10, 100), (100, 100), (1_000, 100), (10_000, 100),
    (1_000, 640), (1_000, 5_000), (90, 64_000), (22, 256_000), (5, 1_000_000),
)  # fmt: skip
"""Records in a batch, and bytes of a body. The fourth and the last four fill an event."""
COMPARED = ("fanfold", "Powertools", "bare", "nothing")
MEMORY_MB = 1_769
"""Memory for the price: one vCPU, about as much as a process has here."""
_LEAST_SECONDS = 0.3
_LEAST_CALLS = 3


def event_text(records: int, body_bytes: int) -> str:
    """Return an encoded event, as Lambda's runtime receives it."""
    from fanfold import testing

    padding = "x" * (body_bytes - 32)
    return json.dumps(testing.make_event(*({"order": number, "note": padding} for number in range(records))))


@isolated
def seconds(peer: str, records: int, body_bytes: int) -> tuple[float, float]:
    """Deliver the same batch several times; return medians of decoding the event and of the handler's call."""
    from fanfold import testing

    handler, text = PEERS[peer](WORKLOADS["noop"]), event_text(records, body_bytes)
    context = testing.make_context(INVOCATION_SECONDS)
    handler(json.loads(text), context)
    decoded: list[float] = []
    handled: list[float] = []
    until = time.perf_counter() + _LEAST_SECONDS
    while len(handled) < _LEAST_CALLS or time.perf_counter() < until:
        began = time.perf_counter()
        event: dict[str, Any] = json.loads(text)
        between = time.perf_counter()
        handler(event, context)
        decoded.append(between - began)
        handled.append(time.perf_counter() - between)
    return median(decoded), median(handled)


@table("aws-lambda-powertools")
def growth(*, repeats: Repeats = 5) -> Rows:
    """Measure the cost of a record, depending on batch and message size."""
    cases = list(product(SHAPES, COMPARED))
    samples = in_turn(lambda case: seconds(case[1], *case[0]), cases, repeats)
    medians = {case: [median(values) for values in zip(*taken, strict=True)] for case, taken in samples.items()}

    def row(peer: str, records: int, body_bytes: int) -> dict[str, Any]:
        decode, handle = medians[(records, body_bytes), peer]
        return {
            "peer": peer,
            "records": records,
            "body bytes": body_bytes,
            "event MB": len(event_text(records, body_bytes)) / 1e6,
            "decode µs/record": decode / records * 1e6,
            "handle µs/record": handle / records * 1e6,
            "/ Powertools": handle / medians[(records, body_bytes), "Powertools"][1],
            "$ per billion records": prices_of("x86").invocation(decode + handle, MEMORY_MB) / records * 1e9,
        }

    return [row(peer, *shape) for shape, peer in cases]


if __name__ == "__main__":
    main(growth)
