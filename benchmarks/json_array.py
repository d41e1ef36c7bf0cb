"""A JSON array planned by S3JsonArray: what it takes of the processor, and of memory against its size.

::

    python benchmarks/json_array.py [--megabytes 1 10 100 1000] [--json FILE]

Each size is a process of its own. The object is made while it is read, in pieces of 256 KB, and what is written down is
dropped, so that neither weighs on the measurement: what is measured is finding the rows and writing them out as chunks.
Beside it the same for an array that lies behind another one of the same size (``/rows`` in an object), and what
``json.loads`` takes for the whole, for sizes up to 100 MB. The peak is that of resident memory above what was resident
just before.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any

from machine import about_this_run, options_parser, peak_bytes, positive, publish, reset_peak, run_child, set_up_child
from fanfold import inmemory
from fanfold.inmemory import InMemoryStore
from fanfold.sources.s3_json_array import S3JsonArray

PIECE_BYTES = 262_144
ROW = {
    "number": 0,
    "name": "山田 太郎",
    "rank": 3,
    "points": 58,
    "rate": 1.10,
    "date": "2026-11-25",
    "tags": ["a", "b"],
}
WHOLE_MEGABYTES = 100
"""Largest object that is read by json.loads beside."""
PEERS = ("S3JsonArray", "S3JsonArray, behind another", "json.loads of the whole")


class Made(InMemoryStore):
    """A store of one object that is made while it is read, and of others that are dropped."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__("results")
        self.fill("bucket", {"key": b""})
        self.pieces = pieces

    async def read(self, *_place: Any, **_options: Any) -> AsyncGenerator[bytes, None]:
        """Yield the object."""
        for piece in self.pieces:
            yield piece

    async def put(self, *_what: Any, **_options: Any) -> None:
        """Drop a chunk."""


def array(size_bytes: int) -> Iterator[bytes]:
    """Yield an array of about this size, in pieces: the same rows again and again, which costs nothing to make."""
    row = json.dumps(ROW, ensure_ascii=False).encode() + b", "
    yield b"["
    for _ in range(size_bytes // PIECE_BYTES):
        yield row * (PIECE_BYTES // len(row))
    yield row.removesuffix(b", ") + b"]"


def behind(size_bytes: int) -> Iterator[bytes]:
    """Yield an object with an array of half this size, and behind it one of the other half."""
    yield b'{"before": '
    yield from array(size_bytes // 2)
    yield b', "rows": '
    yield from array(size_bytes // 2)
    yield b"}"


async def plan(pieces: Iterator[bytes], pointer: str) -> int:
    """Plan an array; return its rows."""
    backend = replace(inmemory.backend(), store=Made(pieces))
    return int((await S3JsonArray("bucket", "key", pointer).pin(backend, "runs/run/source/0"))["items"])


def read(peer: str, size_bytes: int) -> int:
    """Read an array of this size as a peer does; return its rows."""
    if peer == "json.loads of the whole":
        return len(json.loads(b"".join(array(size_bytes))))
    if peer == "S3JsonArray":
        return asyncio.run(plan(array(size_bytes), ""))
    return asyncio.run(plan(behind(size_bytes), "/rows"))


def child_main(peer: str, size_bytes: int) -> None:
    """Read an array and print what it took as JSON."""
    set_up_child()
    read(peer, 1_000_000)
    start = reset_peak()
    began = time.process_time()
    rows = read(peer, size_bytes)
    seconds = time.process_time() - began
    peak = peak_bytes()
    grown = None if start is None or peak is None else max(0, peak - start)
    sys.stdout.write(json.dumps({"rows": rows, "seconds": seconds, "grown": grown}))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure what planning a JSON array takes.")
    parser.add_argument(
        "--megabytes", type=positive, nargs="+", default=[1, 10, 100, 1_000], help="sizes of the object (%(default)s)"
    )
    options = parser.parse_args()
    if options.child:
        peer, size_bytes = options.child
        child_main(peer, int(size_bytes))
        return
    rows = []
    for peer in PEERS:
        for megabytes in options.megabytes:
            if peer == "json.loads of the whole" and megabytes > WHOLE_MEGABYTES:
                continue
            took = run_child(__file__, peer, str(megabytes * 1_000_000))
            rows.append(
                {
                    "peer": peer,
                    "object MB": megabytes,
                    "rows": took["rows"],
                    "MB per CPU second": megabytes / took["seconds"],
                    "peak MB": None if took["grown"] is None else took["grown"] / 1e6,
                }
            )
    publish(about_this_run(), rows, options.json)


if __name__ == "__main__":
    main()
