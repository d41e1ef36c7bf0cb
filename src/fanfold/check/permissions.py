"""What the policies of a template allow a function to do with a queue: yes, no, or not known.

Deny statements and conditions of statements are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fanfold.check.values import Grant, Permissions, Queue

__all__ = ["MANAGED", "grants_of", "may", "names_queue"]

_SYMBOL: Final = re.compile(r"\$\{.+?\}")
_OTHER_RESOURCE: Final = re.compile(r"\$\{[A-Za-z0-9]+\.(Arn|QueueName)\}")
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
                actions=_texts(each.get("Action", each.get("NotAction"))),
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
            doubts.append(f"a statement for {', '.join(grant.resources)} may mean it")
    if queue.open_policy:
        doubts.append("its queue policy may allow it")
    return (None, doubts[0]) if doubts else (False, "")


def names_queue(permissions: Permissions, verb: str, queue: Queue) -> bool:
    """Return whether a statement speaks of this queue and, in so many words, of actions that begin with a verb."""
    return any(
        not grant.except_actions
        and any(action.lower().startswith(verb.lower()) for action in grant.actions)
        and any(_meant(resource, queue) and not resource.endswith("*") for resource in grant.resources)
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


def _meant(resource: str, queue: Queue) -> bool | None:
    """Return whether the resource of a statement means a queue."""
    if resource in {"*", f"${{{queue.key}.Arn}}", queue.key}:
        return True
    if _OTHER_RESOURCE.fullmatch(resource):
        return False
    parts = _SYMBOL.sub(lambda found: found[0].replace(":", "\0"), resource).split(":", 5)
    if len(parts) != 6:  # noqa: PLR2004 - arn:partition:service:region:account:name
        return None
    service, name = (part.replace("\0", ":") for part in (parts[2], parts[5]))
    if not _like(service, "sqs"):
        return None if _SYMBOL.search(service) else False
    return _named(name, queue)


def _named(name: str, queue: Queue) -> bool | None:
    """Return whether the name in an ARN, which may have ``*`` and ``?``, is a queue's."""
    if any(_like(name, each) for each in queue.names):
        return True
    if _OTHER_RESOURCE.fullmatch(name):
        return False
    generated = any(each.startswith("${AWS::StackName}-") for each in queue.names)
    open_name = not generated and any(_SYMBOL.search(each) for each in queue.names[-1:])
    may_be = _SYMBOL.search(name) or open_name or (generated and "*" in name)
    return None if may_be else False


def _like(pattern: str, text: str) -> bool:
    """Return whether a text is like a pattern with ``*`` and ``?``."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _texts(value: Any) -> tuple[str, ...]:
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return tuple(str(item) for item in items if item is not None)
