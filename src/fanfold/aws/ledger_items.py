"""Conversion between the ledger's values and the items of its DynamoDB table."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fanfold._ports.ledger_encoding import (
    decode_ids,
    encode_ids,
    results_from_json,
    results_from_list,
    results_to_json,
    results_to_list,
)
from fanfold._ports.packed import pack_attempts, unpack_attempts
from fanfold._ports.run import EXPIRY_SECONDS, BadRows, Counter, FailedBatch, Hop, Marker, Run, RunState
from fanfold.errors import LedgerError


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
        LedgerError: If this release does not know the state.
    """
    return Run(
        id=item["run"]["S"],
        job=item["job"]["S"],
        params=json.loads(item["params"]["S"]),
        plan=json.loads(item["plan"]["S"]),
        created_at=float(item["created_at"]["N"]),
        expires_at=int(item["expires_at"]["N"]),
        gen=int(item["gen"]["N"]),
        state=_state_in(item),
        position=int(item["position"]["N"]),
        fence=int(item["fence"]["N"]),
        lease_until=float(item["lease_until"]["N"]),
        ended_at=float(item["ended_at"]["N"]) if "ended_at" in item else None,
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
    """Return the counter in an item; an empty item has the count 0."""
    total, following = (int(item[name]["N"]) if name in item else None for name in ("total", "next"))
    return Counter(int(item["n"]["N"]) if "n" in item else 0, total, following)


def marker_item(marker: Marker) -> dict[str, Any]:
    """Return the attributes of a marker, without its key."""
    item: dict[str, Any] = {"ids": {"S": encode_ids(marker.ids)}, "expires_at": number(expiry())}
    if marker.results:
        item["results"] = {"S": _results_text(marker)}
    if marker.results_key:
        item["results_key"] = {"S": marker.results_key}
    if marker.failed:
        item["failed"] = {"S": json.dumps(dict(marker.failed))}
    if marker.receive_counts:
        item["receive_counts"] = {"S": json.dumps(dict(marker.receive_counts))}
    if marker.hops:
        item["hops"] = {"S": json.dumps(dict(marker.hops))}
    if marker.items:
        item["items"] = {"S": ",".join(map(str, marker.items))}
    if marker.bad_rows:
        bad_rows = {segment: [bad.count, bad.key] for segment, bad in marker.bad_rows.items()}
        item["bad_rows"] = {"S": json.dumps(bad_rows)}
    return item


def marker_of(item: Mapping[str, Any]) -> Marker:
    """Return the marker in an item."""
    _, gen, name = item["sk"]["S"].split("#", 2)
    ids = decode_ids(item["ids"]["S"])
    return Marker(
        id=name,
        gen=int(gen),
        ids=ids,
        results=_results_in(item, ids),
        results_key=item["results_key"]["S"] if "results_key" in item else None,
        failed=_by_segment(item, "failed"),
        receive_counts=_by_segment(item, "receive_counts"),
        hops=_by_segment(item, "hops"),
        items=[int(count) for count in item["items"]["S"].split(",")] if "items" in item else (),
        bad_rows={segment: BadRows(*bad) for segment, bad in _by_segment(item, "bad_rows").items()},
    )


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
        "expires_at": number(expiry()),
    }
    if hop.result is not None:
        item["result"] = {"S": hop.result}
    if hop.results_key is not None:
        item["results_key"] = {"S": hop.results_key}
    if hop.bad_rows is not None:
        item["bad_rows"] = {"S": json.dumps([hop.bad_rows.count, hop.bad_rows.key])}
    return item


def hop_of(item: Mapping[str, Any]) -> Hop:
    """Return the hop in an item."""
    _, gen, segment, number = item["sk"]["S"].split("#")
    return Hop(
        segment=int(segment),
        number=int(number),
        gen=int(gen),
        rest=json.loads(item["rest"]["S"]),
        result=item["result"]["S"] if "result" in item else None,
        results_key=item["results_key"]["S"] if "results_key" in item else None,
        items=int(item["items"]["N"]),
        bad_rows=BadRows(*json.loads(item["bad_rows"]["S"])) if "bad_rows" in item else None,
    )


def attempts_item(batch: FailedBatch) -> dict[str, Any]:
    """Return the attributes of the failed attempts of a batch, without their key."""
    return {"attempts": {"B": pack_attempts(batch.attempts)}, "expires_at": number(expiry())}


def attempts_of(item: Mapping[str, Any]) -> FailedBatch:
    """Return the failed attempts in an item."""
    _, gen, name = item["sk"]["S"].split("#", 2)
    return unpack_attempts(name, int(gen), item["attempts"]["B"])


def _by_segment(item: Mapping[str, Any], name: str) -> dict[int, Any]:
    if name not in item:
        return {}
    return {int(segment): value for segment, value in json.loads(item[name]["S"]).items()}
