"""The backend of a deployed job, from its environment variables."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from fanfold._ports.backend import Backend
from fanfold.aws.clients import reseed_after_restore
from fanfold.aws.dynamodb import DynamoDBLedger
from fanfold.aws.fast_calls import FastSession
from fanfold.aws.faults import map_errors
from fanfold.aws.notifiers import notifier_of
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
    """Return the configuration of a service's client: timeouts, connections, and attempts.

    SQS requests are not validated: only ``SqsQueue`` builds them, and validation takes a tenth of a scatter's time.
    """
    return AioConfig(**_CONFIG, parameter_validation=service != "sqs", http_session_cls=FastSession)


@asynccontextmanager
async def from_environment(*, sources_only: bool = False) -> AsyncIterator[Backend]:
    """Open the backend on AWS that the ``FANFOLD_…`` environment variables name; see ``connect``.

    With ``sources_only``, the variables are optional, and a missing region raises only when AWS is first called.
    """
    placeholders = {f"FANFOLD_{name}": "not-needed" for name in _NAMES} if sources_only else {}
    async with AsyncExitStack() as stack:
        try:
            backend = await stack.enter_async_context(connect({**placeholders, **os.environ}))
        except ConfigurationError as error:
            if not sources_only:
                raise
            stub: Any = _Unavailable(error)
            backend = Backend(stub, stub, stub, stub, stub, stub, "not-needed")
        yield backend


class _Unavailable:
    """A stub for an AWS component that could not be configured: raises the configuration error on first use."""

    def __init__(self, error: ConfigurationError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@asynccontextmanager
async def connect(variables: Mapping[str, str], **client: Any) -> AsyncIterator[Backend]:
    """Yield a backend on AWS.

    Args:
        variables: Environment variables that name the queues, the table and the bucket, as a job's functions have.
        client: Credentials, region and endpoint of the SDK's clients; by default, the SDK's usual ones.

    Raises:
        ConfigurationError: If a variable is missing, or no region is set.
    """
    names = {name: _variable(variables, f"FANFOLD_{name}") for name in _NAMES}
    session = with_raw_items(get_session())
    reseed_after_restore()
    async with AsyncExitStack() as stack:
        with map_errors("AWS"):
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
            notifier=notifier_of(
                variables, lambda service: session.create_client(service, config=config_of(service), **client)
            ),
            results_bucket=names["RESULTS_BUCKET"],
        )


def _variable(variables: Mapping[str, str], name: str) -> str:
    value = variables.get(name)
    if not value:
        raise ConfigurationError(
            f"the environment variable {name} is not set: a job's functions and the commands for jobs need it; "
            "`fanfold env STACK` prints it, `fanfold local --job FOLDER -- COMMAND` sets it"
        )
    return value
