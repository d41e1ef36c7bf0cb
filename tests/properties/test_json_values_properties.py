"""JSON Lines and JSON arrays give the values that were written, or refuse what they cannot represent."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanfold import S3JsonArray, S3Lines, inmemory, sources
from fanfold._base.json_problems import has_colliding_keys
from fanfold.errors import SourceError
from fanfold.sources.json_values import values_parser
from strategies import TEXTS, json_values

NUMBERS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?\Z")
FORMATS = ("lines", "array")
LONE_SURROGATES = st.from_regex(r"\A\\u[dD][89a-fA-F][0-9a-fA-F]{2}\Z")


async def read(form: str, values: Sequence[str], **options: Any) -> list[Any]:
    """Return the items of an object with these values, as JSON Lines or as a JSON array."""
    backend = inmemory.backend()
    lines, array = "\n".join(values), f"[{','.join(values)}]"
    backend.store.fill("b", {"lines.jsonl": lines.encode(), "array.json": array.encode()})
    source = S3Lines("b", "lines.jsonl", **options) if form == "lines" else S3JsonArray("b", "array.json", **options)
    plan = json.loads(json.dumps(await source.pin(backend, "p")))
    return [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]


@pytest.mark.parametrize("form", FORMATS)
@given(values=st.lists(json_values(), min_size=1, max_size=5), ascii_only=st.booleans())
@settings(deadline=None, max_examples=50)
async def test_every_value_is_read_as_it_was_written(form, values, ascii_only):
    """This holds for every JSON value, with escaped characters or without."""
    assert await read(form, [json.dumps(value, ensure_ascii=ascii_only) for value in values]) == values


@pytest.mark.parametrize("form", FORMATS)
@given(numbers=st.lists(NUMBERS, min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
async def test_with_decimals_every_number_is_exact(form, numbers):
    """A number with a fraction or an exponent is a Decimal, any other an int."""
    assert list(map(str, await read(form, numbers, decimals=True))) == [
        str(Decimal(number)) if re.search("[.eE]", number) else str(int(number)) for number in numbers
    ]


@pytest.mark.parametrize("form", FORMATS)
@given(number=NUMBERS)
@settings(deadline=None, max_examples=80)
async def test_without_decimals_a_number_is_the_nearest_float_or_refused(form, number):
    """A number beyond the largest float is never infinite."""
    if float(number) in {float("inf"), float("-inf")} and re.search("[.eE]", number):
        with pytest.raises(SourceError, match="exceeds the largest float: set decimals=True"):
            await read(form, [number])
    else:
        assert await read(form, [number]) == [json.loads(number)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("decimals", [False, True])
@pytest.mark.parametrize("wrap", ["{}", "[{}]", '{{"a": [{}]}}'])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", f"{'9' * 400}.5"])
async def test_what_is_not_a_finite_number_is_refused_by_both(form, decimals, wrap, number):
    """Only a number beyond the largest float can be read, as a decimal."""
    values = ["1", wrap.format(number)]
    if decimals and number[-1].isdigit():
        assert len(await read(form, values, decimals=True)) == 2
        return
    with pytest.raises(SourceError, match=r"^s3://b/(lines\.jsonl: malformed line( 2)? near byte 2|array\.json: )"):
        await read(form, values, decimals=decimals)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_decimal_has_a_limit_too(form):
    """Python has no decimal with such an exponent."""
    with pytest.raises(SourceError, match="1e999999999999999999999 exceeds the largest decimal"):
        await read(form, ["1e999999999999999999999"], decimals=True)


@pytest.mark.parametrize("form", FORMATS)
@given(name=TEXTS, others=st.dictionaries(TEXTS, json_values(), max_size=3), nested=st.booleans())
@settings(deadline=None, max_examples=50)
async def test_two_members_with_one_name_are_refused(form, name, others, nested):
    """One of the values would be lost."""
    members = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in others.items() if key != name]
    text = "{" + ", ".join([f"{json.dumps(name)}: 1", *members, f"{json.dumps(name)}: 1"]) + "}"
    with pytest.raises(SourceError, match="an object has two members named"):
        await read(form, [f'{{"a": [{text}]}}' if nested else text])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("decimals", [False, True])
@given(half=LONE_SURROGATES, text=st.text("ab ", max_size=3))
@settings(deadline=None, max_examples=50)
async def test_half_of_a_surrogate_pair_is_refused_with_its_object_row_and_column(form, decimals, half, text):
    """UTF-8 has no bytes for it, so no output could contain it."""
    row = f'{{"n": 1.5, "name": ["{text}{half}{text}"]}}'
    where = r"lines\.jsonl: malformed line( 2)? near byte 2" if form == "lines" else r"array\.json: row 1"
    with pytest.raises(SourceError, match=rf"^s3://b/{where}: column 'name'\[0\]: .* half of a surrogate pair"):
        await read(form, ["1", row], decimals=decimals)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_whole_surrogate_pair_and_an_escaped_backslash_are_read(form):
    """Both look similar to half of a pair."""
    assert await read(form, [r'"\ud83d\ude00"', r'"\\ud83d"']) == ["😀", r"\ud83d"]


@pytest.mark.parametrize(
    ("row", "count", "problem"),
    [('{"a": 1e400}', 3, "row 3: 1e400 exceeds"), ('{"a": 1, "a": 2}', 1_000, "row 1000: an object has two members")],
)
async def test_a_row_of_an_array_is_refused_with_its_number(row, count, problem):
    """The number counts the rows of the whole array from 0."""
    with pytest.raises(SourceError, match=rf"^s3://b/array\.json: {problem}"):
        await read("array", [*["1"] * count, row, "1"], rows_per_segment=2)


@given(objects=st.lists(st.dictionaries(TEXTS, json_values(), max_size=3), min_size=1, max_size=6), data=st.data())
@settings(deadline=None, max_examples=80)
async def test_objects_without_line_ends_are_read_once_and_in_order(objects, data):
    """Between two objects may be nothing, spaces, or a line end, and the object may be cut anywhere."""
    separators = st.sampled_from(["", " ", "\n", "\r\n", "\n\n"])
    text = "".join(json.dumps(value) + data.draw(separators) for value in objects)
    assert await read("lines", [text], chunk_bytes=data.draw(st.integers(1, 40))) == objects


@pytest.mark.parametrize("line", ["1 2", "1{}", '{}"a"', "{}[]", "[][]", '{"a":1},{"a":2}', "{} 1", "[1]{}", "{}{"])
async def test_only_objects_may_share_a_line(line):
    """Numbers and strings without a separator could be read in two ways."""
    with pytest.raises(SourceError, match=r"^s3://b/lines\.jsonl: malformed line( 2)? near byte 2: "):
        await read("lines", ["7", line, "8"])


async def test_reading_resumes_after_the_last_object_of_a_line():
    """A segment that stops between two objects of one line would read the others again."""
    backend = inmemory.backend()
    backend.store.fill("b", {"o.jsonl": b'{"a":1}{"a":2}\n{"a":3}\n'})
    (part,) = sources.cut(await S3Lines("b", "o.jsonl").pin(backend, "p"))
    marks = [mark async for chunk in sources.read(part, backend) for _, mark in chunk]
    assert marks == [None, 15, 23]
    rest = sources.rest(part, 15)
    assert [item async for item in sources.read_items(rest, backend)] == [{"a": 3}]


def test_keys_that_become_the_same_string_are_found():
    """JSON writes both, and a reader keeps one."""
    assert all(map(has_colliding_keys, [{1: 1, "1": 2}, [{"a": {True: 1, "true": 2}}], {None: 0, "null": 1}]))
    assert not any(map(has_colliding_keys, [{1: 1, "2": 2}, [{"a": {True: 1}}], 1, "x", {"a": "b"}]))


def test_a_blank_line_has_no_values():
    """Spaces around a value are ignored."""
    values_of = values_parser(decimals=False)
    assert [values_of(line) for line in ("", " \t\r", ' {"a": 1} ')] == [[], [], [{"a": 1}]]
