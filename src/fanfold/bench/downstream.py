"""A service that measured handlers call. It responds to every HTTP request after a fixed number of milliseconds.

Run as ``python -m fanfold.bench.downstream MILLISECONDS``. It prints its port, and ends when stdin is closed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fanfold._base import operating_system
from fanfold.errors import FanfoldError

URL_VARIABLE = "FANFOLD_BENCH_URL"
"""The environment variable with the URL of the service."""
_BODY = b'{"ok":true}'
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)  # fmt: skip


@contextmanager
def serving(latency_ms: float) -> Iterator[str]:
    """Start the service in a separate process, yield its URL, and stop it.

    Raises:
        FanfoldError: If it does not start.
    """
    command = [sys.executable, "-m", "fanfold.bench.downstream", str(latency_ms)]
    process = subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="ascii", **operating_system.in_own_group()
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe
        port = process.stdout.readline().strip()
        if not port.isdecimal():
            raise FanfoldError("the downstream service for --downstream-latency did not start")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class _Connection(asyncio.Protocol):
    """One connection. A request has no body and ends with an empty line; requests can be pipelined."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for _ in requests:
            asyncio.get_running_loop().call_later(self._seconds, self._respond)

    def _respond(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_RESPONSE)


async def _serve(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(seconds), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]) / 1000))
