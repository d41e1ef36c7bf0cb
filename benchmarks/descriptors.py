"""A batch that opens a socket for each record, under Lambda's limit of 1,024 file descriptors.

::

    python benchmarks/descriptors.py [--records 2000] [--concurrency 100] [--json FILE]

Each record opens a real connection to a server on this machine, sends a line and waits for the answer, which the
server gives after a pause. Each peer is a process of its own with ``RLIMIT_NOFILE`` set to 1,024; the table shows how
many records it reports as failed. Exit code 1 if fanfold reports any.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from machine import about_this_run, options_parser, positive, publish, run_child, set_up_child

Handler: TypeAlias = Callable[[dict[str, Any], Any], Any]
"""What Lambda calls: an event and a context in, a partial batch response out."""

LIMIT = 1_024
"""File descriptors of one Lambda sandbox."""
PAUSE_SECONDS = 0.1
"""How long the server takes to answer, as a service does."""
PEERS = ("fanfold", "Powertools")


# --- The server, in a process of its own with as many descriptors as it needs.


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one line after a pause."""
    with contextlib.suppress(ConnectionError):
        line = await reader.readline()
        await asyncio.sleep(PAUSE_SECONDS)
        writer.write(line)
        await writer.drain()
    writer.close()


async def _serve(pipe: Connection) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    async with await asyncio.start_server(answer, sock=listening, backlog=4096) as server:
        pipe.send(listening.getsockname()[1])
        await server.serve_forever()


def serve(pipe: Connection) -> None:
    """Run the server; tell its port by the pipe."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_serve(pipe))


@contextmanager
def local_server() -> Iterator[int]:
    """Yield the port of a running server."""
    ours, its = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(its,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


# --- The peers, each with the same work.


async def ask(port: int, text: str) -> None:
    """Send a line and wait for the answer.

    Raises:
        OSError: If no connection could be made, or it broke.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{text}\n".encode())
        if await reader.readline() != f"{text}\n".encode():
            raise ConnectionError("no answer")
    finally:
        writer.close()


def fanfold_handler(port: int, concurrency: int) -> Handler:
    """Make fanfold's consumer."""
    import fanfold

    @fanfold.consumer(concurrency=concurrency)
    async def handler(body: str) -> None:
        await ask(port, body)

    return handler


def powertools_handler(port: int, _concurrency: int) -> Handler:
    """Make the handler that Powertools' documentation shows; it has no bound."""
    from aws_lambda_powertools.utilities.batch import AsyncBatchProcessor, EventType, async_process_partial_response

    processor = AsyncBatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)

    async def record_handler(record: Any) -> None:
        await ask(port, record.body)

    return lambda event, context: async_process_partial_response(event, record_handler, processor, context)


def child_main(peer: str, port: int, records: int, concurrency: int) -> None:
    """Handle the batch with a sandbox's descriptors and print how it went as JSON."""
    from fanfold import testing

    set_up_child()
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    handler = {"fanfold": fanfold_handler, "Powertools": powertools_handler}[peer](port, concurrency)
    event = testing.make_event(*map(str, range(records)))
    start = time.perf_counter()
    response = handler(event, testing.make_context(900.0))
    seconds = time.perf_counter() - start
    sys.stdout.write(json.dumps({"failed": len(response["batchItemFailures"]), "seconds": seconds}))


def main() -> int:
    """Run the benchmark and print the table."""
    parser = options_parser("Open a socket for each record under 1,024 file descriptors.")
    parser.add_argument("--records", type=positive, default=2_000, help="records in the batch (%(default)s)")
    parser.add_argument("--concurrency", type=positive, default=100, help="fanfold's bound (%(default)s)")
    options = parser.parse_args()
    if options.child:
        peer, *numbers = options.child
        child_main(peer, *map(int, numbers))
        return 0
    about = about_this_run("aws-lambda-powertools")
    rows = []
    with local_server() as port:
        for peer in PEERS:
            sample = run_child(__file__, peer, str(port), str(options.records), str(options.concurrency))
            bound = options.concurrency if peer == "fanfold" else None
            rows.append(
                {
                    "peer": peer,
                    "handlers at once": bound,
                    "records": options.records,
                    "descriptors": LIMIT,
                    "failed": sample["failed"],
                    "seconds": sample["seconds"],
                }
            )
    publish(about, rows, options.json)
    return int(rows[0]["failed"] != 0)


if __name__ == "__main__":
    sys.exit(main())
