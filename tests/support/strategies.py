"""Generators of line-based objects and of segments."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from fanfold._jobs.segment import Segment

BOM = b"\xef\xbb\xbf"

# Excluded: newlines, which end a line in any format; surrogates, which have no UTF-8; and the byte order mark.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\n\ufeff")
TEXTS = st.text(CHARACTERS, max_size=8) | st.sampled_from(
    ["", " ", 'a "quote"', "a,b", "naïve", "日本語", "🜁🜁", '"', "\r"]
)
NAMES = st.text(CHARACTERS, min_size=1, max_size=6)
LINE_ENDS = st.sampled_from(["\n", "\r\n"])


def json_values() -> st.SearchStrategy[Any]:
    """Values that survive a round trip through JSON."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
    )


@st.composite
def csv_fields(draw: st.DrawFn, values: Sequence[str]) -> list[str]:
    """The fields of one row as text: quoted where required, and sometimes elsewhere."""
    return [
        '"' + value.replace('"', '""') + '"' if set(value) & set('",\r') or draw(st.booleans()) else value
        for value in values
    ]


@st.composite
def joined(draw: st.DrawFn, lines: Sequence[str]) -> bytes:
    """The lines as one object, with LF, CR LF or both, and with or without a byte order mark and a final line end."""
    ends = draw(st.sampled_from([st.just("\n"), st.just("\r\n"), LINE_ENDS]))
    text = "".join(line + draw(ends) for line in lines)
    if lines[-1] and not lines[-1].endswith("\r") and draw(st.booleans()):
        text = text.removesuffix("\n").removesuffix("\r")
    return draw(st.sampled_from([b"", BOM])) + text.encode()


@st.composite
def csv_lines(draw: st.DrawFn, *, max_rows: int = 6) -> list[str]:
    """A header of one to four columns, then rows and a few empty lines; at least one line after the header."""
    header = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    row = st.lists(TEXTS, min_size=len(header), max_size=len(header)).flatmap(csv_fields).map(",".join)
    rows = draw(st.lists(row | row | st.just(""), min_size=1, max_size=max_rows))
    return [",".join(draw(csv_fields(header))), *rows]


def csv_objects(*, max_rows: int = 6) -> st.SearchStrategy[bytes]:
    """CSV objects with a header and at least one more line."""
    return csv_lines(max_rows=max_rows).flatmap(joined)


@st.composite
def giant_csv_objects(draw: st.DrawFn) -> bytes:
    """CSV objects with one row of more than 128 KB among small ones."""
    names = [f"column-{number}" for number in range(draw(st.integers(1, 4)))]
    rows = [",".join(f"{number} of {name}" for name in names) for number in range(draw(st.integers(0, 3)))]
    fields = ["small"] * len(names)
    giant = draw(st.sampled_from(["x", "é", "日", "🜁", '""'])) * draw(st.integers(131_073, 200_000))
    fields[draw(st.integers(0, len(names) - 1))] = f'"{giant}"'
    rows.insert(draw(st.integers(0, len(rows))), ",".join(fields))
    return draw(joined([",".join(names), *rows]))


@st.composite
def jsonl_objects(draw: st.DrawFn, *, max_rows: int = 6) -> bytes:
    """JSON Lines objects, with a few empty lines."""
    rows = st.builds(lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only), json_values(), st.booleans())
    return draw(joined(draw(st.lists(rows | rows | st.sampled_from(["", " "]), min_size=1, max_size=max_rows))))


@st.composite
def text_objects(draw: st.DrawFn, *, max_rows: int = 6) -> bytes:
    """Text objects; empty lines count. None has CR alone as its only line end, which is refused."""
    lines = joined(draw(st.lists(TEXTS, min_size=1, max_size=max_rows)))
    return draw(lines.filter(lambda data: b"\n" in data or b"\r" not in data))


def names() -> st.SearchStrategy[str]:
    """Valid names of jobs and runs."""
    return st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)


def segments() -> st.SearchStrategy[Segment]:
    """Segments of any job, run and source."""
    return st.builds(
        Segment,
        job=names(),
        run=names(),
        number=st.integers(0, 10**12),
        source=st.builds(
            lambda described, kind: {**described, "type": kind}, st.dictionaries(st.text(), json_values()), st.text()
        ),
        gen=st.integers(0, 1000),
        hop=st.integers(0, 1000),
    )
