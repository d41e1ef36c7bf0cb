"""What the policies of a template allow a function to do with a queue: yes, no, or not known.

Deny statements and conditions of statements are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fanfold.check.unresolved import STACK_NAME, Reference, Text, Unresolved, sole, split
from fanfold.check.values import Grant, Permissions, Queue

_NOTHING: Final[tuple[str, ...]] = ()

MANAGED: Final[Mapping[str, tuple[str, ...]]] = {
    "AWSLambdaBasicExecutionRole": _NOTHING,
    "AWSLambdaDynamoDBExecutionRole": _NOTHING,
    "AWSLambdaENIManagementAccess": _NOTHING,
    "AWSLambdaKinesisExecutionRole": _NOTHING,
    "AWSLambdaMSKExecutionRole": _NOTHING,
    "AWSLambdaRole": _NOTHING,
    "AWSLambdaSQSQueueExecutionRole": ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
    "AWSLambdaVPCAccessExecutionRole": _NOTHING,
    "AWSXRayDaemonWriteAccess": _NOTHING,
    "AWSXrayWriteOnlyAccess": _NOTHING,
    "AmazonSQSFullAccess": ("sqs:*",),
    "AmazonSQSReadOnlyAccess": ("sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:ListQueues"),
    "AdministratorAccess": ("*",),
    "CloudWatchLambdaInsightsExecutionRolePolicy": _NOTHING,
    "PowerUserAccess": ("*",),
}
"""What AWS's own policies that consumers have allow on any queue (AWS managed policy reference)."""


def grants_of(document: Any) -> tuple[Grant, ...]:
    """Return what the allowing statements of a policy document grant; functions in it are worked out already."""
    statements = document.get("Statement") if isinstance(document, Mapping) else None
    found = []
    for each in statements if isinstance(statements, list) else [statements]:
        if not isinstance(each, Mapping) or each.get("Effect") != "Allow":
            continue
        found.append(
            Grant(
                actions=tuple(map(str, _texts(each.get("Action", each.get("NotAction"))))),
                resources=_texts(each.get("Resource", each.get("NotResource"))),
                except_actions="Action" not in each,
                except_resources="Resource" not in each,
            )
        )
    return tuple(found)


def may(permissions: Permissions, action: str, queue: Queue) -> tuple[bool | None, str]:
    """Return whether a function may do something to a queue, and if that is not known, why.

    Args:
        permissions: The function's.
        action: Such as ``sqs:SendMessage``.
        queue: The queue.
    """
    doubts = list(permissions.doubts)
    for grant in permissions.grants:
        if not _acts(grant, action):
            continue
        covered = _covers(grant, queue)
        if covered:
            return True, ""
        if covered is None:
            doubts.append(f"a statement for {', '.join(map(str, grant.resources))} may mean it")
    if queue.open_policy:
        doubts.append("its queue policy may allow it")
    return (None, doubts[0]) if doubts else (False, "")


def names_queue(permissions: Permissions, verb: str, queue: Queue) -> bool:
    """Return whether a statement speaks of this queue and, in so many words, of actions that begin with a verb."""
    return any(
        not grant.except_actions
        and any(action.lower().startswith(verb.lower()) for action in grant.actions)
        and any(_meant(resource, queue) and not str(resource).endswith("*") for resource in grant.resources)
        for grant in permissions.grants
        if not grant.except_resources
    )


def _acts(grant: Grant, action: str) -> bool:
    return grant.except_actions != any(_like(pattern.lower(), action.lower()) for pattern in grant.actions)


def _covers(grant: Grant, queue: Queue) -> bool | None:
    answers = {_meant(resource, queue) for resource in grant.resources}
    if grant.except_resources:
        return None if answers - {False} else True
    return True if True in answers else None if None in answers else False


def _meant(resource: Text, queue: Queue) -> bool | None:
    """Return whether the resource of a statement means a queue."""
    if str(resource) in {"*", queue.key} or sole(resource) == Reference(f"{queue.key}.Arn"):
        return True
    if _of_other_resource(resource):
        return False
    parts = split(resource, ":")
    if len(parts) < 6:  # noqa: PLR2004 - arn:partition:service:region:account:name
        return None
    service = parts[2]
    if not _like(service, "sqs"):
        return None if isinstance(service, Unresolved) else False
    return _named(parts[5], queue) if len(parts) == 6 else False  # noqa: PLR2004 - the same


def _of_other_resource(text: Text) -> bool:
    reference = sole(text)
    return reference is not None and reference.attribute in {"Arn", "QueueName"}


def _named(name: Text, queue: Queue) -> bool | None:
    """Return whether the name in an ARN, which may have ``*`` and ``?``, is a queue's."""
    if any(_like(name, each) for each in queue.names):
        return True
    if _of_other_resource(name):
        return False
    generated = any(isinstance(each, Unresolved) and each.parts[0] == STACK_NAME for each in queue.names)
    open_name = not generated and any(isinstance(each, Unresolved) for each in queue.names[-1:])
    may_be = isinstance(name, Unresolved) or open_name or (generated and "*" in name)
    return None if may_be else False


def _like(pattern: Text, text: Text) -> bool:
    """Return whether a text is like a pattern with ``*`` and ``?``."""
    expression = re.escape(str(pattern)).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, str(text), re.DOTALL) is not None


def _texts(value: Any) -> tuple[Text, ...]:
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return tuple(item if isinstance(item, Unresolved) else str(item) for item in items if item is not None)
