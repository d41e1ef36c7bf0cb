"""Events that another service has put in the queue, as Powertools' data classes: S3, SNS, EventBridge and others.

A body annotated with such a class is made into one; what SNS has wrapped around it is taken off, unless SNS is what was
asked for. A data class reads what it is asked for and validates nothing, so the little that tells an event of another
kind apart is looked at here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fanfold.errors import DecodeError

_HOME = "aws_lambda_powertools."
_SAME = {"SigningCertUrl": "SigningCertURL", "UnsubscribeUrl": "UnsubscribeURL"}
"""Keys that SNS writes otherwise to Lambda than to a queue."""


def is_data_class(annotation: Any) -> bool:
    """Tell whether an annotation is an event source data class of Powertools, or a subclass of one."""
    bases = annotation.__mro__ if isinstance(annotation, type) else ()
    return any(base.__name__ == "DictWrapper" and base.__module__.startswith(_HOME) for base in bases)


def unwrapper(annotation: Any) -> Callable[[Any], Any]:
    """Return what makes an instance of a data class from a body's JSON value; it raises DecodeError."""
    kinds = {base.__name__ for base in annotation.__mro__ if base.__module__.startswith(_HOME)}
    if "SNSEvent" in kinds:
        return lambda body: annotation({"Records": [{"EventSource": "aws:sns", "Sns": _notification(body)}]})
    if "SNSMessage" in kinds:
        return lambda body: annotation(_notification(body))
    if "S3Event" in kinds:
        return lambda body: annotation(_s3(_inner(body)))
    if "EventBridgeEvent" in kinds:
        return lambda body: annotation(_having("detail-type", _inner(body), "EventBridge event"))
    return lambda body: annotation(_inner(body))


def _notification(body: Any) -> dict[str, Any]:
    found = dict(_having("TopicArn", body, "SNS notification"))
    return found | {name: found[other] for name, other in _SAME.items() if other in found}


def _s3(event: Mapping[str, Any]) -> Mapping[str, Any]:
    if event.get("Event") == "s3:TestEvent":  # sent once, when notifications are set up: there is nothing to do
        return {**event, "Records": []}
    return _having("Records", event, "S3 notification")


def _inner(body: Any) -> Mapping[str, Any]:
    """Return the event in a body, out of SNS's envelope if it is in one."""
    if isinstance(body, Mapping) and body.get("Type") == "Notification" and "TopicArn" in body:
        try:
            body = json.loads(body["Message"])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DecodeError(f"the message of the SNS notification is not JSON: {error}") from error
    if not isinstance(body, Mapping):
        raise DecodeError(f"the body is no event: it is no JSON object but {type(body).__name__}")
    return body


def _having(key: str, body: Any, kind: str) -> Mapping[str, Any]:
    if isinstance(body, Mapping) and key in body:
        return body
    raise DecodeError(f"the body is no {kind}: it has no {key!r}")
