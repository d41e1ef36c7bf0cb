"""A large CSV object read through many segments in one process, beside one plain stream over it.

::

    python benchmarks/big_csv.py [--megabytes 1000] [--segments 64] [--concurrency 8] [--json FILE]

The object is a file, served by a small HTTP server that understands ``HEAD`` and ``GET`` with ``Range``, in a process
of its own; it is read by the real S3 adapter over that. fanfold counts rows and adds up one column, as ``S3Lines``
reads them, so many segments at once; the plain stream is one ``GET`` through ``csv.DictReader``, which decodes the same
rows. Peak memory is that of the reading process, above what it held before.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import about_this_run, options_parser, peak_bytes, positive, publish, reset_peak, run_child
from slow_service import CREDENTIALS

ROW_BYTES = 100
SERVER = """
import http.server, os, re, sys
path, size = sys.argv[1], os.path.getsize(sys.argv[1])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def head(self, code, start, stop):
        self.send_response(code)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
    def do_HEAD(self):
        self.head(200, 0, size)
    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\\d+)-(\\d*)", self.headers.get("Range", "bytes=0-"))
        start, stop = int(wanted[1]), min(int(wanted[2] or size - 1) + 1, size)
        self.head(206, start, stop)
        with open(path, "rb") as file:
            self.wfile.flush()
            while start < stop:
                start += os.sendfile(self.connection.fileno(), file.fileno(), start, stop - start)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def write_csv(file: Path, megabytes: int) -> int:
    """Write about so many MB of rows; return how many."""
    rows = megabytes * 1_000_000 // ROW_BYTES
    with file.open("w", encoding="utf-8") as out:
        out.write("number,name,rank,points,filler\n")
        for number in range(rows):
            row = f"{number},佐藤 {number % 997},{number % 5 + 1},{50 + number % 51},"
            out.write(row + "x" * (ROW_BYTES - 1 - len(row.encode())) + "\n")
    return rows


@contextmanager
def served(file: Path) -> Iterator[str]:
    """Serve a file as the object of any key; yield the server's address."""
    command = [sys.executable, "-c", SERVER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None  # noqa: S101 - a pipe
        port = process.stdout.readline().strip()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


async def fanfold_read(address: str, segments: int, concurrency: int) -> tuple[int, int]:
    """Read all segments, so many at once; return rows and points."""
    from aiobotocore.session import get_session

    from fanfold import S3Lines, inmemory, sources
    from fanfold.aws.backend import config_of
    from fanfold.aws.s3 import S3Store

    async with get_session().create_client("s3", endpoint_url=address, config=config_of("s3"), **CREDENTIALS) as client:
        backend = replace(inmemory.backend(), store=S3Store(client))
        size = (await backend.store.head("bucket", "big.csv")).size_bytes
        plan = await S3Lines("bucket", "big.csv", chunk_bytes=-(-size // segments)).pin(backend, "plan")
        parts, found = sources.cut(plan), [0, 0]

        async def work() -> None:
            for part in parts:
                async for row in sources.read_each(part, backend):
                    found[0] += 1
                    found[1] += int(row["points"])

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return found[0], found[1]


async def plain_read(address: str) -> tuple[int, int]:
    """Read the object as one stream; return rows and points."""
    from aiobotocore.session import get_session

    rows = points = 0
    async with get_session().create_client("s3", endpoint_url=address, **CREDENTIALS) as client:
        answer = await client.get_object(Bucket="bucket", Key="big.csv")
        header, unfinished = None, b""
        async with answer["Body"] as body:
            while piece := await body.read(262_144):
                head, newline, tail = (unfinished + piece).rpartition(b"\n")
                unfinished = tail
                if not newline:
                    continue
                reader = csv.DictReader(io.StringIO(head.decode()), fieldnames=header)
                for row in reader:
                    rows += 1
                    points += int(row["points"])
                header = reader.fieldnames
    return rows, points


def child_main(peer: str, address: str, segments: int, concurrency: int) -> None:
    """Measure a peer and print the result as JSON."""
    import aiobotocore.session  # noqa: F401 - what is loaded before is not measured

    before = reset_peak()
    start = time.perf_counter()
    found = asyncio.run(fanfold_read(address, segments, concurrency) if peer == "fanfold" else plain_read(address))
    seconds, peak = time.perf_counter() - start, peak_bytes()
    print(json.dumps([seconds, None if peak is None or before is None else (peak - before) / 1e6, *found]))


def main() -> None:
    """Run the benchmark and print the table."""
    parser = options_parser("Measure how fast a large CSV object is read in segments.")
    parser.add_argument("--megabytes", type=positive, default=1_000, help="size of the object (%(default)s)")
    parser.add_argument("--segments", type=positive, default=64, help="segments it is cut into (%(default)s)")
    parser.add_argument("--concurrency", type=positive, default=8, help="segments read at once (%(default)s)")
    options = parser.parse_args()
    if options.child:
        peer, address, segments, concurrency = options.child
        child_main(peer, address, int(segments), int(concurrency))
        return
    about = about_this_run("aiobotocore")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "big.csv"
        wanted = write_csv(file, options.megabytes)
        with served(file) as address:
            for peer in ("plain stream", "fanfold"):
                told = str(options.segments), str(options.concurrency)
                seconds, peak, read, _ = run_child(str(Path(__file__).resolve()), peer, address, *told)
                if read != wanted:
                    raise SystemExit(f"big_csv.py: {peer} read {read} rows of {wanted}")
                rows.append(
                    {
                        "peer": peer,
                        "segments": options.segments if peer == "fanfold" else 1,
                        "seconds": seconds,
                        "MB a second": options.megabytes / seconds,
                        "of the plain stream": (options.megabytes / seconds) / rows[0]["MB a second"] if rows else 1.0,
                        "peak MB": peak,
                    }
                )
    publish(about, rows, options.json)


if __name__ == "__main__":
    main()
