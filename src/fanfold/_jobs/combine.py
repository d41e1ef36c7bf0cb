"""Tree reduction: several invocations combine the results of a run if a single fold would take too long.

Once every segment has ended, one invocation stores the results in segment order, in groups of ``fan_in``. The fold
function combines each group into one value, one message and one invocation per group. The values of a level are the
results of the next level, until at most ``fan_in`` remain for the fold. Every object is stored under the run and its
generation and written once, so that any step can be repeated, also by several invocations at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

from fanfold._base.concurrency import for_each
from fanfold._folds.output_file import File
from fanfold._jobs.fold_requests import CombineGroup, to_message
from fanfold._jobs.output import apply, to_json
from fanfold._jobs.results import FoldFunction, Results, results_of
from fanfold._ports.backend import Backend
from fanfold._ports.enqueue import enqueue
from fanfold._ports.run import Run
from fanfold.errors import ObjectExistsError, SegmentError

_CONCURRENT_READS: Final = 16
_CONCURRENT_WRITES: Final = 16


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a job combines its results."""

    function: FoldFunction
    """Takes some of the results in order; returns one JSON value of the same kind."""
    fan_in: int
    """Maximum number of results in one call, at least 2."""


@dataclass(frozen=True, slots=True)
class Tree:
    """How the results of a run are combined; fixed when they are stored."""

    results: int
    """Number of results."""
    fan_in: int
    """Maximum number of results in a group."""

    def has(self, level: int, group: int) -> bool:
        """Return whether the tree has this group."""
        return level < len(self.levels) and group < self.levels[level]

    @property
    def levels(self) -> Sequence[int]:
        """Number of groups in each level."""
        return levels(self.results, self.fan_in)


