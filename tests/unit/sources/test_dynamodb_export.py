"""DynamoDBExport: the exports that it reads, and what it refuses."""

import gzip
import json
import re
from decimal import Decimal
from typing import Any

import pytest

from exports import ROOT, SUMMARY, export
from fanfold import DynamoDBExport, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError, SourceError

FILES = f"{ROOT}/manifest-files.json"
DATA = f"{ROOT}/data/0.json.gz"


def backend_with(objects: dict[str, bytes]) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", objects)
    return backend


async def items_of(source: DynamoDBExport, backend: Backend) -> list[dict[str, Any]]:
    plan = await source.pin(backend, "plans")
    return [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]


async def test_numbers_are_exact():
    """DynamoDB's numbers have up to 38 digits, and exponents that ``float`` does not have."""
    digits = "12345678901234567890123456789012345678"
    numbers = [digits, f"-0.{digits}", "1E-130", "9.99E+125", "1.10"]
    objects = export([[{"Item": {"n": {"N": number}}} for number in numbers]])
    items = await items_of(DynamoDBExport("b", SUMMARY), backend_with(objects))
    assert [item["n"] for item in items] == [Decimal(number) for number in numbers]
    assert str(items[-1]["n"]) == "1.10"


@pytest.mark.parametrize("key", [SUMMARY, f"{ROOT}/"])
async def test_the_key_is_that_of_the_summary_or_of_its_folder(key):
    """``DescribeExport`` returns the former."""
    assert await items_of(DynamoDBExport("b", key), backend_with(export([[{"Item": {}}]]))) == [{}]


async def test_an_export_may_have_been_copied_under_another_prefix():
    """The manifests state the keys under the original prefix."""
    objects = {f"copies/old/{key}": data for key, data in export([[{"Item": {"a": {"S": "x"}}}]]).items()}
    assert await items_of(DynamoDBExport("b", f"copies/old/{SUMMARY}"), backend_with(objects)) == [{"a": "x"}]


async def test_an_incremental_export_has_images():
    """An inserted item has no old image, and a deleted one no new image."""
    stamp = {"WriteTimestampMicros": {"N": "1764000000000001"}}
    key = {"k": {"S": "1"}}
    objects = export(
        [
            [
                {"Metadata": stamp, "Keys": key, "NewImage": {**key, "a": {"N": "1"}}},
                {"Metadata": stamp, "Keys": key, "OldImage": key, "NewImage": key},
                {"Keys": key, "OldImage": key},
            ]
        ]
    )
    assert await items_of(DynamoDBExport("b", SUMMARY), backend_with(objects)) == [
        {"Keys": {"k": "1"}, "NewImage": {"k": "1", "a": Decimal(1)}, "WriteTimestampMicros": 1764000000000001},
        {"Keys": {"k": "1"}, "OldImage": {"k": "1"}, "NewImage": {"k": "1"}, "WriteTimestampMicros": 1764000000000001},
        {"Keys": {"k": "1"}, "OldImage": {"k": "1"}, "WriteTimestampMicros": None},
    ]


async def test_blank_lines_are_skipped():
    """They are not items."""
    assert await items_of(DynamoDBExport("b", SUMMARY), backend_with(with_data(b'\n{"Item":{}}\n \n'))) == [{}]


GOOD = export([[{"Item": {"a": {"S": "x"}}}]])
ENTRY = json.loads(GOOD[FILES])


def with_entry(**values: Any) -> dict[str, bytes]:
    """Return the export with another entry in its list of files."""
    return {**GOOD, FILES: json.dumps({**ENTRY, **values}).encode()}


