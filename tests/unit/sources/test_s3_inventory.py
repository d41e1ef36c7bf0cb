"""S3Inventory: the lists that it reads, the objects that it selects, and what it refuses."""

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanfold import S3Inventory, inmemory, sources
from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError, SourceError
from inventories import DAY, PLAIN, inventory, row_of

MANIFEST = "inv/manifest.json"
FORMATS = ["CSV", "Parquet", "ORC"]


def backend_with(objects: dict[str, bytes]) -> Backend:
    backend = inmemory.backend()
    backend.store.fill("b", objects)
    return backend


async def items_of(source: S3Inventory, backend: Backend) -> list[dict[str, Any]]:
    plan = json.loads(json.dumps(await source.pin(backend, "plans")))
    return [item for part in sources.cut(plan) async for item in sources.read_items(part, backend)]


def changed(objects: dict[str, bytes], **values: Any) -> dict[str, bytes]:
    """Return an inventory whose manifest has other values; None removes one."""
    manifest = json.loads(objects[MANIFEST]) | values
    return {**objects, MANIFEST: json.dumps({k: v for k, v in manifest.items() if v is not None}).encode()}


ROWS = [
    row_of("logs/1.csv", size=0, last_modified_date=DAY - timedelta(days=1)),
    row_of("logs/2.csv", size=10, last_modified_date=DAY),
    row_of("logs/2.txt", size=20, last_modified_date=DAY + timedelta(seconds=1)),
    row_of("tmp/3.csv", size=30, last_modified_date=DAY + timedelta(milliseconds=1)),
]


@pytest.mark.parametrize("keys_per_segment", [None, 2])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("conditions", "keys"),
    [
        ({}, ["logs/1.csv", "logs/2.csv", "logs/2.txt", "tmp/3.csv"]),
        ({"prefix": "logs/", "suffix": ".csv"}, ["logs/1.csv", "logs/2.csv"]),
        ({"pattern": "*/[23].csv"}, ["logs/2.csv", "tmp/3.csv"]),
        ({"pattern": re.compile("LOGS/2", re.IGNORECASE)}, ["logs/2.csv", "logs/2.txt"]),
        ({"min_bytes": 10, "max_bytes": 20}, ["logs/2.csv", "logs/2.txt"]),
        ({"modified_after": DAY}, ["logs/2.csv", "logs/2.txt", "tmp/3.csv"]),
        ({"modified_before": DAY + timedelta(milliseconds=2)}, ["logs/1.csv", "logs/2.csv", "tmp/3.csv"]),
    ],
)
async def test_conditions_select_objects_as_those_of_a_listing(form, keys_per_segment, conditions, keys):
    """They hold whether the inventory is read when the run is planned, or by its segments."""
    source = S3Inventory("b", MANIFEST, keys_per_segment=keys_per_segment, **conditions)
    assert [item["key"] for item in await items_of(source, backend_with(inventory([ROWS], form)))] == keys


async def test_the_latest_versions_that_are_not_delete_markers_are_the_default():
    """As in a listing; ``versions="all"`` returns the others, too, with what they are."""
    versions = [
        row_of("a", version_id="2", size=None, e_tag=None, is_delete_marker=True),
        row_of("a", version_id="1", is_latest=False),
        row_of("b", version_id=None),
    ]
    fields = (*PLAIN, "version_id", "is_latest", "is_delete_marker")
    backend = backend_with(inventory([versions], fields=fields))
    assert [(item["key"], item["version_id"]) for item in await items_of(S3Inventory("b", MANIFEST), backend)] == [
        ("b", None)
    ]
    items = await items_of(S3Inventory("b", MANIFEST, versions="all"), backend)
    assert [(item["version_id"], item["is_latest"], item["is_delete_marker"]) for item in items] == [
        ("2", True, True),
        ("1", False, False),
        (None, True, False),
    ]
    assert (items[0]["size"], items[0]["etag"]) == (None, None)


