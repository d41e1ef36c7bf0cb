"""The queues of a template, and the queues of other stacks that it refers to."""

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
_DEAD_LETTER_KEYS: Final = ("deadLetterTargetArn", "DeadLetterConfig", "DeadLetterQueue", "OnFailure")


class Queues:
    """The queues of a template; ``resolve`` adds the queues of other stacks."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        policies = {name: self._redrive(resources.properties(name)) for name in resources.of(_SQS)}
        self.by_key: dict[str, Queue] = {name: self._queue(name, *policy) for name, policy in policies.items()}
        targets = {name: target.value for name, (target, _) in policies.items() if target.value}
        for name, target in targets.items():
            setting = replace(self.by_key[name].dead_letter_queue, value=self.key_of(target))
            self.by_key[name] = replace(self.by_key[name], dead_letter_queue=setting)
        dead_letter_queues = set(self._dead_letter_queues(targets.values()))
        for name, queue in self.by_key.items():
            self.by_key[name] = replace(queue, receives_dead_letters=name in dead_letter_queues)

    def key_of(self, text: Text) -> str:
        """Return the key of the queue of this template that an ARN, URL, or name refers to; else the text itself.

        An ARN or URL with an explicit account id counts as a queue of another account: it may be one.
        """
        whole = sole(text)
        if whole and whole.resource in self.by_key and whole.attribute in {"", "Arn", "QueueUrl"}:
            return whole.resource
        name = ending(text)
        in_account = name == text or ACCOUNT in references(text) or _last(name).endswith(".QueueName")
        return self._key_by_name(name, str(text)) if in_account else str(text)

    def _key_by_name(self, name: Text, default: str) -> str:
        return next((key for key, queue in self.by_key.items() if name in queue.names), default)

    def resolve(self, reference: Setting[Text]) -> str:
        """Return the key of the queue that a setting refers to; add the queue if it is not in the template."""
        key = self.key_of(reference.value or "")
        if key not in self.by_key:
            self.by_key[key] = self._outside(key, reference)
        return key

    def _queue(self, name: str, target: Setting[Text], receives: Setting[float]) -> Queue:
        properties = self._resources.properties(name)
        queue_name = properties.text("QueueName")
        fifo = properties.flag("FifoQueue", default=False)
        if fifo.known and not fifo.value and str(queue_name.value or "").endswith(".fifo"):
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
            names=(joined(Reference(f"{name}.QueueName")), queue_name.value or joined(STACK_NAME, f"-{name}-…")),
        )

    def _redrive(self, properties: Properties) -> tuple[Setting[Text], Setting[float]]:
        whole = properties.value("RedrivePolicy")
        if isinstance(whole.value, str | Unresolved) and not sole(whole.value):
            # In a JSON string, every key has the place of the string.
            policy = replace(properties, path=(*properties.path, "RedrivePolicy"))
            try:
                policy = replace(policy, content=mapping_of(json.loads(str(whole.value))))
            except (ValueError, RecursionError):
                why = properties.scope.why(whole.value) or "it is not JSON"
                policy = replace(policy, unknown=why, written=short(properties.content["RedrivePolicy"]))
        else:
            policy = properties.inside("RedrivePolicy")
        return policy.text("deadLetterTargetArn"), policy.number("maxReceiveCount")

    def _outside(self, key: str, reference: Setting[Text]) -> Queue:
        """Return a queue that is not in the template: only its type may be known, from the end of its name."""
        name = ending(reference.value or "")
        unknown = self._resources.scope.why(name) or f"{name} is not in this template"
        subject = f"the queue of {reference.subject.partition(' of ')[2]}"
        missing: Setting[Any] = replace(reference, value=None, unknown=unknown, subject=subject)
        fifo: Setting[bool] = missing
        if not _last(name):
            fifo = Setting("FifoQueue", str(name).endswith(".fifo"), reference.place)
        return Queue(key, reference.place, fifo, missing, missing, missing, missing, missing, names=(name,))

    def _dead_letter_queues(self, targets: Iterable[Text]) -> Iterator[str]:
        """Yield the queues that a resource of the template uses as its dead-letter queue."""
        for name in self._resources.of():
            for target in _targets(self._resources.translated.resources[name].get("Properties")):
                try:
                    resolved = self._resources.scope.resolve(target)
                except IntrinsicError:
                    continue
                for text in texts_in(resolved):
                    yield self.key_of(text)
                    yield self._key_by_name(ending(text), "")  # whatever the account: it may be the same one
        for target in targets:
            yield self.key_of(target)
            yield self._key_by_name(ending(target), "")
        for name in self.by_key:
            if "RedriveAllowPolicy" in self._resources.properties(name).content:
                yield name


def _last(name: Text) -> str:
    """Return the target of the reference at the end of a name; empty if the name ends with text."""
    last = name.parts[-1] if isinstance(name, Unresolved) else name
    return last.name if isinstance(last, Reference) else ""


def _targets(value: Any) -> Iterator[Any]:
    """Yield the values under every key that configures a dead-letter queue."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _DEAD_LETTER_KEYS:
                yield item
            else:
                yield from _targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item)
