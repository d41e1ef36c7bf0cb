"""Conversion between the ledger's values and the items of its DynamoDB table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fanfold._ports.ledger_encoding import (
    results_from_json,
    results_from_list,
    results_to_json,
    results_to_list,
)
from fanfold._ports.packed import count_of, pack_attempts, pack_ends, seconds_of, unpack_attempts, unpack_ends
from fanfold._ports.run import EXPIRY_SECONDS, BadRows, Counter, FailedBatch, Hop, Marker, Run, RunState, Unreadable
from fanfold._ports.run_list import RunSummary
from fanfold.errors import LedgerError

T = TypeVar("T")


def number(value: float) -> dict[str, str]:
    """Return a number in DynamoDB's JSON."""
    return {"N": repr(value)}


def expiry() -> int:
    """Return the time-to-live of an item that is written now; seconds since 1970."""
    return int(time.time()) + EXPIRY_SECONDS


def run_item(run: Run) -> dict[str, Any]:
    """Return the attributes of a run, without its key."""
    return {
        "run": {"S": run.id},
        "job": {"S": run.job},
        "params": {"S": json.dumps(run.params)},
        "plan": {"S": json.dumps(run.plan)},
        "plan_step": number(run.plan_step),
        "created_at": number(run.created_at),
        "expires_at": number(run.expires_at),
        "gen": number(run.gen),
        "state": {"S": str(run.state)},
        "position": number(run.position),
        "fence": number(run.fence),
        "lease_until": number(run.lease_until),
        "failed": number(run.failed),
    }


def run_of(item: Mapping[str, Any]) -> Run:
    """Return the run in an item.

    Raises:
        LedgerError: If this release does not know the state, or the item is malformed.
    """
    run = readable(_run_of, item, "run")
    if run.gen != len(run.redos) or min(run.gen, run.position, run.redo, run.plan_step) < 0:
        raise LedgerError(f"{_key_of(item)}: the generation or the position of the run cannot be true")
    return run


def _run_of(item: Mapping[str, Any]) -> Run:
    return Run(
        id=item["run"]["S"],
        job=item["job"]["S"],
        params=_object(item["params"]["S"]),
        plan=_object(item["plan"]["S"]),
        created_at=_seconds(item["created_at"]),
        expires_at=int(_seconds(item["expires_at"])),
        gen=int(item["gen"]["N"]),
        state=_state_in(item),
        position=int(item["position"]["N"]),
        fence=int(item["fence"]["N"]),
        lease_until=float(item["lease_until"]["N"]),
        ended_at=_seconds(item["ended_at"]) if "ended_at" in item else None,
        output=item["output"]["S"] if "output" in item else None,
        failed=int(item["failed"]["N"]),
        redos=tuple(json.loads(item["redos"]["S"])) if "redos" in item else (),
        redo=int(item["redo"]["N"]) if "redo" in item else 0,
        notified=item["notified"]["BOOL"] if "notified" in item else False,
        plan_step=int(item["plan_step"]["N"]) if "plan_step" in item else 1,
    )


def _state_in(item: Mapping[str, Any]) -> RunState:
    text = item["state"]["S"]
    try:
        return RunState(text)
    except ValueError as error:
        raise LedgerError(
            f"run {item['run']['S']}: the ledger holds the state {text!r}, which this release does not know; deploy "
            "the same version of fanfold to every function of the job"
        ) from error


def counter_of(item: Mapping[str, Any]) -> Counter:
    """Return the counter in an item; an empty item has the count 0.

    Raises:
        LedgerError: If a number is malformed.
    """
    return readable(_counter_of, item, "counter")


def _counter_of(item: Mapping[str, Any]) -> Counter:
    total, following = (int(item[name]["N"]) if name in item else None for name in ("total", "next"))
    return Counter(int(item["n"]["N"]) if "n" in item else 0, total, following)


