"""A proxy for DynamoDB that leaves a third of each batch of writes unprocessed, as a throttled table does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

_OF_THE_CONNECTION = {"host", "content-length", "transfer-encoding", "connection"}


class UnprocessedProxy:
    """A proxy that forwards requests, but only two thirds of a ``BatchWriteItem``; the others are unprocessed."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.most_items = self.accepted = self.unprocessed = 0
        self._session = session

    async def forward(self, request: web.Request) -> web.Response:
        """Forward one request."""
        body, unprocessed = await request.read(), dict[str, Any]()
        if request.headers.get("X-Amz-Target", "").endswith(".BatchWriteItem"):
            body, unprocessed = self._divided(json.loads(body))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        async with self._session.post("/", data=body, headers=headers) as response:
            response_body = await response.read()
            if unprocessed and response.ok:
                response_body = json.dumps({**json.loads(response_body), "UnprocessedItems": unprocessed}).encode()
            return web.Response(status=response.status, body=response_body, content_type="application/x-amz-json-1.0")

    def _divided(self, content: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        ((table, writes),) = content["RequestItems"].items()
        accepted = -(-2 * len(writes) // 3)
        self.most_items = max(self.most_items, len(writes))
        self.accepted += accepted
        self.unprocessed += len(writes) - accepted
        remaining = {table: writes[accepted:]} if writes[accepted:] else {}
        return json.dumps({**content, "RequestItems": {table: writes[:accepted]}}).encode(), remaining


@asynccontextmanager
async def unprocessed_proxy(endpoint_url: str) -> AsyncIterator[UnprocessedProxy]:
    """Run the proxy on a free local port during the block."""
    async with aiohttp.ClientSession(endpoint_url, auto_decompress=False) as session:
        proxy = UnprocessedProxy(session)
        app = web.Application(client_max_size=0)
        app.add_routes([web.post("/", proxy.forward)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        proxy.url = f"http://{host}:{port}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
