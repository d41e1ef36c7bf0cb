"""The decisions of an SQS event source mapping: which records fit into a batch, and what a response means.

This module performs no I/O: the simulator and the poller of a real queue wait, receive, and delete. The rules are from
the Lambda developer guide, "Using Lambda with Amazon SQS" and "Reporting batch item failures", as of November 2026.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fanfold._base.aws_limits import (
    LAMBDA_EVENT_BYTES,
    MAPPING_MAX_BATCH_SIZE,
    MAPPING_MAX_FIFO_BATCH_SIZE,
    MAPPING_MAX_UNWINDOWED_BATCH,
    MAPPING_MAX_WINDOW_SECONDS,
    MAPPING_UPDATE_SECONDS,
)
from fanfold.errors import ConfigurationError

SUCCESS: Final = "complete success"
PARTIAL: Final = "partial success"
FAILURE: Final = "complete failure"


@dataclass(frozen=True, slots=True)
class MappingSettings:
    """How a mapping forms batches and reads responses.

    Raises:
        ConfigurationError: If AWS would reject the settings.
    """

    batch_size: int = 10
    """Maximum number of records in a batch: 1 to 10,000, or 1 to 10 for a FIFO queue."""
    window_seconds: float = 0
    """Batching window, seconds: 0 to 300; at least 1 for a batch size above 10."""
    fifo: bool = False
    """True for a FIFO queue."""
    report_batch_item_failures: bool = True
    """True if ``ReportBatchItemFailures`` is on; otherwise the mapping ignores the response."""

    def __post_init__(self) -> None:
        if type(self.batch_size) is not int or not isinstance(self.window_seconds, int | float):
            raise ConfigurationError(
                "the batch size must be an integer and the batching window a number, "
                f"not {self.batch_size!r} and {self.window_seconds!r}"
            )
        if not 1 <= self.batch_size <= MAPPING_MAX_BATCH_SIZE:
            raise ConfigurationError(
                f"the batch size must be from 1 to {MAPPING_MAX_BATCH_SIZE:,}, not {self.batch_size}"
            )
        if not 0 <= self.window_seconds <= MAPPING_MAX_WINDOW_SECONDS:
            raise ConfigurationError(
                f"the batching window must be from 0 to {MAPPING_MAX_WINDOW_SECONDS} seconds, not {self.window_seconds}"
            )
        if self.fifo and (self.batch_size > MAPPING_MAX_FIFO_BATCH_SIZE or self.window_seconds):
            raise ConfigurationError(
                f"a FIFO queue supports batch sizes up to {MAPPING_MAX_FIFO_BATCH_SIZE} and no batching window, not "
                f"{self.batch_size} records and {self.window_seconds} seconds"
            )
        if self.batch_size > MAPPING_MAX_UNWINDOWED_BATCH and self.window_seconds < 1:
            raise ConfigurationError(
                f"a batch size above {MAPPING_MAX_UNWINDOWED_BATCH} requires a batching window of at least 1 second, "
                f"not {self.window_seconds}"
            )


@dataclass(frozen=True, slots=True)
class Returned:
    """An invocation that returned."""

    text: str
    """The response as the runtime sent it: JSON, unless the function's runtime is faulty."""


@dataclass(frozen=True, slots=True)
class Errored:
    """An invocation that failed."""

    kind: str
    """``error``, ``timeout``, ``killed`` or ``throttled``."""
    reason: str
    """The reason, as in the function's log."""


Invocation: TypeAlias = Returned | Errored


@dataclass(frozen=True, slots=True)
class Verdict:
    """The effect of an invocation on the messages of its batch."""

    kind: str
    """``complete success``, ``partial success`` or ``complete failure``."""
    reason: str
    """Why, as text."""
    failed: frozenset[str]
    """Ids of the messages that stay in the queue; every other message of the batch is deleted."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A request to disable or enable a mapping (``UpdateEventSourceMapping``)."""

    requested_at: float
    """Time of the request, seconds."""
    enabled: bool
    """True to enable the mapping."""
    lag_seconds: float = MAPPING_UPDATE_SECONDS
    """Seconds until the request takes effect. AWS publishes no number; it usually takes up to about a minute."""

    @property
    def effective_at(self) -> float:
        """Time from which the mapping polls, or no longer polls, the queue."""
        return self.requested_at + self.lag_seconds


def is_enabled(switches: Sequence[Switch], now: float) -> bool:
    """Return whether a mapping polls its queue. Messages that it received before it was disabled are delivered.

    Args:
        switches: All requests, in order of their time. They take effect in this order.
        now: The time, seconds.
    """
    return next((switch.enabled for switch in reversed(switches) if switch.effective_at <= now), True)


