"""A counterexample: send all orders of a batch concurrently, each on its own connection. File descriptors run out."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import aiohttp


async def put(record: dict[str, Any]) -> None:
    """Put one order."""
    order = json.loads(record["body"])
    async with (
        aiohttp.ClientSession(os.environ["SHOP_URL"]) as session,
        session.put(f"/orders/{order['order']}", json=order) as response,
    ):
        response.raise_for_status()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Put all orders of a batch; report those that failed."""

    async def put_all() -> list[BaseException | None]:
        return await asyncio.gather(*map(put, event["Records"]), return_exceptions=True)

    outcomes = asyncio.run(put_all())
    if errors := [error for error in outcomes if error is not None]:
        print(f"{len(errors)} orders failed, the last one with {errors[-1]}")  # noqa: T201 - goes to the log
    failed = [record for record, error in zip(event["Records"], outcomes, strict=True) if error is not None]
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}
