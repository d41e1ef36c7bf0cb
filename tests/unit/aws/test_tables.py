"""Items of a scan: decoded, or refused with the table, the key, and the attribute."""

from typing import Any

import pytest

from fanfold.aws.tables import DynamoDBTables
from fanfold.errors import SourceError

QUERY = {"table": "members", "segment": 0, "segments": 1, "keys": ["pk", "n"]}


class OnePage:
    """A client whose scan returns one page with one item, as DynamoDB would send it."""

    def __init__(self, item: dict[str, Any]) -> None:
        self.item = item

    async def scan(self, **request: Any) -> dict[str, Any]:
        assert request["TableName"] == "members"
        return {"Items": [self.item]}


async def items_with(value: Any) -> Any:
    item = {"pk": {"S": "m-1"}, "n": {"N": "7"}, "value": value}
    return (await DynamoDBTables(OnePage(item)).scan(QUERY, None)).items


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ({"X": "1"}, "'value': {'X': '1'} cannot be decoded (TypeError: Dynamodb type X is not supported)"),
        ({}, "'value': {} cannot be decoded"),
        ({"N": "NaN"}, "'value': {'N': 'NaN'} cannot be decoded (ValueError: NaN is not a finite number)"),
        ({"N": "one"}, "'value': {'N': 'one'} cannot be decoded"),
        ({"B": "?"}, "'value': {'B': '?'} cannot be decoded"),
        ({"M": {"a": {"L": [{"S": "x"}, {"NS": ["1", "two"]}]}}}, "'value'['a'][1]: {'NS': ['1', 'two']} cannot be"),
        (None, "'value': None cannot be decoded"),
    ],
)
async def test_an_item_that_cannot_be_decoded_is_named(value, attribute):
    """The error states the table, the key of the item, and the attribute; a retry cannot fix it."""
    with pytest.raises(SourceError) as raised:
        await items_with(value)
    prefix = 'table members: item {"pk": {"S": "m-1"}, "n": {"N": "7"}}: attribute '
    assert str(raised.value).startswith(prefix + attribute)
    assert raised.value.permanent


async def test_the_smallest_number_of_dynamodb_is_read():
    """The SDK itself refuses it."""
    (item,) = await items_with({"N": "1E-130"})
    assert str(item["value"]) == "1E-130"
