"""Which policies a role has, in a template without SAM's shorthand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fanfold.check.intrinsics import IntrinsicError, Scope
from fanfold.check.permissions import MANAGED, grants_of
from fanfold.check.properties import mapping_of
from fanfold.check.unresolved import Reference, Text, Unresolved, sole
from fanfold.check.values import Grant, Permissions, Setting

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
        name = _meant(role)
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
        local = _meant(arn)
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


def _meant(arn: object) -> str:
    """Return the logical id that an ARN or name refers to; empty if it is none."""
    reference = sole(arn)
    return reference.resource if reference and reference.attribute in {"", "Arn"} else ""
