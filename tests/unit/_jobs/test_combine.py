"""Tree reduction: a run whose results several invocations combine ends as if one fold had seen them all."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failing import throttled
from fanfold import Job
from fanfold._jobs.combine import Tree, levels
from fanfold._jobs.fold_requests import CombineGroup, to_message
from fanfold._jobs.inline import run_inline
from fanfold._jobs.redrive import redrive
from fanfold.errors import ConfigurationError
from fanfold.testing import make_context
from harness import Bench, started
from joining import joining


async def run(bench: Bench, **params: Any) -> Any:
    await bench.job.start(bench.backend, params, "run")
    await bench.settle(rounds=5_000)
    return await bench.output()


@pytest.mark.parametrize(
    ("results", "fan_in", "groups"),
    [
        (0, 2, []),
        (10, 10, []),
        (11, 10, [2]),
        (100, 10, [10]),
        (101, 10, [11, 2]),
        (9, 2, [5, 3, 2]),
        (10**6, 1000, [1000]),
    ],
)
def test_levels_are_combined_until_a_fold_can_take_the_remaining_values(results: int, fan_in: int, groups: list[int]):
    """Each group has at most ``fan_in`` values, and each level has as few groups as that allows."""
    assert levels(results, fan_in) == groups
    assert Tree(results, fan_in).levels == groups


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(2, 7))
async def test_the_fold_gets_all_results_in_order(segments: int, fan_in: int):
    """Each result is used once, over as many levels as needed; no call gets more than ``fan_in`` values."""
    bench = Bench(job := joining(segments, fan_in))
    assert await run(bench) == list(range(segments))
    assert all(size <= fan_in for size in job.calls)
    assert len(job.calls) == sum(levels(segments, fan_in)) + 1


async def test_a_run_that_one_fold_can_take_is_not_combined():
    """No objects are stored for combining."""
    bench = Bench(job := joining(10, 10))
    assert await run(bench) == list(range(10))
    assert job.calls == [10]
    assert not [key for key in bench.store._buckets["results"] if "/combine/" in key]


async def test_results_of_segments_that_failed_are_left_out():
    """If the run tolerates the failures; otherwise, nothing is combined."""
    bench = Bench(joining(20, 4, tolerated_failures=0.2))
    assert await run(bench, fail=[3, 4]) == [number for number in range(20) if number not in {3, 4}]
    strict = Bench(job := joining(20, 4))
    assert set((await run(strict, fail=[3]))["segments"]) == {"3"}
    assert job.calls == []


async def test_a_run_is_not_combined_if_one_fold_can_take_the_results_without_failures():
    """Failed segments do not count towards ``fan_in``."""
    bench = Bench(job := joining(6, 5, tolerated_failures=2))
    assert await run(bench, fail=[0, 1]) == [2, 3, 4, 5]
    assert job.calls == [4]


async def test_a_redrive_combines_the_results_again():
    """The first output is kept; the second one includes the missing results."""
    fixed: list[bool] = []
    job = joining(9, 2, tolerated_failures=1)

    @job.segment
    async def one(rows, ctx) -> list[int]:
        if ctx.segment.number == 4 and not fixed:
            raise ValueError("no")
        return [number async for number in rows]

    bench = Bench(job)
    assert await run(bench) == [0, 1, 2, 3, 5, 6, 7, 8]
    fixed.append(True)
    await redrive("run", bench.backend)
    await bench.settle()
    assert await bench.output() == list(range(9))


async def test_a_failure_at_any_call_leaves_the_same_output():
    """A call to the store or a queue, before or after it took effect: the redelivered message continues."""
    operations: Counter[str] = Counter()

    def counting(operation: str) -> None:
        operations[operation] += 1

    await run(Bench(joining(7, 2), gate=counting))
    for operation, times in sorted(operations.items()):
        for number in {1, (times + 1) // 2, times}:
            await _fails_once(operation, number)


async def _fails_once(operation: str, number: int) -> None:
    seen = 0

    def gate(called: str) -> None:
        nonlocal seen
        seen += called == operation
        if called == operation and seen == number:
            raise throttled()

    bench = Bench(joining(7, 2), gate=gate, max_receive_count=5)
    for _ in range(3):
        try:
            await bench.job.start(bench.backend, {}, "run")
            break
        except Exception:  # noqa: BLE001, S112 - a scatter that fails is started again
            continue
    await bench.settle()
    assert await bench.output() == list(range(7)), (operation, number)


async def test_messages_of_groups_that_are_lost_are_sent_again():
    """By the next watch of the run."""
    bench = await started(Bench(joining(9, 3)))
    fold = bench.plain.fold_queue
    for _ in range(200):
        await bench.pump(bench.plain.work_queue, bench.job.segment_handler)
        await bench.pump(fold, bench.job.fold_handler)
        lost = [queued for queued in fold.messages() if '"combine"' in queued.body]
        fold.discard(lost)
        if lost:
            break
    assert lost
    await bench.settle()
    assert await bench.output() == list(range(9))


async def test_a_combine_function_that_raises_each_time_fails_the_run():
    """Like a fold that raises: with the error's message, after a few attempts."""

    def combine(results):
        raise ValueError("no such currency")

    bench = Bench(joining(9, 3, combine=combine), max_receive_count=5)
    assert await run(bench) == {"fold": "ValueError: no such currency"}
    assert (await bench.run()).state == "FAILED"