def readable(convert: Callable[[Mapping[str, Any]], T], item: Mapping[str, Any], kind: str) -> T:
    """Return what an item contains.

    Raises:
        LedgerError: If it cannot be read; names the item.
    """
    try:
        return convert(item)
    except (LedgerError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        reason = str(error) if isinstance(error, LedgerError) else f"{type(error).__name__}: {error}"
        raise LedgerError(f"the {kind} {_key_of(item)} in the ledger cannot be read: {reason}") from error


def readable_or_not(convert: Callable[[Mapping[str, Any]], T], item: Mapping[str, Any], kind: str) -> T | Unreadable:
    """Return what an item contains, or why it cannot be read."""
    try:
        return readable(convert, item, kind)
    except LedgerError as error:
        return Unreadable(_key_of(item), str(error))


def _key_of(item: Mapping[str, Any]) -> str:
    return " ".join(str(next(iter(item[name].values()))) for name in ("pk", "sk") if name in item)


def marker_item(marker: Marker) -> dict[str, Any]:
    """Return the attributes of a marker, without its key."""
    item: dict[str, Any] = {"ends": {"B": pack_ends(marker)}, "expires_at": number(expiry())}
    if marker.results:
        item["results"] = {"S": _results_text(marker)}
    if marker.results_key:
        item["results_key"] = {"S": marker.results_key}
    if marker.failed:
        item["failed"] = {"S": json.dumps(dict(marker.failed))}
    if marker.receive_counts:
        item["receive_counts"] = {"S": json.dumps(dict(marker.receive_counts))}
    if marker.messages:
        item["messages"] = {"S": json.dumps({segment: list(message) for segment, message in marker.messages.items()})}
    if marker.hops:
        item["hops"] = {"S": json.dumps(dict(marker.hops))}
    if marker.bad_rows:
        bad_rows = {segment: [bad.count, bad.key] for segment, bad in marker.bad_rows.items()}
        item["bad_rows"] = {"S": json.dumps(bad_rows)}
    return item


def marker_of(item: Mapping[str, Any]) -> Marker:
    """Return the marker in an item.

    Raises:
        LedgerError: If it names no segment, or its results are not those of its segments.
    """
    _, gen, name = item["sk"]["S"].split("#", 2)
    ends = unpack_ends(item["ends"]["B"])
    marker = Marker(
        id=name,
        gen=int(gen),
        results=_results_in(item, ends["ids"]),
        results_key=item["results_key"]["S"] if "results_key" in item else None,
        failed=_by_segment(item, "failed", str),
        receive_counts=_by_segment(item, "receive_counts", count_of),
        messages=_by_segment(item, "messages", _message),
        hops=_by_segment(item, "hops", count_of),
        bad_rows=_by_segment(item, "bad_rows", _bad_rows),
        **ends,
    )
    if not marker.ids and not marker.failed:
        raise LedgerError("the ledger holds a marker without segments")
    return marker


def _results_text(marker: Marker) -> str:
    """Return results as a JSON list in the order of the ids, which omits the segment numbers."""
    if list(marker.results) != list(marker.ids):
        return results_to_json(marker.results)
    return results_to_list(marker.results.values())


def _results_in(item: Mapping[str, Any], ids: Sequence[int]) -> dict[int, str]:
    if "results" not in item:
        return {}
    text = item["results"]["S"]
    return results_from_list(text, ids) if text.startswith("[") else results_from_json(text)


def hop_item(hop: Hop) -> dict[str, Any]:
    """Return the attributes of a hop, without its key."""
    item: dict[str, Any] = {
        "rest": {"S": json.dumps(hop.rest)},
        "items": number(hop.items),
        "receive_count": number(hop.receive_count),
        "message": {"S": json.dumps(list(hop.message))},
        "expires_at": number(expiry()),
    }
    for name in ("result", "results_key", "environment"):
        if (text := getattr(hop, name)) is not None:
            item[name] = {"S": text}
    for name in ("began_at", "seconds"):
        if (moment := getattr(hop, name)) is not None:
            item[name] = number(moment)
    if hop.bad_rows is not None:
        item["bad_rows"] = {"S": json.dumps([hop.bad_rows.count, hop.bad_rows.key])}
    return item


def hop_of(item: Mapping[str, Any]) -> Hop:
    """Return the hop in an item.

    Raises:
        LedgerError: If it has neither a result nor the key of one.
    """
    _, gen, segment, hop = item["sk"]["S"].split("#")
    texts: dict[str, Any] = {
        name: item[name]["S"] if name in item else None for name in ("result", "results_key", "environment")
    }
    times: dict[str, Any] = {name: _seconds(item[name]) if name in item else None for name in ("began_at", "seconds")}
    if texts["result"] is None and texts["results_key"] is None:
        raise LedgerError("the ledger holds a hop without a result")
    return Hop(
        segment=int(segment),
        number=int(hop),
        gen=int(gen),
        rest=_object(item["rest"]["S"]),
        items=count_of(int(item["items"]["N"])),
        receive_count=count_of(int(item["receive_count"]["N"])),
        message=_message(json.loads(item["message"]["S"])),
        bad_rows=_bad_rows(json.loads(item["bad_rows"]["S"])) if "bad_rows" in item else None,
        **texts,
        **times,
    )


def attempts_item(batch: FailedBatch) -> dict[str, Any]:
    """Return the attributes of the failed attempts of a batch, without their key."""
    return {"attempts": {"B": pack_attempts(batch.attempts)}, "expires_at": number(expiry())}


def attempts_of(item: Mapping[str, Any]) -> FailedBatch:
    """Return the failed attempts in an item."""
    _, gen, name = item["sk"]["S"].split("#", 2)
    return unpack_attempts(name, int(gen), item["attempts"]["B"])


def summary_of(item: Mapping[str, Any]) -> RunSummary:
    """Return the run in an item of the index.

    Raises:
        LedgerError: If it is malformed.
    """
    return readable(_summary_of, item, "run")


def _summary_of(item: Mapping[str, Any]) -> RunSummary:
    return RunSummary(
        id=item["run"]["S"],
        job=item["job"]["S"],
        state=item["state"]["S"],
        created_at=_seconds(item["created_at"]),
        gen=int(item["gen"]["N"]),
        ended_at=_seconds(item["ended_at"]) if "ended_at" in item else None,
        failed=int(item["failed"]["N"]),
    )


def _seconds(attribute: Mapping[str, Any]) -> float:
    return seconds_of(float(attribute["N"]))


def _by_segment(item: Mapping[str, Any], name: str, convert: Callable[[Any], T]) -> dict[int, T]:
    if name not in item:
        return {}
    return {count_of(int(segment)): convert(value) for segment, value in _object(item[name]["S"]).items()}


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"{text[:80]!r} is not a JSON object")
    return value


def _message(value: Any) -> tuple[int, int]:
    tag, earlier = value
    return count_of(tag), count_of(earlier)


def _bad_rows(value: Any) -> BadRows:
    count, key = value
    return BadRows(count_of(count), str(key))
