"""The message body of a segment, and the errors for invalid bodies."""

import json

import pytest

from fanfold._jobs.segment import Segment
from fanfold.errors import SegmentError

BODY = '{"v":1,"job":"delays","run":"run-1","gen":0,"segment":17,"hop":0,"source":{"type":"s3-lines","start":64}}'


def body_with(**changes: object) -> str:
    return json.dumps(json.loads(BODY) | changes)


def body_without(name: str) -> str:
    return json.dumps({key: value for key, value in json.loads(BODY).items() if key != name})


def test_a_body_is_compact_json_of_version_one():
    """The body starts with the version and contains no spaces."""
    assert Segment("delays", "run-1", 17, {"type": "s3-lines", "start": 64}).to_body() == BODY


def test_a_segment_has_the_first_generation_and_hop_by_default():
    """A new segment was neither redriven nor continued."""
    segment = Segment("delays", "run-1", 17, {"type": "s3-lines"})
    assert (segment.gen, segment.hop) == (0, 0)


def test_spaces_and_the_order_of_keys_do_not_matter():
    """Only the JSON value counts, not its formatting."""
    document = json.loads(BODY)
    spaced = json.dumps(dict(reversed(document.items())), indent=2)
    assert Segment.from_body(spaced) == Segment.from_body(BODY)


@pytest.mark.parametrize("body", ["", "text", "{", "\ufeff{}", "{'v': 1}", "[" * 100_000, "9" * 5_000])
def test_a_body_that_is_not_json_is_refused(body):
    """A body that the JSON parser refuses, for any reason, is not a segment."""
    with pytest.raises(SegmentError, match="not a fanfold segment: the body is not JSON"):
        Segment.from_body(body)


@pytest.mark.parametrize("body", ["{}", "[]", "null", "7", '"v"', '["v"]', '{"job":"delays"}'])
def test_json_without_a_version_is_refused(body):
    """The missing version distinguishes other JSON from a segment."""
    with pytest.raises(SegmentError, match="not a fanfold segment: the body must be a JSON object with a version 'v'"):
        Segment.from_body(body)


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_version_is_refused_with_the_fix(version):
    """A segment of a release that writes another version is refused, and the error states what to deploy."""
    with pytest.raises(
        SegmentError, match="reads only version 1; deploy the same release of fanfold to every function of the job"
    ):
        Segment.from_body(body_with(v=version))


@pytest.mark.parametrize("name", ["job", "run", "gen", "segment", "hop", "source"])
def test_a_missing_field_is_named(name):
    """The error of a body that lacks a field names the field."""
    with pytest.raises(SegmentError, match=f"'{name}' must be of type .*, not None"):
        Segment.from_body(body_without(name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"job": 7}, "'job' must be of type str, not 7"),
        ({"run": None}, "'run' must be of type str, not None"),
        ({"gen": "0"}, "'gen' must be of type int, not '0'"),
        ({"segment": 1.0}, "'segment' must be of type int, not 1.0"),
        ({"segment": True}, "'segment' must be of type int, not True"),
        ({"hop": []}, r"'hop' must be of type int, not \[\]"),
        ({"source": "s3-lines"}, "'source' must be of type dict, not 's3-lines'"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_value(changes, message):
    """The error of a field with the wrong type states its value and the expected type."""
    with pytest.raises(SegmentError, match=f"^not a fanfold segment: {message}$"):
        Segment.from_body(body_with(**changes))


@pytest.mark.parametrize("name", ["gen", "segment", "hop"])
def test_a_negative_number_is_refused(name):
    """Segments, generations, and hops are counted from 0."""
    with pytest.raises(SegmentError, match=f"^not a fanfold segment: '{name}' must be at least 0, not -1$"):
        Segment.from_body(body_with(**{name: -1}))


@pytest.mark.parametrize("source", [{}, {"type": None}, {"type": 7}, {"kind": "s3-lines"}])
def test_a_source_without_a_type_is_refused(source):
    """Without a type, no source can read it."""
    with pytest.raises(SegmentError, match=r"^not a fanfold segment: 'source' has no 'type'$"):
        Segment.from_body(body_with(source=source))


def test_a_body_that_is_not_a_segment_is_a_permanent_error():
    """The message is rejected immediately instead of being redelivered up to the receive limit."""
    assert SegmentError.permanent is True
