"""Backend ports that fail at a chosen operation, and a notifier that records notifications."""

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fanfold._ports.queue import Message, Refusal
from fanfold.errors import ServiceError
from fanfold.inmemory import InMemoryQueue

Hostile = Callable[[str], None]
"""A function that is called with the operation before and after it; raising makes the operation fail there."""


class Scripted:
    """A backend port that calls a gate before and after each operation."""

    def __init__(self, port: Any, gate: Hostile) -> None:
        self._port = port
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._port, name)
        if name in {"attempts", "hops", "list", "markers", "read"}:

            async def yielding(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                self._gate(f"before {name}")
                async for item in operation(*args, **kwargs):
                    yield item

            return yielding

        async def gated(*args: Any, **kwargs: Any) -> Any:
            self._gate(f"before {name}")
            result = await operation(*args, **kwargs)
            self._gate(f"after {name}")
            return result

        return gated if inspect.iscoroutinefunction(operation) else operation


class FailsAt:
    """A gate that fails at the given call numbers, and records all calls."""

    def __init__(self, *numbers: int, error: Exception | None = None) -> None:
        self.numbers = set(numbers)
        self.error = error or throttled()
        self.seen: list[str] = []

    def __call__(self, operation: str) -> None:
        self.seen.append(operation)
        if len(self.seen) - 1 in self.numbers:
            raise self.error


class RefusingQueue(InMemoryQueue):
    """A queue that refuses every message."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Refuse every message permanently."""
        return [Refusal(position, "refused", final=True) for position in range(len(messages))]


class RecordingNotifier:
    """A notifier that records notifications."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []

    async def publish(self, subject: str, body: str) -> None:
        self.published.append((subject, body))


class FailingNotifier(RecordingNotifier):
    """A notifier whose first calls fail."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def publish(self, subject: str, body: str) -> None:
        if self.failures:
            self.failures -= 1
            raise throttled()
        await super().publish(subject, body)


def throttled() -> ServiceError:
    return ServiceError("slow down", code="ThrottlingException", transient=True)