def with_data(data: bytes, items: int = 1) -> dict[str, bytes]:
    """Return an export of one file with these bytes, which has no checksum."""
    summary = json.dumps({**json.loads(GOOD[SUMMARY]), "itemCount": items}).encode()
    return {**with_entry(itemCount=items, md5Checksum=None), SUMMARY: summary, DATA: gzip.compress(data)}


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({}, f"s3://b/{SUMMARY} does not exist: check the bucket and the key"),
        ({SUMMARY: b"{"}, f"s3://b/{SUMMARY} is not the summary of an export"),
        ({SUMMARY: b"{}"}, f"s3://b/{SUMMARY} is not the summary of an export"),
        ({SUMMARY: b"[]"}, f"s3://b/{SUMMARY} is not the summary of an export"),
        (export([], outputFormat="ION"), "the format is 'ION': export the table with ExportFormat=DYNAMODB_JSON"),
        (export([], itemCount="0"), "malformed itemCount or manifestFilesS3Key"),
        (export([], manifestFilesS3Key="none"), "s3://b/none does not exist"),
        ({**GOOD, FILES: b"x"}, f"s3://b/{FILES}, line 1 does not describe a file of an export"),
        ({**GOOD, FILES: b"[]"}, f"s3://b/{FILES}, line 1 does not describe a file of an export"),
        (with_entry(itemCount=-1), f"s3://b/{FILES}, line 1: malformed dataFileS3Key or itemCount"),
        (with_entry(md5Checksum="?"), f"s3://b/{FILES}, line 1 does not describe a file"),
        (with_entry(dataFileS3Key="none"), "s3://b/none does not exist"),
        (with_entry(itemCount=2), f"s3://b/{SUMMARY} states 1 items, but its list of files 2"),
        (export([[]], itemCount=1), f"s3://b/{SUMMARY} states 1 items, but its list of files 0"),
        (with_entry(md5Checksum="AAAA"), f"s3://b/{DATA}: the checksum in the manifest is 000000"),
        ({**with_data(b""), DATA: b"no"}, f"s3://b/{DATA}: the bytes are not valid gzip"),
        (with_data(b'{"Item":{}}\n' * 2), f"s3://b/{DATA} has 2 items, but the manifest states 1"),
        (with_data(b'{"Item":{}}\n', 2), f"s3://b/{DATA} has 1 items, but the manifest states 2"),
    ],
)
async def test_a_malformed_export_is_refused_by_name(objects, message):
    """The error names the manifest and the line, or the file."""
    with pytest.raises(SourceError, match=re.escape(message)):
        await items_of(DynamoDBExport("b", SUMMARY), backend_with(objects))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "malformed item: "),
        (b"[]", "a line must have either Item, or Metadata, Keys, and images"),
        (b'{"Item":{},"x":1}', "a line must have either Item"),
        (b'{"Item":[]}', "the item must be a map of attributes, not []"),
        (b'{"Item":{"a":"x"}}', "attribute a: must be one typed value such as {'S': 'text'}, not 'x'"),
        (b'{"Item":{"a":{"S":"x","N":"1"}}}', "attribute a: must be one typed value"),
        (b'{"Item":{"a":{"X":"x"}}}', "attribute a: unknown type 'X'"),
        (b'{"Item":{"a":{"M":{"b":{"L":[{"N":"1"},{"N":"x"}]}}}}}', "attribute a.b[1]: 'x' is not a value of type N"),
        (b'{"Item":{"a":{"M":[]}}}', "a must be a map of attributes, not []"),
        (b'{"Item":{"a":{"N":"NaN"}}}', "attribute a: 'NaN' is not a value of type N"),
        (b'{"Item":{"a":{"N":1}}}', "attribute a: 1 is not a value of type N"),
        (b'{"Item":{"a":{"S":1}}}', "attribute a: 1 is not a value of type S"),
        (b'{"Item":{"a":{"B":"?"}}}', "attribute a: '?' is not a value of type B"),
        (b'{"Item":{"a":{"BOOL":1}}}', "attribute a: 1 is not a value of type BOOL"),
        (b'{"Item":{"a":{"NULL":false}}}', "attribute a: False is not a value of type NULL"),
        (b'{"Item":{"a":{"L":{}}}}', "attribute a: {} is not a value of type L"),
        (b'{"Item":{"a":{"SS":"x"}}}', "attribute a: 'x' is not a value of type SS"),
        (b'{"Item":{"a":{"N":NaN}}}', "NaN is not valid JSON"),
        (b"\xff", "malformed item: "),
    ],
)
async def test_a_malformed_item_is_refused_by_line_and_attribute(line, message):
    """The error names the file, the line, and the path of the attribute."""
    backend = backend_with(with_data(b'{"Item":{}}\n' + line + b"\n", 2))
    with pytest.raises(SourceError, match=re.escape(f"s3://b/{DATA}, line 2: ")) as raised:
        await items_of(DynamoDBExport("b", SUMMARY), backend)
    assert message in str(raised.value)


@pytest.mark.parametrize("files", [[], [[]]])
async def test_an_export_of_an_empty_table_has_no_items(files):
    """An export of an empty table has files without items."""
    backend = backend_with(export(files))
    assert await items_of(DynamoDBExport("b", SUMMARY), backend) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bucket": ""}, "bucket must be a non-empty string, not ''"),
        ({"key": None}, "key must be a non-empty string, not None"),
        ({"items_per_segment": 0}, "items_per_segment must be an integer of at least 1, not 0"),
    ],
)
def test_invalid_settings_are_refused_when_the_source_is_created(arguments, message):
    """An invalid setting is a configuration error that names it, before anything is read."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        DynamoDBExport(**{"bucket": "b", "key": "k", **arguments})
