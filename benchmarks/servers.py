"""The services of the benchmarks, each in a separate process, so that its processor time is not that of the peers."""

import asyncio
import contextlib
import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from measure import served

FIELDS = 15
BACKLOG = 4096
CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


@served
async def echo(pause_seconds: float, certificate: str | None = None) -> asyncio.Server:
    """Serve connections that send lines: return each line after a delay. With TLS if a folder has a certificate."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                await asyncio.sleep(pause_seconds)
                writer.write(line)
                await writer.drain()
        writer.close()

    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(f"{certificate}/cert.pem", f"{certificate}/key.pem")
    return await asyncio.start_server(connected, "127.0.0.1", 0, backlog=BACKLOG, ssl=context)


@served
async def slow_road(port: int, latency: float) -> asyncio.Server:
    """Forward to another port of this machine, with a delay of each response in seconds."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_service, to_service = await asyncio.open_connection("127.0.0.1", port)
        loop = asyncio.get_running_loop()

        async def back() -> None:
            while data := await from_service.read(65_536):
                loop.call_later(latency, writer.write, data)
            loop.call_later(latency, writer.close)

        backwards = loop.create_task(back())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                to_service.write(data)
        to_service.close()
        await backwards

    return await asyncio.start_server(connected, "127.0.0.1", 0)


async def requests(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, dict[bytes, bytes], bytes]]:
    """Yield the HTTP requests of a connection: method, headers in lower case, and body."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            headers = dict(line.lower().split(b": ", 1) for line in lines if b": " in line)
            body = await reader.readexactly(int(headers.get(b"content-length", b"0")))
            yield first.partition(b" ")[0], headers, body


@served
async def one_object(path: str) -> asyncio.Server:
    """Serve a file as S3 serves an object, whatever its key: ``HEAD``, and ``GET`` with ``Range``."""
    size = Path(path).stat().st_size  # noqa: ASYNC240 - nothing is served yet

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), open(path, "rb") as file:  # noqa: ASYNC230, PTH123 - nobody waits
            async for method, headers, _ in requests(reader):
                wanted = re.fullmatch(rb"bytes=(\d+)-(\d*)", headers.get(b"range", b"bytes=0-"))
                assert wanted is not None  # noqa: S101 - as our adapter asks
                start, stop = int(wanted[1]), min(int(wanted[2] or size - 1) + 1, size)
                status = "200 OK" if method == b"HEAD" else "206 Partial Content"
                place = f"Content-Length: {stop - start}\r\nContent-Range: bytes {start}-{stop - 1}/{size}"
                writer.write(f'HTTP/1.1 {status}\r\nETag: "1"\r\n{place}\r\n\r\n'.encode())
                await writer.drain()
                if method == b"GET":
                    await asyncio.get_running_loop().sendfile(writer.transport, file, start, stop - start)
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


@served
async def slow_aws(latency: float, items: int = 0) -> asyncio.Server:
    """Serve a DynamoDB table and an SQS queue that respond to each request after this many seconds.

    Only what benchmarks ask for is there: ``DescribeTable`` and ``Scan`` of one made table, batches of messages to send
    or delete, all of which are accepted, and a queue's ARN.
    """
    table = Table(items)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for _, headers, body in requests(reader):
            response = table.respond(headers.get(b"x-amz-target", b"").partition(b".")[2], json.loads(body))
            if latency:
                await asyncio.sleep(latency)
            length = b"content-length: %d\r\n\r\n" % len(response)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n" + length + response)
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


@served
async def slow_bucket(objects: int, latency: float, suffix: str) -> asyncio.Server:
    """Serve a bucket with many small CSV objects, and respond to each request after this many seconds.

    Only listings and the starts of objects are there, as planning asks for them.
    """
    content = b"number,name\n1,one\n2,two\n"
    entry = (
        f"<Contents><Key>in/{{:09d}}{suffix}</Key><LastModified>2026-11-25T00:00:00.000Z</LastModified>"
        f'<ETag>"{{:032x}}"</ETag><Size>{len(content)}</Size></Contents>'
    )

    def respond(target: bytes) -> tuple[str, bytes]:
        path, _, query = target.partition(b"?")
        if b"list-type" not in query:
            number = int(re.sub(rb"\D", b"", path))
            return f'206 Partial Content\r\nETag: "{number:032x}"\r\nContent-Range: bytes 0-23/{len(content)}', content
        token = re.search(rb"continuation-token=(\d+)", query)
        first = int(token[1]) if token else 0
        last = min(first + 1_000, objects)
        entries = "".join(entry.format(number, number) for number in range(first, last))
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>"
        ends = "<IsTruncated>false</IsTruncated>" if last == objects else more
        return "200 OK", f"<ListBucketResult>{entries}{ends}</ListBucketResult>".encode()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(latency)
                status, body = respond(head.split(b" ", 2)[1])
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0, backlog=BACKLOG)


class Table:
    """Items of 15 fields, in segments by the hash of their key."""

    def __init__(self, items: int) -> None:
        self._places = sorted((hashlib.md5(b"%d" % n, usedforsecurity=False).digest(), n) for n in range(items))
        self._texts = [json.dumps(_item(n)) for n in range(items)]
        self._segments: dict[tuple[int, int], tuple[list[int], dict[int, int]]] = {}

    def respond(self, operation: bytes, request: dict[str, Any]) -> bytes:
        """Respond to a request. An operation that is not one of a table is a batch of a queue."""
        if operation == b"describetable":
            return self._describe()
        if operation == b"scan":
            return self._scan(request)
        if operation == b"getqueueattributes":
            return json.dumps({"Attributes": {"QueueArn": "arn:aws:sqs:eu-west-1:123456789012:work"}}).encode()
        accepted = [
            {"Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": "0"} for entry in request["Entries"]
        ]
        return json.dumps({"Successful": accepted}).encode()

    def _describe(self) -> bytes:
        keys = [{"AttributeName": "item_no", "KeyType": "HASH"}]
        size = sum(map(len, self._texts))
        return json.dumps(
            {"Table": {"KeySchema": keys, "TableSizeBytes": size, "ItemCount": len(self._texts)}}
        ).encode()

    def _scan(self, request: dict[str, Any]) -> bytes:
        """Return ``Limit`` items after ``ExclusiveStartKey``."""
        share = request["Segment"], request["TotalSegments"]
        if share not in self._segments:
            numbers = [n for place, n in self._places if int.from_bytes(place[:8]) * share[1] >> 64 == share[0]]
            self._segments[share] = numbers, {n: position for position, n in enumerate(numbers)}
        items, positions = self._segments[share]
        first = (
            positions[int(request["ExclusiveStartKey"]["item_no"]["N"])] + 1 if "ExclusiveStartKey" in request else 0
        )
        page = items[first : first + request["Limit"]]
        last = f',"LastEvaluatedKey":{{"item_no":{{"N":"{page[-1]}"}}}}' if first + len(page) < len(items) else ""
        texts = ",".join(self._texts[n] for n in page)
        return f'{{"Items":[{texts}],"Count":{len(page)}{last}}}'.encode()


def _item(number: int) -> dict[str, Any]:
    texts = {f"field_{n}": {"S": f"value {n} of item {number}"} for n in range(FIELDS - 2)}
    return {"item_no": {"N": str(number)}, "price": {"N": str(number % 997)}, **texts}
