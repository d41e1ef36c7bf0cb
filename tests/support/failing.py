"""Ports of a backend that fail where a test says, and a notifier that keeps what it was told."""

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fanfold._ports.queue import Message, Refusal
from fanfold.errors import ServiceError
from fanfold.inmemory import InMemoryQueue

Hostile = Callable[[str], None]
"""Called with the name of each backend operation before and after it; raises to make it fail there."""


class Scripted:
    """A backend port whose every operation passes a gate before it happens, and another after it has."""

    def __init__(self, port: Any, gate: Hostile) -> None:
        self._port = port
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._port, name)
        if name in {"hops", "list", "markers", "read"}:

            async def yielding(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                self._gate(f"before {name}")
                async for each in operation(*args, **kwargs):
                    yield each

            return yielding

        async def gated(*args: Any, **kwargs: Any) -> Any:
            self._gate(f"before {name}")
            answer = await operation(*args, **kwargs)
            self._gate(f"after {name}")
            return answer

        return gated if inspect.iscoroutinefunction(operation) else operation


class FailsAt:
    """A gate that fails the calls of these numbers, before or after they had their effect; it knows all it has seen."""

    def __init__(self, *numbers: int, error: Exception | None = None) -> None:
        self.numbers = set(numbers)
        self.error = error or throttled()
        self.seen: list[str] = []

    def __call__(self, operation: str) -> None:
        self.seen.append(operation)
        if len(self.seen) - 1 in self.numbers:
            raise self.error


class RefusingQueue(InMemoryQueue):
    """Accepts no message."""

    async def send(self, messages: Sequence[Message]) -> Sequence[Refusal]:
        """Refuse every message, as its sender's fault."""
        return [Refusal(position, "refused", final=True) for position in range(len(messages))]


class RecordingNotifier:
    """A notifier that keeps what it was told."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []

    async def publish(self, subject: str, body: str) -> None:
        self.published.append((subject, body))


class FailingNotifier(RecordingNotifier):
    """One that fails a few times first."""

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