async def test_an_inventory_with_few_fields_has_items_with_few_values():
    """Size, time, and ETag are optional in the configuration of an inventory."""
    backend = backend_with(inventory([[row_of("a b+c/日本")]], fields=("bucket", "key")))
    assert await items_of(S3Inventory("b", MANIFEST), backend) == [{"bucket": "data", "key": "a b+c/日本"}]


@pytest.mark.parametrize("fraction", ["", ".000", ".120"])
async def test_times_are_iso_8601_in_utc(fraction):
    """A fraction of zero is left out, as in a listing."""
    line = f'"data","k","2026-11-01T12:00:00{fraction}Z"\n'.encode()
    objects = inventory([[row_of("k")]], fields=("bucket", "key", "last_modified_date"))
    data = gzip.compress(line)
    manifest = changed(objects, files=[{"key": "f.csv.gz", "size": len(data)}])
    (item,) = await items_of(S3Inventory("b", MANIFEST), backend_with({**manifest, "f.csv.gz": data}))
    expected = datetime(2026, 11, 1, 12, 0, 0, int(float(fraction or 0) * 1e6), tzinfo=UTC)
    assert item["last_modified"] == expected.isoformat()


@pytest.mark.parametrize("form", ["Parquet", "ORC"])
async def test_other_times_are_iso_8601_too_and_may_be_missing(form):
    """The values of all formats are JSON values."""
    rows = [row_of("a", object_lock_retain_until_date=DAY, last_modified_date=None), row_of("b")]
    fields = ("bucket", "key", "last_modified_date", "object_lock_retain_until_date")
    source = S3Inventory("b", MANIFEST, fields=[fields[-1]])
    items = await items_of(source, backend_with(inventory([rows], form, fields)))
    assert [(item["last_modified"], item[fields[-1]]) for item in items] == [
        (None, DAY.isoformat()),
        (DAY.isoformat(), None),
    ]


async def test_files_without_bytes_are_skipped():
    """They have no keys."""
    objects = inventory([[row_of("a")]])
    files = [{"key": "inv/empty", "size": 0}, *json.loads(objects[MANIFEST])["files"]]
    backend = backend_with({**changed(objects, files=files), "inv/empty": b""})
    assert [item["key"] for item in await items_of(S3Inventory("b", MANIFEST), backend)] == ["a"]


async def test_a_key_that_is_null_is_refused():
    """The error names the file and the row."""
    backend = backend_with(inventory([[row_of("a") | {"key": None}]], "Parquet"))
    with pytest.raises(SourceError, match=r"s3://b/inv/data/0\.parquet: malformed row \['data', None"):
        await items_of(S3Inventory("b", MANIFEST, prefix="a"), backend)


async def test_a_segment_per_file_needs_no_reading_when_the_run_is_planned():
    """The plan of an inventory of any size has a few bytes per file, outside of the plan itself."""
    files = [[row_of(f"{number}/{place}") for place in range(100)] for number in range(3)]
    backend = backend_with(inventory(files))
    plan = await S3Inventory("b", MANIFEST, keys_per_segment=None).pin(backend, "plans")
    assert (plan["items"], len(list(sources.cut(plan)))) == (3, 3)
    assert len(json.dumps(plan)) < 1_000


async def test_a_list_of_addresses_is_a_list_of_objects():
    """Athena writes such a list for UNLOAD; the objects are not looked up."""
    backend = backend_with({"list-manifest.csv": b"s3://x/a b\ns3://y/c/d\n"})
    expected = [{"bucket": "x", "key": "a b"}, {"bucket": "y", "key": "c/d"}]
    assert await items_of(S3Inventory("b", "list-manifest.csv"), backend) == expected
    assert await items_of(S3Inventory("b", "list-manifest.csv", prefix="c"), backend) == expected[1:]


