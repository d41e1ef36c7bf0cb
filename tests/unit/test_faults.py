"""What a service says of a fault, in one of our errors."""

from __future__ import annotations

import pytest

from fanfold.aws.faults import fault_of
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
        ("MalformedXML", ServiceError),
    ],
)
def test_a_code_becomes_an_error_of_ours_that_names_what_it_is_about(code, kind):
    """A caller tells what to do by the type of the error, and a reader what it is about by its words."""
    fault = fault_of(code, "words", "s3://bucket/key")
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
    fault = fault_of(code, "words", "s3://bucket/key", status=status)
    assert isinstance(fault, ServiceError)
    assert (fault.code, fault.transient) == (code, passing)
