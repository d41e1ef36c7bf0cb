"""A dead-letter queue on SQS: its source queues, and the queues that its messages are sent back to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fanfold.aws.faults import map_errors
from fanfold.aws.sqs import SqsQueue, open_client, open_queue
from fanfold.errors import ConfigurationError, ServiceError

_NOT_SUPPORTED: Final = frozenset({"InvalidAction", "UnknownOperationException", "UnsupportedOperation"})
_MOST_QUEUES: Final = 1_000
_ARN_PARTS: Final = 6


class DeadLetterQueues:
    """A dead-letter queue, and other queues by name, ARN or URL."""

    def __init__(self, client: Any, queue: SqsQueue) -> None:
        self.queue = queue
        """The dead-letter queue."""
        self._client = client

    async def open(self, name: str) -> SqsQueue:
        """Return a queue.

        Raises:
            ConfigurationError: If it does not exist, is in another Region, or access is denied.
        """
        return await open_queue(self._client, await _url_of(self._client, name))

    async def has_policy(self) -> bool:
        """Return whether the dead-letter queue has a redrive policy itself."""
        return bool((await self._policy(self.queue.url))[1])

    async def sources(self) -> Sequence[str] | None:
        """Return the ARNs of the queues whose redrive policies name this queue; None if they cannot be listed."""
        try:
            urls = await self._source_urls()
        except ConfigurationError:  # no permission
            return None
        except ServiceError as error:
            if error.code not in _NOT_SUPPORTED:
                raise
            return await self._sources_by_policies()
        return [(await open_queue(self._client, url)).arn for url in urls]

    async def _source_urls(self) -> list[str]:
        urls: list[str] = []
        page: dict[str, Any] = {}
        while True:
            with map_errors(f"queue {self.queue.url}"):
                response = await self._client.list_dead_letter_source_queues(
                    QueueUrl=self.queue.url, MaxResults=_MOST_QUEUES, **page
                )
            urls += response.get("queueUrls", [])
            if not response.get("NextToken"):
                return urls
            page = {"NextToken": response["NextToken"]}

    async def _sources_by_policies(self) -> Sequence[str]:
        """Read the redrive policy of each queue, on a service that cannot list the source queues, such as MiniStack."""
        with map_errors("SQS"):
            urls = (await self._client.list_queues(MaxResults=_MOST_QUEUES)).get("QueueUrls", [])
        sources = []
        for url in urls:
            arn, policy = await self._policy(url)
            if policy.get("deadLetterTargetArn") == self.queue.arn:
                sources.append(arn)
        return sources

    async def _policy(self, url: str) -> tuple[str, dict[str, Any]]:
        """Return the ARN and the redrive policy of a queue; an empty one if it has none."""
        names = ["QueueArn", "RedrivePolicy"]
        with map_errors(f"queue {url}"):
            response = await self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        attributes = response.get("Attributes", {})
        return str(attributes.get("QueueArn", "")), json.loads(attributes.get("RedrivePolicy") or "{}")


@asynccontextmanager
async def open_dead_letters(name: str, region: str | None) -> AsyncIterator[DeadLetterQueues]:
    """Yield the dead-letter queue of this name, ARN or URL.

    Raises:
        ConfigurationError: If it does not exist, is in another Region, or access is denied.
        ServiceError: If SQS does not respond.
    """
    async with open_client(region) as client:
        yield DeadLetterQueues(client, await open_queue(client, await _url_of(client, name)))


async def _url_of(client: Any, name: str) -> str:
    if "://" in name:
        return name
    account: dict[str, str] = {}
    queue_name = name
    if name.startswith("arn:"):
        parts = name.split(":")
        if len(parts) != _ARN_PARTS or parts[2] != "sqs" or not all(parts):
            raise ConfigurationError(f"{name} is not the ARN of a queue")
        if parts[3] != client.meta.region_name:
            raise ConfigurationError(f"queue {name} is not in {client.meta.region_name}: add --region {parts[3]}")
        account, queue_name = {"QueueOwnerAWSAccountId": parts[4]}, parts[5]
    with map_errors(f"queue {name}"):
        response = await client.get_queue_url(QueueName=queue_name, **account)
    return str(response["QueueUrl"])
