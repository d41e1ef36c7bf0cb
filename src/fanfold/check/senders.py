"""The AWS services that send to the queues of a template, and whether policies let them in.

SNS topics, S3 buckets and EventBridge rules send as a service principal: the policy of the queue must allow it, and the
policy of the queue's encryption key too. The conditions of statements are not evaluated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from fanfold.check.permissions import grants_of, includes, is_allowed
from fanfold.check.queues import Queues
from fanfold.check.resources import Resources, mapping_of, texts_in
from fanfold.check.unresolved import Text, Unresolved, sole
from fanfold.check.values import Grant, Permissions, Place, Queue, Sender, Setting

SNS: Final = "sns.amazonaws.com"
S3: Final = "s3.amazonaws.com"
EVENTS: Final = "events.amazonaws.com"
AWS_KEY: Final = "alias/aws/sqs"
_POLICIES: Final = ("AWS::SQS::QueuePolicy", "AWS::SQS::QueueInlinePolicy")
_EVERYTHING: Final = Grant(("*",), ("*",))
_KEY_ACTIONS: Final = ("kms:GenerateDataKey", "kms:Decrypt")


def with_senders(by_key: Mapping[str, Queue], resources: Resources, queues: Queues) -> dict[str, Queue]:
    """Return queues with the senders that the template has for them, and what their policies allow to accounts."""
    policies = _policies(resources, queues)
    senders: dict[str, list[Sender]] = defaultdict(list)
    for target, name, service, place in _links(resources):
        key = queues.key_of(target)
        if resources.kind(key) != "AWS::SQS::Queue":
            continue
        admitted = _admitted(by_key[key], service, [*policies[key], *policies[""]], place)
        senders[key].append(Sender(name, service, place, admitted, _has_key(key, service, resources)))
    return {
        key: replace(
            queue,
            senders=tuple(senders[key]),
            open_grants=tuple(grant for document in policies[key] for grant in _grants_to_accounts(document)),
        )
        for key, queue in by_key.items()
    }


def _links(resources: Resources) -> Iterator[tuple[Text, str, str, Place]]:
    """Yield each ARN that a service sends to, the name of the sending resource, the service, and the place."""
    yield from _subscriptions(resources)
    for name in resources.of("AWS::S3::Bucket"):
        notifications = mapping_of(resources.properties(name).value("NotificationConfiguration").value)
        for queue in _list(notifications.get("QueueConfigurations")):
            yield from _sent(mapping_of(queue).get("Queue"), f"bucket {name}", S3, resources.place(name))
    for name in resources.of("AWS::Events::Rule"):
        for target in _objects(resources, name, "Targets"):
            if "RoleArn" not in target:
                yield from _sent(target.get("Arn"), f"rule {name}", EVENTS, resources.place(name))


def _subscriptions(resources: Resources) -> Iterator[tuple[Text, str, str, Place]]:
    for name in resources.of("AWS::SNS::Subscription"):
        properties = resources.properties(name)
        if properties.text("Protocol").value == "sqs":
            topic = sole(properties.text("TopicArn").value)
            owner = f"topic {topic.resource}" if topic else f"subscription {name}"
            yield from _sent(properties.text("Endpoint").value, owner, SNS, resources.place(name))
    for name in resources.of("AWS::SNS::Topic"):
        for subscription in _objects(resources, name, "Subscription"):
            if subscription.get("Protocol") == "sqs":
                yield from _sent(subscription.get("Endpoint"), f"topic {name}", SNS, resources.place(name))


def _sent(target: Any, name: str, service: str, place: Place) -> Iterator[tuple[Text, str, str, Place]]:
    if isinstance(target, str | Unresolved):
        yield target, name, service, place


def _objects(resources: Resources, name: str, list_property: str) -> Iterator[Mapping[str, Any]]:
    for item in _list(resources.properties(name).value(list_property).value):
        yield mapping_of(item)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _policies(resources: Resources, queues: Queues) -> dict[str, list[Setting[Any]]]:
    """Return the documents of the policies of each queue; one of a policy that may not exist is not known.

    Under the empty key: those of policies that may be for any queue.
    """
    documents: dict[str, list[Setting[Any]]] = defaultdict(list)
    for name in resources.of(*_POLICIES):
        properties, exists = resources.properties(name), resources.exists[name]
        document = properties.value("PolicyDocument")
        if not exists.known:
            document = replace(document, value=None, unknown=f"policy {name} may not exist: {exists.unknown}")
        targets = [properties.value("Queues").value, properties.value("Queue").value]
        for key in {queues.key_of(text) for text in texts_in(targets)}:
            if key in queues.by_key:
                documents[key].append(document)
            else:
                documents[""].append(replace(document, value=None, unknown=f"policy {name} may be for this queue"))
    return documents


def _grants_to_accounts(document: Setting[Any]) -> tuple[Grant, ...]:
    """Return what a queue policy allows to principals that are not AWS services."""
    if document.unknown or isinstance(document.value, str | Unresolved):
        return (_EVERYTHING,)
    statements = mapping_of(document.value).get("Statement")
    chosen = []
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = mapping_of(statement).get("Principal")
        if not (isinstance(principal, Mapping) and set(principal) <= {"Service"}):
            chosen.append(statement)
    grants = grants_of({"Statement": chosen})
    return tuple(_EVERYTHING if any("${" in action for action in grant.actions) else grant for grant in grants)


def _admitted(queue: Queue, service: str, documents: list[Setting[Any]], place: Place) -> Setting[bool]:
    """Return whether one of the policies of a queue allows a service to send to it."""
    grants: list[Grant] = []
    doubts: list[str] = []
    for document in documents:
        grants += grants_of(_for_principal(document.value, service, doubts))
        doubts += [document.unknown] if document.unknown else []
    permissions = Permissions(tuple(grants), tuple(doubts))
    allowed, why = is_allowed(permissions, "sqs:SendMessage", replace(queue, open_grants=()))
    return Setting("Queues", allowed, place, unknown=why, subject=f"whether {service} may send to {queue.key}")


def _for_principal(document: Any, service: str, doubts: list[str]) -> dict[str, Any]:
    """Return a policy document with the statements that apply to a service principal; note those that may apply."""
    if isinstance(document, str | Unresolved):
        doubts.append("a policy is not known: it is a string or set at deployment")
        return {}
    statements = mapping_of(document).get("Statement")
    chosen = []
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = mapping_of(statement).get("Principal")
        applies = _includes(principal, service)
        if mapping_of(statement).get("Effect") != "Allow":
            continue
        if applies is None or "NotPrincipal" in mapping_of(statement):
            doubts.append(f"a statement may include {service}")
        elif applies:
            chosen.append(statement)
    return {"Statement": chosen}


def _includes(principal: Any, service: str) -> bool | None:
    """Return whether the principal of a statement includes a service; None if that is known only at deployment.

    ``*`` includes every service, also as an AWS account: SNS and S3 were granted access in this form for years.
    """
    if principal == "*":
        return True
    if isinstance(principal, Unresolved):
        return None
    names = [*texts_in(mapping_of(principal).get("Service")), *texts_in(mapping_of(principal).get("AWS"))]
    if any(name in {service, "*"} or _regional(name, service) for name in names):
        return True
    return (
        None if any(isinstance(name, Unresolved) for name in texts_in(mapping_of(principal).get("Service"))) else False
    )


def _regional(name: Text, service: str) -> bool:
    """Return whether a name is that of a service in a Region or partition, such as ``sns.eu-south-1.amazonaws.com``."""
    return str(name).partition(".")[0] == service.partition(".")[0] and ".amazonaws.com" in str(name)


def _has_key(name: str, service: str, resources: Resources) -> Setting[bool]:
    """Return whether a service may use the key that encrypts a queue; true if it needs none."""
    key = resources.properties(name).text("KmsMasterKeyId")
    result: Setting[bool] = Setting(
        "KmsMasterKeyId", None, key.place, subject=f"whether {service} may use the key of {name}"
    )
    if key.unknown or key.value is None:
        return replace(result, value=None if key.unknown else True, unknown=key.unknown)
    if str(key.value).endswith(AWS_KEY):
        return replace(result, value=False, written=AWS_KEY)
    logical_id = _key_id(key.value, resources)
    if resources.kind(logical_id) != "AWS::KMS::Key":
        return replace(result, unknown=f"its key {key.value} is not in this template")
    document = resources.properties(logical_id).value("KeyPolicy")
    doubts = [document.unknown] if document.unknown else []
    grants = grants_of(_for_principal(document.value, service, doubts))
    if all(any(includes(grant, action) for grant in grants) for action in _KEY_ACTIONS):
        return replace(result, value=True)
    return replace(result, value=None if doubts else False, unknown=doubts[0] if doubts else "", written=logical_id)


def _key_id(key: Text, resources: Resources) -> str:
    """Return the logical id that the id, ARN, or alias of a key refers to; empty if it refers to none."""
    reference = sole(key)
    name = reference.resource if reference and reference.attribute in {"", "Arn", "KeyId", "AliasName"} else ""
    for alias in resources.of("AWS::KMS::Alias"):
        properties = resources.properties(alias)
        if alias == name or properties.text("AliasName").value == key:
            target = sole(properties.text("TargetKeyId").value)
            return target.resource if target else ""
    return name
