"""Packed columns of the ledger: compact, exact, and refused if they are malformed."""

import base64
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest

from fanfold._ports.packed import (
    MAX_ATTEMPTS_BYTES,
    MAX_UNPACKED_BYTES,
    pack,
    pack_attempts,
    pack_ends,
    unpack,
    unpack_attempts,
    unpack_ends,
)
from fanfold._ports.run import Attempt, FailedBatch, Marker
from fanfold.errors import LedgerError

ATTEMPT = Attempt(7, 1, 2, 3, 1767225600.123, 0.25, "KeyError", "'x'", "app.py:12", "request", "stream", 5, 9, 1)
TIMES: dict[str, Any] = {"began_at": [5.5, 4.25], "seconds": [0.0, 1.001], "ended_at": 9.0}
MARKER = Marker("m", 0, ids=[3, 9], items=[1, 2], environment="e", **TIMES)


def test_ends_are_unpacked_unchanged_from_bytes_and_from_base64():
    """As the SDK returns binaries, and as a raw response has them."""
    data = pack_ends(MARKER)
    names = ("ids", "items", "began_at", "seconds", "ended_at", "environment")
    expected = {name: getattr(MARKER, name) for name in names}
    assert unpack_ends(data) == unpack_ends(base64.b64encode(data).decode()) == expected
    assert unpack_ends(pack_ends(Marker("m", 0, ids=[5])))["ids"] == [5]


@pytest.mark.parametrize(
    "columns",
    [
        [[1], [], [], [], None],
        [[1], [1, 2], [], [], None, None],
        [[1], [], [5], [1, 2], None, None],
        [[1, 0], [], [], [], None, None],
        [[1.5], [], [], [], None, None],
        [[True], [], [], [], None, None],
        [[2**53], [], [], [], None, None],
        [["1"], [], [], [], None, None],
        [[1], [], [], [], "now", None],
        [[1], [], [], [], None, 7],
        [1, [], [], [], None, None],
        [[1], [], [2**50, 0], [1], None, None],
        [[1], [], [1, 0], [2**50], None, None],
        [[1], [], [], [], 2**50, None],
        {"ids": [1]},
        None,
    ],
)
def test_malformed_ends_are_refused(columns: object):
    """With the error of a ledger, whatever is wrong."""
    with pytest.raises(LedgerError, match="the ledger holds"):
        unpack_ends(pack(columns))


@pytest.mark.parametrize(
    "data",
    [b"", b"x", "not base64", pack([1])[:-3], zlib.compress(b"["), zlib.compress(b"\xff")],
)
def test_data_that_was_not_packed_is_refused(data: bytes | str):
    """For example, because it is incomplete."""
    with pytest.raises(LedgerError, match="the ledger holds packed values that"):
        unpack(data)


def test_a_value_that_would_fill_the_memory_is_refused():
    """A few kilobytes can hold gigabytes."""
    with pytest.raises(LedgerError, match="incomplete or too large"):
        unpack(zlib.compress(b"0" * (MAX_UNPACKED_BYTES + 1)))


def test_attempts_are_grouped_and_unpacked_unchanged():
    """Attempts with the same error share its texts."""
    attempts = [ATTEMPT, replace(ATTEMPT, segment=8), replace(ATTEMPT, segment=9, message="other", max_number=None)]
    assert unpack_attempts("a", 1, pack_attempts(attempts)) == FailedBatch("a", 1, attempts)


def test_attempts_that_are_too_large_for_an_item_lose_most_messages():
    """All of them still count."""
    chance = random.Random(0)
    attempts = [
        replace(ATTEMPT, segment=number, message="".join(map(chr, chance.choices(range(33, 5_000), k=200))))
        for number in range(3_000)
    ]
    packed = pack_attempts(attempts)
    assert len(packed) < MAX_ATTEMPTS_BYTES
    batch = unpack_attempts("a", 1, packed)
    assert sorted(attempt.segment for attempt in batch.attempts) == list(range(3_000))
    assert sum(bool(attempt.message) for attempt in batch.attempts) == 100


@pytest.mark.parametrize(
    "groups",
    [
        [],
        7,
        [["E", "m", None, None, None, None, []]],
        [["E", "m", None, None, None, None, [1, 2, 3]]],
        [["E", "m", None, None, None, None, [-1, 0, 1, 0, 0, 0, 0]]],
        [["E", "m", None, None, None, None, [1, 0, 1, 2**50, 0, 0, 0]]],
        [[None, "m", None, None, None, None, [1, 0, 1, 0, 0, 0, 0]]],
        [["E", "m", 7, None, None, None, [1, 0, 1, 0, 0, 0, 0]]],
        [["E", "m", None, None, None, "5", [1, 0, 1, 0, 0, 0, 0]]],
        [["E"]],
    ],
)
def test_malformed_attempts_are_refused(groups: object):
    """They cost themselves."""
    with pytest.raises(LedgerError, match="the ledger holds"):
        unpack_attempts("a", 0, pack(groups))
