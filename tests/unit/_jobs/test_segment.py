"""The body of a segment's message, and what is said of one that is none."""

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
    """The body names its version first and wastes no space."""
    assert Segment("delays", "run-1", 17, {"type": "s3-lines", "start": 64}).to_body() == BODY


def test_a_segment_is_of_the_first_generation_and_hop_unless_told_otherwise():
    """A new segment was neither redriven nor continued."""
    segment = Segment("delays", "run-1", 17, {"type": "s3-lines"})
    assert (segment.gen, segment.hop) == (0, 0)


def test_a_body_that_is_spaced_and_ordered_otherwise_reads_the_same():
    """Only what the JSON says counts, not how it is written."""
    document = json.loads(BODY)
    spaced = json.dumps(dict(reversed(document.items())), indent=2)
    assert Segment.from_body(spaced) == Segment.from_body(BODY)


@pytest.mark.parametrize("body", ["", "text", "{", "\ufeff{}", "{'v': 1}", "[" * 100_000, "9" * 5_000])
def test_what_is_no_json_is_refused(body):
    """A body that the JSON parser refuses, for whatever reason, is no segment."""
    with pytest.raises(SegmentError, match="not a fanfold segment: the body is not JSON"):
        Segment.from_body(body)


@pytest.mark.parametrize("body", ["{}", "[]", "null", "7", '"v"', '["v"]', '{"job":"delays"}'])
def test_json_without_a_version_is_refused(body):
    """JSON that somebody else sent is told from a segment by its missing version."""
    with pytest.raises(SegmentError, match="not a fanfold segment: the body is no JSON object with a version 'v'"):
        Segment.from_body(body)


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_version_is_refused_with_the_mend(version):
    """A segment of a release that writes another version is refused, and the error says what to deploy."""
    with pytest.raises(SegmentError, match="this release reads version 1; deploy the same fanfold to every function"):
        Segment.from_body(body_with(v=version))


@pytest.mark.parametrize("name", ["job", "run", "gen", "segment", "hop", "source"])
def test_a_missing_field_is_named(name):
    """A body that lacks a field is refused by the field's name."""
    with pytest.raises(SegmentError, match=f"'{name}' is None, not of type"):
        Segment.from_body(body_without(name))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"job": 7}, "'job' is 7, not of type str"),
        ({"run": None}, "'run' is None, not of type str"),
        ({"gen": "0"}, "'gen' is '0', not of type int"),
        ({"segment": 1.0}, "'segment' is 1.0, not of type int"),
        ({"segment": True}, "'segment' is True, not of type int"),
        ({"hop": []}, r"'hop' is \[\], not of type int"),
        ({"source": "s3-lines"}, "'source' is 's3-lines', not of type dict"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_value(changes, told):
    """A field of the wrong type is refused with what it is and what it should be."""
    with pytest.raises(SegmentError, match=f"^not a fanfold segment: {told}$"):
        Segment.from_body(body_with(**changes))


@pytest.mark.parametrize("name", ["gen", "segment", "hop"])
def test_a_number_below_nothing_is_refused(name):
    """Segments, generations and hops are counted from 0."""
    with pytest.raises(SegmentError, match=f"^not a fanfold segment: '{name}' is -1, below 0$"):
        Segment.from_body(body_with(**{name: -1}))


@pytest.mark.parametrize("source", [{}, {"type": None}, {"type": 7}, {"kind": "s3-lines"}])
def test_a_source_without_a_type_is_refused(source):
    """Nobody could read what names no kind of source."""
    with pytest.raises(SegmentError, match=r"^not a fanfold segment: 'source' has no 'type'$"):
        Segment.from_body(body_with(source=source))


def test_a_body_that_is_no_segment_never_will_be_one():
    """The error is permanent: the message is rejected instead of coming back until it is dead-lettered."""
    assert SegmentError.permanent is True
