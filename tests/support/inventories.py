"""S3 Inventories, as S3 writes them: a manifest, and files in CSV, Parquet, or ORC."""

import csv
import gzip
import hashlib
import io
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus

import pyarrow as pa
from pyarrow import orc, parquet

CSV_FIELDS = {
    "bucket": "Bucket",
    "key": "Key",
    "version_id": "VersionId",
    "is_latest": "IsLatest",
    "is_delete_marker": "IsDeleteMarker",
    "size": "Size",
    "last_modified_date": "LastModifiedDate",
    "e_tag": "ETag",
    "storage_class": "StorageClass",
    "is_multipart_uploaded": "IsMultipartUploaded",
    "object_lock_retain_until_date": "ObjectLockRetainUntilDate",
}
KINDS = {
    "is_latest": pa.bool_(),
    "is_delete_marker": pa.bool_(),
    "is_multipart_uploaded": pa.bool_(),
    "size": pa.int64(),
    "last_modified_date": pa.timestamp("ms", "UTC"),
    "object_lock_retain_until_date": pa.timestamp("ms", "UTC"),
}
PLAIN = ("bucket", "key", "size", "last_modified_date", "e_tag", "storage_class")
DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)


def row_of(key: str, **values: Any) -> dict[str, Any]:
    """Return the values of one object of bucket ``data``."""
    return {
        "bucket": "data",
        "key": key,
        "version_id": None,
        "is_latest": True,
        "is_delete_marker": False,
        "size": len(key),
        "last_modified_date": DAY,
        "e_tag": hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(),
        "storage_class": "STANDARD",
        "is_multipart_uploaded": False,
        "object_lock_retain_until_date": None,
        **values,
    }


def inventory(
    files: list[list[dict[str, Any]]],
    form: str = "CSV",
    fields: tuple[str, ...] = PLAIN,
    *,
    space: str = "%20",
    group_rows: int = 3,
) -> dict[str, bytes]:
    """Return the objects of an inventory: ``inv/manifest.json``, and one object per file."""
    suffix = {"CSV": "csv.gz", "Parquet": "parquet", "ORC": "orc"}[form]
    datas = {
        f"inv/data/{number}.{suffix}": file_of(rows, form, fields, space, group_rows)
        for number, rows in enumerate(files)
    }
    schema = {
        "CSV": ", ".join(CSV_FIELDS[field] for field in fields),
        "Parquet": f"message s3.inventory {{ {' '.join(f'optional binary {field} (UTF8);' for field in fields)} }}",
        "ORC": f"struct<{','.join(f'{field}:string' for field in fields)}>",
    }
    manifest = {
        "sourceBucket": "data",
        "destinationBucket": "arn:aws:s3:::inv",
        "version": "2016-11-30",
        "fileFormat": form,
        "fileSchema": schema[form],
        "files": [
            {"key": key, "size": len(data), "MD5checksum": hashlib.md5(data, usedforsecurity=False).hexdigest()}
            for key, data in datas.items()
        ],
    }
    return {"inv/manifest.json": json.dumps(manifest).encode(), **datas}


def file_of(rows: list[dict[str, Any]], form: str, fields: tuple[str, ...], space: str, group_rows: int) -> bytes:
    if form == "CSV":
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([csv_value(field, row[field], space) for field in fields] for row in rows)
        return gzip.compress(text.getvalue().encode())
    columns = {field: pa.array([row[field] for row in rows], KINDS.get(field, pa.string())) for field in fields}
    out = io.BytesIO()
    if form == "Parquet":
        parquet.write_table(pa.table(columns), out, row_group_size=group_rows)
    else:
        orc.write_table(pa.table(columns), out)
    return out.getvalue()


def csv_value(field: str, value: Any, space: str) -> str:
    if value is None:
        return ""
    if field == "key":
        return quote_plus(value, safe="/") if space == "+" else quote(value, safe="/")
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"
    return str(value).lower() if isinstance(value, bool) else str(value)
