"""CSV in any dialect, encoding, and cut: read as by Python's csv module and by Arrow, or refused; never wrong."""

import csv
import io
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv
from pyarrow import string

from fanfold.errors import SourceError
from fanfold.sources.bad_rows import BadRow
from piece_store import read_all

ENCODINGS = {
    "utf-8": "é日🜁",
    "cp1252": "éß€",
    "cp932": "表ソ予能十",  # the second byte of each is an ASCII character
    "euc_jp": "表ソ予",
    "gb18030": "㐀𠀀中",  # four bytes each, two of which are digits
    "big5": "功許蓋",
    "utf-16": "é日🜁",
    "utf-16-le": "é日🜁",
    "utf-32-be": "é日🜁",
    "iso2022_jp": "表日本",
}
"""Letters by encoding."""
LETTERS = ["a", "b", "1", " ", ",", ";", "\t", "|", '"', "'", "\n", "\r\n"]
DIALECTS = [(",", '"'), (";", '"'), ("\t", '"'), ("|", "'"), ("|", '"'), (",", "'")]
CUTS = st.sampled_from([1, 5, 30, 10_000])


def texts(letters: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(letters), max_size=6).map("".join)


@st.composite
def written(draw: st.DrawFn) -> tuple[bytes, dict[str, Any], list[list[str]]]:
    """An object that Python's csv module has written, how it was written, and its rows, the first one the header."""
    encoding = draw(st.sampled_from(sorted(ENCODINGS)))
    delimiter, quote = draw(st.sampled_from(DIALECTS))
    width = draw(st.integers(1, 4))
    values = texts([*LETTERS, *ENCODINGS[encoding]])
    rows = draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=6))
    header = [f"column {number}" for number in range(width)]
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    file = io.StringIO(newline="")
    end = draw(st.sampled_from(["\n", "\r\n"]))
    writer = csv.writer(file, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=end)
    writer.writerows([header, *rows])
    return file.getvalue().encode(encoding), declared(encoding, delimiter, quote), [header, *rows]


def declared(encoding: str, delimiter: str, quote: str) -> dict[str, Any]:
    return {"encoding": encoding, "delimiter": delimiter, "quotechar": quote}


def by_arrow(data: bytes, dialect: dict[str, Any], header: list[str]) -> list[dict[str, str]]:
    """Return the rows that Arrow reads, which must not be cut inside a row."""
    options = arrow_csv.ConvertOptions(column_types=dict.fromkeys(header, string()), strings_can_be_null=False)
    parse = arrow_csv.ParseOptions(
        delimiter=dialect["delimiter"], quote_char=dialect["quotechar"], newlines_in_values=True
    )
    read = arrow_csv.ReadOptions(encoding=dialect["encoding"])
    return arrow_csv.read_csv(io.BytesIO(data), read, parse, options).to_pylist()


@given(file=written(), chunk_bytes=CUTS, piece_bytes=st.integers(1, 50))
@settings(deadline=None, max_examples=400)
async def test_what_csv_has_written_is_read_as_by_csv_and_arrow(file, chunk_bytes, piece_bytes):
    """With newlines inside quotes, at any cut, if ``quoted_newlines`` declares them."""
    data, dialect, (header, *rows) = file
    read = await read_all(
        data, key="o.csv", chunk_bytes=chunk_bytes, piece_bytes=piece_bytes, quoted_newlines=True, **dialect
    )
    assert read == [dict(zip(header, row, strict=True)) for row in rows]
    assert read == by_arrow(data, dialect, header)


@given(file=written(), chunk_bytes=CUTS, quoted_newlines=st.sampled_from([None, False]))
@settings(deadline=None, max_examples=400)
async def test_rows_that_span_lines_are_read_or_refused_without_that_declaration(file, chunk_bytes, quoted_newlines):
    """A reader that cannot know where rows begin refuses the object; rows of one line each are read at any cut."""
    data, dialect, (header, *rows) = file
    options = {"chunk_bytes": chunk_bytes, "quoted_newlines": quoted_newlines, **dialect}
    try:
        read = await read_all(data, key="o.csv", **options)
    except SourceError:
        assert any("\n" in value for row in rows for value in row)
        return
    assert read == [dict(zip(header, row, strict=True)) for row in rows]


