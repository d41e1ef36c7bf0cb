"""Exports: every item is read once, as DynamoDB's SDK reads it, whatever the cut and the stops."""

import base64
import json
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import Binary, TypeDeserializer
from hypothesis import given, settings
from hypothesis import strategies as st

from exports import SUMMARY, export
from fanfold import DynamoDBExport, inmemory, sources
from fanfold.sources.dynamodb_json import plain_item
from stops import with_stops

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBERS = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    st.tuples(st.integers(1, 10**38 - 1), st.integers(-130, 80)).map(lambda pair: f"{pair[0]}E{pair[1]}"),
    st.decimals(-1000, 1000, places=3).map(str),
)
BINARIES = st.binary(max_size=5).map(lambda data: base64.b64encode(data).decode())
SIMPLE = st.one_of(
    st.fixed_dictionaries({"S": TEXT}),
    st.fixed_dictionaries({"N": NUMBERS}),
    st.fixed_dictionaries({"B": BINARIES}),
    st.fixed_dictionaries({"BOOL": st.booleans()}),
    st.just({"NULL": True}),
    st.fixed_dictionaries({"SS": st.lists(TEXT, min_size=1, max_size=3, unique=True)}),
    st.fixed_dictionaries({"NS": st.lists(NUMBERS, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"BS": st.lists(BINARIES, min_size=1, max_size=3)}),
)
TYPED = st.recursive(
    SIMPLE,
    lambda inner: (
        st.fixed_dictionaries({"L": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"M": st.dictionaries(TEXT, inner, max_size=3)})
    ),
    max_leaves=6,
)
ITEMS = st.dictionaries(TEXT, TYPED, max_size=3)


class Plain(TypeDeserializer):
    """The SDK's deserializer; it decodes binaries before, and its context limits the digits of numbers."""

    def _deserialize_b(self, value: str) -> Any:
        return Binary(base64.b64decode(value)).value

    def _deserialize_n(self, value: str) -> Decimal:
        return Decimal(value)


@given(item=ITEMS)
@settings(max_examples=200)
def test_an_item_is_what_the_sdk_reads(item):
    """Every type, nested in lists and maps; numbers keep every digit."""
    expected = {name: Plain().deserialize(value) for name, value in item.items()}
    assert plain_item(json.loads(json.dumps(item))) == expected


@given(
    files=st.lists(st.lists(ITEMS, max_size=5), max_size=4),
    items_per_segment=st.integers(1, 12),
    stops=st.lists(st.integers(1, 4), max_size=3),
)
@settings(max_examples=100)
async def test_every_item_is_read_once(files, items_per_segment, stops):
    """In the order of the manifest; a segment has whole files, of at most so many items if they are several."""
    backend = inmemory.backend()
    backend.store.fill("b", export([[{"Item": item} for item in items] for items in files]))
    plan = json.loads(
        json.dumps(await DynamoDBExport("b", SUMMARY, items_per_segment=items_per_segment).pin(backend, "p"))
    )
    parts = list(sources.cut(plan))
    items = [item for part in parts async for item in with_stops(part, backend, stops)]
    assert items == [plain_item(item) for items in files for item in items]
    for part in parts:
        size = len([item async for item in sources.read_items(part, backend)])
        assert size <= items_per_segment or size in map(len, files)
