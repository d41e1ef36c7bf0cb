"""Fixtures of the integration tests: a separate emulated AWS, and a bucket with data."""

import gzip
import uuid
from collections.abc import Iterator

import boto3
import pytest

import sam
from command import FLIGHTS
from fanfold._stack.emulator import LocalStack, local_stack
from shared_stack import shared_stack


@pytest.fixture(scope="module")
def own_stack() -> Iterator[LocalStack]:
    """An emulated AWS that nothing else deploys to."""
    with local_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The emulated AWS of all tests on which a function may do what its role allows, and no more.

    Its state machines wait a hundredth of the time between two tries.
    """
    with shared_stack(tmp_path_factory.getbasetemp(), "strict", enforce_policies=True, wait_share=0.01) as running:
        yield running


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which pip installs fanfold and its dependencies from files, collected once for all builds."""
    return sam.wheels(tmp_path_factory.getbasetemp())


@pytest.fixture
def bucket(aws) -> str:
    """A bucket with the flights of January 2013, uncompressed."""
    s3, name = boto3.client("s3"), f"flights-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    data = gzip.decompress((FLIGHTS / "flights-2013-01.csv.gz").read_bytes())
    s3.put_object(Bucket=name, Key="flights.csv", Body=data)
    return name
