"""Notifications of the end of a run: to an SNS topic, and as an event on an EventBridge event bus.

Clients are created at the first notification, since most invocations send none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeAlias

from fanfold._ports.queue import Notifier
from fanfold.aws.faults import error_from, map_errors

EVENT_SOURCE: Final = "fanfold"
"""The ``source`` of events."""
EVENT_TYPE: Final = "fanfold run ended"
"""The ``detail-type`` of events."""

OpenClient: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]
"""Opens a client of a service."""


def notifier_of(variables: Mapping[str, str], open_client: OpenClient) -> Notifier | None:
    """Return the notifier that environment variables name; None if they name none."""
    notifiers: list[Notifier] = []
    if topic := variables.get("FANFOLD_NOTIFICATION_TOPIC_ARN"):
        notifiers.append(SnsNotifier(open_client, topic))
    if bus := variables.get("FANFOLD_EVENT_BUS_NAME"):
        notifiers.append(EventBusNotifier(open_client, bus))
    return _All(notifiers) if notifiers else None


class _All:
    """Several notifiers. If one fails, all are repeated: a notification is sent at least once."""

    def __init__(self, notifiers: Sequence[Notifier]) -> None:
        self._notifiers = notifiers

    async def publish(self, subject: str, body: str) -> None:
        """Publish to all."""
        for notifier in self._notifiers:
            await notifier.publish(subject, body)


class SnsNotifier:
    """An SNS topic."""

    def __init__(self, open_client: OpenClient, topic_arn: str) -> None:
        self._open_client = open_client
        self._topic_arn = topic_arn

    async def publish(self, subject: str, body: str) -> None:
        """Publish to the topic."""
        with map_errors(f"topic {self._topic_arn}"):
            async with self._open_client("sns") as client:
                await client.publish(TopicArn=self._topic_arn, Subject=subject, Message=body)


class EventBusNotifier:
    """An event bus; the body of a notification is the ``detail`` of the event."""

    def __init__(self, open_client: OpenClient, name: str) -> None:
        self._open_client = open_client
        self._name = name

    async def publish(self, subject: str, body: str) -> None:  # noqa: ARG002 - an event has no subject
        """Put an event on the bus."""
        event = {"EventBusName": self._name, "Source": EVENT_SOURCE, "DetailType": EVENT_TYPE, "Detail": body}
        with map_errors(f"event bus {self._name}"):
            async with self._open_client("events") as client:
                response = await client.put_events(Entries=[event])
        for entry in response.get("Entries", []):
            if code := entry.get("ErrorCode"):
                raise error_from(code, str(entry.get("ErrorMessage", "")), f"event bus {self._name}")
