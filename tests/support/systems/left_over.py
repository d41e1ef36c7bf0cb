"""A road to DynamoDB on which a third of each batch of writes is left over, as of a table that is short of capacity."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

_OF_THE_CONNECTION = {"host", "content-length", "transfer-encoding", "connection"}


class LeavesOver:
    """Passes requests on; of a ``BatchWriteItem`` two thirds, and answers that the others are unprocessed."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.most_items = self.accepted = self.left_over = 0
        self._session = session

    async def run_stage(self, request: web.Request) -> web.Response:
        """Answer one request."""
        body, left = await request.read(), dict[str, Any]()
        if request.headers.get("X-Amz-Target", "").endswith(".BatchWriteItem"):
            body, left = self._divided(json.loads(body))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        async with self._session.post("/", data=body, headers=headers) as answer:
            told = await answer.read()
            if left and answer.ok:
                told = json.dumps({**json.loads(told), "UnprocessedItems": left}).encode()
            return web.Response(status=answer.status, body=told, content_type="application/x-amz-json-1.0")

    def _divided(self, asked: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        ((table, writes),) = asked["RequestItems"].items()
        take = -(-2 * len(writes) // 3)
        self.most_items = max(self.most_items, len(writes))
        self.accepted += take
        self.left_over += len(writes) - take
        left = {table: writes[take:]} if writes[take:] else {}
        return json.dumps({**asked, "RequestItems": {table: writes[:take]}}).encode(), left


@asynccontextmanager
async def leaving_over(endpoint_url: str) -> AsyncIterator[LeavesOver]:
    """Serve that road on a free port of this machine, as long as this is open."""
    async with aiohttp.ClientSession(endpoint_url, auto_decompress=False) as session:
        road = LeavesOver(session)
        app = web.Application(client_max_size=0)
        app.add_routes([web.post("/", road.run_stage)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        road.url = f"http://{host}:{port}"
        try:
            yield road
        finally:
            await runner.cleanup()
