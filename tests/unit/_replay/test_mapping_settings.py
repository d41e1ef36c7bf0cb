"""The settings that an event source mapping takes, and what fits into its batch."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanfold._base.aws_limits import LAMBDA_EVENT_BYTES
from fanfold._replay.mapping import MappingSettings, fitting, record_bytes
from fanfold.errors import ConfigurationError
from fanfold.testing import make_record

ON = MappingSettings()
LARGEST = MappingSettings(batch_size=10_000, window_seconds=1)
MIB = 1024 * 1024


# --- Settings that AWS takes and refuses.


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 1},
        {"batch_size": 10, "window_seconds": 0},
        {"batch_size": 1, "window_seconds": 300},
        {"batch_size": 11, "window_seconds": 1},
        {"batch_size": 10_000, "window_seconds": 300},
        {"batch_size": 10, "fifo": True},
        {"batch_size": 1, "fifo": True},
    ],
)
def test_settings_at_the_limits_are_taken(settings: dict[str, Any]):
    """1 to 10,000 records with a window of 0 to 300 s; over 10 records at least 1 s."""
    MappingSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 0}, "batch size"),
        ({"batch_size": -1}, "batch size"),
        ({"batch_size": 10_001, "window_seconds": 1}, "batch size"),
        ({"window_seconds": -1}, "window"),
        ({"window_seconds": 301}, "window"),
        ({"window_seconds": math.nan}, "window"),
        ({"window_seconds": math.inf}, "window"),
        ({"batch_size": 11}, "window of at least 1 second"),
        ({"batch_size": 11, "window_seconds": 0.5}, "window of at least 1 second"),
        ({"batch_size": 11, "fifo": True}, "FIFO"),
        ({"batch_size": 11, "window_seconds": 1, "fifo": True}, "FIFO"),
        ({"window_seconds": 1, "fifo": True}, "FIFO"),
    ],
)
def test_settings_that_aws_refuses_are_refused(settings: dict[str, Any], words: str):
    """With the limit named."""
    with pytest.raises(ConfigurationError, match=words):
        MappingSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 2.5}, {"batch_size": "10"}, {"batch_size": None}, {"window_seconds": "1"}, {"batch_size": True}],
)
def test_settings_that_are_no_numbers_are_refused(settings: dict[str, Any]):
    """At once and with the library's own error, not in the middle of a batch."""
    with pytest.raises(ConfigurationError):
        MappingSettings(**settings)


# --- What fits into a batch.


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([], 0),
        ([1], 1),
        ([LAMBDA_EVENT_BYTES], 1),
        ([LAMBDA_EVENT_BYTES + 1], 1),
        ([LAMBDA_EVENT_BYTES + 1, 1], 1),
        ([LAMBDA_EVENT_BYTES, 1], 1),
        ([LAMBDA_EVENT_BYTES - 1, 1], 2),
        ([LAMBDA_EVENT_BYTES - 1, 1, 1], 2),
        ([MIB] * 6, 6),
        ([MIB] * 7, 6),
        ([MIB + 1] * 6, 5),
        ([1] * 10, 10),
        ([1] * 11, 10),
    ],
)
def test_a_batch_ends_at_its_size_or_at_six_megabytes(sizes: list[int], count: int):
    """Exactly 6 MB fit, one byte more does not; a single record always goes."""
    assert fitting(sizes, ON) == count


def test_a_batch_of_ten_thousand_small_records_fits():
    """And not one more."""
    assert fitting([600] * 10_001, LARGEST) == 10_000


def test_ten_thousand_records_of_a_kilobyte_do_not_fit():
    """The batch ends at 6 MB."""
    assert fitting([1024] * 10_000, LARGEST) == 6 * 1024


@given(
    st.lists(st.integers(1, 2 * MIB) | st.sampled_from([1, MIB, MIB + 1, LAMBDA_EVENT_BYTES]), max_size=30),
    st.integers(1, 40),
)
@example([LAMBDA_EVENT_BYTES, 1], 2)
def test_a_batch_is_as_long_as_it_may_be_and_no_longer(sizes: list[int], batch_size: int):
    """Within size and 6 MB, or of one record; the next record would be too many, too much, or is not there."""
    count = fitting(sizes, MappingSettings(batch_size=batch_size, window_seconds=1))
    assert count == 0 if not sizes else count >= 1
    assert count <= min(len(sizes), batch_size)
    assert sum(sizes[:count]) <= LAMBDA_EVENT_BYTES or count == 1
    if count < min(len(sizes), batch_size):
        assert sum(sizes[: count + 1]) > LAMBDA_EVENT_BYTES


@given(st.lists(st.text(max_size=50), min_size=1, max_size=8))
def test_the_bytes_of_records_are_at_least_what_their_event_takes(bodies: list[str]):
    """Counted one by one, so that an event made of what fits is not over 6 MB."""
    records = [make_record(body) for body in bodies]
    event = json.dumps({"Records": records}, ensure_ascii=False, separators=(",", ":"))
    assert sum(map(record_bytes, records)) >= len(event.encode("utf-8", "surrogatepass"))


def test_bytes_are_counted_not_characters():
    """A message is measured as UTF-8; half a surrogate pair does not break the count."""
    plain, accented = make_record("e" * 1_000), make_record("é" * 1_000)
    assert record_bytes(accented) - record_bytes(plain) == 1_000
    assert record_bytes(make_record("\ud83d")) > record_bytes(make_record(""))
