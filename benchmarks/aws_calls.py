"""The processor time of one call of AWS, depending on who makes it.

::

    python benchmarks/aws_calls.py [--calls 2000] [--pages 400] [--tasks 16] [--repeats 3] [--json FILE]

Ten messages are sent, ten messages are deleted, and a page of 250 items with 15 fields is scanned, many times, by tasks
that share a client, against a server without latency. The peers are fanfold's adapters, with its own frequent calls and
with those of the SDK (aiobotocore), as before; boto3, in one thread; and aiohttp, which posts a finished body without a
signature and decodes the response: the minimum for any library on this HTTP client. fanferro takes part if it is
installed (it needs Python 3.12). Each measurement runs in a separate process, and so does the server; the first calls
are not measured.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Annotated, Any

from measure import Meter, Repeats, Rows, in_turn, installed, isolated, main, spread, table
from servers import CREDENTIALS, slow_aws

SEND, DELETE, SCAN = "SendMessageBatch", "DeleteMessageBatch", "Scan, 250 items"
CALLS = (SEND, DELETE, SCAN)
PEERS = ("SDK", "fanfold", "boto3", "aiohttp")
FANFERRO = "fanferro"
QUEUE = "http://127.0.0.1/123456789012/work"
MESSAGES = 10
ITEMS = 1_000
PAGE_ITEMS = 250
BODY = json.dumps({"job": "job", "run": "run", "part": {"type": "ranges", "start": 1, "stop": 2}, "text": "x" * 120})
HANDLES = [f"{'AQEB' * 40}{n}" for n in range(MESSAGES)]
QUERY = {"table": "articles", "segments": 1, "segment": 0, "page_items": PAGE_ITEMS}
REQUESTS: dict[str, dict[str, Any]] = {
    SEND: {"QueueUrl": QUEUE, "Entries": [{"Id": str(n), "MessageBody": BODY} for n in range(MESSAGES)]},
    DELETE: {"QueueUrl": QUEUE, "Entries": [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate(HANDLES)]},
    SCAN: {"TableName": "articles", "TotalSegments": 1, "Segment": 0, "Limit": PAGE_ITEMS},
}
Caller = Callable[[], Awaitable[Any]]


@asynccontextmanager
async def adapters(call: str, address: str, http: Any) -> AsyncIterator[Caller]:
    """Yield a call of fanfold's adapter, over a client with a class of HTTP sessions."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    from fanfold._ports.queue import Message
    from fanfold.aws.backend import config_of
    from fanfold.aws.sqs import SqsQueue
    from fanfold.aws.tables import DynamoDBTables, with_raw_items

    service = "dynamodb" if call == SCAN else "sqs"
    settings = {
        "endpoint_url": address,
        "config": config_of(service).merge(AioConfig(http_session_cls=http)),
        **CREDENTIALS,
    }
    async with with_raw_items(get_session()).create_client(service, **settings) as client:
        messages, queue, tables = [Message(BODY)] * MESSAGES, SqsQueue(client, QUEUE), DynamoDBTables(client)
        calls: dict[str, Caller] = {
            SEND: lambda: queue.send(messages),
            DELETE: lambda: queue.delete(HANDLES),
            SCAN: lambda: tables.scan(QUERY, None),
        }
        yield calls[call]


@asynccontextmanager
async def bare(call: str, address: str) -> AsyncIterator[Caller]:
    """Yield a call with aiohttp alone."""
    import aiohttp

    headers = {"X-Amz-Target": f"Service.{call.partition(',')[0]}", "Content-Type": "application/x-amz-json-1.0"}
    body = json.dumps(REQUESTS[call]).encode()
    async with aiohttp.ClientSession() as session:

        async def post() -> Any:
            async with session.post(address, data=body, headers=headers) as response:
                return json.loads(await response.read())

        yield post


@asynccontextmanager
async def fanferros(address: str) -> AsyncIterator[Caller]:
    """Yield a call of fanferro, which sends messages."""
    import fanferro  # type: ignore[import-not-found, unused-ignore] # optional

    keys = fanferro.Credentials(CREDENTIALS["aws_access_key_id"], CREDENTIALS["aws_secret_access_key"])
    settings = {"region": CREDENTIALS["region_name"], "endpoint_url": address, "credentials": keys}
    async with fanferro.Client(auto_provision=False, **settings) as client:
        queue = client.queue(url=QUEUE)
        yield lambda: queue.send_batch([BODY] * MESSAGES)


async def in_tasks(caller: Caller, calls: int, tasks: int) -> float:
    """Make calls in concurrent tasks; return the processor seconds of one call."""

    async def many(number: int) -> None:
        for _ in range(number):
            await caller()

    await many(5)
    await asyncio.gather(*(many(2) for _ in range(tasks)))
    with Meter() as meter:
        await asyncio.gather(*(many(calls // tasks) for _ in range(tasks)))
    return meter.cpu_seconds / (calls // tasks * tasks)


async def asynchronous(peer: str, call: str, address: str, calls: int, tasks: int) -> float:
    """Measure a peer with an event loop."""
    if peer == "aiohttp":
        opened = bare(call, address)
    elif peer == FANFERRO:
        opened = fanferros(address)
    else:
        from aiobotocore.httpsession import AIOHTTPSession

        from fanfold.aws.fast_calls import FastSession

        opened = adapters(call, address, AIOHTTPSession if peer == "SDK" else FastSession)
    async with opened as caller:
        return await in_tasks(caller, calls, tasks)


def with_boto3(call: str, address: str, calls: int) -> float:
    """Measure boto3, in one thread."""
    import boto3

    service, method = {
        SEND: ("sqs", "send_message_batch"),
        DELETE: ("sqs", "delete_message_batch"),
        SCAN: ("dynamodb", "scan"),
    }[call]
    caller = getattr(boto3.client(service, endpoint_url=address, **CREDENTIALS), method)
    for _ in range(5):
        caller(**REQUESTS[call])
    with Meter() as meter:
        for _ in range(calls):
            caller(**REQUESTS[call])
    return meter.cpu_seconds / calls


@isolated
def seconds(peer: str, call: str, port: int, calls: int, tasks: int) -> float:
    """Return the processor seconds of one call."""
    address = f"http://127.0.0.1:{port}"
    if peer == "boto3":
        return with_boto3(call, address, calls)
    return asyncio.run(asynchronous(peer, call, address, calls, tasks))


@table("aiobotocore", "boto3")
def calling(
    *,
    calls: Annotated[int, "calls to SQS in each measurement"] = 2_000,
    pages: Annotated[int, "pages scanned in each measurement"] = 400,
    tasks: Annotated[int, "concurrent tasks"] = 16,
    repeats: Repeats = 3,
) -> Rows:
    """Measure the processor time of one call, depending on who makes it."""
    cases = [(peer, call) for call in CALLS for peer in (*PEERS, *(installed(FANFERRO) if call == SEND else ()))]
    with slow_aws(0.0, ITEMS) as port:
        samples = in_turn(lambda case: seconds(*case, port, pages if case[1] == SCAN else calls, tasks), cases, repeats)
    return [
        {
            "call": call,
            "peer": peer,
            "CPU µs a call": 1e6 * median(taken),
            "min-max": spread([1e6 * each for each in taken], 0),
            "/ SDK": median(taken) / median(samples["SDK", call]),
        }
        for (peer, call), taken in samples.items()
    ]


if __name__ == "__main__":
    main(calling)
