"""A listing planned by S3Objects: what it takes of the processor and of memory, and how large plan and messages are.

::

    python benchmarks/listing.py [--keys 10000 100000 1000000] [--json FILE]

Each number of keys is a process of its own. The listing is made while it is read, and what is written down is dropped,
so that neither weighs on the measurement: what is measured is writing the keys out as chunks, and cutting the plan.
Beside it what a list of the same keys takes. The peak is that of resident memory above what was resident just before.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from machine import about_this_run, options_parser, peak_bytes, positive, publish, reset_peak, run_child, set_up_child
from fanfold import inmemory, sources
from fanfold._jobs.segment import Segment
from fanfold._ports.stores import Listed
from fanfold.inmemory import InMemoryStore
from fanfold.sources.s3_objects import S3Objects

KEYS_PER_SEGMENT = 100
PEERS = ("S3Objects", "a list")


class Made(InMemoryStore):
    """A store whose listing is made while it is read, and of which what is written is dropped."""

    def __init__(self, keys: int) -> None:
        super().__init__("results")
        self.keys = keys

    async def list(self, *_place: Any, **_options: Any) -> AsyncGenerator[Listed, None]:
        """Yield the listing."""
        for number in range(self.keys):
            yield Listed(
                f"incoming/2026/11/25/{number:012d}.json", 1_234, f'"{number:032x}"', 1_764_000_000.0 + number % 86_400
            )

    async def put(self, *_what: Any, **_options: Any) -> None:
        """Drop a chunk."""


async def plan(keys: int) -> dict[str, int]:
    """Plan and cut a listing; return how large it is."""
    backend = replace(inmemory.backend(), store=Made(keys))
    planned = await S3Objects("bucket", keys_per_segment=KEYS_PER_SEGMENT).pin(backend, "runs/run/source/" + "0" * 32)
    segments = largest = 0
    for number, part in enumerate(sources.cut(planned)):
        segments += 1
        largest = max(largest, len(Segment("job", "run", number, part).to_body()))
    return {"segments": segments, "plan bytes": len(json.dumps(planned)), "message bytes": largest}


async def hold(keys: int) -> dict[str, int]:
    """Hold all keys in a list."""
    held = [each async for each in Made(keys).list()]
    return {"segments": -(-len(held) // KEYS_PER_SEGMENT)}


def child_main(peer: str, keys: int) -> None:
    """Plan a listing and print what it took as JSON."""
    set_up_child()
    act = plan if peer == "S3Objects" else hold
    asyncio.run(act(100))
    start = reset_peak()
    began = time.process_time()
    made = asyncio.run(act(keys))
    seconds = time.process_time() - began
    peak = peak_bytes()
    grown = None if start is None or peak is None else max(0, peak - start)
    sys.stdout.write(json.dumps({**made, "seconds": seconds, "grown": grown}))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure what planning a listing takes.")
    parser.add_argument(
        "--keys", type=positive, nargs="+", default=[10_000, 100_000, 1_000_000], help="keys listed (%(default)s)"
    )
    options = parser.parse_args()
    if options.child:
        peer, keys = options.child
        child_main(peer, int(keys))
        return
    rows = []
    for peer in PEERS:
        for keys in options.keys:
            took = run_child(__file__, peer, str(keys))
            rows.append(
                {
                    "peer": peer,
                    "keys": keys,
                    "segments": took["segments"],
                    "plan bytes": took.get("plan bytes"),
                    "message bytes": took.get("message bytes"),
                    "keys per CPU second": round(keys / took["seconds"]),
                    "peak MB": None if took["grown"] is None else took["grown"] / 1e6,
                }
            )
    publish(about_this_run(), rows, options.json)


if __name__ == "__main__":
    main()
