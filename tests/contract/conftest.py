"""Backends that the contract tests run against: in memory, and on AWS."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiobotocore.session import AioSession, get_session
from aws_lambda_powertools.utilities import batch as theirs

from buckets import Bucket
from fanfold import powertools as ours
from fanfold._ports.ledger import Ledger
from fanfold.aws.backend import config_of
from fanfold.aws.s3 import S3Store
from fanfold.aws.tables import with_raw_items
from fanfold.inmemory import InMemoryLedger, InMemoryStore
from ledgers import RUN, dynamodb_ledger
from on_aws import AWS
from powertools_kinds import Kind


@pytest.fixture(scope="module")
def session() -> AioSession:
    """An SDK session per module, since loading service descriptions is slow."""
    return get_session()


@pytest.fixture(params=["in-process", AWS])
async def bucket(request, session) -> AsyncIterator[Bucket]:
    name = f"bucket-{uuid.uuid4().hex}"
    if request.param == "in-process":
        yield Bucket(InMemoryStore(name), name)
        return
    request.getfixturevalue("aws")
    async with session.create_client("s3", verify=False) as client:
        await client.create_bucket(Bucket=name)
        sizes = {"copy_bytes": 6_000_000, "part_bytes": 5_242_880, "upload_bytes": 5_242_880}
        yield Bucket(S3Store(client, page_keys=3, **sizes), name)


@pytest.fixture(scope="module")
def raw_session() -> AioSession:
    """The session of a ledger, whose clients return items as DynamoDB's JSON."""
    return with_raw_items(get_session())


@pytest.fixture(params=["in-process", AWS])
async def ledger(request, raw_session) -> AsyncIterator[Ledger]:
    if request.param == "in-process":
        yield InMemoryLedger()
        return
    request.getfixturevalue("aws")
    async with raw_session.create_client("dynamodb", verify=False, config=config_of("dynamodb")) as client:
        yield await dynamodb_ledger(client)


@pytest.fixture
async def fence(ledger) -> int:
    """The fence of a claim to the fold of the new run "run-1": from 1,000 s, with a lease of 60 s."""
    await ledger.open_run(RUN)
    claimed = await ledger.claim("run-1", now=1000.0, lease_seconds=60.0)
    assert claimed == 1
    return claimed


@pytest.fixture(params=[theirs, ours], ids=["powertools", "fanfold"])
def batch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Powertools' batch module, and fanfold's drop-in replacement."""
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield request.param
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(params=["plain", "async"])
def kind(request: pytest.FixtureRequest, batch: Any) -> Kind:
    return Kind(batch, request.param)
