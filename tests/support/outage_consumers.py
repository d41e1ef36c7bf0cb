"""Consumers with breakers whose service a test turns off and on, and batches for them."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import fanfold
from fanfold import BatchResult
from fanfold.testing import make_context, make_event, make_fifo_record, make_record
from recorded_outage import START, DownError, Outage


class Service:
    """A service that handlers call: it is down, raises another error, or succeeds; and notes the calls."""

    def __init__(self, *, is_down: bool = True) -> None:
        self.error: Exception | None = DownError("down") if is_down else None
        self.calls: list[Any] = []
        self.running = 0
        self.in_flight: list[int] = []
        """Number of calls that run, at the start of each."""
        self._lock = threading.Lock()

    def begin(self, body: Any) -> None:
        with self._lock:
            self.running += 1
            self.calls.append(body)
            self.in_flight.append(self.running)

    def end(self) -> None:
        with self._lock:
            self.running -= 1
        if self.error is not None:
            raise self.error

    async def call(self, body: Any) -> None:
        self.begin(body)
        for _ in range(5):
            await asyncio.sleep(0)
        self.end()

    def call_here(self, body: Any) -> None:
        self.begin(body)
        self.end()

    def recover(self) -> None:
        self.error = None


def consumer_of(call: Callable[[Any], Any], outage: Outage, breaker: Any, **settings: Any) -> Any:
    """Return a consumer that calls a function with each body: ``async def`` or ``def``, as the function is."""
    settings = {"concurrency": 10, "settler": outage.settler, "breaker": breaker, **settings}
    if inspect.iscoroutinefunction(call):

        @fanfold.consumer(**settings)
        async def handler(body: Any) -> None:
            await call(body)

    else:

        @fanfold.consumer(**settings)
        def handler(body: Any) -> None:
            call(body)

    return handler


def batch(count: int, receive_count: int = 1, first: int = 0, **settings: Any) -> dict[str, Any]:
    """Return a batch of messages that were sent at the start of the test."""
    numbers = range(first, first + count)
    return make_event(records=[message(number, receive_count, **settings) for number in numbers])


def message(number: int, receive_count: int = 1, **settings: Any) -> dict[str, Any]:
    attributes = {"SentTimestamp": str(round(START * 1_000))}
    return make_record(number, message_id=f"m{number}", receive_count=receive_count, attributes=attributes, **settings)


def fifo_batch(*groups: str, receive_count: int = 1) -> dict[str, Any]:
    """Return a batch of a FIFO queue, with one message for each group."""
    return make_event(
        records=[
            make_fifo_record(number, group=group, message_id=f"m{number}", receive_count=receive_count)
            for number, group in enumerate(groups)
        ]
    )


def invoke(handler: Any, event: dict[str, Any], seconds: float = 20) -> BatchResult:
    return handler.invoke(event, make_context(seconds))


def open_by_failures(handler: Any, service: Service) -> None:
    """Open the breaker of a consumer by a first batch of five messages."""
    service.error = DownError("down")
    invoke(handler, batch(5, first=100))
    service.calls.clear()
    service.in_flight.clear()