@st.composite
def anything(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """Any text, its encoding, and any declaration of it."""
    encoding = draw(st.sampled_from(sorted(ENCODINGS)))
    delimiter, quote = draw(st.sampled_from(DIALECTS))
    whole = [f"x{delimiter}y\n", f"{quote}x{quote}{delimiter}2\n", f"1{delimiter}{quote}2\n{quote}\n"]
    letters = [*LETTERS, *ENCODINGS[encoding], quote, delimiter, "\n", "\r"]
    tokens = st.sampled_from(whole) | st.sampled_from([*whole, *letters])
    begin = draw(st.sampled_from([f"a{delimiter}b\n", ""]))
    text = begin + "".join(draw(st.lists(tokens, min_size=1, max_size=12)))
    modes = {"quoted_newlines": st.sampled_from([None, False, True]), "header": st.sampled_from([None, True])}
    return text, encoding, {**declared(encoding, delimiter, quote), **draw(st.fixed_dictionaries(modes))}


def rows_in(text: str, options: dict[str, Any]) -> list[list[str]]:
    """Return the rows that Python's csv module reads, without blank ones."""
    dialect = {"delimiter": options["delimiter"], "quotechar": options["quotechar"]}
    return [row for row in csv.reader(io.StringIO(text, newline=""), **dialect) if row]


@given(file=anything(), chunk_bytes=CUTS, piece_bytes=st.integers(1, 50))
@settings(deadline=None, max_examples=1_500)
async def test_any_text_is_read_as_by_csv_or_refused(file, chunk_bytes, piece_bytes):
    """For any declaration and any cut."""
    text, encoding, options = file
    sizes = {"chunk_bytes": chunk_bytes, "piece_bytes": piece_bytes}
    try:
        read = await read_all(text.encode(encoding), key="o.csv", **sizes, **options)
    except SourceError:
        event("refused")
        return
    event("read")
    header, *rows = rows_in(text, options) or [[]]  # line ends alone are an object without rows
    assert read == [dict(zip(header, row, strict=True)) for row in rows]


@given(file=anything(), chunk_bytes=CUTS, piece_bytes=st.integers(1, 50))
@settings(deadline=None, max_examples=800)
async def test_collected_rows_are_those_that_csv_reads_with_another_width(file, chunk_bytes, piece_bytes):
    """All other rows are read; unless the object is refused, because it is unclear where rows begin."""
    text, encoding, options = file
    text = text.replace("\r", "")
    if options["quoted_newlines"] is False:
        options = {**options, "quoted_newlines": True}
    sizes = {"chunk_bytes": chunk_bytes, "piece_bytes": piece_bytes, "on_bad_row": "collect"}
    try:
        read = await read_all(text.encode(encoding), key="o.csv", **sizes, **options)
    except SourceError:
        event("refused")
        return
    event("read")
    header, *rows = rows_in(text, options) or [[]]  # line ends alone are an object without rows
    fitting = [len(row) == len(header) for row in rows]
    assert [type(item) is not BadRow for item in read] == fitting
    good = [item for item in read if type(item) is not BadRow]
    assert good == [dict(zip(header, row, strict=True)) for row, fits in zip(rows, fitting, strict=True) if fits]


LINES = ["1,2", '"1",2', "1", "1,2,3", '"1,2', '1",2', '"1"x,2', "\ud800,2", ""]


@given(lines=st.lists(st.sampled_from(LINES), max_size=8), chunk_bytes=CUTS)
@settings(deadline=None, max_examples=300)
async def test_a_declared_line_is_a_row_or_a_bad_row_by_itself(lines, chunk_bytes):
    """With ``quoted_newlines=False``, no line affects another one, at any cut."""
    good = {"1,2": ("1", "2"), '"1",2': ("1", "2"), '1",2': ('1"', "2")}
    data = "\n".join(["a,b", *lines, "1,2"]).encode("utf-8", "surrogatepass")
    settings = {"quoted_newlines": False, "on_bad_row": "collect"}
    read = await read_all(data, key="o.csv", chunk_bytes=chunk_bytes, **settings)
    expected = [good.get(line) for line in [*lines, "1,2"] if line]
    assert [None if type(item) is BadRow else (item["a"], item["b"]) for item in read] == expected
    assert [item.text for item in read if type(item) is BadRow and "\ufffd" not in item.text] == [
        line for line in lines if line and line not in good and line.isascii()
    ]
