"""A segment equals its decoded message body, and any other body is refused with a segment error."""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold._jobs.segment import Segment
from fanfold.errors import SegmentError
from strategies import json_values, segments

FIELDS = ["v", "job", "run", "gen", "segment", "hop", "source"]


def document_of(segment: Segment) -> dict[str, object]:
    return json.loads(segment.to_body())


@given(segments())
@settings(deadline=None, max_examples=50)
def test_a_segment_equals_its_decoded_body(segment):
    """Decoding the body of a segment yields that segment."""
    assert Segment.from_body(segment.to_body()) == segment


@given(segments())
@settings(deadline=None, max_examples=50)
def test_a_body_is_one_line_of_ascii(segment):
    """A body is ASCII without a line end, so it has one byte per character."""
    body = segment.to_body()
    assert body.isascii()
    assert body.isprintable()


@given(st.text() | json_values().map(json.dumps))
@settings(deadline=None, max_examples=50)
def test_any_text_is_a_segment_or_a_segment_error(body):
    """A body of any text is decoded, or refused with a segment error."""
    with contextlib.suppress(SegmentError):
        assert isinstance(Segment.from_body(body), Segment)


@given(segments(), st.dictionaries(st.sampled_from(FIELDS), json_values(), min_size=1))
@settings(deadline=None, max_examples=50)
def test_any_value_in_any_field_is_a_segment_or_a_segment_error(segment, changes):
    """A body with any JSON values in its fields is decoded as a valid segment, or refused."""
    with contextlib.suppress(SegmentError):
        read = Segment.from_body(json.dumps(document_of(segment) | changes))
        assert Segment.from_body(read.to_body()) == read


@given(segments(), st.sets(st.sampled_from(FIELDS), min_size=1))
@settings(deadline=None, max_examples=50)
def test_a_body_that_lacks_a_field_is_refused(segment, lacking):
    """No field has a default on the wire, so a body without one of them is refused."""
    document = {name: value for name, value in document_of(segment).items() if name not in lacking}
    with contextlib.suppress(SegmentError):
        Segment.from_body(json.dumps(document))
        raise AssertionError(lacking)


@given(
    field=st.sampled_from(FIELDS),
    opening=st.sampled_from(["[", '{"a":']),
    depth=st.integers(1, 1_500) | st.integers(1_501, 200_000),
    closed=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_deep_nesting_is_a_segment_or_a_segment_error(field, opening, depth, closed):
    """A body that is nested too deeply for the parser is refused, too."""
    nested = opening * depth + ("0" + ("]" if opening == "[" else "}") * depth if closed else "")
    document = document_of(Segment("job", "run", 0, {"type": "items"})) | {field: "here"}
    with contextlib.suppress(SegmentError):
        Segment.from_body(json.dumps(document).replace('"here"', nested))
