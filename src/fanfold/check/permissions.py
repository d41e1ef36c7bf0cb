"""What the policies of a role in a template allow a function to do with a queue: yes, no, or not known.

Deny statements and conditions of statements are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from fanfold.check.intrinsics import IntrinsicError, Scope
from fanfold.check.resources import mapping_of
from fanfold.check.unresolved import STACK_NAME, Reference, Text, Unresolved, sole, split
from fanfold.check.values import Grant, Permissions, Queue, Setting

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


_ATTACHED: Final = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy")


class Roles:
    """The roles of a template.

    Args:
        scope: What functions are worked out with.
        resources: Resources by logical id.
        exists: Whether each is deployed.
    """

    def __init__(
        self, scope: Scope, resources: Mapping[str, Mapping[str, Any]], exists: Mapping[str, Setting[bool]]
    ) -> None:
        self._scope = scope
        self._resources = resources
        self._exists = exists

    def permissions(self, role: Text) -> Permissions:
        """Return what a role allows.

        Args:
            role: The role's ARN as the template says it, such as a reference to ``ConsumeRole.Arn``.
        """
        name = _logical_id(role)
        if not role:
            return Permissions(doubts=("its role is not known",))
        if mapping_of(self._resources.get(name)).get("Type") != "AWS::IAM::Role":
            return Permissions(doubts=("its role is not in this template",))
        grants, doubts = self._own(name)
        for attached in self._attached(name):
            if not self._exists[attached].known:
                doubts.append(f"policy {attached} may not exist: {self._exists[attached].unknown}")
                continue
            document = mapping_of(self._resources[attached].get("Properties")).get("PolicyDocument")
            grants += self._grants(document, attached, doubts)
        return Permissions(tuple(grants), tuple(doubts))

    def _own(self, name: str) -> tuple[list[Grant], list[str]]:
        properties = mapping_of(self._resources[name].get("Properties"))
        grants: list[Grant] = []
        doubts: list[str] = []
        inline = self._resolved(properties.get("Policies", []), name, doubts)
        for each in inline if isinstance(inline, list) else [inline]:
            grants += self._grants(mapping_of(each).get("PolicyDocument", each), name, doubts, resolved=True)
        managed = self._resolved(properties.get("ManagedPolicyArns", []), name, doubts)
        for arn in managed if isinstance(managed, list) else [managed]:
            grants += self._managed(arn, doubts)
        return grants, doubts

    def _managed(self, arn: Any, doubts: list[str]) -> Iterator[Grant]:
        """Yield what a managed policy grants, AWS's own or one of the template."""
        text = str(arn)
        name = text.rpartition("/")[2]
        local = _logical_id(arn)
        if mapping_of(self._resources.get(local)).get("Type") == "AWS::IAM::ManagedPolicy":
            document = mapping_of(self._resources[local].get("Properties")).get("PolicyDocument")
            yield from self._grants(document, local, doubts)
        elif name in MANAGED and (":iam::aws:policy/" in text or text == name):
            if MANAGED[name]:
                yield Grant(MANAGED[name], ("*",))
        else:
            doubts.append(f"what the managed policy {text} allows is not in this template")

    def _attached(self, role: str) -> Iterator[str]:
        """Yield the policies that name a role."""
        called = self._text(mapping_of(self._resources[role].get("Properties")).get("RoleName"))
        for name, resource in self._resources.items():
            if resource.get("Type") not in _ATTACHED:
                continue
            properties = mapping_of(resource.get("Properties"))
            roles = self._resolved(properties.get("Roles", properties.get("RoleName")), name, [])
            names = roles if isinstance(roles, list) else [roles]
            if any(sole(each) == Reference(role) or (called and each == called) for each in names):
                yield name

    def _grants(self, document: Any, owner: str, doubts: list[str], *, resolved: bool = False) -> list[Grant]:
        found = document if resolved else self._resolved(document, owner, doubts)
        if isinstance(found, str | Unresolved):
            doubts.append(f"a policy of {owner} is not known: {self._scope.why(found) or 'it is a text'}")
        return list(grants_of(found))

    def _resolved(self, value: Any, owner: str, doubts: list[str]) -> Any:
        try:
            return self._scope.resolve(value)
        except IntrinsicError as error:
            doubts.append(f"a policy of {owner} cannot be worked out: {error}")
            return []

    def _text(self, value: Any) -> Text:
        found = self._resolved(value, "", []) if value is not None else ""
        return found if isinstance(found, str | Unresolved) else ""


def _logical_id(arn: object) -> str:
    """Return the logical id that an ARN or name refers to; empty if it is none."""
    reference = sole(arn)
    return reference.resource if reference and reference.attribute in {"", "Arn"} else ""