async def test_the_results_of_a_distributed_map_are_a_list_of_objects():
    """Each item states whether the file contains executions that succeeded, failed, or did not start."""
    results = {
        "SUCCEEDED": [{"Key": "r/S_0.json", "Size": 25}],
        "FAILED": [{"Key": "r/F_0.json", "Size": 7}],
        "PENDING": [],
    }
    manifest = {"DestinationBucket": "out", "MapRunArn": "arn:…", "ResultFiles": results}
    backend = backend_with({"r/manifest.json": json.dumps(manifest).encode()})
    assert await items_of(S3Inventory("b", "r/manifest.json", min_bytes=8), backend) == [
        {"bucket": "out", "key": "r/S_0.json", "size": 25, "status": "SUCCEEDED"}
    ]


GOOD = inventory([[row_of("a"), row_of("b")]])
FILE = "inv/data/0.csv.gz"


def with_file(data: bytes) -> dict[str, bytes]:
    """Return the inventory with another file, and without its checksum."""
    return changed({**GOOD, FILE: data}, files=[{"key": FILE, "size": len(data)}])


@pytest.mark.parametrize("keys_per_segment", [None, 1_000])
@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({}, "s3://b/inv/manifest.json does not exist: check the bucket and the key"),
        ({MANIFEST: b"{"}, "s3://b/inv/manifest.json is not JSON: "),
        ({MANIFEST: b"[]"}, "s3://b/inv/manifest.json is not the manifest of an S3 Inventory"),
        ({MANIFEST: b'{"ResultFiles": [1]}'}, "s3://b/inv/manifest.json is not the manifest of a Distributed Map's"),
        (changed(GOOD, files=None), "s3://b/inv/manifest.json is not the manifest of an S3 Inventory"),
        (changed(GOOD, files=[{"key": 7, "size": 1}]), "a file needs a key and a size"),
        (changed(GOOD, fileFormat="Avro"), "files in format 'Avro' cannot be read, only those in CSV, Parquet, ORC"),
        (changed(GOOD, fileSchema="Bucket, Size"), "the schema has no field 'key'"),
        ({MANIFEST: GOOD[MANIFEST]}, f"s3://b/{FILE} does not exist"),
        ({**GOOD, FILE: GOOD[FILE] + b"x"}, "but the manifest states"),
        ({**GOOD, FILE: GOOD[FILE][:-1] + b"x"}, f"s3://b/{FILE}: "),
        (changed(GOOD, fileSchema="Bucket, Key"), "row 1 has 6 fields, but the schema of the manifest has 2"),
        (with_file(b"not gzip"), f"s3://b/{FILE}: the bytes are not valid gzip"),
        (with_file(gzip.compress(b'"data","%FF","1","","",""\n')), f"s3://b/{FILE}: malformed row ['data', '%FF'"),
        (with_file(gzip.compress(b'"data","k","x","","",""\n')), f"s3://b/{FILE}: malformed row ['data', 'k', 'x'"),
        (with_file(gzip.compress(b'"data","k","1","noon","",""\n')), f"s3://b/{FILE}: malformed row"),
        (with_file(gzip.compress(b'"data","k"x,"1","","",""\n')), f"s3://b/{FILE}: malformed CSV after row 0"),
        (with_file(gzip.compress(b'"data","\xff","1","","",""\n')), f"s3://b/{FILE}: malformed CSV after row 0"),
    ],
)  # fmt: skip
async def test_a_malformed_inventory_is_refused_by_name(objects, message, keys_per_segment):
    """The error names the manifest, or the file and the row."""
    with pytest.raises(SourceError, match=re.escape(message)):
        await items_of(S3Inventory("b", MANIFEST, keys_per_segment=keys_per_segment), backend_with(objects))


