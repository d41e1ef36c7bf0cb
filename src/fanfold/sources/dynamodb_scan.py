"""A DynamoDB table or index, read by a parallel scan."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from fanfold._base.aws_limits import DYNAMODB_SCAN_SEGMENTS
from fanfold._base.retry import retry
from fanfold._ports.backend import Backend
from fanfold.errors import ConfigurationError


class DynamoDBScan:
    """A DynamoDB table, or one of its indexes, cut into the segments of a parallel scan.

    Items are dicts of Python values: numbers are ``Decimal``, binaries ``bytes``, sets ``set``. DynamoDB divides a
    table by the hash of the partition key, so segments have about the same number of items if there are many partition
    keys. The run report shows how uneven the segments were, and warns.

    A scan is not a snapshot: an item that is written during the scan may be read before or after the write, or not.

    Args:
        table: Name of the table.
        segments: Number of segments, 1 to 1,000,000; None for one segment per ``segment_bytes`` of the table size that
            DynamoDB reports, which it updates about every six hours.
        segment_bytes: Bytes of the table per segment if ``segments`` is None, from 1.
        index: Name of a secondary index to read instead of the table.
        filter: DynamoDB filter expression, such as ``"#rank >= :least"``. DynamoDB applies it after reading an item, so
            you pay for items that it filters out.
        names: Expression attribute names of ``filter``, such as ``{"#rank": "rank"}``.
        values: Expression attribute values of ``filter``, as Python values, such as ``{":least": 4}``.
        attributes: Names of the attributes to read, at the top level of an item; None for all.
        consistent: Whether reads are strongly consistent, at twice the cost; not on global indexes.
        page_items: Maximum items per request, from 1; None for the items in 1 MB.
        read_units_per_second: Read capacity units per second for the reader of one segment, over 0; None for no limit.
            Concurrent readers each consume up to this rate.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(  # noqa: PLR0913 - one option for each option of a scan, by keyword
        self,
        table: str,
        *,
        segments: int | None = None,
        segment_bytes: int = 32_000_000,
        index: str | None = None,
        filter: str | None = None,  # noqa: A002 - DynamoDB's term
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Any] | None = None,
        attributes: Sequence[str] | None = None,
        consistent: bool = False,
        page_items: int | None = None,
        read_units_per_second: float | None = None,
    ) -> None:
        for name, text in (("table", table), ("index", index), ("filter", filter)):
            if not (isinstance(text, str) and text) and not (text is None and name != "table"):
                raise ConfigurationError(f"DynamoDBScan: {name} must be a non-empty string, not {text!r}")
        if segments is not None and (type(segments) is not int or not 1 <= segments <= DYNAMODB_SCAN_SEGMENTS):
            raise ConfigurationError(
                f"DynamoDBScan: segments must be an integer from 1 to {DYNAMODB_SCAN_SEGMENTS:,}, not {segments!r}"
            )
        for name, count in (("segment_bytes", segment_bytes), ("page_items", page_items)):
            if count is not None and (type(count) is not int or count < 1):
                raise ConfigurationError(f"DynamoDBScan: {name} must be an integer of at least 1, not {count!r}")
        rate = read_units_per_second
        if rate is not None and not (type(rate) in {int, float} and rate > 0):
            raise ConfigurationError(f"DynamoDBScan: read_units_per_second must be a number over 0, not {rate!r}")
        if isinstance(attributes, str) or not all(isinstance(name, str) and name for name in attributes or ()):
            raise ConfigurationError(f"DynamoDBScan: attributes must be a list of names, not {attributes!r}")
        if not isinstance(consistent, bool):
            raise ConfigurationError(f"DynamoDBScan: consistent must be True or False, not {consistent!r}")
        _check_filter(filter, names, values)
        self.table: str = table
        self.index: str | None = index
        self.segments: int | None = segments
        self.segment_bytes: int = segment_bytes
        self._values = dict(values or {})
        self._request = {
            "filter": filter,
            "names": dict(names or {}) or None,
            "attributes": list(attributes) if attributes else None,
            "consistent": consistent or None,
            "page_items": page_items,
            "units_per_second": rate,
        }

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:  # noqa: ARG002 - this source writes no objects
        """Return the plan: the number of segments, and the parameters of the scan.

        Raises:
            ConfigurationError: If the table or index does not exist, or access to it is denied.
        """
        info = await backend.tables.describe(self.table, self.index)
        segments = self.segments or min(DYNAMODB_SCAN_SEGMENTS, max(1, -(-info.size_bytes // self.segment_bytes)))
        plan = {
            "type": "dynamodb-scan",
            "table": self.table,
            "index": self.index,
            "keys": list(info.keys),
            "segments": segments,
            "values": dict(backend.tables.to_json(self._values)) or None,
            **self._request,
        }
        return {name: value for name, value in plan.items() if value is not None}

    @staticmethod
    def cut(plan: Mapping[str, Any], first: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the parameters of each segment of the scan, from segment number ``first``."""
        for number in range(first, plan["segments"]):
            yield {**plan, "segment": number}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one segment; the mark of an item is the item with its key attributes."""
        chosen = part.get("attributes")
        extra_keys = [key for key in part["keys"] if chosen is not None and key not in chosen]
        request = part if chosen is None else {**part, "attributes": [*chosen, *extra_keys]}  # marks need the keys
        start = part.get("start")
        while True:
            started_at = backend.now()
            page = await retry(partial(backend.tables.scan, request, start), sleep=backend.sleep)
            yield ((_without(item, extra_keys) if extra_keys else item, item) for item in page.items)
            if page.next is None:
                return
            start = page.next
            if rate := part.get("units_per_second"):
                await backend.sleep(max(0.0, page.read_units / rate - (backend.now() - started_at)))

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the same segment, starting after an item."""
        return {**part, "start": {key: _typed(mark[key]) for key in part["keys"]}}


def _check_filter(filter: str | None, names: object, values: object) -> None:  # noqa: A002 - DynamoDB's term
    for name, value in (("names", names), ("values", values)):
        if not isinstance(value, Mapping | None):
            raise ConfigurationError(f"DynamoDBScan: {name} must be a dict or None, not {value!r}")
    if filter is None and (names or values):
        raise ConfigurationError("DynamoDBScan: names and values require filter, the expression that uses them")


def _without(item: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    return {name: value for name, value in item.items() if name not in names}


def _typed(value: Any) -> Mapping[str, str]:
    """Return the value of a key attribute in DynamoDB JSON; keys are strings, numbers, or binaries."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bytes):
        return {"B": base64.b64encode(value).decode()}
    return {"N": str(value)}
