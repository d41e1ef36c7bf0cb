"""A DynamoDB table and an SQS queue that answer each request after a fixed time, for benchmarks.

Run as a process of its own, which prints its port: the time it spends is not its peers'. Only what benchmarks ask for
is there: ``DescribeTable`` and ``Scan`` of one made table, and ``SendMessageBatch``, which accepts everything.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FIELDS = 15
CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


@contextmanager
def slow_service(latency: float, items: int = 0) -> Iterator[str]:
    """Run the service and yield its address.

    Args:
        latency: Seconds from a request to its answer.
        items: Items of its table.
    """
    command = [sys.executable, __file__, str(latency), str(items)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
        assert process.stdout is not None  # noqa: S101 - a pipe
        port = process.stdout.readline().strip()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Table:
    """Items of 15 fields, in segments by the hash of their key."""

    def __init__(self, items: int) -> None:
        self._places = sorted((hashlib.md5(b"%d" % n, usedforsecurity=False).digest(), n) for n in range(items))
        self._texts = [json.dumps(_item(n)) for n in range(items)]
        self._segments: dict[tuple[int, int], list[int]] = {}

    def describe(self) -> bytes:
        """Answer DescribeTable."""
        keys = [{"AttributeName": "item_no", "KeyType": "HASH"}]
        size = sum(map(len, self._texts))
        return json.dumps(
            {"Table": {"KeySchema": keys, "TableSizeBytes": size, "ItemCount": len(self._texts)}}
        ).encode()

    def scan(self, request: dict[str, Any]) -> bytes:
        """Answer Scan: ``Limit`` items after ``ExclusiveStartKey``."""
        share = request["Segment"], request["TotalSegments"]
        if share not in self._segments:
            found = [n for place, n in self._places if int.from_bytes(place[:8]) * share[1] >> 64 == share[0]]
            self._segments[share] = found
        mine = self._segments[share]
        first = (
            mine.index(int(request["ExclusiveStartKey"]["item_no"]["N"])) + 1 if "ExclusiveStartKey" in request else 0
        )
        page = mine[first : first + request["Limit"]]
        last = f',"LastEvaluatedKey":{{"item_no":{{"N":"{page[-1]}"}}}}' if first + len(page) < len(mine) else ""
        texts = ",".join(self._texts[n] for n in page)
        return f'{{"Items":[{texts}],"Count":{len(page)}{last}}}'.encode()


def _item(number: int) -> dict[str, Any]:
    texts = {f"field_{n}": {"S": f"value {n} of item {number}"} for n in range(FIELDS - 2)}
    return {"item_no": {"N": str(number)}, "price": {"N": str(number % 997)}, **texts}


class Connection(asyncio.Protocol):
    """One connection: requests one after another, as the SDKs send them."""

    def __init__(self, latency: float, table: Table) -> None:
        self._latency = latency
        self._table = table
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if not end or len(body) < int(headers.get(b"content-length", b"0")):
            return
        self._received = b""
        answer = self._answer(headers.get(b"x-amz-target", b"").partition(b".")[2], body)
        length = b"content-length: %d\r\n\r\n" % len(answer)
        whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\n" + length + answer
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self._transport.write, whole)
        else:
            self._transport.write(whole)

    def _answer(self, operation: bytes, body: bytes) -> bytes:
        request = json.loads(body)
        if operation == b"describetable":
            return self._table.describe()
        if operation == b"scan":
            return self._table.scan(request)
        accepted = [
            {"Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": "0"} for entry in request["Entries"]
        ]
        return json.dumps({"Successful": accepted}).encode()


async def main() -> None:
    """Serve until terminated."""
    latency, items = float(sys.argv[1]), int(sys.argv[2])
    table = Table(items)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(latency, table), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