async def test_a_file_that_differs_from_its_checksum_is_refused():
    """The manifest has the checksum of each file."""
    other = gzip.compress(b"x" * 10, mtime=0)
    objects = {**GOOD, FILE: other}
    manifest = changed(objects, files=[{"key": FILE, "size": len(other), "MD5checksum": "0" * 32}])
    manifest[FILE] = gzip.compress(b"", mtime=0) + b"\0" * (len(other) - len(gzip.compress(b"", mtime=0)))
    with pytest.raises(SourceError, match=f"s3://b/{FILE}: the checksum in the manifest is 0000"):
        await items_of(S3Inventory("b", MANIFEST), backend_with(manifest))


@pytest.mark.parametrize("form", ["Parquet", "ORC"])
async def test_a_file_without_the_fields_of_the_manifest_is_refused(form):
    """The error names the file and the field."""
    objects = inventory([[row_of("a")]], form, ("bucket", "key"))
    schema = json.loads(inventory([[row_of("a")]], form)[MANIFEST])["fileSchema"]
    with pytest.raises(SourceError, match=r"s3://b/inv/data/0\.\w+ has no column 'size'"):
        await items_of(S3Inventory("b", MANIFEST), backend_with(changed(objects, fileSchema=schema)))


async def test_a_file_that_is_not_orc_is_refused():
    """The error names the file."""
    objects = inventory([[row_of("a")]], "ORC")
    damaged = {**objects, "inv/data/0.orc": b"x" * len(objects["inv/data/0.orc"])}
    with pytest.raises(SourceError, match=r"s3://b/inv/data/0\.orc is not valid ORC"):
        await items_of(S3Inventory("b", MANIFEST), backend_with(damaged))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_bytes": 1}, "has no field 'size', which min_bytes= needs: add the field to the configuration"),
        ({"modified_before": DAY}, "has no field 'last_modified_date', which modified_before= needs"),
        ({"fields": ["storage_class"]}, "has no field 'storage_class', which fields= needs"),
    ],
)
@pytest.mark.parametrize("key", [MANIFEST, "list.csv"])
async def test_a_field_that_the_list_does_not_have_is_refused(settings, message, key):
    """The error states which setting needs the field, and which fields there are."""
    objects = {**inventory([[row_of("a")]], fields=("bucket", "key")), "list.csv": b"s3://x/a\n"}
    with pytest.raises(SourceError, match=re.escape(message) + ".*it has bucket, key"):
        await items_of(S3Inventory("b", key, **settings), backend_with(objects))


@pytest.mark.parametrize("keys_per_segment", [None, 1_000])
@pytest.mark.parametrize("files", [[], [[]]])
async def test_an_empty_inventory_has_no_items(files, keys_per_segment):
    """This holds for no file, and for a file without keys."""
    backend = backend_with(inventory(files))
    assert await items_of(S3Inventory("b", MANIFEST, keys_per_segment=keys_per_segment), backend) == []


async def test_a_file_of_an_inventory_in_place_of_its_manifest_is_refused_with_what_is_expected():
    """The key of a data file is an easy mistake."""
    with pytest.raises(SourceError, match=r"or of the manifest\.json of an inventory"):
        await items_of(S3Inventory("b", FILE), backend_with(inventory([[row_of("a")]])))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bucket": ""}, "S3Inventory: bucket must be a non-empty string"),
        ({"key": ""}, "S3Inventory: key must be a non-empty string, not ''"),
        ({"prefix": None}, "S3Inventory: prefix must be a string, not None"),
        ({"versions": "latest"}, "S3Inventory: versions must be 'current' or 'all', not 'latest'"),
        ({"fields": "storage_class"}, "S3Inventory: fields must be a list of names, not 'storage_class'"),
        ({"keys_per_segment": 0}, "S3Inventory: keys_per_segment must be an integer from 1 to 100,000, not 0"),
    ],
)
def test_invalid_settings_are_refused_when_the_source_is_created(arguments, message):
    """An invalid setting is a configuration error that names it, before anything is read."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        S3Inventory(**{"bucket": "b", "key": "k", **arguments})
