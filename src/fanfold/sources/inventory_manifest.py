"""The manifest of an S3 Inventory: the format of its files, their fields, and where they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanfold.errors import SourceError

FORMATS: Final = ("CSV", "Parquet", "ORC")
_CAPITAL: Final = re.compile("(?<=.)(?=[A-Z])")
_FIELDS: Final[Mapping[str, Callable[[str], list[str]]]] = {
    "CSV": lambda schema: [_CAPITAL.sub("_", field.strip()).lower() for field in schema.split(",")],
    "Parquet": re.compile(r"(?:required|optional)\s+\w+\s+(\w+)").findall,
    "ORC": re.compile(r"(\w+)\s*:").findall,
}
"""Returns the names of the fields of a schema, in the form ``last_modified_date``."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files of an inventory."""

    format: str
    """``CSV``, ``Parquet``, or ``ORC``."""
    fields: Sequence[str]
    """Names of the fields, such as ``last_modified_date``."""
    files: Sequence[Mapping[str, Any]]
    """``key``, ``size``, and ``md5``, in hexadecimal digits or None, of each file."""


def inventory_in(document: Any, name: str) -> Inventory:
    """Return the inventory that a manifest describes.

    Args:
        document: The JSON value of the manifest.
        name: The name of the manifest in errors.

    Raises:
        SourceError: If it is not the manifest of an inventory, or the format is unknown.
    """
    try:
        form, schema, files = document["fileFormat"], document["fileSchema"], document["files"]
        entries = [{"key": file["key"], "size": file["size"], "md5": file.get("MD5checksum")} for file in files]
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"{name} is not the manifest of an S3 Inventory, which has fileFormat, fileSchema, and files: check the key"
        ) from error
    if form not in FORMATS:
        raise SourceError(f"{name}: files in format {form!r} cannot be read, only those in {', '.join(FORMATS)}")
    fields = _FIELDS[form](str(schema))
    for needed in ("bucket", "key"):
        if needed not in fields:
            raise SourceError(f"{name}: the schema has no field {needed!r}: {str(schema)[:200]!r}")
    for file in entries:
        if not isinstance(file["key"], str) or type(file["size"]) is not int:
            raise SourceError(f"{name}: a file needs a key and a size: {json.dumps(file)[:200]}")
    return Inventory(form, fields, entries)


def result_files_in(document: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects in the manifest that the ``ResultWriter`` of a Distributed Map writes, as items.

    Raises:
        SourceError: If it is not such a manifest.
    """
    try:
        bucket, results = document["DestinationBucket"], document["ResultFiles"]
        return [
            {"bucket": bucket, "key": file["Key"], "size": file["Size"], "status": status}
            for status, files in results.items()
            for file in files
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{name} is not the manifest of a Distributed Map's results: check the key") from error
