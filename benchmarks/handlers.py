"""Three handlers for surfaces.py: one waits for a service, one computes, one needs memory."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

import fanfold
from fanfold import Context

_ROUNDS = 40


@asynccontextmanager
async def one_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client with as many connections as there are handlers."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@fanfold.consumer(lifespan=one_session)
async def waits(body: dict[str, Any], ctx: Context[aiohttp.ClientSession]) -> None:
    """Send one HTTP request for each record and read the response."""
    del body
    async with ctx.state.get(os.environ["FANFOLD_BENCH_URL"]) as response:
        await response.read()


@fanfold.consumer
async def computes(body: str) -> None:
    """Decode the JSON of each record, encode it, and hash the result, many times, to simulate work."""
    for _ in range(_ROUNDS):
        text = json.dumps(json.loads(body), sort_keys=True)
        hashlib.sha256(text.encode()).hexdigest()


@fanfold.consumer
async def holds(body: dict[str, Any]) -> None:
    """Hold 1 MB for each record for 20 ms."""
    held = bytearray(1_000_000)
    await asyncio.sleep(0.020)
    del body, held
