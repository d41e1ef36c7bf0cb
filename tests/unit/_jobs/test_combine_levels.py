"""Which groups are sent to be combined, level by level, and when."""

import json
from typing import Any

import pytest

from failing import throttled
from fanfold._jobs.collect import collect
from fanfold._jobs.combine import Reduction, Tree, advance, combine, is_complete, tree_of
from fanfold._jobs.fold_requests import CombineGroup, from_body
from fanfold._jobs.results import Results, Rows
from fanfold.errors import ServiceError
from harness import Bench
from joining import joining


class Ended:
    """A run whose segments have all ended, each with a short text as its result, and nothing sent for it yet."""

    def __init__(self, segments: int, fan_in: int) -> None:
        self.segments = segments
        self.reduction = Reduction(lambda results: [text for result in results for text in result], fan_in)

    async def begin(self) -> "Ended":
        job = joining(self.segments, self.reduction.fan_in)

        @job.segment
        async def one(rows, ctx) -> list[str]:
            return [f"row {number}" async for number in rows]

        self.bench = Bench(job)
        await self.bench.job.start(self.bench.backend, {}, "run")
        await self.bench.work()
        self.sent()
        self.run = await self.bench.run()
        return self

    @property
    def tree(self) -> Tree:
        return Tree(self.segments, self.reduction.fan_in)

    def sent(self) -> list[tuple[int, int]]:
        """Return the groups that were sent to be combined since the last call."""
        queue = self.bench.plain.fold_queue
        checks = [from_body(queued.message.body) for queued in queue.messages()]
        queue.discard(queue.messages())
        return [(check.level, check.group) for check in checks if isinstance(check, CombineGroup)]

    async def results(self) -> Results:
        return await (await collect(self.run, self.segments, self.bench.plain, Rows(""))).results()

    async def advance(
        self, combined: tuple[int, int] | None = None, *, resend: bool = False, here: bool = False, results: Any = None
    ) -> bool:
        """Advance the tree like an invocation that handles a message of a group, or a check of the run."""
        level = None if combined is None else combined[0]
        results = results or self.results
        return await advance(
            self.run, self.reduction, results, self.bench.plain, combined=level, resend=resend, here=here
        )

    async def combine(self, *places: tuple[int, int]) -> None:
        for place in places:
            await combine(self.run, self.tree, place, self.reduction, self.bench.plain)

    async def value(self, level: int, group: int) -> Any:
        return json.loads(await self.bench.plain.get_result(f"{self.run.prefix()}/combine/{level}/{group:08}.json"))


async def test_each_level_is_sent_once_and_when_the_previous_level_is_complete():
    """By the invocation that stores the results or combines a level's last group; a check resends missing groups."""
    ended = await Ended(9, 2).begin()
    assert await ended.advance() is False
    assert ended.sent() == [(0, group) for group in range(5)]
    assert await ended.advance() is False
    assert await ended.advance((0, 3)) is False
    assert ended.sent() == []
    await ended.combine((0, 0), (0, 1), (0, 3))
    assert await ended.advance(resend=True) is False
    assert ended.sent() == [(0, 2), (0, 4)]
    assert not await is_complete(ended.run, ended.tree, 0, ended.bench.plain)
    await ended.combine((0, 2), (0, 4))
    assert await is_complete(ended.run, ended.tree, 0, ended.bench.plain)
    assert not await is_complete(ended.run, ended.tree, 1, ended.bench.plain)
    assert await ended.advance() is False
    assert ended.sent() == []
    assert await ended.advance((0, 4)) is False
    assert ended.sent() == [(1, 0), (1, 1), (1, 2)]
    await ended.combine((1, 0), (1, 1), (1, 2))
    assert await ended.advance((0, 1)) is False
    assert ended.sent() == []
    assert await ended.advance((1, 1)) is False
    assert ended.sent() == [(2, 0), (2, 1)]
    await ended.combine((2, 0), (2, 1))
    assert await ended.advance((2, 0)) is True
    assert ended.sent() == []
    assert [*await ended.value(2, 0), *await ended.value(2, 1)] == [f"row {number}" for number in range(9)]


async def test_one_invocation_can_combine_all_and_sends_nothing():
    """Also if another invocation has combined a group."""
    ended = await Ended(9, 2).begin()
    await ended.advance()
    ended.sent()
    await ended.combine((0, 1))
    assert await ended.advance(here=True) is True
    assert ended.sent() == []
    assert [*await ended.value(2, 0), *await ended.value(2, 1)] == [f"row {number}" for number in range(9)]


async def test_the_value_that_was_combined_first_is_kept():
    """Even if two invocations combine a group at the same time to different values."""
    ended = await Ended(4, 3).begin()
    await ended.advance()
    first = Reduction(lambda results: "the first", 3)

    async def overtaken(results) -> str:
        await combine(ended.run, ended.tree, (0, 1), first, ended.bench.plain)
        return "the second"

    ended.reduction = Reduction(overtaken, 3)
    await ended.combine((0, 1))
    assert await ended.value(0, 1) == "the first"


async def test_the_results_that_were_stored_first_are_combined():
    """Even if two invocations store different results at the same time."""
    ended = await Ended(9, 2).begin()

    async def overtaken() -> Results:
        other = Ended(5, 2)
        other.bench, other.run = ended.bench, ended.run
        assert await other.advance() is False
        assert ended.sent() == [(0, 0), (0, 1), (0, 2)]
        return await ended.results()

    assert await ended.advance(results=overtaken) is False
    assert await tree_of(ended.run, ended.bench.plain) == Tree(5, 2)
    assert ended.sent() == [(0, 0), (0, 1), (0, 2)]


async def test_changing_fan_in_during_a_run_loses_no_result():
    """An invocation that died while it stored the groups had used another ``fan_in``."""
    ended = await Ended(12, 2).begin()
    writes = 0

    async def dies(bucket: str, key: str, data: bytes, **options: Any) -> None:
        nonlocal writes
        writes += 1
        if writes > 2:
            raise throttled()
        await put(bucket, key, data, **options)

    store = ended.bench.plain.store
    put, store.put = store.put, dies
    with pytest.raises(ServiceError):
        await ended.advance()
    store.put = put
    ended.reduction = Reduction(ended.reduction.function, 4)
    assert await ended.advance(here=True) is True
    texts = [text for group in range(3) for text in await ended.value(0, group)]
    assert texts == [f"row {number}" for number in range(12)]


@pytest.mark.parametrize(
    ("place", "expected"),
    [((0, 0), True), ((0, 4), True), ((0, 5), False), ((2, 1), True), ((2, 2), False), ((3, 0), False)],
)
def test_a_tree_has_the_groups_of_its_levels(place: tuple[int, int], expected: bool):
    """Nine results with a ``fan_in`` of two have levels of five, three, and two groups."""
    assert Tree(9, 2).has(*place) is expected
