"""Log groups of CloudWatch Logs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fanfold._ports.logs import LogLine
from fanfold.aws.clients import FEW_CALLS, client_of
from fanfold.aws.faults import map_errors


class CloudWatchLogGroups:
    """Log groups, over an aiobotocore client of CloudWatch Logs."""

    def __init__(self, client: Any, groups: Sequence[str]) -> None:
        self._client = client
        self._groups = groups

    async def search(
        self, begin: float, end: float, *, text: str | None = None, stream: str | None = None
    ) -> AsyncIterator[LogLine]:
        """Yield the lines of a time: those that contain a text, or those of a log stream."""
        for group in self._groups:
            request: dict[str, Any] = {
                "logGroupName": group,
                "startTime": int(begin * 1_000),
                "endTime": int(end * 1_000) + 1,
            }
            if text is not None:
                request["filterPattern"] = json.dumps(text)
            if stream is not None:
                if not await self._has_stream(group, stream):
                    continue
                request["logStreamNames"] = [stream]
            async for event in self._events(group, request):
                yield LogLine(
                    event["timestamp"] / 1_000,
                    event.get("message", "").rstrip("\n"),
                    group,
                    event["logStreamName"],
                    event.get("eventId", ""),
                )

    async def _events(self, group: str, request: dict[str, Any]) -> AsyncIterator[Any]:
        while True:
            with map_errors(f"log group {group}"):
                response = await self._client.filter_log_events(**request)
            for event in response.get("events", []):
                yield event
            if not response.get("nextToken"):
                return
            request = {**request, "nextToken": response["nextToken"]}

    async def _has_stream(self, group: str, stream: str) -> bool:
        with map_errors(f"log group {group}"):
            response = await self._client.describe_log_streams(logGroupName=group, logStreamNamePrefix=stream, limit=1)
        return bool(response.get("logStreams"))


@asynccontextmanager
async def open_log_groups(groups: Sequence[str]) -> AsyncIterator[CloudWatchLogGroups]:
    """Yield log groups of these names.

    Raises:
        ConfigurationError: If no region is set.
    """
    async with client_of("logs", "CloudWatch Logs", FEW_CALLS) as client:
        yield CloudWatchLogGroups(client, groups)
