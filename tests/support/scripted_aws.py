"""A server on this machine that plays AWS: it records requests, and responds according to a script."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

PER_CALL = ("amz-sdk-invocation-id", "authorization", "x-amz-date", "content-length")


@dataclass(frozen=True)
class Reply:
    """One response: a JSON value or raw bytes. Without a status, the server closes the connection instead."""

    content: Any = None
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request that the server received; the names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def fixed_headers(self) -> dict[str, str]:
        """The headers that all requests of one kind share."""
        return {name: value for name, value in self.headers.items() if name not in PER_CALL}

    def is_signed_by(self, secret_key: str) -> bool:
        """Return whether botocore's signer gives the request the same signature."""
        authorization = self.headers["authorization"]
        access_key, _, region, service, _ = authorization.partition("Credential=")[2].partition(",")[0].split("/")
        names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        headers = {name: self.headers[name] for name in names}
        copy = AWSRequest("POST", f"http://{self.headers['host']}{self.path}", headers, self.body)
        copy.context["timestamp"] = self.headers["x-amz-date"]
        signer = SigV4Auth(Credentials(access_key, secret_key), service, region)
        signature = signer.signature(signer.string_to_sign(copy, signer.canonical_request(copy)), copy)
        return authorization.endswith(f"Signature={signature}")


class ScriptedAws:
    """Responds with the replies of ``script``, one after the other, then with ``default``."""

    def __init__(self, default: Any) -> None:
        self.default = Reply(default)
        self.script: list[Reply] = []
        self.requests: list[Request] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append(Request(first.split()[1], headers, body))
                reply = self.script.pop(0) if self.script else self.default
                if reply.status is None:
                    break
                content = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
                head = {"Content-Type": "application/x-amz-json-1.0", "Content-Length": len(content), **reply.headers}
                text = "".join(f"{name}: {value}\r\n" for name, value in head.items())
                writer.write(f"HTTP/1.1 {reply.status} -\r\n{text}\r\n".encode() + content)
        writer.close()


@asynccontextmanager
async def scripted_aws(default: Any) -> AsyncIterator[ScriptedAws]:
    """Run a server during the block; ``default`` is the JSON value of its responses."""
    aws = ScriptedAws(default)
    server = await asyncio.start_server(aws.serve, "127.0.0.1", 0)
    aws.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield aws
    finally:
        server.close()
