"""Fixtures of the integration tests: a separate emulated AWS, and a bucket with data."""

import gzip
import uuid
from collections.abc import Iterator

import boto3
import pytest

from command import FLIGHTS
from fanfold._stack.emulator import LocalStack, local_stack


@pytest.fixture(scope="module")
def own_stack() -> Iterator[LocalStack]:
    """An emulated AWS that nothing else deploys to."""
    with local_stack() as stack:
        yield stack


@pytest.fixture
def bucket(aws) -> str:
    """A bucket with the flights of January 2013, uncompressed."""
    s3, name = boto3.client("s3"), f"flights-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    data = gzip.decompress((FLIGHTS / "flights-2013-01.csv.gz").read_bytes())
    s3.put_object(Bucket=name, Key="flights.csv", Body=data)
    return name
