"""Limits of an execution environment: memory and file descriptors of handlers in flight.

::

    python benchmarks/limits.py [memory | descriptors | handlers] [--json FILE]
    python benchmarks/limits.py memory [--records 500] [--concurrency 10] [--repeats 3]
    python benchmarks/limits.py descriptors [--records 2000] [--concurrency 100]
    python benchmarks/limits.py handlers [--most 800]

*memory*: each record holds a buffer of 1 MB while it is processed. The peak is the growth of resident memory.

*descriptors*: each record opens a real connection to a server on this machine, sends a line and waits for the response,
which the server delays. Each peer has ``RLIMIT_NOFILE`` set to 1,024, as on Lambda. The table shows how many records it
reports as failed. Exit code 1 if fanfold reports any.

*handlers*: the handlers of a fanfold consumer wait until all are in flight; then the resident memory of the process is
read. They only wait, or each holds one TCP or TLS connection to a server on this machine. The memory of one handler is
computed from the difference between many and few. The base is a process with fanfold and aiobotocore loaded, and a
decoded event of about 6 MB, Lambda's maximum. Rule FF014 of ``fanfold check`` uses both figures. Needs the ``openssl``
command for a certificate. Linux only.

Each measurement runs in a separate process.
"""

import asyncio
import json
import resource
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Annotated, Any, TypeAlias

from measure import Meter, Records, Repeats, Rows, fail, in_turn, isolated, main, status_bytes, table
from peers import PEERS, Workload, check
from servers import echo

Concurrency: TypeAlias = Annotated[int, "fanfold's concurrency"]
COMPARED = ("fanfold", "Powertools")
LIMIT = 1_024
"""File descriptors of one execution environment."""
PAUSE_SECONDS = 0.1
"""Response time of the server."""
FEW = 100
EVENT_BYTES = 6 * 1024 * 1024


def workload(work: Callable[[str], Awaitable[None]], concurrency: int) -> Workload:
    """Return the same work for fanfold's handler and for Powertools'."""

    async def handler(body: str) -> None:
        await work(body)

    async def record_handler(record: Any) -> None:
        await work(record.body)

    return Workload(handler, record_handler, concurrency=concurrency)


# --- Memory and descriptors of handlers, compared with Powertools.


async def hold(_body: str) -> None:
    """Hold a buffer of 1 MB that is written to, as for the data of a request."""
    buffer = bytearray(b"x") * 1_000_000
    await asyncio.sleep(0.010)
    del buffer


@isolated
def peak_mb(peer: str, records: int, concurrency: int) -> float | None:
    """Handle a batch whose records hold memory; return the growth of the peak."""
    from fanfold.testing import make_context, make_event

    handler = PEERS[peer](workload(hold, concurrency))
    context, event = make_context(900.0, memory_limit_in_mb=10_240), make_event(*range(records))
    handler(make_event(*range(min(10, records))), context)  # imports remaining modules and starts the loop
    with Meter() as meter:
        response = handler(event, context)
    check(peer, response)
    return meter.peak_mb


@table("aws-lambda-powertools")
def memory(*, records: Records = 500, concurrency: Concurrency = 10, repeats: Repeats = 3) -> Rows:
    """Measure peak memory when each record holds 1 MB."""
    samples = in_turn(lambda peer: peak_mb(peer, records, concurrency), COMPARED, repeats)
    return [
        {
            "peer": peer,
            "handlers at once": concurrency if peer == "fanfold" else None,
            "records": records,
            "peak MB": None if None in peaks else median(peak for peak in peaks if peak is not None),
        }
        for peer, peaks in samples.items()
    ]


async def ask(port: int, text: str) -> None:
    """Send a line and wait for the response.

    Raises:
        OSError: If no connection could be made, or it broke.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{text}\n".encode())
        if await reader.readline() != f"{text}\n".encode():
            raise ConnectionError("no response")
    finally:
        writer.close()


@isolated
def failed(peer: str, port: int, records: int, concurrency: int) -> tuple[int, float]:
    """Handle a batch whose records open sockets; return the records reported as failed, and the seconds."""
    from fanfold.testing import make_context, make_event

    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    handler = PEERS[peer](workload(lambda body: ask(port, body), concurrency))
    event = make_event(*map(str, range(records)))
    with Meter() as meter:
        response = handler(event, make_context(900.0))
    return len(response["batchItemFailures"]), meter.seconds


@table("aws-lambda-powertools", holds=lambda rows: rows[0]["failed"] == 0)
def descriptors(*, records: Records = 2_000, concurrency: Concurrency = 100) -> Rows:
    """Open a socket for each record under 1,024 file descriptors."""
    with echo(PAUSE_SECONDS) as port:
        samples = {peer: failed(peer, port, records, concurrency) for peer in COMPARED}
    return [
        {
            "peer": peer,
            "handlers at once": concurrency if peer == "fanfold" else None,
            "records": records,
            "descriptors": LIMIT,
            "failed": failures,
            "seconds": seconds,
        }
        for peer, (failures, seconds) in samples.items()
    ]


# --- Memory of one more handler.


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return status_bytes("VmRSS") or fail("resident memory cannot be read here")


@isolated
def base() -> int:
    """Return the resident memory of a process that is ready to process the largest event."""
    import aiobotocore.session

    import fanfold
    from fanfold.testing import make_event

    record = len(json.dumps(make_event("x" * 450)["Records"][0]))
    text = json.dumps(make_event(*["x" * 450] * (EVENT_BYTES // record)))
    fanfold.consumer(lambda _body: None)
    aiobotocore.session.get_session()
    kept = json.loads(text)
    resident = resident_bytes()
    del kept
    return resident


@isolated
def with_handlers(handlers: int, port: int | None, *, tls: bool) -> int:
    """Return the growth of resident memory with this many handlers in flight."""
    import fanfold
    from fanfold.testing import make_context, make_event

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # our own server
    seen = {"in flight": 0, "most": 0}
    all_there = asyncio.Event()

    @fanfold.consumer(concurrency=handlers)
    async def handler(_body: str) -> None:
        writer = None
        if port is not None:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context if tls else None)
        seen["in flight"] += 1
        if seen["in flight"] == handlers:
            seen["most"] = resident_bytes()
            all_there.set()
        await all_there.wait()
        if writer is not None:
            writer.close()

    event = make_event(*(["x"] * handlers))
    before = resident_bytes()
    check("fanfold", handler(event, make_context(120.0)))
    return seen["most"] - before


def make_certificate(folder: str) -> None:
    """Create a certificate for localhost, and its key, in a folder."""
    openssl = shutil.which("openssl") or fail("there is no openssl command to make a certificate with")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run([*command, *files], check=True, capture_output=True)  # noqa: S603 - our own arguments


@table("aiobotocore")
def handlers(*, most: Annotated[int, "concurrent handlers"] = 800) -> Rows:
    """Measure the memory that handlers in flight need."""
    with tempfile.TemporaryDirectory() as folder:
        make_certificate(folder)
        with echo(0) as tcp, echo(0, folder) as tls:
            cases = {"waits": None, "one TCP connection": tcp, "one TLS connection": tls}
            grown = {
                case: [with_handlers(count, port, tls="TLS" in case) for count in (FEW, most)]
                for case, port in cases.items()
            }
    ready = base()
    return [
        {
            "each handler": case,
            "handlers": most,
            "MB in all": many / 2**20,
            "KB each": (many - few) / (most - FEW) / 2**10,
            "MB base": ready / 2**20,
        }
        for case, (few, many) in grown.items()
    ]


if __name__ == "__main__":
    main(memory, descriptors, handlers)
