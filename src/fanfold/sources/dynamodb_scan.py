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

    Items are dicts of plain Python values: numbers are ``Decimal``, binaries ``bytes``, sets ``set``. DynamoDB divides
    a table by the hash of the partition key, so a segment holds about as many items as another as long as there are
    many partition keys; the account of a run says how uneven its segments were, and warns.

    A scan is no snapshot: an item that is written while the scan goes on is read before or after, or not at all.

    Args:
        table: Name of the table.
        segments: Number of segments, 1 to 1,000,000; None to derive it from the size that DynamoDB tells, which it
            updates some six hours apart: one segment for each ``segment_bytes``.
        segment_bytes: Bytes of table in a segment when their number is derived, from 1.
        index: Name of a secondary index to read instead of the table.
        filter: Condition on items, as a DynamoDB filter expression such as ``"#rank >= :least"``. It is applied after
            an item was read and paid for.
        names: What stands for attribute names in ``filter``, such as ``{"#rank": "rank"}``.
        values: What stands for values in ``filter``, as plain Python values, such as ``{":least": 4}``.
        attributes: Names of the attributes to read, at the top level of an item; None for all.
        consistent: Whether reads are strongly consistent, at twice the cost; not on global indexes.
        page_items: Most items in one request, from 1; None for as many as are in 1 MB.
        read_units_per_second: Read capacity units a second that the reader of one segment may take, over 0; None for no
            limit. All segments that are read at once take this much each.

    Raises:
        ConfigurationError: If a setting is impossible.
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
                raise ConfigurationError(f"DynamoDBScan: {name} must be a text, not {text!r}")
        if segments is not None and (type(segments) is not int or not 1 <= segments <= DYNAMODB_SCAN_SEGMENTS):
            raise ConfigurationError(
                f"DynamoDBScan: segments must be from 1 to {DYNAMODB_SCAN_SEGMENTS:,}, not {segments!r}"
            )
        for name, count in (("segment_bytes", segment_bytes), ("page_items", page_items)):
            if count is not None and (type(count) is not int or count < 1):
                raise ConfigurationError(f"DynamoDBScan: {name} must be a whole number from 1, not {count!r}")
        rate = read_units_per_second
        if rate is not None and not (type(rate) in {int, float} and rate > 0):
            raise ConfigurationError(f"DynamoDBScan: read_units_per_second must be over 0, not {rate!r}")
        if isinstance(attributes, str) or not all(isinstance(each, str) and each for each in attributes or ()):
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

    async def pin(self, backend: Backend, prefix: str) -> Mapping[str, Any]:  # noqa: ARG002 - nothing is written down
        """Return the plan: how many segments, and what to ask for.

        Raises:
            ConfigurationError: If there is no such table or index, or it may not be read.
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
        """Yield what to ask for each segment of the scan, from segment number ``first`` on."""
        for number in range(first, plan["segments"]):
            yield {**plan, "segment": number}

    @staticmethod
    async def read(part: Mapping[str, Any], backend: Backend) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield the items of one segment, each with itself as it was read: its keys say where to go on."""
        chosen = part.get("attributes")
        unasked = [key for key in part["keys"] if chosen is not None and key not in chosen]
        wanted = part if chosen is None else {**part, "attributes": [*chosen, *unasked]}  # keys say where to go on
        start = part.get("start")
        while True:
            began = backend.now()
            page = await retry(partial(backend.tables.scan, wanted, start), sleep=backend.sleep)
            yield ((_without(item, unasked) if unasked else item, item) for item in page.items)
            if page.next is None:
                return
            start = page.next
            if rate := part.get("units_per_second"):
                await backend.sleep(max(0.0, page.read_units / rate - (backend.now() - began)))

    @staticmethod
    def rest(part: Mapping[str, Any], mark: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the same segment from after an item on."""
        return {**part, "start": {key: _typed(mark[key]) for key in part["keys"]}}


def _check_filter(filter: str | None, names: object, values: object) -> None:  # noqa: A002 - DynamoDB's term
    for name, given in (("names", names), ("values", values)):
        if not isinstance(given, Mapping | None):
            raise ConfigurationError(f"DynamoDBScan: {name} must be a dict or None, not {given!r}")
    if filter is None and (names or values):
        raise ConfigurationError("DynamoDBScan: names and values stand for something in a filter, and there is none")


def _without(item: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    return {name: value for name, value in item.items() if name not in names}


def _typed(value: Any) -> Mapping[str, str]:
    """Return a key's value in DynamoDB's JSON: keys are texts, numbers or binaries."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bytes):
        return {"B": base64.b64encode(value).decode()}
    return {"N": str(value)}
