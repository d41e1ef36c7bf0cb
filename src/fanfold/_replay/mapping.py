"""An SQS event source mapping, as decisions on values: what goes into a batch, and what an answer means.

Nothing here waits, receives or deletes; the simulator and the poller of a real queue do that. The rules are
those of the Lambda developer guide, "Using Lambda with Amazon SQS" and "Reporting batch item failures", as of November
2026.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fanfold._base.aws_limits import (
    LAMBDA_EVENT_BYTES,
    MAPPING_MAX_BATCH_SIZE,
    MAPPING_MAX_FIFO_BATCH_SIZE,
    MAPPING_MAX_UNWINDOWED_BATCH,
    MAPPING_MAX_WINDOW_SECONDS,
)
from fanfold.errors import ConfigurationError

SUCCESS: Final = "complete success"
PARTIAL: Final = "partial success"
FAILURE: Final = "complete failure"


@dataclass(frozen=True, slots=True)
class MappingSettings:
    """How a mapping forms batches and reads answers.

    Raises:
        ConfigurationError: If AWS would refuse the settings.
    """

    batch_size: int = 10
    """Most records in a batch: 1 to 10,000; to 10 for FIFO queues."""
    window_seconds: float = 0
    """Seconds to wait for a batch to fill: 0 to 300; at least 1 with more than 10 records."""
    fifo: bool = False
    """Whether the queue is a FIFO queue."""
    report_batch_item_failures: bool = True
    """Whether ``ReportBatchItemFailures`` is on; without it a list of failures is ignored."""

    def __post_init__(self) -> None:
        if type(self.batch_size) is not int or not isinstance(self.window_seconds, int | float):
            raise ConfigurationError(
                f"batch size and window are numbers, not {self.batch_size!r} and {self.window_seconds!r}"
            )
        if not 1 <= self.batch_size <= MAPPING_MAX_BATCH_SIZE:
            raise ConfigurationError(f"the batch size is from 1 to {MAPPING_MAX_BATCH_SIZE:,}, not {self.batch_size}")
        if not 0 <= self.window_seconds <= MAPPING_MAX_WINDOW_SECONDS:
            raise ConfigurationError(
                f"the batching window is from 0 to {MAPPING_MAX_WINDOW_SECONDS} seconds, not {self.window_seconds}"
            )
        if self.fifo and (self.batch_size > MAPPING_MAX_FIFO_BATCH_SIZE or self.window_seconds):
            raise ConfigurationError(
                f"a FIFO queue's batches hold at most {MAPPING_MAX_FIFO_BATCH_SIZE} records and have no batching window"
            )
        if self.batch_size > MAPPING_MAX_UNWINDOWED_BATCH and self.window_seconds < 1:
            raise ConfigurationError(
                f"a batch size over {MAPPING_MAX_UNWINDOWED_BATCH} needs a batching window of at least 1 second"
            )


@dataclass(frozen=True, slots=True)
class Returned:
    """An invocation that returned."""

    text: str
    """What the function returned, as the runtime sent it: JSON, unless the function's runtime is broken."""


@dataclass(frozen=True, slots=True)
class Errored:
    """An invocation that returned nothing."""

    kind: str
    """``error``, ``timeout``, ``killed`` or ``throttled``."""
    reason: str
    """What the log would say."""


Invocation: TypeAlias = Returned | Errored


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a mapping makes of an invocation."""

    kind: str
    """``complete success``, ``partial success`` or ``complete failure``."""
    reason: str
    """Why, in words."""
    failed: frozenset[str]
    """Ids of the messages that stay in the queue; every other message of the batch is deleted."""


def fitting(sizes: Sequence[int], settings: MappingSettings) -> int:
    """Return how many of the waiting records, from the first on, fit into one batch.

    Args:
        sizes: Bytes of each record in the event; see ``record_bytes``.
        settings: Of the mapping.

    Returns:
        At least 1 if there is any record: a single one always fits, since a message is at most 1 MiB.
    """
    total = 0
    for count, size in enumerate(sizes[: settings.batch_size]):
        total += size
        if total > LAMBDA_EVENT_BYTES and count:
            return count
    return min(len(sizes), settings.batch_size)


def record_bytes(record: Mapping[str, Any]) -> int:
    """Return what a record takes of an event, in bytes of JSON."""
    return len(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")) + 1


def judge(invocation: Invocation, ids: Collection[str], settings: MappingSettings) -> Verdict:
    """Decide what an invocation means for the messages of its batch.

    Args:
        invocation: How it ended.
        ids: The message ids of the batch.
        settings: Of the mapping.
    """
    everything = frozenset(ids)
    if isinstance(invocation, Errored):
        words = {
            "error": "the function raised an error",
            "timeout": "the function timed out, so what it had finished comes back too",
            "killed": "the function's process was killed, so what it had finished comes back too",
            "throttled": "the invocation was throttled",
        }
        return Verdict(FAILURE, f"{words.get(invocation.kind, invocation.kind)}: {invocation.reason}", everything)
    if not settings.report_batch_item_failures:
        return Verdict(SUCCESS, "ReportBatchItemFailures is off: the answer is not read", frozenset())
    try:
        response = json.loads(invocation.text, parse_constant=_refuse) if invocation.text else None
    except (ValueError, RecursionError):
        return Verdict(FAILURE, "the response is not valid JSON", everything)
    return _judged(response, everything)


def _judged(response: object, everything: frozenset[str]) -> Verdict:
    if response is None:
        return Verdict(SUCCESS, "the response is null or empty", frozenset())
    if not isinstance(response, dict):
        return Verdict(FAILURE, f"the response is no object but {_kind(response)}", everything)
    failures = response.get("batchItemFailures")
    if failures is None:
        words = "is null" if "batchItemFailures" in response else "is not in the response"
        return Verdict(SUCCESS, f"batchItemFailures {words}", frozenset())
    if not isinstance(failures, list):
        return Verdict(FAILURE, f"batchItemFailures is no list but {_kind(failures)}", everything)
    return _of_failures(failures, everything)


def _of_failures(failures: Sequence[object], everything: frozenset[str]) -> Verdict:
    failed = set()
    for position, failure in enumerate(failures):
        if fault := _fault(failure, everything):
            return Verdict(FAILURE, f"entry {position} of batchItemFailures {fault}", everything)
        failed.add(failure["itemIdentifier"])  # type: ignore[index] # _fault has looked
    if not failed:
        return Verdict(SUCCESS, "batchItemFailures is empty", frozenset())
    if failed == everything:
        return Verdict(FAILURE, "every message of the batch is reported", everything)
    return Verdict(PARTIAL, f"{len(failed)} of {len(everything)} messages are reported", frozenset(failed))


def _fault(failure: object, everything: frozenset[str]) -> str | None:
    if not isinstance(failure, dict) or "itemIdentifier" not in failure:
        return "has no itemIdentifier: is the key misspelt?"
    identifier = failure["itemIdentifier"]
    if identifier is None or identifier == "":
        return f"has an itemIdentifier that is {'null' if identifier is None else 'empty'}"
    if not isinstance(identifier, str):
        return f"has an itemIdentifier that is no text but {_kind(identifier)}"
    if identifier not in everything:
        return f"names {identifier!r}, which is not in the batch"
    return None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _kind(value: object) -> str:
    names = {
        str: "a text",
        list: "a list",
        dict: "an object",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
