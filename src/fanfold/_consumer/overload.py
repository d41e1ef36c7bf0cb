"""Recognize errors that mean that a service is overloaded, by their structure: no client library is imported.

- HTTP status 429 or 503: ``e.response.status_code`` (requests, httpx), ``e.status`` (aiohttp), ``e.code`` next to
  ``e.headers`` (urllib), or ``e.response["ResponseMetadata"]["HTTPStatusCode"]`` (botocore).
- An error code of AWS that means throttling: ``e.response["Error"]["Code"]`` (botocore).

``Retry-After`` is read from the headers next to the status, in seconds or as an HTTP date (RFC 9110, section 10.2.3).
The cause of an error counts, if it was raised ``from`` it, and so do the errors of an exception group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from fanfold._consumer.auto import OverloadOn

STATUSES: Final = frozenset({429, 503})
"""HTTP statuses of an overloaded service (RFC 6585, section 4; RFC 9110, section 15.6.4)."""
CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KMS.ThrottlingException",
        "KmsThrottled",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Error codes that the AWS SDKs treat as throttling (AWS SDKs and Tools Reference Guide, "Retry behavior")."""
_MOST_CAUSES: Final = 10
_DAY_SECONDS: Final = 86_400.0


class Overload(NamedTuple):
    """An error that means that a service is overloaded."""

    retry_after: float | None
    """Seconds until the service may be called again, from 0 to a day; None if it did not state them."""


def overload_of(error: object, overload_on: OverloadOn | None, wall: Callable[[], float]) -> Overload | None:
    """Return how an error states that a service is overloaded; None for any other error.

    Args:
        error: The error. Attributes that raise, and values of an unexpected type, are ignored.
        overload_on: Further errors that mean overload.
        wall: Returns the time in seconds since the epoch, to compare an HTTP date with.
    """
    if not isinstance(error, BaseException):
        return None
    facts = [_facts_of(cause) for cause in _causes(error)]
    overloads = [fact for fact in facts if fact.status in STATUSES or fact.code in CODES]
    if not overloads and not (overload_on is not None and _matches(error, overload_on)):
        return None
    waits = [wait for fact in overloads or facts if (wait := _retry_after(fact.headers, wall)) is not None]
    return Overload(max(waits, default=None))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes, and the errors of a group, as of a task group in a handler."""
    errors: list[BaseException | None] = [error]
    for _ in range(_MOST_CAUSES):
        if not errors:
            return
        current = errors.pop(0)
        if current is not None:
            yield current
            errors.append(current.__cause__)
            if isinstance(current, BaseExceptionGroup):
                errors.extend(current.exceptions[:_MOST_CAUSES])


class _Facts(NamedTuple):
    """Facts of an error, None for each that it lacks."""

    status: int | None
    """HTTP status."""
    code: str | None = None
    """Error code of AWS."""
    headers: object = None
    """HTTP headers."""


def _facts_of(error: BaseException) -> _Facts:
    response = _attribute(error, "response")
    if isinstance(response, Mapping):  # botocore
        metadata, fault = _item(response, "ResponseMetadata"), _item(response, "Error")
        status, code = _number(_item(metadata, "HTTPStatusCode")), _item(fault, "Code")
        seconds = _item(response, "retryAfterSeconds")  # of some services' ThrottlingException
        headers = _item(metadata, "HTTPHeaders") if seconds is None else {"retry-after": seconds}
        return _Facts(status, code if isinstance(code, str) else None, headers)
    if response is not None:
        statuses = [_number(_attribute(response, name)) for name in ("status_code", "status")]
        return _Facts(next(filter(None, statuses), None), None, _attribute(response, "headers"))
    headers = _attribute(error, "headers")
    names = ("status_code", "status") if headers is None else ("status_code", "status", "code")
    return _Facts(next(filter(None, [_number(_attribute(error, name)) for name in names]), None), None, headers)


def _retry_after(headers: object, wall: Callable[[], float]) -> float | None:
    text = _header(headers, "retry-after")
    if text is None:
        return None
    seconds = _seconds(text)
    if seconds is None:
        seconds = _seconds_until(text, wall)
    return None if seconds is None else min(max(0.0, seconds), _DAY_SECONDS)


def _header(headers: object, name: str) -> str | None:
    """Return a header, whatever the case of its name: a dictionary of botocore has lower-case names."""
    for spelling in (name, name.title()):
        value = _item(headers, spelling)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value).strip()
    return None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def _seconds_until(date: str, wall: Callable[[], float]) -> float | None:
    from email.utils import parsedate_to_datetime  # not imported at cold start

    try:
        return parsedate_to_datetime(date).timestamp() - wall()
    except (ValueError, TypeError, OverflowError):
        return None


def _matches(error: BaseException, overload_on: OverloadOn) -> bool:
    if isinstance(overload_on, type | tuple):
        return isinstance(error, overload_on)
    try:
        return bool(overload_on(error))
    except Exception:  # noqa: BLE001 - the predicate is user code; an error in it is not an overload
        return False


def _attribute(value: object, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a property of a foreign class, such as a response that was not read
        return None


def _item(value: object, key: str) -> Any:
    getter = _attribute(value, "get")
    if not callable(getter):
        return None
    try:
        return getter(key)
    except Exception:  # noqa: BLE001 - a foreign class
        return None


def _number(value: object) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None
