"""How the cost of a record grows, or does not, with the size of the batch and of the message.

::

    python benchmarks/growth.py [--repeats 5] [--json FILE]

Batches of 10 to 10,000 records of 100 bytes, and records of up to 1 MB in batches that fill an event to its 6 MB. The
handler takes the decoded body and does nothing with it. Each measurement is a process of its own, the peers take turns,
and the table shows medians. Time is what a function pays for: decoding the event, and the handler's call.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

from machine import about_this_run, options_parser, positive, publish, run_child, set_up_child
from fanfold.bench.prices import prices_of
from overhead import INVOCATION_SECONDS, PEERS, WORKLOADS

SHAPES = (
    (10, 100), (100, 100), (1_000, 100), (10_000, 100),
    (1_000, 640), (1_000, 5_000), (90, 64_000), (22, 256_000), (5, 1_000_000),
)  # fmt: skip
"""Records in a batch, and bytes of a body; the fourth and the last four fill an event."""
COMPARED = ("fanfold", "Powertools", "bare", "nothing")
MEMORY_MB = 1_769
"""For the price: one vCPU, which is about what a process has here."""
_LEAST_SECONDS = 0.3
_LEAST_CALLS = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """What one batch takes, medians over calls."""

    decode_seconds: float
    """From the text of the event to values."""
    handle_seconds: float
    """The handler's call."""


def event_text(records: int, body_bytes: int) -> str:
    """Return an event as Lambda's runtime receives it."""
    from fanfold import testing

    padding = "x" * (body_bytes - 32)
    return json.dumps(testing.make_event(*({"order": number, "note": padding} for number in range(records))))


def measure(peer: str, records: int, body_bytes: int) -> Taken:
    """Give a peer the same batch again and again."""
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
    return Taken(statistics.median(decoded), statistics.median(handled))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure how the cost of a record grows with batch and message.")
    parser.add_argument("--repeats", type=positive, default=5, help="processes for each row (%(default)s)")
    options = parser.parse_args()
    if options.child:
        peer, records, body_bytes = options.child
        set_up_child()
        taken = measure(peer, int(records), int(body_bytes))
        print(json.dumps([taken.decode_seconds, taken.handle_seconds]), flush=True)
        return
    about = about_this_run("aws-lambda-powertools")
    samples: dict[tuple[str, int, int], list[Taken]] = {}
    for _ in range(options.repeats):
        for records, body_bytes in SHAPES:
            for peer in COMPARED:
                found = Taken(*run_child(__file__, peer, str(records), str(body_bytes)))
                samples.setdefault((peer, records, body_bytes), []).append(found)
    publish(about, [_row(key, taken, samples) for key, taken in samples.items()], options.json)


def _row(
    key: tuple[str, int, int], taken: list[Taken], samples: dict[tuple[str, int, int], list[Taken]]
) -> dict[str, Any]:
    peer, records, body_bytes = key
    decode = statistics.median(each.decode_seconds for each in taken)
    handle = statistics.median(each.handle_seconds for each in taken)
    beside = statistics.median(each.handle_seconds for each in samples["Powertools", records, body_bytes])
    dollars = prices_of("x86").invocation(decode + handle, MEMORY_MB)
    return {
        "peer": peer,
        "records": records,
        "body bytes": body_bytes,
        "event MB": len(event_text(records, body_bytes)) / 1e6,
        "decode µs/record": decode / records * 1e6,
        "handle µs/record": handle / records * 1e6,
        "/ Powertools": handle / beside,
        "$ per billion records": dollars / records * 1e9,
    }


if __name__ == "__main__":
    main()
