"""Idempotency entries of a replay: kept in memory by its process, and used by the handler's process over HTTP.

So a replay writes nothing to the table that production reads, and entries outlast a handler's process that is killed,
as they do on AWS.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from typing import Any, Final, TypeVar

from fanfold._ports.idempotency import Entry
from fanfold.errors import ServiceError
from fanfold.inmemory.tables import InMemoryEntries

TARGET: Final = "FanfoldEntries"
"""The service in the header ``X-Amz-Target``."""
_TIMEOUT_SECONDS: Final = 30.0

_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the endpoint is on this machine

T = TypeVar("T")


class KeptEntries:
    """The entries, as a service: each action is a method of ``EntryStore`` with JSON arguments and a JSON result."""

    def __init__(self) -> None:
        self._entries = InMemoryEntries()

    def respond(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run an action; return its result.

        Raises:
            KeyError: If the action or an argument is unknown.
        """
        if action == "read":
            return {"entries": [asdict(entry) for entry in _result(self._entries.read(request["keys"]))]}
        if action == "claim":
            existing = _result(self._entries.claim(Entry(**request["entry"]), request["now"]))
            return {"existing": None if existing is None else asdict(existing)}
        if action == "complete":
            return {"refused": [*_result(self._entries.complete([Entry(**entry) for entry in request["entries"]]))]}
        if action == "release":
            _result(self._entries.release(request["key"], request["owner"]))
            return {}
        raise KeyError(action)


def _result(call: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits, as those of the in-memory store."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("the store has waited")


class RemoteEntries:
    """The entries that the replay keeps, from the handler's process.

    Args:
        url: The endpoint of the replay.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    async def read(self, keys: Sequence[str]) -> Sequence[Entry]:
        """Return the entries of these keys."""
        return [Entry(**entry) for entry in (await self._call("read", keys=list(keys)))["entries"]]

    async def claim(self, entry: Entry, now: float) -> Entry | None:
        """Write an entry unless its key is completed or claimed; return the existing entry."""
        existing = (await self._call("claim", entry=asdict(entry), now=now))["existing"]
        return None if existing is None else Entry(**existing)

    async def complete(self, entries: Sequence[Entry]) -> Collection[int]:
        """Write entries unconditionally; return the positions of those not written."""
        refused: list[int] = (await self._call("complete", entries=[asdict(entry) for entry in entries]))["refused"]
        return refused

    async def release(self, key: str, owner: str) -> None:
        """Delete an entry if it is in progress and has this owner."""
        await self._call("release", key=key, owner=owner)

    async def _call(self, action: str, **arguments: Any) -> Any:
        headers = {"Content-Type": "application/json", "X-Amz-Target": f"{TARGET}.{action}"}
        request = urllib.request.Request(self._url, json.dumps(arguments).encode(), headers)  # noqa: S310 - our endpoint
        return await asyncio.to_thread(_sent, request)


def _sent(request: urllib.request.Request) -> Any:
    try:
        with _OPENER.open(request, timeout=_TIMEOUT_SECONDS) as response:
            return json.load(response)
    except OSError as error:
        raise ServiceError(f"the replay's idempotency entries: {error}", code="Replay", transient=False) from error


def entries_at(url: str) -> Callable[[], AbstractAsyncContextManager[RemoteEntries]]:
    """Return a function that opens the entries that the replay at this URL keeps."""

    @asynccontextmanager
    async def open_entries() -> AsyncIterator[RemoteEntries]:
        yield RemoteEntries(url)

    return open_entries
