"""The batches to measure: saved events, as saved or with another batch size, or synthetic records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from typing import Any, Final

from fanfold._base.sample_events import make_record
from fanfold._replay.events import SavedEvent
from fanfold._replay.mapping import Invocation, MappingSettings, fitting, judge, record_bytes

SYNTHETIC_BATCH: Final = 1_000
"""Default number of records in a batch of synthetic records."""
_WARM_UP: Final = 100
"""Minimum number of records that warm up a process, if a batch has that many."""


@dataclass(frozen=True, slots=True)
class Batches:
    """The batches that a handler receives, in a cycle."""

    events: tuple[dict[str, Any], ...]
    """Lambda events."""
    cut: bool
    """True if a batch was shortened because an event holds at most 6 MB."""

    @property
    def records(self) -> int:
        """Records in the largest batch."""
        return max(len(event["Records"]) for event in self.events)

    @property
    def digest(self) -> str:
        """A hash of the content."""
        return hashlib.sha256(json.dumps(self.events, sort_keys=True).encode()).hexdigest()[:16]

    def first(self, records: int) -> dict[str, Any]:
        """Return an event of the first records of the first batch."""
        return {"Records": self.events[0]["Records"][:records]}

    def warm_up(self, concurrency: int) -> dict[str, Any]:
        """Return an event that occupies every concurrent handler once, as far as a batch has enough records."""
        return self.first(max(_WARM_UP, concurrency))


def batches_of(saved: Sequence[SavedEvent], batch_size: int | None) -> Batches:
    """Return the batches of saved events.

    Args:
        saved: At least one event. Without a batch size, each is a batch.
        batch_size: Records in a batch. Batches are cut from the sequence of all records; if these are too few, they are
            repeated with new message ids. None for the events as saved.

    Raises:
        ConfigurationError: If AWS does not allow this batch size for the records' queue.
    """
    if batch_size is None:
        full = [[dict(record) for record in event.records] for event in saved]
    else:
        rows = [record for event in saved for record in event.records]
        times = -(-batch_size // len(rows))
        full = [_renamed(islice(cycle(rows), batch_size))] if times > 1 else list(_pieces(rows, batch_size))
    cut = [records[: fitting([record_bytes(record) for record in records], _settings(records))] for records in full]
    return Batches(tuple({"Records": records} for records in cut), cut=any(map(_shorter, cut, full)))


def synthetic_records(records: int, payload_bytes: int) -> SavedEvent:
    """Return an event of synthetic records with different JSON bodies of about this size, at least 32 bytes."""
    padding = "x" * max(0, payload_bytes - 32)
    return SavedEvent(
        "synthetic",
        [
            make_record({"number": number, "payload": padding}, message_id=f"message-{number}")
            for number in range(records)
        ],
    )


def retried(invocation: Invocation, event: Mapping[str, Any]) -> int:
    """Return the number of records that the batch response leaves in the queue."""
    ids = {record["messageId"] for record in event["Records"]}
    return len(judge(invocation, ids, MappingSettings()).failed)


def _settings(records: Sequence[dict[str, Any]]) -> MappingSettings:
    fifo = str(records[0].get("eventSourceARN", "")).endswith(".fifo")
    size = len(records)
    return MappingSettings(size, 0 if fifo or size <= 10 else 1, fifo=fifo)  # noqa: PLR2004 - more need a window


def _renamed(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    numbers = count()
    return [{**record, "messageId": f"{record['messageId']}-{next(numbers)}"} for record in records]


def _pieces(records: Sequence[dict[str, Any]], size: int) -> Iterable[list[dict[str, Any]]]:
    """Yield full batches. Remaining records are left out, so that all batches have the same size."""
    for first in range(0, len(records) - size + 1, size):
        yield [dict(record) for record in records[first : first + size]]


def _shorter(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) < len(other)
