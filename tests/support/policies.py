"""Templates for an emulated AWS that enforces policies, and the denials in its logs."""

import re
from pathlib import Path

import boto3

from fanfold._stack.emulator import LocalStack


def over_http(template: Path, target: Path) -> Path:
    """Write a template without the policies that deny HTTP, which the emulator uses.

    The emulator checks a separate action for batch calls, where AWS accepts ``sqs:SendMessage``, and the same holds for
    two other actions: they become ``sqs:SendMessage*``. State machines next to the template are copied with a lower
    ``MaxConcurrency``, since the emulator starts a process per item.
    """
    text = template.read_text()
    text = re.sub(r"^  \w+Policy:\n    Type: AWS::(?:SQS|S3)::(?:.+\n|\n(?=   ))+", "", text, flags=re.MULTILINE)
    assert "aws:SecureTransport" not in text
    text = re.sub(r'sqs:(SendMessage|DeleteMessage|ChangeMessageVisibility)(?=["\s])', r"sqs:\1*", text)
    target.write_text(text)
    for machine in (template.parent / "statemachine").glob("*.asl.json"):
        copy = target.parent / "statemachine" / machine.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(re.sub(r'"MaxConcurrency": [1-9]\d*', '"MaxConcurrency": 2', machine.read_text()))
    return target


def logged(stack: LocalStack, name: str) -> list[str]:
    """Return the log messages of the functions of a deployment."""
    logs = boto3.client("logs", **stack.client_settings)
    pages = logs.get_paginator("describe_log_groups").paginate()
    names = [group["logGroupName"] for page in pages for group in page["logGroups"]]
    groups = [group for group in names if f"/{name}/" in group]
    return [event["message"] for group in groups for event in logs.filter_log_events(logGroupName=group)["events"]]


def denials(stack: LocalStack, name: str) -> list[str]:
    """Return the log messages about missing permissions."""
    messages = logged(stack, name)
    assert messages
    return [message for message in messages if re.search("not authorized|AccessDenied", message)]
