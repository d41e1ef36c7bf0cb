"""The batches that are measured: saved events as they are or made to a size, or records that are made up."""

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
"""Records in a batch of made-up records, unless told otherwise."""
_WARM_UP: Final = 100
"""Records that warm a process up, at least, if a batch has as many."""


@dataclass(frozen=True, slots=True)
class Batches:
    """What a handler is given, batch after batch, from the first again after the last."""

    events: tuple[dict[str, Any], ...]
    """Lambda events."""
    cut: bool
    """Whether a batch ended early because an event holds at most 6 MB."""

    @property
    def records(self) -> int:
        """Records in the largest batch."""
        return max(len(event["Records"]) for event in self.events)

    @property
    def digest(self) -> str:
        """Names the content: the same for the same batches."""
        return hashlib.sha256(json.dumps(self.events, sort_keys=True).encode()).hexdigest()[:16]

    def first(self, records: int) -> dict[str, Any]:
        """Return an event of the first records of the first batch."""
        return {"Records": self.events[0]["Records"][:records]}

    def warm_up(self, concurrency: int) -> dict[str, Any]:
        """Return an event that has every handler at work once, as far as a batch has records for it."""
        return self.first(max(_WARM_UP, concurrency))


def batches_of(saved: Sequence[SavedEvent], batch_size: int | None) -> Batches:
    """Return the batches of saved events.

    Args:
        saved: Each is a batch, unless a batch size is given; at least one.
        batch_size: Records in a batch: all records are put in a row, begun again as often as it takes, with new message
            ids. None for the events as they are.

    Raises:
        ConfigurationError: If the batch size is not one that AWS allows for the queue the records come from.
    """
    if batch_size is None:
        whole = [[dict(record) for record in event.records] for event in saved]
    else:
        rows = [record for event in saved for record in event.records]
        times = -(-batch_size // len(rows))
        whole = [_renamed(islice(cycle(rows), batch_size))] if times > 1 else list(_pieces(rows, batch_size))
    cut = [records[: fitting([record_bytes(each) for each in records], _settings(records))] for records in whole]
    return Batches(tuple({"Records": records} for records in cut), cut=any(map(_shorter, cut, whole)))


def synthetic_records(records: int, payload_bytes: int) -> SavedEvent:
    """Return an event of made-up records: JSON bodies of about this size, at least 32 bytes, all different."""
    padding = "x" * max(0, payload_bytes - 32)
    return SavedEvent(
        "made up",
        [
            make_record({"number": number, "payload": padding}, message_id=f"message-{number}")
            for number in range(records)
        ],
    )


def retried(invocation: Invocation, event: Mapping[str, Any]) -> int:
    """Return how many records of a batch its response leaves in the queue."""
    ids = {record["messageId"] for record in event["Records"]}
    return len(judge(invocation, ids, MappingSettings()).failed)


def _settings(records: Sequence[dict[str, Any]]) -> MappingSettings:
    fifo = str(records[0].get("eventSourceARN", "")).endswith(".fifo")
    size = len(records)
    return MappingSettings(size, 0 if fifo or size <= 10 else 1, fifo=fifo)  # noqa: PLR2004 - what needs no window


def _renamed(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    numbers = count()
    return [{**record, "messageId": f"{record['messageId']}-{next(numbers)}"} for record in records]


def _pieces(records: Sequence[dict[str, Any]], size: int) -> Iterable[list[dict[str, Any]]]:
    """Return whole batches; records that fill no whole one are left out, so that all batches are alike."""
    for first in range(0, len(records) - size + 1, size):
        yield [dict(record) for record in records[first : first + size]]


def _shorter(one: Sequence[object], other: Sequence[object]) -> bool:
    return len(one) < len(other)
