"""Send orders to a shop by HTTP: ten thousand in one batch, a hundred concurrently."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

import fanfold


@asynccontextmanager
async def shop() -> AsyncIterator[aiohttp.ClientSession]:
    """Open one session per execution environment, whose connections are reused across orders and batches.

    The session has no connection limit (aiohttp's default is 100), so that only the consumer limits the concurrent
    requests, and ``fanfold bench`` can try more.
    """
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(os.environ["SHOP_URL"], connector=connector) as session:
        yield session


@fanfold.consumer(
    concurrency=100,  # under the execution environment's 1,024 descriptors; FANFOLD_CONCURRENCY overrides it
    timeout=5,  # seconds for one order
    backoff=fanfold.Backoff(base=10, cap=900),
    lifespan=shop,
)
async def handler(order: dict[str, Any], ctx: fanfold.Context[aiohttp.ClientSession]) -> None:
    """Put one order under its number, so that a repeated request has no effect."""
    async with ctx.state.put(f"/orders/{order['order']}", json=order) as response:
        if response.status == 422:  # noqa: PLR2004 - the shop will never accept it
            raise fanfold.Reject(f"order {order['order']}: {await response.text()}")
        response.raise_for_status()
