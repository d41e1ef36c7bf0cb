"""Messages of the fold queue can be read by this release and by older ones."""

import json

import pytest

from fanfold._jobs.fold_requests import (
    CheckRun,
    CombineGroup,
    FoldRequest,
    ResumeScatter,
    WatchRun,
    from_body,
    to_message,
)
from fanfold.errors import SegmentError

BODIES = [
    (CheckRun("run"), '{"v":1,"check":"run","watch":false}'),
    (WatchRun("run"), '{"v":1,"check":"run","watch":true}'),
    (WatchRun("run", 0), '{"v":1,"check":"run","watch":true,"position":0}'),
    (WatchRun("run", 17), '{"v":1,"check":"run","watch":true,"position":17}'),
    (ResumeScatter("run"), '{"v":1,"check":"run","watch":false,"scatter":true}'),
    (CombineGroup("run", 2, 17), '{"v":1,"check":"run","watch":false,"combine":[2,17]}'),
]


@pytest.mark.parametrize(("check", "body"), BODIES)
def test_a_check_is_read_as_it_was_sent(check: FoldRequest, body: str):
    """Every release reads and writes these bodies, so that messages in flight survive a deployment."""
    message = to_message(check, 5)
    assert (message.body, message.delay_seconds) == (body, 5)
    assert from_body(body) == check
    assert to_message(check).delay_seconds == 0


@pytest.mark.parametrize(("body", "check"), [('{"check":"run"}', CheckRun("run")), ('{"check":7}', CheckRun("7"))])
def test_a_body_with_only_a_run_is_a_check(body: str, check: FoldRequest):
    """Older releases send such bodies."""
    assert from_body(body) == check


@pytest.mark.parametrize(
    "body",
    ['{"v":2,"check":"run"}', "", "[]", "{}", "null", '{"check":"run","position":"x"}', "[" * 100_000, "x" * 200],
)
def test_a_body_that_is_not_a_check_is_shown_in_the_error(body: str):
    """The error contains its first 80 characters."""
    with pytest.raises(SegmentError) as raised:
        from_body(body)
    assert str(raised.value) == f"not a check of a run: {body[:80]!r}"


@pytest.mark.parametrize("place", ["[-1, 0]", "[0, -1]", "[0]", '["0", 0]', "[0, 0.5]", "{}"])
def test_a_combine_request_with_an_invalid_group_is_refused(place: str):
    """A level and a group are integers of at least 0."""
    with pytest.raises(SegmentError, match="not a check"):
        from_body(json.dumps({"check": "run", "combine": json.loads(place)}))
