"""What a service says of a fault, in one of our errors."""

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
def test_a_code_becomes_an_error_of_ours_that_names_what_it_is_about(code, kind):
    """A caller tells what to do by the type of the error, and a reader what it is about by its words."""
    fault = error_from(code, "words", "s3://bucket/key")
    assert type(fault) is kind
    assert str(fault).startswith("s3://bucket/key: ")


@pytest.mark.parametrize(
    ("code", "status", "passing"),
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
def test_a_fault_that_may_pass_is_told_from_one_that_stays(code, status, passing):
    """Throttling and the server's own faults may pass, also where an entry of an answer has a code and no status."""
    fault = error_from(code, "words", "s3://bucket/key", status=status)
    assert isinstance(fault, ServiceError)
    assert (fault.code, fault.transient) == (code, passing)


@pytest.mark.parametrize(
    ("variables", "client", "words"),
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
async def test_what_the_sdk_was_told_wrongly_is_an_error_of_configuration(variables, client, words, monkeypatch):
    """Trying again is of no use, and one line says what to mend."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{words}"):
        async with client_of("s3", "S3", {}, **client):
            pass


async def test_what_the_sdk_does_not_send_is_told_on_one_line(monkeypatch):
    """And that another try would not be either."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    async with client_of("s3", "S3", {}) as client:
        with pytest.raises(
            ServiceError, match='Parameter validation failed: Invalid bucket name "No Bucket!"'
        ) as raised:
            await S3Store(client).head("No Bucket!", "key")
    assert not raised.value.transient
    assert "\n" not in str(raised.value)
