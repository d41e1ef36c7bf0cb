"""A handler with a client of the AWS SDK for Python, which ``processes.py`` measures in worker processes."""

from typing import Any

import boto3

import fanfold

sqs = boto3.client("sqs", region_name="us-east-1")


@fanfold.consumer(processes=1)
def quick(order: dict[str, Any]) -> None:
    """Do nothing with a decoded body."""
