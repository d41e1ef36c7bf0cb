"""The handler that is measured when there is none yet: it decodes a record's body, and waits as a service makes it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import fanfold

LATENCY_VARIABLE = "FANFOLD_BENCH_LATENCY_SECONDS"


@fanfold.consumer
async def handler(body: dict[str, Any]) -> None:
    """Wait as long as ``FANFOLD_BENCH_LATENCY_SECONDS`` says."""
    del body
    await asyncio.sleep(float(os.environ.get(LATENCY_VARIABLE, "0")))
