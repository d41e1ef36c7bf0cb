"""A ledger in one DynamoDB table with on-demand capacity.

| partition key ``pk``  | sort key ``sk``        | content                                                  |
|-----------------------|------------------------|----------------------------------------------------------|
| ``RUN#<run>``         | ``STATE``              | the run; written a few times                             |
| ``RUN#<run>``         | ``COUNT``              | ``n``, ``total``, ``next``; one small write per batch    |
| ``RUN#<run>#<0..15>`` | ``MARK#<gen>#<marker>``| a marker; one write per batch, spread over 16 partitions |
| ``RUN#<run>#<0..15>`` | ``HOP#<gen>#<id>#<hop>``| a segment's stop before the deadline; one write each      |
| ``RUN#<run>#<0..15>`` | ``FAIL#<gen>#<batch>`` | failed attempts; one write per batch that has any        |

``expires_at`` is the table's time-to-live attribute. The index ``runs-by-state`` lists the runs; see ``run_index``.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from fanfold._ports.run import MAX_LEASE_SECONDS, Counter, FailedBatch, Hop, Marker, Run, RunState, Unreadable
from fanfold._ports.run_list import Place, RunListPage
from fanfold.aws.fast_calls import call
from fanfold.aws.faults import is_conditional_check, map_errors
from fanfold.aws.ledger_items import (
    attempts_item,
    attempts_of,
    counter_of,
    expiry,
    hop_item,
    hop_of,
    marker_item,
    marker_of,
    number,
    readable,
    readable_or_not,
    run_item,
    run_of,
)
from fanfold.aws.run_index import newest_runs
from fanfold.errors import FenceLostError, LedgerError, ServiceError

_PARTITIONS: Final = 16


class DynamoDBLedger:
    """A ledger in a DynamoDB table with the keys ``pk`` and ``sk``, over an aiobotocore client."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    async def open_run(self, run: Run) -> Run:
        """Create a run unless it exists; return the run from the ledger."""
        try:
            await self._call(
                "put_item",
                Item=_state_key(run.id) | run_item(run),
                ConditionExpression="attribute_not_exists(pk)",
            )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            return await self._existing_run(run.id)
        return run

    async def run(self, run_id: str) -> Run | None:
        """Return a run, by a consistent read."""
        response = await self._call("get_item", Key=_state_key(run_id), ConsistentRead=True)
        return run_of(response["Item"]) if "Item" in response else None

    async def runs(self, *, state: RunState | None = None, limit: int, after: Place | None = None) -> RunListPage:
        """Return the newest runs, by eventually consistent reads of the index."""
        return await newest_runs(self._call, self._table, state=state, limit=limit, after=after)

    async def replan(self, run_id: str, plan: Mapping[str, Any], *, step: int) -> bool:
        """Replace the plan of a run."""
        if await self._update_if(
            Key=_state_key(run_id),
            UpdateExpression="SET #plan = :plan, plan_step = :step",
            ConditionExpression="plan_step = :before AND #s = :running",
            ExpressionAttributeNames={"#plan": "plan", "#s": "state"},
            ExpressionAttributeValues={
                ":running": {"S": RunState.RUNNING},
                ":plan": {"S": json.dumps(plan)},
                ":step": number(step),
                ":before": number(step - 1),
            },
        ):
            return True
        await self._existing_run(run_id)
        return False

    async def checkpoint(self, run_id: str, position: int, *, gen: int = 0) -> bool:
        """Record how many segments have been enqueued; return whether the scatter may continue."""
        if await self._update_if(
            Key=_state_key(run_id),
            UpdateExpression="SET #p = :p",
            ConditionExpression="attribute_exists(pk) AND #p < :p AND gen = :gen AND #s <> :cancelled",
            ExpressionAttributeNames={"#p": "position", "#s": "state"},
            ExpressionAttributeValues={
                ":p": number(position),
                ":gen": number(gen),
                ":cancelled": {"S": RunState.CANCELLED},
            },
        ):
            return True
        run = await self._existing_run(run_id)
        return run.gen == gen and run.state != RunState.CANCELLED

    async def cancel(self, run_id: str, *, gen: int, ended_at: float) -> bool:
        """Cancel a generation of a run that has not ended."""
        if await self._update_if(
            Key=_state_key(run_id),
            UpdateExpression="SET #s = :cancelled, ended_at = :at",
            ConditionExpression="gen = :gen AND #s IN (:running, :folding)",
            ExpressionAttributeNames={"#s": "state"},
            ExpressionAttributeValues={
                ":cancelled": {"S": RunState.CANCELLED},
                ":running": {"S": RunState.RUNNING},
                ":folding": {"S": RunState.FOLDING},
                ":at": number(ended_at),
                ":gen": number(gen),
            },
        ):
            return True
        run = await self._existing_run(run_id)
        return run.gen == gen and run.state == RunState.CANCELLED

    async def redrive(self, run_id: str, *, gen: int, redos: Sequence[str], redo: int) -> bool:
        """Begin a generation."""
        if await self._update_if(
            Key=_state_key(run_id),
            UpdateExpression="SET gen = :gen, #s = :running, #p = :zero, failed = :zero, redos = :redos, "
            "redo = :redo REMOVE ended_at, #o, notified",
            ConditionExpression="gen = :before AND #s IN (:succeeded, :failed, :cancelled)",
            ExpressionAttributeNames={"#s": "state", "#p": "position", "#o": "output"},
            ExpressionAttributeValues={
                ":gen": number(gen),
                ":before": number(gen - 1),
                ":running": {"S": RunState.RUNNING},
                ":succeeded": {"S": RunState.SUCCEEDED},
                ":failed": {"S": RunState.FAILED},
                ":cancelled": {"S": RunState.CANCELLED},
                ":zero": number(0),
                ":redos": {"S": json.dumps(list(redos))},
                ":redo": number(redo),
            },
        ):
            return True
        await self._existing_run(run_id)
        return False

    async def notified(self, run_id: str, *, gen: int) -> None:
        """Record that the notification for the end of a generation was sent."""
        await self._update_if(
            Key=_state_key(run_id),
            UpdateExpression="SET notified = :yes",
            ConditionExpression="gen = :gen",
            ExpressionAttributeValues={":yes": {"BOOL": True}, ":gen": number(gen)},
        )

    async def put_marker(self, run_id: str, marker: Marker) -> None:
        """Append a marker."""
        key = {
            "pk": {"S": _partition(run_id, marker.id)},
            "sk": {"S": f"MARK#{marker.gen}#{marker.id}"},
        }
        await self._call("put_item", Item=key | marker_item(marker))

    async def count(self, run_id: str, ended: int) -> Counter:
        """Add to the number of segments that ended."""
        return await self._update_counter(
            run_id, "ADD n :k SET expires_at = :e", {":k": number(ended), ":e": number(expiry())}
        )

    async def seal(self, run_id: str, total: int) -> Counter:
        """Fix the number of segments."""
        return await self._update_counter(
            run_id,
            "SET #total = :t, #next = if_not_exists(#next, :t), expires_at = :e",
            {":t": number(total), ":e": number(expiry())},
            names=("total", "next"),
        )

    async def raise_next(self, run_id: str, threshold: int) -> Counter:
        """Raise ``next`` to a threshold; a higher value stays."""
        try:
            return await self._update_counter(
                run_id,
                "SET #next = :m",
                {":m": number(threshold)},
                condition="attribute_not_exists(#next) OR #next < :m",
                names=("next",),
            )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            return await self.counter(run_id)

    async def counter(self, run_id: str) -> Counter:
        """Return the counter, by a consistent read."""
        response = await self._call("get_item", Key=_count_key(run_id), ConsistentRead=True)
        return counter_of(response.get("Item", {}))

    async def markers(self, run_id: str, gen: int) -> AsyncIterator[Marker | Unreadable]:
        """Yield every marker of a generation, by consistent reads."""
        async for item in self._items_with_prefix(run_id, f"MARK#{gen}#"):
            yield readable_or_not(marker_of, item, "marker")

    async def put_hop(self, run_id: str, hop: Hop) -> Hop:
        """Record where a segment stopped, unless the hop exists already; return the stored hop."""
        key = _hop_key(run_id, hop.gen, hop.segment, hop.number)
        try:
            await self._call("put_item", Item=key | hop_item(hop), ConditionExpression="attribute_not_exists(pk)")
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            stored = await self.hop(run_id, hop.gen, hop.segment, hop.number)
            if stored is None:  # it has expired meanwhile
                raise
            return stored
        return hop

    async def hop(self, run_id: str, gen: int, segment: int, number: int) -> Hop | None:
        """Return a hop, by a consistent read; None if it does not exist."""
        response = await self._call("get_item", Key=_hop_key(run_id, gen, segment, number), ConsistentRead=True)
        return readable(hop_of, response["Item"], "hop") if "Item" in response else None

    async def hops(self, run_id: str, gen: int) -> AsyncIterator[Hop | Unreadable]:
        """Yield every hop of a generation, by consistent reads."""
        async for item in self._items_with_prefix(run_id, f"HOP#{gen}#"):
            yield readable_or_not(hop_of, item, "hop")

    async def put_attempts(self, run_id: str, batch: FailedBatch) -> None:
        """Append the failed attempts of a batch."""
        key = {"pk": {"S": _partition(run_id, batch.id)}, "sk": {"S": f"FAIL#{batch.gen}#{batch.id}"}}
        await self._call("put_item", Item=key | attempts_item(batch))

    async def attempts(self, run_id: str, gen: int) -> AsyncIterator[FailedBatch | Unreadable]:
        """Yield the failed attempts of a generation, by consistent reads."""
        async for item in self._items_with_prefix(run_id, f"FAIL#{gen}#"):
            yield readable_or_not(attempts_of, item, "list of attempts")

    async def _items_with_prefix(self, run_id: str, prefix: str) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the items of a run whose sort key starts with a prefix, from all partitions."""
        for partition in range(_PARTITIONS):
            start: dict[str, Any] = {}
            while True:
                response = await self._call(
                    "query",
                    KeyConditionExpression="pk = :pk AND begins_with(sk, :sk)",
                    ExpressionAttributeValues={":pk": {"S": f"RUN#{run_id}#{partition}"}, ":sk": {"S": prefix}},
                    ConsistentRead=True,
                    **start,
                )
                for item in response.get("Items", []):
                    yield item
                if "LastEvaluatedKey" not in response:
                    break
                start = {"ExclusiveStartKey": response["LastEvaluatedKey"]}

    async def claim(self, run_id: str, *, gen: int = 0, now: float, lease_seconds: float) -> int | None:
        """Claim the fold of a generation; return the fence, or None if another claim holds it."""
        try:
            response = await self._call(
                "update_item",
                Key=_state_key(run_id),
                UpdateExpression="SET #s = :folding, lease_until = :until ADD fence :one",
                ConditionExpression="gen = :gen AND (#s = :running OR "
                "(#s = :folding AND (lease_until <= :now OR lease_until > :longest)))",
                ExpressionAttributeNames={"#s": "state"},
                ExpressionAttributeValues={
                    ":folding": {"S": RunState.FOLDING},
                    ":running": {"S": RunState.RUNNING},
                    ":gen": number(gen),
                    ":now": number(now),
                    ":until": number(now + lease_seconds),
                    ":longest": number(now + MAX_LEASE_SECONDS),
                    ":one": number(1),
                },
                ReturnValues="UPDATED_NEW",
            )
        except ServiceError as error:
            if is_conditional_check(error):
                return None
            raise
        return int(response["Attributes"]["fence"]["N"])

    async def release(self, run_id: str, *, fence: int) -> None:
        """End the lease of a claim immediately, unless the fold has been claimed again since."""
        try:
            await self._call(
                "update_item",
                Key=_state_key(run_id),
                UpdateExpression="SET lease_until = :ended",
                ConditionExpression="fence = :fence AND #s = :folding",
                ExpressionAttributeNames={"#s": "state"},
                ExpressionAttributeValues={
                    ":ended": number(0),
                    ":fence": number(fence),
                    ":folding": {"S": RunState.FOLDING},
                },
            )
        except ServiceError as error:
            if not is_conditional_check(error):
                raise

    async def finish(
        self, run_id: str, *, fence: int, state: RunState, output: str, ended_at: float, failed: int
    ) -> None:
        """Write the final state of a run."""
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
                    ":at": number(ended_at),
                    ":failed": number(failed),
                    ":fence": number(fence),
                    ":folding": {"S": RunState.FOLDING},
                },
            )
        except ServiceError as error:
            if is_conditional_check(error):
                raise FenceLostError(f"run {run_id}: another invocation has taken over the fold") from error
            raise

    async def _existing_run(self, run_id: str) -> Run:
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
        response = await self._call(
            "update_item",
            Key=_count_key(run_id),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
            **optional,
        )
        return counter_of(response["Attributes"])

    async def _update_if(self, **arguments: Any) -> bool:
        """Update an item on a condition; return whether it was met."""
        try:
            await self._call("update_item", **arguments)
        except ServiceError as error:
            if not is_conditional_check(error):
                raise
            return False
        return True

    async def _call(self, operation: str, **arguments: Any) -> Any:
        with map_errors(f"table {self._table}"):
            return await call(self._client, operation, self._table, {"TableName": self._table, **arguments})


def _state_key(run_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "STATE"}}


def _partition(run_id: str, name: str) -> str:
    return f"RUN#{run_id}#{zlib.crc32(name.encode()) % _PARTITIONS}"


def _hop_key(run_id: str, gen: int, segment: int, number: int) -> dict[str, Any]:
    name = f"{segment}#{number}"
    return {"pk": {"S": _partition(run_id, name)}, "sk": {"S": f"HOP#{gen}#{name}"}}


def _count_key(run_id: str) -> dict[str, Any]:
    return {"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "COUNT"}}
