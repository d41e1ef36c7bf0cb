"""The backend of a deployed job, from its environment."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from fanfold._ports.backend import Backend
from fanfold.aws.dynamodb import DynamoDBLedger
from fanfold.aws.faults import faults_of
from fanfold.aws.s3 import S3Store
from fanfold.aws.sqs import SqsQueue
from fanfold.aws.tables import DynamoDBTables, with_raw_items
from fanfold.errors import ConfigurationError

_CONFIG: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "read_timeout": 30,
    "max_pool_connections": 64,
    "retries": {"mode": "standard", "max_attempts": 5},
}
_NAMES: Final = ("QUEUE_URL", "FOLD_QUEUE_URL", "QUARANTINE_QUEUE_URL", "LEDGER_TABLE", "RESULTS_BUCKET")


def config_of(service: str) -> AioConfig:
    """Return how the client of a service works: its timeouts, its connections, and how often it tries.

    What is sent to SQS is made by ``SqsQueue`` alone; that the SDK looks it through takes a tenth of a scatter's time.
    """
    return AioConfig(**_CONFIG, parameter_validation=service != "sqs")


@asynccontextmanager
async def from_environment(*, sources_only: bool = False) -> AsyncIterator[Backend]:
    """Open a backend on AWS, as the ``FANFOLD_…`` variables of the environment name it; see ``connect``.

    With ``sources_only`` none of them is needed: what is missing is a name of nothing; nor is a region, until something
    on AWS is asked for.
    """
    stand_ins = {f"FANFOLD_{name}": "not-needed" for name in _NAMES} if sources_only else {}
    async with AsyncExitStack() as stack:
        try:
            backend = await stack.enter_async_context(connect({**stand_ins, **os.environ}))
        except ConfigurationError as error:
            if not sources_only:
                raise
            nowhere: Any = _Unreachable(error)
            backend = Backend(nowhere, nowhere, nowhere, nowhere, nowhere, nowhere, "not-needed")
        yield backend


class _Unreachable:
    """What would be on AWS, had it been said how to get there: says so when it is asked for something."""

    def __init__(self, error: ConfigurationError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@asynccontextmanager
async def connect(variables: Mapping[str, str], **client: Any) -> AsyncIterator[Backend]:
    """Yield a backend on AWS.

    Args:
        variables: Names of the queues, the table and the bucket, as in the environment of a job's functions.
        client: Credentials, region and endpoint for the SDK's clients, where they are not the SDK's usual ones.

    Raises:
        ConfigurationError: If a variable is missing, or there is no region.
    """
    names = {name: _variable(variables, f"FANFOLD_{name}") for name in _NAMES}
    session = with_raw_items(get_session())
    async with AsyncExitStack() as stack:
        with faults_of("AWS"):
            sqs, dynamodb, s3 = [
                await stack.enter_async_context(session.create_client(service, config=config_of(service), **client))
                for service in ("sqs", "dynamodb", "s3")
            ]
        yield Backend(
            work_queue=SqsQueue(sqs, names["QUEUE_URL"]),
            fold_queue=SqsQueue(sqs, names["FOLD_QUEUE_URL"]),
            quarantine_queue=SqsQueue(sqs, names["QUARANTINE_QUEUE_URL"]),
            ledger=DynamoDBLedger(dynamodb, names["LEDGER_TABLE"]),
            store=S3Store(s3),
            tables=DynamoDBTables(dynamodb),
            notifier=_notifier(variables, partial(session.create_client, "sns", config=config_of("sns"), **client)),
            results_bucket=names["RESULTS_BUCKET"],
        )


def _notifier(variables: Mapping[str, str], open_client: Callable[[], Any]) -> SnsNotifier | None:
    topic = variables.get("FANFOLD_NOTIFICATION_TOPIC_ARN")
    return SnsNotifier(open_client, topic) if topic else None


def _variable(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name)
    if not value:
        raise ConfigurationError(
            f"the environment variable {name} is not set: a job's functions and the commands that look at one need it; "
            "fanfold env STACK prints it, fanfold local --job FOLDER -- COMMAND sets it"
        )
    return value


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
