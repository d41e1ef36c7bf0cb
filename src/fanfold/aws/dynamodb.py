"""A ledger in one DynamoDB table, on demand.

| partition key ``pk``  | sort key ``sk``        | holds                                                    |
|-----------------------|------------------------|----------------------------------------------------------|
| ``RUN#<run>``         | ``STATE``              | the run; written a few times                             |
| ``RUN#<run>``         | ``COUNT``              | ``n``, ``total``, ``next``; one small write per batch    |
| ``RUN#<run>#<0..15>`` | ``MARK#<gen>#<marker>``| a marker; one write per batch, spread over 16 partitions |
| ``RUN#<run>#<0..15>`` | ``HOP#<gen>#<id>#<hop>``| where a segment stopped in time; one write each           |

``expires_at`` is the table's time-to-live attribute.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from fanfold.aws.faults import faults_of, is_conditional_check
from fanfold.completion import decode_ids, encode_ids, results_from_json, results_to_json
from fanfold.errors import FenceLostError, LedgerError, ServiceError
from fanfold.run import FOLDING, RUNNING, Counter, Hop, Marker, Run

__all__ = ["DynamoDBLedger"]

_PARTITIONS: Final = 16
_EXPIRY_SECONDS: Final = 30 * 24 * 3600


class DynamoDBLedger:
    """A ledger in a DynamoDB table with the keys ``pk`` and ``sk``, over an aiobotocore client."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    async def open_run(self, run: Run) -> Run:
        """Create a run unless it exists; return the run as it stands in the ledger."""
        try:
            await self._call(
                "put_item",
                Item=_state_key(run.run) | _run_item(run),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            return await self._known(run.run)
        return run

    async def run(self, run_id: str) -> Run | None:
        """Return a run as it stands now."""
        answer = await self._call("get_item", Key=_state_key(run_id), ConsistentRead=True)
        return _run_of(answer["Item"]) if "Item" in answer else None

    async def checkpoint(self, run_id: str, position: int) -> None:
        """Remember how many segments have been enqueued."""
        try:
            await self._call(
                "update_item",
                Key=_state_key(run_id),
                UpdateExpression="SET #p = :p",
                ConditionExpression="attribute_exists(pk) AND #p < :p",
                ExpressionAttributeNames={"#p": "position"},
                ExpressionAttributeValues={":p": _number(position)},
            )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            await self._known(run_id)

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Append a marker."""
        key = {
            "pk": {"S": _partition(run_id, marker.marker)},
            "sk": {"S": f"MARK#{marker.gen}#{marker.marker}"},
        }
        await self._call("put_item", Item=key | _marker_item(marker))

    async def count(self, run_id: str, ended: int) -> Counter:
        """Add to the number of segments that ended."""
        return await self._update_counter(
            run_id, "ADD n :k SET expires_at = :e", {":k": _number(ended), ":e": _number(_expiry())}
        )

    async def seal(self, run_id: str, total: int) -> Counter:
        """Fix the number of segments."""
        return await self._update_counter(
            run_id,
            "SET #total = :t, #next = if_not_exists(#next, :t), expires_at = :e",
            {":t": _number(total), ":e": _number(_expiry())},
            names=("total", "next"),
        )

    async def raise_next(self, run_id: str, threshold: int) -> Counter:
        """Set ``next`` unless it is as high already."""
        try:
            return await self._update_counter(
                run_id,
                "SET #next = :m",
                {":m": _number(threshold)},
                condition="attribute_not_exists(#next) OR #next < :m",
                names=("next",),
            )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            return await self.counter(run_id)

    async def counter(self, run_id: str) -> Counter:
        """Return the counter as it stands now."""
        answer = await self._call("get_item", Key=_count_key(run_id), ConsistentRead=True)
        return _counter_of(answer.get("Item", {}))

    async def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker]:
        """Yield every marker of a generation, by consistent reads."""
        async for item in self._spread(run_id, f"MARK#{gen}#"):
            yield _marker_of(item)

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Enter where a segment stopped, unless that is known already."""
        name = f"{hop.segment}#{hop.hop}"
        key = {"pk": {"S": _partition(run_id, name)}, "sk": {"S": f"HOP#{hop.gen}#{name}"}}
        try:
            await self._call("put_item", Item=key | _hop_item(hop), ConditionExpression="attribute_not_exists(pk)")
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            return _hop_of((await self._call("get_item", Key=key, ConsistentRead=True))["Item"])
        return hop

    async def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop]:
        """Yield every hop of a generation, by consistent reads."""
        async for item in self._spread(run_id, f"HOP#{gen}#"):
            yield _hop_of(item)

    async def _spread(self, run_id: str, prefix: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the items of a run, from all its partitions, whose sort key begins so."""
        for partition in range(_PARTITIONS):
            start: dict[str, Any] = {}
            while True:
                answer = await self._call(
                    "query",
                    KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
                    ExpressionAttributeValues={":pk": {"S": f"RUN#{run_id}#{partition}"}, ":sk": {"S": prefix}},
                    ConsistentRead=True,
                    **start,
                )
                for item in answer.get("Items", []):
                    yield item
                if "LastEvaluatedKey" not in answer:
                    break
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def claim(self, run_id: str, *, now: float, lease_seconds: float) -> int | None:
        """Take the fold over."""
        try:
            answer = await self._call(
                "update_item",
                Key=_state_key(run_id),
                UpdateExpression="SET #s = :folding, lease_until = :until ADD fence :one",
                ConditionExpression="#s = :running OR (#s = :folding AND lease_until <= :now)",
                ExpressionAttributeNames={"#s": "state"},
                ExpressionAttributeValues={
                    ":folding": {"S": FOLDING},
                    ":running": {"S": RUNNING},
                    ":now": _number(now),
                    ":until": _number(now + lease_seconds),
                    ":one": _number(1),
                },
                ReturnValues="UPDATED_NEW",
            )
        except ServiceError as error:
            if is_conditional_check(error):
                return None
            raise
        return int(answer["Attributes"]["fence"]["N"])

    async def release(self, run_id: str, *, fence: int) -> None:
        """End the lease of a claim at once, unless another has claimed the fold since."""
        try:
            await self._call(
                "update_item",
                Key=_state_key(run_id),
                UpdateExpression="SET lease_until = :over",
                ConditionExpression="fence = :fence AND #s = :folding",
                ExpressionAttributeNames={"#s": "state"},
                ExpressionAttributeValues={
                    ":over": _number(0),
                    ":fence": _number(fence),
                    ":folding": {"S": FOLDING},
                },
            )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise

    async def finish(self, run_id: str, *, fence: int, state: str, output: str, ended_at: float, failed: int) -> None:
        """Write the end state of a run."""
        try:
            await self._call(
                "update_item",
                Key=_state_key(run_id),
                UpdateExpression="SET #s = :state, #o = :output, ended_at = :at, failed = :failed",
                ConditionExpression="fence = :fence AND #s = :folding",
                ExpressionAttributeNames={"#s": "state", "#o": "output"},
                ExpressionAttributeValues={
                    ":state": {"S": state},
                    ":output": {"S": output},
                    ":at": _number(ended_at),
                    ":failed": _number(failed),
                    ":fence": _number(fence),
                    ":folding": {"S": FOLDING},
                },
            )
        except ServiceError as error:
            if is_conditional_check(error):
                raise FenceLostError(f"run {run_id}: another invocation has taken over the fold") from error
            raise

    async def _known(self, run_id: str) -> Run:
        run = await self.run(run_id)
        if run is None:
            raise LedgerError(f"run {run_id!r} is not in the ledger")
        return run

    async def _update_counter(
        self,
        run_id: str,
        expression: str,
        values: Mapping[str, Any],
        *,
        names: tuple[str, ...] = (),
        condition: str | None = None,
    ) -> Counter:
        optional: dict[str, Any] = {"ConditionExpression": condition} if condition else {}
        if names:
            optional["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
        answer = await self._call(
            "update_item",
            Key=_count_key(run_id),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
            **optional,
        )
        return _counter_of(answer["Attributes"])

    async def _call(self, operation: str, **arguments: Any) -> Any:
        with faults_of(f"table {self._table}"):
            return await getattr(self._client, operation)(TableName=self._table, **arguments)


def _state_key(run_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "STATE"}}


def _partition(run_id: str, name: str) -> str:
    return f"RUN#{run_id}#{zlib.crc32(name.encode()) % _PARTITIONS}"


def _count_key(run_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "COUNT"}}


def _number(value: float) -> dict[str, str]:
    return {"N": repr(value)}


def _expiry() -> int:
    return int(time.time()) + _EXPIRY_SECONDS


def _run_item(run: Run) -> dict[str, Any]:
    return {
        "run": {"S": run.run},
        "job": {"S": run.job},
        "params": {"S": json.dumps(run.params)},
        "plan": {"S": json.dumps(run.plan)},
        "created_at": _number(run.created_at),
        "expires_at": _number(run.expires_at),
        "gen": _number(run.gen),
        "state": {"S": run.state},
        "position": _number(run.position),
        "fence": _number(run.fence),
        "lease_until": _number(run.lease_until),
        "failed": _number(run.failed),
    }


def _run_of(item: Mapping[str, Any]) -> Run:
    return Run(
        run=item["run"]["S"],
        job=item["job"]["S"],
        params=json.loads(item["params"]["S"]),
        plan=json.loads(item["plan"]["S"]),
        created_at=float(item["created_at"]["N"]),
        expires_at=int(item["expires_at"]["N"]),
        gen=int(item["gen"]["N"]),
        state=item["state"]["S"],
        position=int(item["position"]["N"]),
        fence=int(item["fence"]["N"]),
        lease_until=float(item["lease_until"]["N"]),
        ended_at=float(item["ended_at"]["N"]) if "ended_at" in item else None,
        output=item["output"]["S"] if "output" in item else None,
        failed=int(item["failed"]["N"]),
    )


def _counter_of(item: Mapping[str, Any]) -> Counter:
    total, following = (int(item[name]["N"]) if name in item else None for name in ("total", "next"))
    return Counter(int(item["n"]["N"]) if "n" in item else 0, total, following)


def _marker_item(marker: Marker) -> dict[str, Any]:
    item: dict[str, Any] = {"ids": {"S": encode_ids(marker.ids)}, "expires_at": _number(_expiry())}
    if marker.results:
        item["results"] = {"S": results_to_json(marker.results)}
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
    return item


def _marker_of(item: Mapping[str, Any]) -> Marker:
    _, gen, name = item["sk"]["S"].split("#", 2)
    return Marker(
        marker=name,
        gen=int(gen),
        ids=decode_ids(item["ids"]["S"]),
        results=results_from_json(item["results"]["S"]) if "results" in item else {},
        results_key=item["results_key"]["S"] if "results_key" in item else None,
        failed=_by_segment(item, "failed"),
        receive_counts=_by_segment(item, "receive_counts"),
        hops=_by_segment(item, "hops"),
        items=[int(count) for count in item["items"]["S"].split(",")] if "items" in item else (),
    )


def _hop_item(hop: Hop) -> dict[str, Any]:
    item: dict[str, Any] = {
        "rest": {"S": json.dumps(hop.rest)},
        "items": _number(hop.items),
        "expires_at": _number(_expiry()),
    }
    if hop.result is not None:
        item["result"] = {"S": hop.result}
    if hop.results_key is not None:
        item["results_key"] = {"S": hop.results_key}
    return item


def _hop_of(item: Mapping[str, Any]) -> Hop:
    _, gen, segment, number = item["sk"]["S"].split("#")
    return Hop(
        segment=int(segment),
        hop=int(number),
        gen=int(gen),
        rest=json.loads(item["rest"]["S"]),
        result=item["result"]["S"] if "result" in item else None,
        results_key=item["results_key"]["S"] if "results_key" in item else None,
        items=int(item["items"]["N"]),
    )


def _by_segment(item: Mapping[str, Any], name: str) -> dict[int, Any]:
    if name not in item:
        return {}
    return {int(segment): value for segment, value in json.loads(item[name]["S"]).items()}
