"""Errors of overload are recognized by their structure."""

import email.message
import io
import urllib.error
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from fanfold._consumer.overload import Overload, overload_of

NOW = 1_777_000_000.0
DATE = "Fri, 24 Apr 2026 03:06:55 GMT"
"""15 s after ``NOW``."""


class Error(Exception):
    """An error with attributes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__("refused")
        vars(self).update(attributes)


class UnreadError(Exception):
    """An error whose attributes raise."""

    @property
    def response(self) -> object:
        raise RuntimeError("the response was not read")

    headers = status = response


class HeadersThatFail:
    """Headers of a foreign class, whose method raises."""

    def get(self, name: str) -> str:
        raise RuntimeError(name)


def overload_in(error: object, overload_on: Any = None) -> Overload | None:
    return overload_of(error, overload_on, lambda: NOW)


def of_botocore(code: str, status: int = 400, headers: Mapping[str, str] | None = None, **more: Any) -> Error:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers or {}}
    return Error(response={"Error": {"Code": code}, "ResponseMetadata": metadata, **more})


def of_urllib(status: int, retry_after: str | None = None) -> urllib.error.HTTPError:
    headers = email.message.Message()
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return urllib.error.HTTPError("https://example.com", status, "refused", headers, io.BytesIO())


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        Error(response=SimpleNamespace(status_code=429, headers={})),
        Error(response=SimpleNamespace(status=503, headers={})),
        Error(status=429, headers={}),
        Error(status_code=503),
        of_urllib(429),
        of_botocore("ThrottlingException"),
        of_botocore("SlowDown", 503),
        of_botocore("Other", 503),
        raised_from(ValueError("order 7"), raised_from(KeyError("x"), of_botocore("Throttling"))),
        ExceptionGroup("two calls", [ValueError(), ExceptionGroup("one", [Error(status=429)])]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_states_overload_is_recognized(error: BaseException):
    """Its client does not matter, nor does an error that was raised from it, or a group that contains it."""
    assert overload_in(error) == Overload(None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        Error(status=500),
        Error(status=True),
        Error(status="429"),
        Error(code=429),
        Error(response=SimpleNamespace(status_code=404, headers={"Retry-After": "5"})),
        Error(response={}),
        Error(response={"Error": {"Code": 429}, "ResponseMetadata": None}),
        of_botocore("ValidationException"),
        of_urllib(500, "5"),
        SystemExit(429),
        UnreadError(),
        "429",
        None,
    ],
    ids=repr,
)
def test_any_other_error_is_not_an_overload(error: object):
    """Neither is an exit with a status, or an error whose attributes cannot be read."""
    assert overload_in(error) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after": 7}, 7.0),
        ({"Retry-After": " 3 "}, 3.0),
        ({"Retry-After": DATE}, 15.0),
        ({"Retry-After": "Thu, 23 Apr 2026 03:06:55 GMT"}, 0.0),
        ({"Retry-After": "-1"}, 0.0),
        ({"Retry-After": "1e9"}, 86_400.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": True}, None),
        ({}, None),
        (None, None),
        (HeadersThatFail(), None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(headers: object, seconds: float | None):
    """It is at most a day; a date in the past is now, and a text that is neither is ignored."""
    assert overload_in(Error(response=SimpleNamespace(status_code=429, headers=headers))) == Overload(seconds)


def test_retry_after_of_aws_is_read_from_a_header_or_from_the_error():
    """Some services state it in their ThrottlingException."""
    assert overload_in(of_botocore("Throttling", headers={"retry-after": "2"})) == Overload(2.0)
    assert overload_in(of_botocore("ThrottlingException", retryAfterSeconds=4)) == Overload(4.0)


def test_the_longest_retry_after_of_several_errors_counts():
    """No call may start before any of them."""
    errors = [Error(status=429, headers={"Retry-After": text}) for text in ("2", "9", "4")]
    assert overload_in(ExceptionGroup("three calls", errors)) == Overload(9.0)


@pytest.mark.parametrize(
    "overload_on", [ConnectionError, (KeyError, ConnectionError), lambda error: "full" in str(error)]
)
def test_further_errors_are_named_by_the_user(overload_on: object):
    """By a type, by several, or by a predicate."""
    assert overload_in(ConnectionError("full"), overload_on) == Overload(None)
    assert overload_in(ValueError("other"), overload_on) is None


def test_the_retry_after_of_a_further_error_is_read():
    """Its status need not mean overload."""
    assert overload_in(Error(status=500, headers={"Retry-After": "3"}), Error) == Overload(3.0)


def test_a_predicate_that_raises_finds_nothing():
    """An error in user code does not change the limit."""
    assert overload_in(ValueError(), lambda error: error.missing) is None


def test_causes_in_a_circle_end():
    """Python allows an error that is its own cause."""
    error = ValueError()
    error.__cause__ = error
    assert overload_in(error) is None
