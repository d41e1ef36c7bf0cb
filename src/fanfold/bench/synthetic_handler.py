"""The synthetic handler: it decodes a record's body, and waits as if it called a service."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import fanfold

LATENCY_VARIABLE = "FANFOLD_BENCH_LATENCY_SECONDS"


@fanfold.consumer
async def handler(body: dict[str, Any]) -> None:
    """Wait for the time in ``FANFOLD_BENCH_LATENCY_SECONDS``."""
    del body
    await asyncio.sleep(float(os.environ.get(LATENCY_VARIABLE, "0")))
