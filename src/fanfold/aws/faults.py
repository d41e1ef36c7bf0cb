"""What an SDK raises becomes one of ours here; nothing of the SDK's passes an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import aiohttp
from botocore.eventstream import ParserError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
)

from fanfold.errors import ConfigurationError, FanfoldError, ObjectChangedError, ObjectMissingError, ServiceError

_MISSING_OBJECT: Final = frozenset({"NoSuchKey", "NoSuchBucket", "404"})
_MISSING_THING: Final = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "InvalidAddress",
        "InvalidArn",
        "NotFound",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
        "StateMachineDoesNotExist",
    }
)
"""Of tables, queues, topics, functions and state machines."""
_DENIED: Final = frozenset(
    {
        "403",  # the answer to a HEAD has no words
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_PASSING: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Codes of status 400 that stand for no fault of the call: another attempt may succeed."""
_SERVER_FAULT: Final = 500
_FAULTS_OF_THE_SERVER: Final = frozenset({"InternalError", "InternalServerError", "ServiceUnavailable"})
"""Codes of status 500 and above, for where one entry of an answer has a code and no status."""


@contextmanager
def faults_of(what: str) -> Iterator[None]:
    """Raise what an SDK raises inside as an error of ours that names ``what``, from its cause."""
    try:
        yield
    except ClientError as error:
        raise _of_client(error, what) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(
            f"{what}: no AWS credentials found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except NoRegionError as error:
        raise ConfigurationError(f"{what}: no AWS region is set: set AWS_REGION") from error
    except (ConfigParseError, InvalidRegionError, ProfileNotFound, SSOError) as error:
        raise ConfigurationError(f"{what}: {error}") from error
    except BotoCoreError as error:
        passing = not isinstance(error, ParamValidationError)  # which was not sent, and never will be
        words = " ".join(str(error).split())  # those of parameters stand on a line each
        raise ServiceError(f"{what}: {words}", code=type(error).__name__, transient=passing) from error
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise
        raise ConfigurationError(f"{what}: {error}: an endpoint is a URL, such as http://127.0.0.1:4566") from error
    except (OSError, TimeoutError, aiohttp.ClientError, ParserError) as error:
        raise ServiceError(f"{what}: {error}", code=type(error).__name__, transient=True) from error


def is_conditional_check(error: ServiceError) -> bool:
    """Tell whether a write was refused because its condition did not hold."""
    return error.code == "ConditionalCheckFailedException"


def _of_client(error: ClientError, what: str) -> FanfoldError:
    told = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return fault_of(str(told.get("Code", "")), str(told.get("Message", "")), what, status=status)


def fault_of(code: str, words: str, what: str, *, status: int = 0) -> FanfoldError:
    """Return the error of ours for a service's code and words about ``what``; ``status`` is HTTP's, 0 if not known."""
    if code in _MISSING_OBJECT:
        return ObjectMissingError(f"{what}: does not exist")
    if code in {"PreconditionFailed", "412"}:
        return ObjectChangedError(f"{what}: is not the object that was pinned")
    if code == "ConditionalRequestConflict":
        return ServiceError(f"{what}: another write to the same key is under way", code=code, transient=True)
    if code in _MISSING_THING:
        return ConfigurationError(f"{what}: does not exist; check the name and the region ({words})")
    if code in _DENIED:
        return ConfigurationError(f"{what}: AWS refuses the credentials or the permission: {words}")
    passing = code in _PASSING or code in _FAULTS_OF_THE_SERVER or status >= _SERVER_FAULT
    return ServiceError(f"{what}: {code}: {words}", code=code, transient=passing)
