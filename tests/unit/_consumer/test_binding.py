"""Signatures of handlers: which are accepted, and how they are called."""

from __future__ import annotations

import functools
from typing import Any

import pytest

import fanfold
from fanfold import Context, Done, Record, Rejected
from fanfold.errors import ConfigurationError
from fanfold.testing import deliver


async def no_annotation(body): ...
async def of_dict(body: dict[str, Any]): ...
async def of_list(body: list[int]): ...
async def of_any(body: Any): ...
async def positional_only(body: Any, /): ...
async def positional_only_with_context(body: Any, /, ctx: Context): ...
async def both_positional_only(body: Any, ctx: Context, /): ...
async def keyword_only(*, body: Any): ...
async def keyword_only_context(body: Any, *, ctx: Context): ...
async def with_defaults(body: Any, retries: int = 3, delay: float = 0.1): ...
async def of_unknown_name(body: "OnlyForTypeCheckers"): ...  # noqa: F821, UP037 - a name imported under TYPE_CHECKING


class Callable:
    async def __call__(self, body: Any, ctx: Context): ...


@pytest.mark.parametrize(
    "function",
    [
        no_annotation,
        of_dict,
        of_list,
        of_any,
        positional_only,
        positional_only_with_context,
        both_positional_only,
        keyword_only,
        keyword_only_context,
        with_defaults,
        Callable(),
        functools.partial(of_any),
        lambda body: of_any(body),  # noqa: PLW0108 - tests a function that returns a coroutine
        lambda body: None,
    ],
)
def test_a_function_of_a_body_and_an_optional_context_is_a_handler(function):
    """Any kind of parameter works."""
    assert deliver(fanfold.consumer(function), [1]).response == {"batchItemFailures": []}


async def of_numbers(body: set[int], ctx: OnlyForTypeCheckers): ...  # noqa: F821 - as where only type checkers import it
async def of_lists(bodies: list[set[int]], ctx: OnlyForTypeCheckers): ...  # noqa: F821 - as where only type checkers import it


class OfNumbers:
    async def __call__(self, body: set[int], ctx: OnlyForTypeCheckers): ...  # noqa: F821 - as where only type checkers import it


@pytest.mark.parametrize("function", [of_numbers, functools.partial(of_numbers), OfNumbers(), of_lists])
def test_the_body_is_decoded_if_the_type_of_the_context_is_only_imported_for_type_checkers(function):
    """Only the annotation of the body has to be resolved."""
    handler = fanfold.consumer(chunk_size=5 if function is of_lists else None)(function)
    good, wrong = deliver(handler, [1], ["x"]).outcomes
    assert good == Done()
    assert isinstance(wrong, Rejected)


def test_the_body_is_passed_by_keyword():
    """Decorators that look for a keyword argument find it."""
    seen = []

    def looks_for_order(function):
        @functools.wraps(function)
        async def wrapper(*args, **kwargs):
            seen.append((args, kwargs))
            return await function(*args, **kwargs)

        return wrapper

    @fanfold.consumer
    @looks_for_order
    async def handler(order: dict) -> None: ...

    deliver(handler, {"id": 1})
    assert seen == [((), {"order": {"id": 1}})]


@pytest.mark.parametrize(("annotation", "expected"), [(str, '{"a":1}'), (dict, {"a": 1}), ("str", '{"a":1}')])
def test_the_body_is_decoded_by_its_annotation(annotation, expected):
    """``str`` is the text as is; ``dict`` is JSON."""
    seen = []

    async def handler(body) -> None:
        seen.append(body)

    handler.__annotations__ = {"body": annotation}
    deliver(fanfold.consumer(handler), '{"a":1}')
    assert seen == [expected]


@pytest.mark.parametrize("annotation", [Record, "Record"])
def test_a_record_is_passed_unchanged(annotation):
    """Its body is not decoded."""
    seen = []

    async def handler(message) -> None:
        seen.append(type(message))

    handler.__annotations__ = {"message": annotation}
    deliver(fanfold.consumer(handler), "{")
    assert seen == [Record]


def test_a_coroutine_that_a_def_handler_returns_is_awaited():
    """The record is not done before the coroutine has run."""
    ran = []

    async def work(body) -> None:
        ran.append(body)

    deliver(fanfold.consumer(lambda body: work(body)), 1)  # noqa: PLW0108 - as above
    assert ran == [1]


async def agen(body):
    yield


def gen(body):
    yield


async def nothing(): ...
async def three(body, ctx, more): ...


class Opaque: ...


async def of_opaque(body: Opaque): ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (agen, "is a generator"),
        (gen, "is a generator"),
        (functools.partial(gen), "is a generator"),
        (nothing, "takes the body and"),
        (three, "takes the body and"),
        (of_opaque, "a body cannot be of type"),
        (of_unknown_name, "'OnlyForTypeCheckers' cannot be resolved"),
        (5, "cannot be a handler"),
    ],
)
def test_a_function_that_cannot_be_a_handler_is_refused_at_decoration(function, message: str):
    """The error states the reason, before any message arrives."""
    with pytest.raises(ConfigurationError, match=message):
        fanfold.consumer(function)
