"""Notifications by SNS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fanfold.aws.faults import faults_of


class SnsNotifier:
    """Publishes to a topic; its client is made at the first notification, which most invocations never see."""

    def __init__(self, open_client: Callable[[], AbstractAsyncContextManager[Any]], topic_arn: str) -> None:
        self._open_client = open_client
        self._topic_arn = topic_arn

    async def publish(self, subject: str, body: str) -> None:
        """Publish to the topic."""
        with faults_of(f"topic {self._topic_arn}"):
            async with self._open_client() as client:
                await client.publish(TopicArn=self._topic_arn, Subject=subject, Message=body)
