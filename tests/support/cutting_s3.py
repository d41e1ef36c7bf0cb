"""An HTTP server that serves objects as S3 does, and cuts connections."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from fanfold.aws.s3 import S3Store

CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
_PIECE_BYTES = 65_536


@dataclass
class CuttingS3:
    """Objects of one bucket, and the bytes of each response at which its connection is cut.

    A connection is cut after as many bytes as ``cuts`` returns; None to send the whole response. A request for a
    missing object gets no response.
    """

    objects: dict[str, bytes]
    cuts: Callable[[int, int], int | None] = lambda _start, _stop: None
    """Called with the range of a response."""
    chunked: bool = False
    """True if responses are in chunks without a length, and end properly where they are cut."""
    careless: bool = False
    """True if ranges and conditions are ignored after the first request."""
    sent_bytes: int = 0
    """Bytes of objects that were sent."""
    requests: list[str] = field(default_factory=list)
    """The method and the range of each request."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._respond(await reader.readuntil(b"\r\n\r\n"), writer):
                pass
        writer.close()

    async def _respond(self, request: bytes, writer: asyncio.StreamWriter) -> bool:
        first, *lines = request.decode().split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        self.requests.append(f"{method} {headers.get('range', '')}".strip())
        data = self.objects.get(unquote(path).split("?")[0].split("/", 2)[2])
        if data is None:
            return False
        etag = f'"{hash(data):x}"'
        ignores = self.careless and len(self.requests) > 1
        if headers.get("if-match", etag) != etag and not ignores:
            writer.write(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")
            return True
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", "bytes=0-" if ignores else headers.get("range", "bytes=0-"))
        assert wanted is not None
        start, stop = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        if start >= len(data):
            body = b"<Error><Code>InvalidRange</Code></Error>"
            writer.write(b"HTTP/1.1 416 Invalid Range\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return True
        length = "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {stop - start}"
        place = f"{length}\r\nContent-Range: bytes {start}-{stop - 1}/{len(data)}"
        status = "206 Partial Content" if "range" in headers else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nETag: {etag}\r\n{place}\r\n\r\n".encode())
        if method == "HEAD":
            return True
        cut = self.cuts(start, stop)
        end = stop if cut is None else min(stop, start + cut)
        self.sent_bytes += end - start
        if self.chunked:
            writer.write(b"%x\r\n%s\r\n" % (end - start, data[start:end]) if end > start else b"")
            writer.write(b"0\r\n\r\n" if end < stop else b"")
            return False
        for position in range(start, end, _PIECE_BYTES):
            writer.write(data[position : min(position + _PIECE_BYTES, end)])
            await writer.drain()
        return end == stop


def at_positions(positions: Iterable[int]) -> Callable[[int, int], int | None]:
    """Return cuts at positions of an object, each once: a response is cut at the first one that it contains."""
    left = sorted(positions)

    def cut(start: int, stop: int) -> int | None:
        ahead = [position for position in left if start <= position < stop]
        if not ahead:
            return None
        left.remove(ahead[0])
        return ahead[0] - start

    return cut


async def no_sleep(_seconds: float) -> None:
    """Do not wait before another request."""


@asynccontextmanager
async def store_on(s3: CuttingS3, session: AioSession | None = None) -> AsyncIterator[S3Store]:
    """Yield a store whose requests the server responds to."""
    config = AioConfig(retries={"max_attempts": 0})
    async with await asyncio.start_server(s3.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = (session or get_session()).create_client("s3", endpoint_url=url, config=config, **CREDENTIALS)
        async with client as opened:
            yield S3Store(opened, sleep=no_sleep)