async def test_a_group_that_cannot_be_listed_does_not_end_a_run_whose_segments_have_not_ended():
    """However often its message is delivered: it may be from an earlier generation."""
    broken = True

    def gate(operation: str) -> None:
        if broken and operation == "before list":
            raise RuntimeError("the session is closed")

    bench = await started(Bench(joining(9, 3), gate=gate, max_receive_count=5))
    await bench.plain.fold_queue.send([to_message(CombineGroup("run", 0, 0))])
    assert await bench.deliver_checks(4) == {"RUNNING"}
    broken = False
    await bench.settle()
    assert await bench.output() == list(range(9))


async def test_a_combine_function_that_raises_once_is_retried():
    """The run ends as if it had not raised."""
    raised: list[int] = []

    def combine(results):
        if not raised:
            raised.append(1)
            raise ValueError("busy")
        return [number for result in results for number in result]

    assert await run(Bench(joining(9, 3, combine=combine))) == list(range(9))


@pytest.mark.parametrize("combine", [lambda results: {1, 2}, lambda results: iter(()), None])
async def test_a_combine_function_that_does_not_return_a_json_value_fails_the_run(combine):
    """A set, an iterator, or rows: permanent."""

    def rows(results):
        yield 1

    bench = Bench(joining(9, 3, combine=combine or rows))
    output = await run(bench)
    assert "the combine function must return" in output["fold"]
    assert "JSON value" in output["fold"]


async def test_a_message_of_a_group_that_does_not_exist_has_no_effect():
    """Such a message may be from an earlier generation."""
    bench = await started(Bench(joining(9, 3)))
    for place in ((0, 3), (1, 0)):
        await bench.plain.fold_queue.send([to_message(CombineGroup("run", *place))])
    await bench.settle()
    for place in ((0, 3), (1, 0)):
        await bench.plain.fold_queue.send([to_message(CombineGroup("run", *place))])
    await bench.settle()
    assert (await bench.run()).state == "SUCCEEDED"
    assert await bench.output() == list(range(9))


async def test_on_step_functions_one_invocation_combines_all():
    """Step Functions has no fold queue; groups that an earlier attempt combined are kept."""
    job = joining(9, 3)
    bench = await started(Bench(job))
    await bench.work()
    bench.plain.fold_queue.discard(bench.plain.fold_queue.messages())
    collected = bench.job.collect_handler({"run": "run"}, make_context(60))
    assert collected["state"] == "SUCCEEDED"
    assert await bench.output() == list(range(9))
    assert job.calls == [3, 3, 3, 3]


async def test_a_run_in_one_process_is_folded_without_combining():
    """There, one fold sees all results."""
    bench = Bench(job := joining(9, 2))
    assert (await run_inline(bench.job)).output == list(range(9))
    assert job.calls == [9]


def test_a_fan_in_of_one_is_refused():
    """Combining would never end."""
    with pytest.raises(ConfigurationError, match="fan_in"):
        Job("job", fan_in=1)
    with pytest.raises(ConfigurationError, match="fan_in"):
        Job("job", fan_in=0)
