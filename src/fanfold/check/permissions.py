"""The permissions that a role in a template grants a function on a queue: yes, no, or not known.

Deny statements and the conditions of statements are not evaluated.
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
"""SQS actions that AWS managed policies allow on every queue (AWS Managed Policy Reference)."""


def grants_of(document: Any) -> tuple[Grant, ...]:
    """Return what the Allow statements of a policy document grant; its functions must be evaluated already."""
    statements = document.get("Statement") if isinstance(document, Mapping) else None
    grants = []
    for statement in statements if isinstance(statements, list) else [statements]:
        if not isinstance(statement, Mapping) or statement.get("Effect") != "Allow":
            continue
        grants.append(
            Grant(
                actions=tuple(map(str, _texts(statement.get("Action", statement.get("NotAction"))))),
                resources=_texts(statement.get("Resource", statement.get("NotResource"))),
                except_actions="Action" not in statement,
                except_resources="Resource" not in statement,
            )
        )
    return tuple(grants)


def is_allowed(permissions: Permissions, action: str, queue: Queue) -> tuple[bool | None, str]:
    """Return whether a function may perform an action on a queue, and if that is not known (None), why.

    Args:
        permissions: The function's permissions.
        action: An IAM action, such as ``sqs:SendMessage``.
        queue: The queue.
    """
    doubts = list(permissions.doubts)
    for grant in permissions.grants:
        if not includes(grant, action):
            continue
        covered = _covers(grant, queue)
        if covered:
            return True, ""
        if covered is None:
            doubts.append(f"a statement for {', '.join(map(str, grant.resources))} may include it")
    if any(includes(grant, action) for grant in queue.open_grants):
        doubts.append("its queue policy may allow it")
    return (None, doubts[0]) if doubts else (False, "")


def names_queue(permissions: Permissions, verb: str, queue: Queue) -> bool:
    """Return whether a statement names this queue, and an action that begins with a verb, without wildcards."""
    return any(
        not grant.except_actions
        and any(action.lower().startswith(verb.lower()) for action in grant.actions)
        and any(_matches(resource, queue) and not str(resource).endswith("*") for resource in grant.resources)
        for grant in permissions.grants
        if not grant.except_resources
    )


def includes(grant: Grant, action: str) -> bool:
    """Return whether a statement is about an action, whatever its resources."""
    return grant.except_actions != any(_like(pattern.lower(), action.lower()) for pattern in grant.actions)


def _covers(grant: Grant, queue: Queue) -> bool | None:
    matches = {_matches(resource, queue) for resource in grant.resources}
    if grant.except_resources:
        return None if matches - {False} else True
    return True if True in matches else None if None in matches else False


def _matches(resource: Text, queue: Queue) -> bool | None:
    """Return whether the resource of a statement includes a queue; None if that is not known."""
    if str(resource) in {"*", queue.key} or sole(resource) == Reference(f"{queue.key}.Arn"):
        return True
    if _names_other_resource(resource):
        return False
    parts = split(resource, ":")
    if len(parts) < 6:  # noqa: PLR2004 - arn:partition:service:region:account:name
        return None
    service = parts[2]
    if not _like(service, "sqs"):
        return None if isinstance(service, Unresolved) else False
    return _named(parts[5], queue) if len(parts) == 6 else False  # noqa: PLR2004 - as above


def _names_other_resource(text: Text) -> bool:
    reference = sole(text)
    return reference is not None and reference.attribute in {"Arn", "QueueName"}


def _named(name: Text, queue: Queue) -> bool | None:
    """Return whether the name in an ARN, which may have ``*`` and ``?``, matches a queue; None if that is not known."""
    if any(_like(name, queue_name) for queue_name in queue.names):
        return True
    if _names_other_resource(name):
        return False
    generated = any(isinstance(known, Unresolved) and known.parts[0] == STACK_NAME for known in queue.names)
    partly_known = not generated and any(isinstance(last, Unresolved) for last in queue.names[-1:])
    may_match = isinstance(name, Unresolved) or partly_known or (generated and "*" in name)
    return None if may_match else False


def _like(pattern: Text, text: Text) -> bool:
    """Return whether a text matches a pattern with ``*`` and ``?``."""
    expression = re.escape(str(pattern)).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, str(text), re.DOTALL) is not None


def _texts(value: Any) -> tuple[Text, ...]:
    items: Iterable[Any] = value if isinstance(value, list) else [value]
    return tuple(item if isinstance(item, Unresolved) else str(item) for item in items if item is not None)


_ATTACHED: Final = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy")


class Roles:
    """The roles of a template.

    Args:
        scope: Evaluates intrinsic functions.
        resources: Resources by logical id.
        exists: Whether each resource is deployed, by logical id.
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
            role: The role's ARN as written in the template, such as a reference to ``ConsumeRole.Arn``.
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
        for policy in inline if isinstance(inline, list) else [inline]:
            grants += self._grants(mapping_of(policy).get("PolicyDocument", policy), name, doubts, resolved=True)
        managed = self._resolved(properties.get("ManagedPolicyArns", []), name, doubts)
        for arn in managed if isinstance(managed, list) else [managed]:
            grants += self._managed(arn, doubts)
        return grants, doubts

    def _managed(self, arn: Any, doubts: list[str]) -> Iterator[Grant]:
        """Yield what a managed policy grants: an AWS managed policy, or one of the template."""
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
            doubts.append(f"the managed policy {text} is not in this template")

    def _attached(self, role: str) -> Iterator[str]:
        """Yield the policies that attach themselves to a role."""
        role_name = self._text(mapping_of(self._resources[role].get("Properties")).get("RoleName"))
        for name, resource in self._resources.items():
            if resource.get("Type") not in _ATTACHED:
                continue
            properties = mapping_of(resource.get("Properties"))
            roles = self._resolved(properties.get("Roles", properties.get("RoleName")), name, [])
            names = roles if isinstance(roles, list) else [roles]
            if any(sole(text) == Reference(role) or (role_name and text == role_name) for text in names):
                yield name

    def _grants(self, document: Any, owner: str, doubts: list[str], *, resolved: bool = False) -> list[Grant]:
        content = document if resolved else self._resolved(document, owner, doubts)
        if isinstance(content, str | Unresolved):
            doubts.append(f"a policy of {owner} is not known: {self._scope.why(content) or 'it is a string'}")
        return list(grants_of(content))

    def _resolved(self, value: Any, owner: str, doubts: list[str]) -> Any:
        try:
            return self._scope.resolve(value)
        except IntrinsicError as error:
            doubts.append(f"a policy of {owner} cannot be evaluated: {error}")
            return []

    def _text(self, value: Any) -> Text:
        text = self._resolved(value, "", []) if value is not None else ""
        return text if isinstance(text, str | Unresolved) else ""


def _logical_id(arn: object) -> str:
    """Return the logical id that an ARN or name refers to; empty if it does not refer to one."""
    reference = sole(arn)
    return reference.resource if reference and reference.attribute in {"", "Arn"} else ""
