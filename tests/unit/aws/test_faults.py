"""Translation of SDK errors into fanfold's errors."""

import pytest

from fanfold.aws.clients import client_of
from fanfold.aws.faults import error_from
from fanfold.aws.s3 import S3Store
from fanfold.errors import ConfigurationError, ObjectChangedError, ObjectMissingError, ServiceError


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("NoSuchKey", ObjectMissingError),
        ("NoSuchBucket", ObjectMissingError),
        ("PreconditionFailed", ObjectChangedError),
        ("AccessDenied", ConfigurationError),
        ("403", ConfigurationError),
        ("ResourceNotFoundException", ConfigurationError),
        ("InvalidAddress", ConfigurationError),
        ("NotFound", ConfigurationError),
        ("AuthorizationError", ConfigurationError),
        ("MalformedXML", ServiceError),
    ],
)
def test_an_error_code_becomes_an_error_that_names_the_resource(code, kind):
    """The type tells a caller how to react, and the message names the resource."""
    error = error_from(code, "message", "s3://bucket/key")
    assert type(error) is kind
    assert str(error).startswith("s3://bucket/key: ")


@pytest.mark.parametrize(
    ("code", "status", "transient"),
    [
        ("SlowDown", 0, True),
        ("InternalError", 0, True),
        ("ServiceUnavailable", 0, True),
        ("ConditionalRequestConflict", 409, True),
        ("RequestTimeout", 400, True),
        ("Anything", 503, True),
        ("Anything", 400, False),
        ("InvalidRequest", 0, False),
    ],
)
def test_transient_errors_are_marked(code, status, transient):
    """Throttling and server errors are transient, also for an entry of a batch response, which has no HTTP status."""
    error = error_from(code, "message", "s3://bucket/key", status=status)
    assert isinstance(error, ServiceError)
    assert (error.code, error.transient) == (code, transient)


@pytest.mark.parametrize(
    ("variables", "client", "message"),
    [
        (
            {},
            {"endpoint_url": "localhost:4566"},
            "S3: Invalid endpoint: localhost:4566: an endpoint is a URL, such as ",
        ),
        ({"AWS_ENDPOINT_URL": "localhost:4566"}, {}, "S3: Invalid endpoint: localhost:4566: an endpoint is a URL"),
        ({}, {"region_name": "eu west"}, "S3: Provided region_name 'eu west' doesn't match"),
        ({"AWS_PROFILE": "nobody"}, {}, r"S3: The config profile \(nobody\) could not be found"),
    ],
)
async def test_an_invalid_sdk_setting_is_a_configuration_error(variables, client, message, monkeypatch):
    """The error states in one line which setting to fix."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        async with client_of("s3", "S3", {}, **client):
            pass


async def test_a_request_that_the_sdk_refuses_is_a_permanent_error_on_one_line(monkeypatch):
    """A retry would fail the same way, so the error is not transient."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    async with client_of("s3", "S3", {}) as client:
        with pytest.raises(
            ServiceError, match='Parameter validation failed: Invalid bucket name "No Bucket!"'
        ) as raised:
            await S3Store(client).head("No Bucket!", "key")
    assert not raised.value.transient
    assert "\n" not in str(raised.value)
