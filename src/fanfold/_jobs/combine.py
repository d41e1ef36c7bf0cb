"""Tree reduction: the results of a run combined by several invocations, when one fold of them all would take too long.

Once every segment has ended, one invocation writes the results down in segment order, ``fan_in`` in a group. Each group
is combined into one value, by whichever invocation of the fold function gets its message; the values of a level are the
results of the next, until a fold can take what is left. Everything is an object under the run and its generation that
is written once, so that every step may be repeated, and done by several at the same time.
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

_AT_ONCE: Final = 16
_WRITTEN_TOGETHER: Final = 16


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a job combines its results."""

    function: FoldFunction
    """Some results in, in order; one JSON value out, of their kind."""
    fan_in: int
    """Most results in one call, from 2."""


@dataclass(frozen=True, slots=True)
class Tree:
    """How the results of a run are combined: fixed when they are written down."""

    results: int
    """How many there are."""
    fan_in: int
    """Most of them in a group."""

    def has(self, level: int, group: int) -> bool:
        """Tell whether there is such a group."""
        return level < len(self.levels) and group < self.levels[level]

    @property
    def levels(self) -> Sequence[int]:
        """How many groups each level has."""
        return levels(self.results, self.fan_in)


def levels(results: int, fan_in: int) -> list[int]:
    """Return how many groups each level has, until a fold can take what is left; none if it can take all."""
    groups: list[int] = []
    while results > fan_in:
        results = -(-results // fan_in)
        groups.append(results)
    return groups


async def tree_of(run: Run, backend: Backend) -> Tree | None:
    """Return how the results of a run are combined; None if they are not written down yet."""
    key = f"{_prefix(run)}/tree.json"
    if not await _is_there(key, backend):
        return None
    told = json.loads(await backend.get_result(key))
    return Tree(told["results"], told["fan_in"])


async def combine(run: Run, tree: Tree, place: tuple[int, int], reduction: Reduction, backend: Backend) -> None:
    """Combine one group, given by its level and its number, from 0; one that is combined already stays.

    Raises:
        SegmentError: If the combine function returns what is no JSON value: permanent.
        FanfoldError: If a service fails.
        Exception: Whatever the combine function raises.
    """
    level, group = place
    key = _key(run, level, group)
    if await _is_there(key, backend):
        return
    if level:
        first = group * tree.fan_in
        last = min(first + tree.fan_in, tree.levels[level - 1])
        texts = await _combined(run, level - 1, range(first, last), backend)
    else:
        texts = (await backend.get_result(_input(run, tree.fan_in, group))).decode().split("\n")
    with results_of(texts) as results:
        value = await apply(reduction.function, results)
    if isinstance(value, File):
        with value.on_disk():  # deletes one of ours
            raise SegmentError("the combine function returns one JSON value, not a file or rows")
    await _put(key, to_json(value, of="combine function"), backend)


async def is_complete(run: Run, tree: Tree, level: int, backend: Backend) -> bool:
    """Tell whether every group of a level is combined."""
    return not await _missing(run, level, tree.levels[level], backend)


async def advance(
    run: Run,
    reduction: Reduction,
    results: Callable[[], Awaitable[Results]],
    backend: Backend,
    *,
    combined: int | None,
    again: bool,
    here: bool,
) -> bool:
    """Have done what is to be combined next; return whether all of it is.

    Args:
        run: A run whose segments have all ended.
        reduction: How its results are combined.
        results: Gives the results of the markers that count; called if they are not written down yet.
        backend: Where its ledger and its results are.
        combined: The level of a group that this invocation combined; None if it was called for something else. A level
            is sent to the fold queue when the one before is complete.
        again: Whether to send again what is still missing of a level: whoever sent it may have died, or its messages.
        here: Whether this invocation combines all of it, one group after another, and sends nothing.
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
            if again or (combined is not None and combined == level - 1) or (fresh and level == 0):
                messages = (to_message(CombineGroup(run.id, level, group)) for group in missing)
                await enqueue(backend.fold_queue, messages, sleep=backend.sleep)
            return False
    return True


async def left_of(run: Run, tree: Tree, backend: Backend) -> list[str]:
    """Return what is left for the fold, as JSON: what the groups of the highest level were combined into, in order.

    Args:
        run: The run.
        tree: How its results were combined; with one level at least.
        backend: Where they are.
    """
    top = len(tree.levels) - 1
    return await _combined(run, top, range(tree.levels[top]), backend)


async def _arrange(run: Run, results: Results, fan_in: int, backend: Backend) -> Tree:
    tree = Tree(len(results), fan_in)
    if tree.levels:
        texts = results.texts()

        async def put(group: int) -> None:
            # Drawn here, one group after another: what waits to be written is all that is held in memory.
            await _put(_input(run, fan_in, group), "\n".join(islice(texts, fan_in)).encode(), backend)

        await for_each(put, range(tree.levels[0]), concurrency=_WRITTEN_TOGETHER)
    await _put(f"{_prefix(run)}/tree.json", json.dumps({"results": tree.results, "fan_in": fan_in}).encode(), backend)
    return await tree_of(run, backend) or tree


async def _missing(run: Run, level: int, groups: int, backend: Backend) -> list[int]:
    prefix = f"{_prefix(run)}/{level}/"
    there = {listed.key async for listed in backend.store.list(backend.results_bucket, prefix)}
    return [group for group in range(groups) if _key(run, level, group) not in there]


async def _combined(run: Run, level: int, groups: Sequence[int], backend: Backend) -> list[str]:
    texts: dict[int, str] = {}

    async def get(group: int) -> None:
        texts[group] = (await backend.get_result(_key(run, level, group))).decode()

    await for_each(get, groups, concurrency=_AT_ONCE)
    return [texts[group] for group in groups]


async def _is_there(key: str, backend: Backend) -> bool:
    # By a listing: to a function that may not list, S3 does not say of an object it asks for that there is none.
    return key in {listed.key async for listed in backend.store.list(backend.results_bucket, key)}


async def _put(key: str, data: bytes, backend: Backend) -> None:
    with suppress(ObjectExistsError):  # of several tries, the first stays
        await backend.put_result(key, data, if_absent=True)


def _prefix(run: Run) -> str:
    return f"{run.prefix()}/combine"


def _input(run: Run, fan_in: int, group: int) -> str:
    # By the fan-in, too: who died in between may have cut the groups by another one, of an older deployment.
    return f"{_prefix(run)}/results/{fan_in}/{group:08}.jsonl"


def _key(run: Run, level: int, group: int) -> str:
    return f"{_prefix(run)}/{level}/{group:08}.json"
