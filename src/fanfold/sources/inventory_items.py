"""Items of a list of objects: their values, and the conditions that select them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_plus

from fanfold.errors import SourceError
from fanfold.sources.s3_objects import S3Objects

Item: TypeAlias = dict[str, Any]
STANDARD: Final = ("bucket", "key", "size", "e_tag", "last_modified_date")
VERSIONS: Final = ("version_id", "is_latest", "is_delete_marker")
_NEEDED: Final = {
    "min_bytes": "size",
    "max_bytes": "size",
    "modified_after": "last_modified_date",
    "modified_before": "last_modified_date",
}
"""The field that a condition needs."""


def conditions_of(listing: S3Objects) -> dict[str, Any]:
    """Return the conditions of a listing, as JSON; conditions that are not set are left out."""
    pattern = listing.pattern
    after, before = listing.modified_after, listing.modified_before
    conditions = {
        "prefix": listing.prefix or None,
        "suffix": listing.suffix or None,
        "pattern": [pattern.pattern, pattern.flags] if isinstance(pattern, re.Pattern) else pattern,
        "min_bytes": listing.min_bytes or None,
        "max_bytes": listing.max_bytes,
        "modified_after": None if after is None else after.isoformat(),
        "modified_before": None if before is None else before.isoformat(),
    }
    return {name: value for name, value in conditions.items() if value is not None}


def check_fields(name: str, conditions: Mapping[str, Any], extra: Sequence[str], fields: Sequence[str]) -> None:
    """Check that a list of objects has the fields that conditions and items need.

    Raises:
        SourceError: If it does not; names the field.
    """
    needed = {field: f"{condition}=" for condition, field in _NEEDED.items() if condition in conditions}
    for field, setting in {**needed, **dict.fromkeys(extra, "fields=")}.items():
        if field not in fields:
            raise SourceError(
                f"{name} has no field {field!r}, which {setting} needs: add the field to the configuration of the "
                f"inventory, or remove {setting}; it has {', '.join(fields)}"
            )


def condition_of(conditions: Mapping[str, Any]) -> Callable[[Item], bool]:
    """Return a function that returns whether an item meets conditions."""
    if not conditions:
        return lambda _: True
    prefix, suffix = conditions.get("prefix", ""), conditions.get("suffix", "")
    minimum, maximum = conditions.get("min_bytes", 0), conditions.get("max_bytes")
    after, before = (_moment(conditions.get(name)) for name in ("modified_after", "modified_before"))
    pattern, match = conditions.get("pattern"), None
    if isinstance(pattern, str):
        match = re.compile(fnmatch.translate(pattern)).match
    elif pattern is not None:
        match = re.compile(*pattern).search

    def is_selected(item: Item) -> bool:
        key, size = item["key"], item.get("size") or 0
        if not (key.startswith(prefix) and key.endswith(suffix) and size >= minimum):
            return False
        if (maximum is not None and size > maximum) or (match is not None and match(key) is None):
            return False
        if after is None and before is None:
            return True
        moment = _moment(item["last_modified"])
        return moment is not None and (after is None or moment >= after) and (before is None or moment < before)

    return is_selected


def item_maker(wanted: Sequence[str], *, is_csv: bool, all_versions: bool) -> Callable[[Sequence[Any]], Item | None]:
    """Return a function that returns the item of a row of an inventory, or None for a version that is not wanted.

    Args:
        wanted: Names of the values of a row.
        is_csv: Whether keys are URL-encoded, and all values are text.
        all_versions: Whether to return versions that are not the latest one, and delete markers.
    """
    converters = [_CONVERTERS.get(field, _optional) for field in wanted]
    converters = [
        _decoded if is_csv and field == "key" else made for field, made in zip(wanted, converters, strict=True)
    ]
    names = [_NAMES.get(field, field) for field in wanted]
    has_versions = not all_versions and not {"is_latest", "is_delete_marker"}.isdisjoint(wanted)
    dropped = [name for name in VERSIONS if name in wanted] if has_versions else []

    def item_of(row: Sequence[Any]) -> Item | None:
        item = {name: convert(value) for name, convert, value in zip(names, converters, row, strict=True)}
        if has_versions:
            if item.get("is_latest") is False or item.get("is_delete_marker") is True:
                return None
            for name in dropped:
                if name != "version_id":
                    del item[name]
        return item

    return item_of


def _decoded(text: str) -> str:
    # A plus sign in a key is encoded as %2B, so an encoded space is the only meaning of one.
    return unquote_plus(text, errors="strict") if "%" in text or "+" in text else text


def _optional(value: Any) -> Any:
    if isinstance(value, datetime):
        return _last_modified(value)
    return None if value == "" else value


def _flag(value: Any) -> bool | None:
    return {"true": True, "false": False, "": None}[value.lower()] if isinstance(value, str) else value


def _size(value: Any) -> int | None:
    return None if value in {"", None} else int(value)


def _etag(value: str | None) -> str | None:
    return f'"{value}"' if value else None


def _last_modified(value: Any) -> str | None:
    if isinstance(value, str):
        if value.endswith(".000Z"):
            return f"{value[:-5]}+00:00"
        value = datetime.fromisoformat(value) if value else None
    if value is None:
        return None
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    text: str = moment.isoformat()
    return text


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


_NAMES: Final = {"e_tag": "etag", "last_modified_date": "last_modified"}
_CONVERTERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "size": _size,
    "e_tag": _etag,
    "last_modified_date": _last_modified,
    "is_latest": _flag,
    "is_delete_marker": _flag,
}
