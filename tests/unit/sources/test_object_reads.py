"""Reads of pinned objects: their limits."""

import re
from collections.abc import AsyncIterator

import pytest

from fanfold.errors import SourceError
from fanfold.inmemory import InMemoryStore
from fanfold.sources.object_reads import lines_in, read_range, read_small


def store_with(data: bytes) -> InMemoryStore:
    store = InMemoryStore()
    store.fill("b", {"k": data})
    return store


async def test_a_range_past_the_end_of_an_object_is_refused():
    """Otherwise, a truncated object would be read as a complete one."""
    with pytest.raises(SourceError, match="s3://b/k ends at byte 3, but bytes up to 4 are needed"):
        [piece async for piece in read_range(store_with(b"abc"), "b", "k", start=1, stop=4)]


async def test_an_object_that_is_too_large_for_memory_is_refused():
    """A wrong key must not fill the memory."""
    with pytest.raises(SourceError, match=re.escape("s3://b/k has 3 bytes, over the limit of 2: check the key")):
        await read_small(store_with(b"abc"), "b", "k", max_bytes=2)


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b", b"\n", b"c\nd"], [b"ab", b"c", b"d"]),
        ([b"\n\n", b"x"], [b"", b"", b"x"]),
    ],
)
async def test_lines_may_span_pieces(pieces, lines):
    """The last line may lack its newline."""
    assert [line async for chunk in lines_in(pieces_of(*pieces), "k") for line in chunk] == lines


async def test_a_line_that_does_not_fit_in_memory_is_refused(monkeypatch):
    """An object in another format may have no newlines."""
    monkeypatch.setattr("fanfold.sources.object_reads.MAX_LINE_BYTES", 5)
    with pytest.raises(SourceError, match="s3://b/k has a line of more than 5 bytes: check the format"):
        [line async for line in lines_in(pieces_of(b"ab\nabc", b"def"), "s3://b/k")]
