"""The rules about AWS services that send to a queue: its policy, and the policy of its encryption key."""

from __future__ import annotations

from collections.abc import Iterator

from fanfold.check.senders import AWS_KEY, S3
from fanfold.check.values import Hit, Model, NotKnown, Queue, Sender
from fanfold.check.wording import not_known


def service_not_admitted(model: Model) -> Iterator[Hit | NotKnown]:
    """Find services that no policy of the queue allows to send to it."""
    for queue, sender in _senders(model):
        if not sender.admitted.known:
            yield from not_known(sender.admitted)
        elif not sender.admitted.value:
            actual = f"no policy of {queue.key} allows {sender.service} sqs:SendMessage: {_effect(sender)}"
            fix = f"an AWS::SQS::QueuePolicy that allows {sender.service} sqs:SendMessage, with {sender.name} as source"
            yield Hit(queue.key, queue.place, actual, fix)


def service_without_key(model: Model) -> Iterator[Hit | NotKnown]:
    """Find services that may not use the key that encrypts the queue."""
    for queue, sender in _senders(model):
        key = sender.has_key
        if not key.known:
            yield from not_known(key)
        elif not key.value:
            actual = f"{sender.service} may not use {key.written}, the key of {queue.key}: {_effect(sender)}"
            allow = f"allow {sender.service} kms:GenerateDataKey and kms:Decrypt in its policy"
            own = f"SqsManagedSseEnabled: true instead of {AWS_KEY}, or a customer managed key"
            yield Hit(queue.key, key.place, actual, own if key.written == AWS_KEY else allow)


def _senders(model: Model) -> Iterator[tuple[Queue, Sender]]:
    for queue in model.queues.values():
        for sender in {sender.service: sender for sender in queue.senders}.values():
            yield queue, sender


def _effect(sender: Sender) -> str:
    if sender.service == S3:
        return f"S3 rejects the notifications of {sender.name}"
    return f"the messages of {sender.name} do not arrive"
