"""The settings of an event source mapping, and the number of records that fit into a batch."""

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


# --- Settings that AWS accepts and rejects.


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
def test_settings_at_the_limits_are_accepted(settings: dict[str, Any]):
    """1 to 10,000 records with a batching window of 0 to 300 s; above 10 records, at least 1 s."""
    MappingSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
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
def test_settings_that_aws_rejects_are_refused(settings: dict[str, Any], message: str):
    """The error names the limit."""
    with pytest.raises(ConfigurationError, match=message):
        MappingSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 2.5}, {"batch_size": "10"}, {"batch_size": None}, {"window_seconds": "1"}, {"batch_size": True}],
)
def test_settings_that_are_not_numbers_are_refused(settings: dict[str, Any]):
    """In the constructor, with a ``ConfigurationError``."""
    with pytest.raises(ConfigurationError):
        MappingSettings(**settings)


# --- Records that fit into a batch.


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
    """Exactly 6 MB fit, one byte more does not; a single record always fits."""
    assert fitting(sizes, ON) == count


def test_a_batch_of_ten_thousand_small_records_fits():
    """One more record does not."""
    assert fitting([600] * 10_001, LARGEST) == 10_000


def test_ten_thousand_records_of_a_kilobyte_do_not_fit():
    """The batch ends at 6 MB."""
    assert fitting([1024] * 10_000, LARGEST) == 6 * 1024


@given(
    st.lists(st.integers(1, 2 * MIB) | st.sampled_from([1, MIB, MIB + 1, LAMBDA_EVENT_BYTES]), max_size=30),
    st.integers(1, 40),
)
@example([LAMBDA_EVENT_BYTES, 1], 2)
def test_a_batch_has_as_many_records_as_fit(sizes: list[int], batch_size: int):
    """It stays within the batch size and 6 MB, or has one record; one more record would exceed a limit."""
    count = fitting(sizes, MappingSettings(batch_size=batch_size, window_seconds=1))
    assert count == 0 if not sizes else count >= 1
    assert count <= min(len(sizes), batch_size)
    assert sum(sizes[:count]) <= LAMBDA_EVENT_BYTES or count == 1
    if count < min(len(sizes), batch_size):
        assert sum(sizes[: count + 1]) > LAMBDA_EVENT_BYTES


@given(st.lists(st.text(max_size=50), min_size=1, max_size=8))
def test_the_sum_of_the_record_sizes_is_at_least_the_size_of_their_event(bodies: list[str]):
    """So an event of the records that fit does not exceed 6 MB."""
    records = [make_record(body) for body in bodies]
    event = json.dumps({"Records": records}, ensure_ascii=False, separators=(",", ":"))
    assert sum(map(record_bytes, records)) >= len(event.encode("utf-8", "surrogatepass"))


def test_the_size_of_a_record_is_in_bytes():
    """Of its UTF-8 encoding; an unpaired surrogate is counted too."""
    plain, accented = make_record("e" * 1_000), make_record("é" * 1_000)
    assert record_bytes(accented) - record_bytes(plain) == 1_000
    assert record_bytes(make_record("\ud83d")) > record_bytes(make_record(""))