def levels(results: int, fan_in: int) -> list[int]:
    """Return the number of groups in each level; empty if one fold can take all results."""
    groups: list[int] = []
    while results > fan_in:
        results = -(-results // fan_in)
        groups.append(results)
    return groups


async def tree_of(run: Run, backend: Backend) -> Tree | None:
    """Return how the results of a run are combined; None if they are not stored yet."""
    key = f"{_prefix(run)}/tree.json"
    if not await _exists(key, backend):
        return None
    try:
        document = json.loads(await backend.get_result(key))
        tree = Tree(int(document["results"]), int(document["fan_in"]))
    except (LookupError, TypeError, ValueError):
        tree = Tree(-1, 0)
    if tree.results < 0 or tree.fan_in < 2:  # noqa: PLR2004 - one result cannot be combined
        raise SegmentError(f"run {run.id}: {key} is damaged; a redrive combines the results again")
    return tree


async def combine(run: Run, tree: Tree, place: tuple[int, int], reduction: Reduction, backend: Backend) -> None:
    """Combine one group, identified by its level and its number, each from 0. A combined group is left as is.

    Raises:
        SegmentError: If the combine function does not return a JSON value: permanent.
        FanfoldError: If a service fails.
        Exception: Any error that the combine function raises.
    """
    level, group = place
    key = _key(run, level, group)
    if await _exists(key, backend):
        return
    if level:
        first = group * tree.fan_in
        last = min(first + tree.fan_in, tree.levels[level - 1])
        texts = await _combined(run, level - 1, range(first, last), backend)
    else:
        texts = await _inputs(run, tree, group, backend)
    with results_of(texts) as results:
        value = await apply(reduction.function, results)
    if isinstance(value, File):
        with value.on_disk():  # deletes a file of rows
            raise SegmentError("the combine function must return one JSON value, not a file or rows")
    await _put_once(key, to_json(value, of="combine function"), backend)


async def _inputs(run: Run, tree: Tree, group: int, backend: Backend) -> list[str]:
    key = _input(run, tree.fan_in, group)
    texts = (await backend.get_result(key)).decode(errors="replace").split("\n")
    expected = min(tree.fan_in, tree.results - group * tree.fan_in)
    if len(texts) != expected:
        raise SegmentError(
            f"run {run.id}: {key} holds {len(texts)} results, not {expected}; a redrive combines them again"
        )
    return texts


async def is_complete(run: Run, tree: Tree, level: int, backend: Backend) -> bool:
    """Return whether every group of a level is combined."""
    return not await _missing(run, level, tree.levels[level], backend)


async def advance(
    run: Run,
    reduction: Reduction,
    results: Callable[[], Awaitable[Results]],
    backend: Backend,
    *,
    combined: int | None,
    resend: bool,
    here: bool,
) -> bool:
    """Start the next level that has to be combined; return whether all levels are complete.

    Args:
        run: A run whose segments have all ended.
        reduction: How its results are combined.
        results: Returns the results of the markers that count; called if they are not stored yet.
        backend: Holds the ledger and the results.
        combined: The level of the group that this invocation combined; None if it handled another request. A level
            is sent to the fold queue when the previous level is complete.
        resend: Whether to send the missing groups of a level again, in case their sender died or messages were lost.
        here: Whether this invocation combines all groups, one after another, and sends no messages.
    """
    tree = await tree_of(run, backend)
    fresh = tree is None
    if tree is None:
        tree = await _arrange(run, await results(), reduction.fan_in, backend)
    for level, groups in enumerate(tree.levels):
        missing = await _missing(run, level, groups, backend)
        if here:
            for group in missing:
                await combine(run, tree, (level, group), reduction, backend)
        elif missing:
            if resend or (combined is not None and combined == level - 1) or (fresh and level == 0):
                messages = (to_message(CombineGroup(run.id, level, group)) for group in missing)
                await enqueue(backend.fold_queue, messages, sleep=backend.sleep)
            return False
    return True


async def remaining_results(run: Run, tree: Tree, backend: Backend) -> list[str]:
    """Return the values of the highest level, which the fold receives, as JSON in order.

    Args:
        run: The run.
        tree: How its results were combined; has at least one level.
        backend: Holds the values.
    """
    top = len(tree.levels) - 1
    return await _combined(run, top, range(tree.levels[top]), backend)


async def _arrange(run: Run, results: Results, fan_in: int, backend: Backend) -> Tree:
    tree = Tree(len(results), fan_in)
    if tree.levels:
        texts = results.texts()

        async def put(group: int) -> None:
            # Read here, one group after another: memory holds only the groups that are being written.
            await _put_once(_input(run, fan_in, group), "\n".join(islice(texts, fan_in)).encode(), backend)

        await for_each(put, range(tree.levels[0]), concurrency=_CONCURRENT_WRITES)
    document = {"results": tree.results, "fan_in": fan_in}
    await _put_once(f"{_prefix(run)}/tree.json", json.dumps(document).encode(), backend)
    return await tree_of(run, backend) or tree


async def _missing(run: Run, level: int, groups: int, backend: Backend) -> list[int]:
    prefix = f"{_prefix(run)}/{level}/"
    stored = {listed.key async for listed in backend.store.list(backend.results_bucket, prefix)}
    return [group for group in range(groups) if _key(run, level, group) not in stored]


async def _combined(run: Run, level: int, groups: Sequence[int], backend: Backend) -> list[str]:
    texts: dict[int, str] = {}

    async def get(group: int) -> None:
        texts[group] = (await backend.get_result(_key(run, level, group))).decode()

    await for_each(get, groups, concurrency=_CONCURRENT_READS)
    return [texts[group] for group in groups]


async def _exists(key: str, backend: Backend) -> bool:
    # A listing instead of a HEAD request: without s3:ListBucket, S3 responds 403, not 404, for a missing object.
    return key in {listed.key async for listed in backend.store.list(backend.results_bucket, key)}


async def _put_once(key: str, data: bytes, backend: Backend) -> None:
    with suppress(ObjectExistsError):  # the first of several attempts wins
        await backend.put_result(key, data, if_absent=True)


def _prefix(run: Run) -> str:
    return f"{run.prefix()}/combine"


def _input(run: Run, fan_in: int, group: int) -> str:
    # The fan-in is part of the key: an attempt by an older deployment may have used another one before it died.
    return f"{_prefix(run)}/inputs/{fan_in}/{group:08}.jsonl"


def _key(run: Run, level: int, group: int) -> str:
    return f"{_prefix(run)}/{level}/{group:08}.json"
