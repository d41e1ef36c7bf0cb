"""The functions of a job, checked when they are decorated."""

from contextlib import asynccontextmanager
from functools import partial

import pytest

from fanfold import Items, Job, inmemory
from fanfold._jobs.inline import run_inline
from fanfold.errors import ConfigurationError


@asynccontextmanager
async def in_this_process():
    yield inmemory.backend()


async def only_one(rows, ctx) -> int:
    (row,) = [row async for row in rows]
    return row


async def rows_alone(rows): ...
async def yields(rows, ctx):
    yield 1


async def no_source(params): ...


@pytest.mark.parametrize(
    ("name", "function", "complaint"),
    [
        ("segment", rows_alone, r"called with \(rows, ctx\), but rows_alone\(rows\) does not accept that"),
        ("segment", yields, "must not be a generator: return one value instead of using yield"),
        ("source", lambda: Items([]), r"called with \(params\)"),
        ("source", no_source, "must be a def function, not async def"),
        ("fold", lambda: 1, r"called with \(results\)"),
        ("combine", lambda one, other: 1, r"called with \(results\)"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_when_it_is_decorated(name: str, function, complaint: str):
    """The error is not raised by each segment during a run."""
    with pytest.raises(ConfigurationError, match=f"^job parts: the {name} function .*{complaint}"):
        getattr(Job("parts"), name)(function)


def test_a_part_of_a_job_may_be_any_callable_that_accepts_its_arguments():
    """An object, a partial, a function with defaults, or a built-in without a signature."""

    class Count:
        async def __call__(self, rows, ctx) -> int:
            return len([row async for row in rows])

    async def with_default(kind, rows, ctx, retries=3): ...

    job = Job("parts")
    for name, function in [
        ("segment", Count()),
        ("segment", partial(with_default, "a")),
        ("fold", list),
        ("fold", max),
    ]:
        assert getattr(job, name)(function) is function
        assert job.part(name) is function


async def test_a_fold_that_is_an_object_with_an_async_call_is_awaited():
    """Like an async def function."""

    class Added:
        async def __call__(self, results) -> int:
            return sum([result async for result in results])

    job = Job("parts", backend=in_this_process)
    job.source(lambda params: Items([1, 2, 3, 4]))
    job.segment(only_one)
    job.fold(Added())
    assert (await run_inline(job)).output == 10
