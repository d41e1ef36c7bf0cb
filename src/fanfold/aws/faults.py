"""Translation of SDK errors into fanfold's errors: no adapter lets an SDK error through."""

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

from fanfold.errors import (
    ConfigurationError,
    ExpiredCredentialsError,
    FanfoldError,
    ObjectChangedError,
    ObjectMissingError,
    ServiceError,
)

_MISSING_OBJECT: Final = frozenset({"NoSuchKey", "NoSuchBucket", "404"})
_MISSING_RESOURCE: Final = frozenset(
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
"""Error codes for tables, queues, topics, functions and state machines that do not exist."""
_DENIED: Final = frozenset(
    {
        "403",  # the response to a HEAD request has no error code
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_TRANSIENT: Final = frozenset(
    {
        "KMS.ThrottlingException",
        "KmsThrottled",
        "OperationAborted",
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
"""Transient error codes with HTTP status 400 or 409; SQS may report them with SenderFault=true."""
_THROTTLED_STATUS: Final = 429
_SERVER_ERROR_STATUS: Final = 500
_SERVER_ERRORS: Final = frozenset({"InternalError", "InternalServerError", "ServiceUnavailable"})
"""Codes with HTTP status 500 and above, for entries of a batch response, which have a code and no status."""


@contextmanager
def map_errors(resource: str) -> Iterator[None]:
    """Raise SDK errors of the ``with`` block as fanfold's errors, whose messages start with ``resource``."""
    try:
        yield
    except ClientError as error:
        raise _of_client(error, resource) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(
            f"{resource}: no AWS credentials found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except NoRegionError as error:
        raise ConfigurationError(f"{resource}: no AWS region is set: set AWS_REGION") from error
    except SSOError as error:
        raise ExpiredCredentialsError(f"{resource}: {error}") from error
    except (ConfigParseError, InvalidRegionError, ProfileNotFound) as error:
        raise ConfigurationError(f"{resource}: {error}") from error
    except BotoCoreError as error:
        transient = not isinstance(error, ParamValidationError)  # a retry would fail the same way
        message = " ".join(str(error).split())  # the SDK writes one line for each parameter
        raise ServiceError(f"{resource}: {message}", code=type(error).__name__, transient=transient) from error
    except ValueError as error:
        if not str(error).startswith("Invalid endpoint"):
            raise
        raise ConfigurationError(f"{resource}: {error}: an endpoint is a URL, such as http://127.0.0.1:4566") from error
    except (OSError, TimeoutError, aiohttp.ClientError, ParserError) as error:
        raise ServiceError(f"{resource}: {error}", code=type(error).__name__, transient=True) from error


def awaits_credentials(error: ConfigurationError) -> bool:
    """Return whether the credentials have expired, or are missing or unreadable, as while they are being replaced."""
    replaced = (NoCredentialsError, PartialCredentialsError, ConfigParseError)
    return isinstance(error, ExpiredCredentialsError) or isinstance(error.__cause__, replaced)


def is_conditional_check(error: ServiceError) -> bool:
    """Return whether DynamoDB refused a write because its condition was not met."""
    return error.code == "ConditionalCheckFailedException"


def is_transient(code: str) -> bool:
    """Return whether a retry may succeed after a service reported this error code."""
    return code in _TRANSIENT or code in _SERVER_ERRORS


def _of_client(error: ClientError, resource: str) -> FanfoldError:
    details = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return error_from(str(details.get("Code", "")), str(details.get("Message", "")), resource, status=status)


def error_from(code: str, message: str, resource: str, *, status: int = 0) -> FanfoldError:
    """Return fanfold's error for a service's error code and message about ``resource``.

    ``status`` is the HTTP status; 0 if it is unknown.
    """
    if code in _MISSING_OBJECT:
        return ObjectMissingError(f"{resource}: does not exist")
    if code in {"PreconditionFailed", "412"}:
        return ObjectChangedError(f"{resource}: has changed: its ETag is not the pinned one")
    if code == "ConditionalRequestConflict":
        return ServiceError(f"{resource}: another write to the same key is in progress", code=code, transient=True)
    if code in _MISSING_RESOURCE:
        return ConfigurationError(f"{resource}: does not exist; check the name and the region ({message})")
    if code in _EXPIRED or code in _DENIED:
        return _refused(code, message, resource)
    transient = is_transient(code) or status == _THROTTLED_STATUS or status >= _SERVER_ERROR_STATUS
    return ServiceError(f"{resource}: {code}: {message}", code=code, transient=transient)


def _refused(code: str, message: str, resource: str) -> ConfigurationError:
    if code in _EXPIRED:
        return ExpiredCredentialsError(f"{resource}: the AWS credentials have expired; renew them ({code}: {message})")
    return ConfigurationError(f"{resource}: AWS refuses the credentials or the permission: {message}")