def polls_from(switches: Sequence[Switch], time: float) -> float:
    """Return the first time, from ``time`` on, at which a mapping polls its queue; infinity for never."""
    later = sorted(switch.effective_at for switch in switches if switch.effective_at > time)
    return next((moment for moment in (time, *later) if is_enabled(switches, moment)), math.inf)


def fitting(sizes: Sequence[int], settings: MappingSettings) -> int:
    """Return how many of the waiting records, starting with the first, fit into one batch.

    Args:
        sizes: Bytes of each record in the event; see ``record_bytes``.
        settings: The settings of the mapping.

    Returns:
        The number of records; at least 1 if there is any, since a message has at most 1 MiB.
    """
    total = 0
    for count, size in enumerate(sizes[: settings.batch_size]):
        total += size
        if total > LAMBDA_EVENT_BYTES and count:
            return count
    return min(len(sizes), settings.batch_size)


def record_bytes(record: Mapping[str, Any]) -> int:
    """Return the size of a record in an event, in bytes of JSON."""
    return len(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")) + 1


def judge(invocation: Invocation, ids: Collection[str], settings: MappingSettings) -> Verdict:
    """Return the effect of an invocation on the messages of its batch.

    Args:
        invocation: The result of the invocation.
        ids: The message ids of the batch.
        settings: The settings of the mapping.
    """
    all_ids = frozenset(ids)
    if isinstance(invocation, Errored):
        reasons = {
            "error": "the function raised an error",
            "timeout": "the function timed out, so completed messages are redelivered too",
            "killed": "the function's process was killed, so completed messages are redelivered too",
            "throttled": "the invocation was throttled",
        }
        return Verdict(FAILURE, f"{reasons.get(invocation.kind, invocation.kind)}: {invocation.reason}", all_ids)
    if not settings.report_batch_item_failures:
        return Verdict(SUCCESS, "ReportBatchItemFailures is off, so the response is ignored", frozenset())
    try:
        response = json.loads(invocation.text, parse_constant=_reject_constant) if invocation.text else None
    except (ValueError, RecursionError):
        return Verdict(FAILURE, "the response is not valid JSON", all_ids)
    return _judged(response, all_ids)


def _judged(response: object, all_ids: frozenset[str]) -> Verdict:
    if response is None:
        return Verdict(SUCCESS, "the response is null or empty", frozenset())
    if not isinstance(response, dict):
        return Verdict(FAILURE, f"the response is {_kind(response)}, not an object", all_ids)
    failures = response.get("batchItemFailures")
    if failures is None:
        state = "is null" if "batchItemFailures" in response else "is not in the response"
        return Verdict(SUCCESS, f"batchItemFailures {state}", frozenset())
    if not isinstance(failures, list):
        return Verdict(FAILURE, f"batchItemFailures is {_kind(failures)}, not a list", all_ids)
    return _of_failures(failures, all_ids)


def _of_failures(failures: Sequence[object], all_ids: frozenset[str]) -> Verdict:
    failed = set()
    for position, failure in enumerate(failures):
        if fault := _fault(failure, all_ids):
            return Verdict(FAILURE, f"entry {position} of batchItemFailures {fault}", all_ids)
        failed.add(failure["itemIdentifier"])  # type: ignore[index] # checked by _fault
    if not failed:
        return Verdict(SUCCESS, "batchItemFailures is empty", frozenset())
    if failed == all_ids:
        return Verdict(FAILURE, "every message of the batch is reported as failed", all_ids)
    return Verdict(PARTIAL, f"{len(failed)} of {len(all_ids)} messages are reported as failed", frozenset(failed))


def _fault(failure: object, all_ids: frozenset[str]) -> str | None:
    if not isinstance(failure, dict) or "itemIdentifier" not in failure:
        return "has no itemIdentifier; check the spelling of the key"
    identifier = failure["itemIdentifier"]
    if identifier is None or identifier == "":
        return f"has an itemIdentifier that is {'null' if identifier is None else 'empty'}"
    if not isinstance(identifier, str):
        return f"has an itemIdentifier that is {_kind(identifier)}, not a string"
    if identifier not in all_ids:
        return f"names {identifier!r}, which is not in the batch"
    return None


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _kind(value: object) -> str:
    names = {
        str: "a string",
        list: "a list",
        dict: "an object",
        bool: "a Boolean",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")
