"""How much memory a sandbox needs for so many handlers at once: the base, and what each handler adds.

::

    python benchmarks/handler_memory.py [--most 800] [--json FILE]

Handlers of one fanfold consumer wait for each other until all are in flight; then the process's resident memory is
read. They only wait, or each holds one TCP or one TLS connection to a server on this machine. What one handler adds is
the difference between many and few of them, divided. The base is a process with fanfold and aiobotocore loaded and an
event of about 6 MB, the largest that Lambda hands over, decoded in memory. ``fanfold check`` rests its rule FF014 on
the two. Needs the ``openssl`` command for a certificate. Linux only.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from machine import about_this_run, options_parser, positive, publish, run_child, set_up_child

FEW = 100
KINDS = ("waits", "TCP", "TLS")
EVENT_BYTES = 6 * 1024 * 1024


def resident_bytes() -> int:
    """Return this process's resident memory now."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


# --- The server, in a process of its own.


async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Keep a connection until the other side closes it."""
    try:
        await reader.read()
    finally:
        writer.close()


async def _serve(folder: str, pipe: Connection) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    plain = await asyncio.start_server(keep, "127.0.0.1", 0, backlog=4096)
    secure = await asyncio.start_server(keep, "127.0.0.1", 0, backlog=4096, ssl=context)
    pipe.send({"TCP": plain.sockets[0].getsockname()[1], "TLS": secure.sockets[0].getsockname()[1]})
    await asyncio.gather(plain.serve_forever(), secure.serve_forever())


def serve(folder: str, pipe: Connection) -> None:
    """Run the server; tell its ports by the pipe."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_serve(folder, pipe))


@contextmanager
def local_server(folder: str) -> Iterator[dict[str, int]]:
    """Yield the ports of a running server, with a certificate made in a folder."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise SystemExit("handler_memory.py: there is no openssl command to make a certificate with")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run([*command, *files], check=True, capture_output=True)  # noqa: S603 - our own arguments
    ours, its = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(folder, its), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


# --- The children.


def base() -> dict[str, int]:
    """Return the resident memory of a process that is ready to work on the largest event."""
    import aiobotocore.session

    import fanfold
    from fanfold.testing import make_event

    record = len(json.dumps(make_event("x" * 450)["Records"][0]))
    text = json.dumps(make_event(*["x" * 450] * (EVENT_BYTES // record)))
    fanfold.consumer(lambda _body: None)
    aiobotocore.session.get_session()
    kept = json.loads(text)
    return {"bytes": resident_bytes(), "records": len(kept["Records"])}


def with_handlers(kind: str, handlers: int, port: int) -> dict[str, int]:
    """Return how much resident memory grows when so many handlers are in flight."""
    import fanfold
    from fanfold.testing import make_context, make_event

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the server is ours
    seen = {"in flight": 0, "most": 0}
    all_there = asyncio.Event()

    @fanfold.consumer(concurrency=handlers)
    async def handler(_body: str) -> None:
        writer = None
        if kind != "waits":
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context if kind == "TLS" else None)
        seen["in flight"] += 1
        if seen["in flight"] == handlers:
            seen["most"] = resident_bytes()
            all_there.set()
        await all_there.wait()
        if writer is not None:
            writer.close()

    event = make_event(*(["x"] * handlers))
    before = resident_bytes()
    answer = handler(event, make_context(120.0))
    if answer["batchItemFailures"]:
        raise SystemExit(f"{len(answer['batchItemFailures'])} handlers failed")
    return {"bytes": seen["most"] - before}


def main() -> None:
    """Measure, and print the table."""
    parser = options_parser("Measure the memory that handlers in flight need.")
    parser.add_argument("--most", type=positive, default=800, help="handlers at once (default: 800)")
    options = parser.parse_args()
    if options.child:
        set_up_child()
        kind, handlers, port = options.child
        print(json.dumps(base() if kind == "base" else with_handlers(kind, int(handlers), int(port))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder, local_server(folder) as ports:
        ready = run_child(__file__, "base", "0", "0")
        for kind in KINDS:
            port = str(ports.get(kind, 0))
            few, many = (run_child(__file__, kind, str(count), port)["bytes"] for count in (FEW, options.most))
            rows.append(
                {
                    "each handler": kind if kind == "waits" else f"one {kind} connection",
                    "handlers": options.most,
                    "MB in all": many / 2**20,
                    "KB each": (many - few) / (options.most - FEW) / 2**10,
                    "MB base": ready["bytes"] / 2**20,
                }
            )
    publish(about_this_run("aiobotocore"), rows, options.json)


if __name__ == "__main__":
    main()
