"""Templates for an emulated AWS that enforces policies, and what it has refused."""

import re
from pathlib import Path

import boto3

from fanfold._stack.emulator import LocalStack


def over_http(template: Path, target: Path) -> Path:
    """Write a template without what refuses plain HTTP, which the emulator speaks.

    The emulator looks for an action of its own where AWS takes ``sqs:SendMessage`` for the batch call too, and likewise
    with the other two: they are given as ``sqs:SendMessage*``. State machines beside it are copied, with fewer items at
    once: each of these is a process here, and its start costs more than its work.
    """
    text = template.read_text()
    text = re.sub(r"^  \w+Policy:\n    Type: AWS::(?:SQS|S3)::(?:.+\n|\n(?=   ))+", "", text, flags=re.MULTILINE)
    assert "aws:SecureTransport" not in text
    text = re.sub(r'sqs:(SendMessage|DeleteMessage|ChangeMessageVisibility)(?=["\s])', r"sqs:\1*", text)
    target.write_text(text)
    for machine in (template.parent / "statemachine").glob("*.asl.json"):
        copy = target.parent / "statemachine" / machine.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(re.sub(r'"MaxConcurrency": [1-9]\d*', '"MaxConcurrency": 3', machine.read_text()))
    return target


def logged(stack: LocalStack, name: str) -> list[str]:
    """Return what the functions of one deployment have logged."""
    logs = boto3.client("logs", **stack.client_settings)
    pages = logs.get_paginator("describe_log_groups").paginate()
    names = [group["logGroupName"] for page in pages for group in page["logGroups"]]
    groups = [each for each in names if f"/{name}/" in each]
    return [event["message"] for group in groups for event in logs.filter_log_events(logGroupName=group)["events"]]


def denials(stack: LocalStack, name: str) -> list[str]:
    """Return what they logged of permissions they do not have."""
    messages = logged(stack, name)
    assert messages
    return [message for message in messages if re.search("not authorized|AccessDenied", message)]
