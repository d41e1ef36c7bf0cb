"""The queues of a template, and those outside it that it speaks of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from fanfold._base import aws_limits
from fanfold.check.intrinsics import IntrinsicError, short
from fanfold.check.resources import Properties, Resources, mapping_of, texts_in
from fanfold.check.unresolved import ACCOUNT, STACK_NAME, Reference, Text, Unresolved, ending, joined, references, sole
from fanfold.check.values import Queue, Setting

_SQS: Final = "AWS::SQS::Queue"
_DEAD_LETTERS: Final = ("deadLetterTargetArn", "DeadLetterConfig", "DeadLetterQueue", "OnFailure")


class Queues:
    """The queues; those outside are added as they are met."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        policies = {name: self._redrive(resources.properties(name)) for name in resources.of(_SQS)}
        self.by_key: dict[str, Queue] = {name: self._queue(name, *policy) for name, policy in policies.items()}
        targets = {name: target.value for name, (target, _) in policies.items() if target.value}
        for name, target in targets.items():
            setting = replace(self.by_key[name].dead_letter_queue, value=self.key_of(target))
            self.by_key[name] = replace(self.by_key[name], dead_letter_queue=setting)
        dead = set(self._dead_letter_queues(targets.values()))
        opened = set(self._with_open_policies())
        for name, queue in self.by_key.items():
            self.by_key[name] = replace(queue, receives_dead_letters=name in dead, open_policy=name in opened)

    def key_of(self, text: Text) -> str:
        """Return the key of the queue that an ARN, URL or name of the template means; the text itself if it is none.

        A name in another account, or in one that is written out and may be another, means no queue of the template.
        """
        whole = sole(text)
        if whole and whole.resource in self.by_key and whole.attribute in {"", "Arn", "QueueUrl"}:
            return whole.resource
        name, named = ending(text), references(text)
        ours = name == text or ACCOUNT in named or _last(name).endswith(".QueueName")
        return self._named(name, str(text)) if ours else str(text)

    def _named(self, name: Text, otherwise: str) -> str:
        return next((key for key, queue in self.by_key.items() if name in queue.names), otherwise)

    def key_met(self, asked: Setting[Text]) -> str:
        """Return the key of the queue that a setting means, and add the queue if it is outside."""
        key = self.key_of(asked.value or "")
        if key not in self.by_key:
            self.by_key[key] = self._outside(key, asked)
        return key

    def _queue(self, name: str, target: Setting[Text], receives: Setting[float]) -> Queue:
        properties = self._resources.properties(name)
        called = properties.text("QueueName")
        fifo = properties.flag("FifoQueue", default=False)
        if fifo.known and not fifo.value and str(called.value or "").endswith(".fifo"):
            fifo = replace(fifo, value=True)
        return Queue(
            key=name,
            place=self._resources.place(name),
            fifo=fifo,
            visibility=properties.number("VisibilityTimeout", aws_limits.SQS_DEFAULT_VISIBILITY_SECONDS),
            retention=properties.number("MessageRetentionPeriod", aws_limits.SQS_DEFAULT_RETENTION_SECONDS),
            message_bytes=properties.number("MaximumMessageSize", aws_limits.SQS_MESSAGE_BYTES),
            dead_letter_queue=replace(cast("Setting[str]", target), value=None),
            receives=receives,
            names=(joined(Reference(f"{name}.QueueName")), called.value or joined(STACK_NAME, f"-{name}-…")),
        )

    def _redrive(self, properties: Properties) -> tuple[Setting[Text], Setting[float]]:
        whole = properties.value("RedrivePolicy")
        if isinstance(whole.value, str | Unresolved) and not sole(whole.value):
            policy = replace(properties, path=(*properties.path, "RedrivePolicy"))  # JSON: no line of its own inside
            try:
                policy = replace(policy, content=mapping_of(json.loads(str(whole.value))))
            except (ValueError, RecursionError):
                why = properties.scope.why(whole.value) or "it is no JSON"
                policy = replace(policy, unknown=why, written=short(properties.content["RedrivePolicy"]))
        else:
            policy = properties.inside("RedrivePolicy")
        return policy.text("deadLetterTargetArn"), policy.number("maxReceiveCount")

    def _outside(self, key: str, asked: Setting[Text]) -> Queue:
        """Return a queue that is not in the template: of it only the kind may be known, by the end of its name."""
        name = ending(asked.value or "")
        unknown = self._resources.scope.why(name) or f"{name} is not in this template"
        subject = f"the queue of {asked.subject.partition(' of ')[2]}"
        nothing: Setting[Any] = replace(asked, value=None, unknown=unknown, subject=subject)
        kind: Setting[bool] = nothing
        if not _last(name):
            kind = Setting("FifoQueue", str(name).endswith(".fifo"), asked.place)
        return Queue(key, asked.place, kind, nothing, nothing, nothing, nothing, nothing, names=(name,))

    def _dead_letter_queues(self, targets: Iterable[Text]) -> Iterator[str]:
        """Yield the queues that anything in the template sends dead letters to."""
        for name in self._resources.of():
            for target in _targets(self._resources.plain.resources[name].get("Properties")):
                try:
                    resolved = self._resources.scope.resolve(target)
                except IntrinsicError:
                    continue
                for text in texts_in(resolved):
                    yield self.key_of(text)
                    yield self._named(ending(text), "")  # whatever the account: it may be ours
        for target in targets:
            yield self.key_of(target)
            yield self._named(ending(target), "")
        for name in self.by_key:
            if "RedriveAllowPolicy" in self._resources.properties(name).content:
                yield name

    def _with_open_policies(self) -> Iterator[str]:
        """Yield the queues whose policy allows something to anyone but AWS's services."""
        for name in self._resources.of("AWS::SQS::QueuePolicy", "AWS::SQS::QueueInlinePolicy"):
            properties = self._resources.properties(name)
            if _allows_accounts(properties.value("PolicyDocument").value):
                for text in texts_in([properties.value("Queues").value, properties.value("Queue").value]):
                    yield self.key_of(text)


def _allows_accounts(document: Any) -> bool:
    if isinstance(document, str | Unresolved):
        return True
    statements = mapping_of(document).get("Statement")
    for each in statements if isinstance(statements, list) else [statements]:
        principal = mapping_of(each).get("Principal")
        services = isinstance(principal, Mapping) and set(principal) <= {"Service"}
        if mapping_of(each).get("Effect") == "Allow" and not services:
            return True
    return False


def _last(name: Text) -> str:
    """Return what the reference at the end of a name refers to; empty if it ends with text."""
    last = name.parts[-1] if isinstance(name, Unresolved) else name
    return last.name if isinstance(last, Reference) else ""


def _targets(value: Any) -> Iterator[Any]:
    """Yield what stands under a key that names where dead letters go."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key in _DEAD_LETTERS:
                yield each
            else:
                yield from _targets(each)
    elif isinstance(value, list):
        for each in value:
            yield from _targets(each)
