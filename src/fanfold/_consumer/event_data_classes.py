"""Events that another service sent to the queue, as Powertools' data classes: S3, SNS, EventBridge, and others.

A body that is annotated with such a class is converted to it. An SNS envelope is removed, unless the annotation is an
SNS class. Data classes validate nothing, so this module checks the key that identifies the kind of event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fanfold.errors import DecodeError

_POWERTOOLS = "aws_lambda_powertools."
_LAMBDA_TO_QUEUE_KEYS = {"SigningCertUrl": "SigningCertURL", "UnsubscribeUrl": "UnsubscribeURL"}
"""Keys of an SNS notification that are spelled differently in a Lambda event and in an SQS message."""


def is_data_class(annotation: Any) -> bool:
    """Return whether an annotation is an event source data class of Powertools, or a subclass of one."""
    bases = annotation.__mro__ if isinstance(annotation, type) else ()
    return any(base.__name__ == "DictWrapper" and base.__module__.startswith(_POWERTOOLS) for base in bases)


def unwrapper(annotation: Any) -> Callable[[Any], Any]:
    """Return a function that creates a data class from a body's JSON value, or raises DecodeError."""
    kinds = {base.__name__ for base in annotation.__mro__ if base.__module__.startswith(_POWERTOOLS)}
    if "SNSEvent" in kinds:
        return lambda body: annotation({"Records": [{"EventSource": "aws:sns", "Sns": _notification(body)}]})
    if "SNSMessage" in kinds:
        return lambda body: annotation(_notification(body))
    if "S3Event" in kinds:
        return lambda body: annotation(_s3_event(_event(body)))
    if "EventBridgeEvent" in kinds:
        return lambda body: annotation(_check_key("detail-type", _event(body), "an EventBridge event"))
    return lambda body: annotation(_event(body))


def _notification(body: Any) -> dict[str, Any]:
    notification = dict(_check_key("TopicArn", body, "an SNS notification"))
    spelled = {key: notification[other] for key, other in _LAMBDA_TO_QUEUE_KEYS.items() if other in notification}
    return notification | spelled


def _s3_event(event: Mapping[str, Any]) -> Mapping[str, Any]:
    if event.get("Event") == "s3:TestEvent":  # S3 sends it when notifications are configured: no records
        return {**event, "Records": []}
    return _check_key("Records", event, "an S3 notification")


def _event(body: Any) -> Mapping[str, Any]:
    """Return the event in a body, without SNS's envelope if it has one."""
    if isinstance(body, Mapping) and body.get("Type") == "Notification" and "TopicArn" in body:
        try:
            body = json.loads(body["Message"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DecodeError(f"the message of the SNS notification is not JSON: {error}") from error
    if not isinstance(body, Mapping):
        raise DecodeError(f"the body is not an event: it must be a JSON object, not {type(body).__name__}")
    return body


def _check_key(key: str, body: Any, kind: str) -> Mapping[str, Any]:
    if isinstance(body, Mapping) and key in body:
        return body
    raise DecodeError(f"the body is not {kind}: it has no {key!r}")
