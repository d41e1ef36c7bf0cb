"""The index of a ledger table that lists the runs: by state, newest first.

Only the item of a run has both keys of the index, ``state`` and ``created_at``, so the index contains nothing else. A
change of the state writes it; markers, counters, and checkpoints do not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from fanfold._base.log import logger
from fanfold._ports.run import RunState
from fanfold._ports.run_list import Place, RunListPage, RunSummary, page_of
from fanfold.aws.ledger_items import number, summary_of
from fanfold.errors import ConfigurationError, LedgerError, ServiceError

INDEX: Final = "runs-by-state"
"""Name of the index."""
PROJECTED: Final = ("run", "job", "gen", "ended_at", "failed")
"""Attributes of a run in the index, in addition to its keys."""

_Call = Callable[..., Awaitable[Mapping[str, Any]]]


async def newest_runs(
    call: _Call, table: str, *, state: RunState | None, limit: int, after: Place | None
) -> RunListPage:
    """Return a page of the runs; ``call`` makes a call of DynamoDB.

    Raises:
        ConfigurationError: If the table has no such index.
    """
    by_id: dict[str, RunSummary] = {}
    # In the order in which a run changes its state, so that none is missed while it changes; the later state counts.
    for one in [state] if state else list(RunState):
        for run in await _newest_in(one, call, table, limit + 1, after):
            by_id[run.id] = run
    return page_of(by_id.values(), state=state, limit=limit, after=after)


async def _newest_in(state: RunState, call: _Call, table: str, limit: int, after: Place | None) -> list[RunSummary]:
    """Return the newest runs of a state, at least ``limit`` if there are as many."""
    request: dict[str, Any] = {
        "IndexName": INDEX,
        "KeyConditionExpression": "#s = :s",
        "ExpressionAttributeNames": {"#s": "state"},
        "ExpressionAttributeValues": {":s": {"S": state}},
        "ScanIndexForward": False,
        "Limit": limit,
    }
    if after is not None:
        request["KeyConditionExpression"] += " AND created_at <= :c"
        request["ExpressionAttributeValues"][":c"] = number(after[0])
    runs: list[RunSummary] = []
    while True:
        response = await _query(call, table, request)
        page = list(_readable_in(response.get("Items", [])))
        runs += [run for run in page if after is None or run.place < after]
        # The index does not order runs that were created at the same time.
        is_full = len(runs) >= limit and runs[-1].created_at < runs[limit - 1].created_at
        if "LastEvaluatedKey" not in response or is_full:
            return runs
        request["ExclusiveStartKey"] = response["LastEvaluatedKey"]


async def _query(call: _Call, table: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        return await call("query", **request)
    except ServiceError as error:
        if error.code != "ValidationException" or "index" not in str(error).lower():
            raise
        raise ConfigurationError(
            f"table {table} has no index {INDEX}, which lists the runs: deploy fanfold's template of this release. "
            "Everything else works without the index"
        ) from error


def _readable_in(items: Iterable[Mapping[str, Any]]) -> Iterator[RunSummary]:
    """Yield the runs that can be read; a warning names each other."""
    for item in items:
        try:
            yield summary_of(item)
        except LedgerError as error:
            logger.warning("a run is not listed: %s", error)
