"""From a user's function to a call for some records: bodies decoded by the annotation, the context if it is wanted."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext, Context
from fanfold._base.record import Record
from fanfold._base.threads import Threads
from fanfold._consumer.classify import split_list_result
from fanfold._consumer.decode import Decode, decoder
from fanfold._consumer.isolation import create_task
from fanfold._consumer.stages import EndedEarly, HandlerCall, cut, run_stage
from fanfold.errors import ConfigurationError

Bind: TypeAlias = Callable[[BatchContext[Any], Threads], HandlerCall]
"""Makes the call for the records of one batch."""

_MOST_PARAMETERS = 2
_DEAF = {"aws_lambda_powertools.utilities.idempotency.idempotency": "Powertools' idempotent_function"}
"""Modules of decorators that take the coroutine for the result of an ``async def``, and what they are called."""


def bind(function: Callable[..., Any], *, chunk_size: int | None = None) -> Bind:
    """Return what turns the records of a batch into calls of this function.

    Args:
        function: The handler.
        chunk_size: Whether, and for how many records at most, it takes lists of bodies.

    Raises:
        ConfigurationError: If the function cannot be called so: it takes no body, more than a body and a context, a
            body of a type nothing is known of, it is a generator, which would never run, or an ``async def`` under a
            decorator that cannot work over one.
    """
    name = getattr(function, "__qualname__", repr(function))
    if _is_generator(function):
        raise ConfigurationError(f"{name} is a generator: a handler is called, not iterated; return instead of yield")
    _refuse_deaf(function, name)
    body, context = _parameters(function, name)
    decode = decoder(body.annotation, name, chunked=chunk_size is not None)
    is_async = is_coroutine_function(function)

    def bound(batch: BatchContext[Any], threads: Threads) -> HandlerCall:
        start = function if is_async else functools.partial(_run_on_thread, threads, function)
        give = _giver(start, body, context, batch)
        if chunk_size is not None:
            return HandlerCall(functools.partial(_call_with_list, decode, give), takes_list=True)
        if context is None and body.kind is not inspect.Parameter.POSITIONAL_ONLY:
            key = body.name  # the straight way, taken for each record of a plain handler
            return HandlerCall(lambda record: start(**{key: decode(record)}), takes_list=False)
        return HandlerCall(lambda record: give(decode(record), record), takes_list=False)

    return bound


def decoding(function: Callable[..., Any], *, chunked: bool) -> Decode:
    """Return what makes of a record the body a handler takes; of a handler of lists, one of its items.

    Raises:
        ConfigurationError: As ``bind`` does.
    """
    name = getattr(function, "__qualname__", repr(function))
    return decoder(_parameters(function, name)[0].annotation, name, chunked=chunked)


def _refuse_deaf(function: Callable[..., Any], name: str) -> None:
    """Refuse a decorator that keeps, under an ``async def``, the coroutine instead of what it returns.

    Plain decorators that hand the coroutine on are fine. What ``functools.wraps`` writes over is how a decorator
    looks, not where its code was defined.

    Raises:
        ConfigurationError: If there is one, anywhere in the chain of what is wrapped.
    """
    layer: Any = function
    while (inner := getattr(layer, "__wrapped__", None)) is not None:
        known = _DEAF.get(getattr(layer, "__globals__", {}).get("__name__", ""))
        if known is not None and is_coroutine_function(inner):
            raise ConfigurationError(
                f"{name}: {known} cannot wrap an async def: it would store the coroutine, not what it returns; "
                "make the handler a plain def, which runs on a thread under the same bound"
            )
        layer = inner


def _giver(
    start: Callable[..., Awaitable[Any]],
    body: inspect.Parameter,
    context: inspect.Parameter | None,
    batch: BatchContext[Any],
) -> Callable[[Any, Record], Awaitable[Any]]:
    """Return what gives a function its body and, if it wants it, its context: by keyword wherever it takes keywords."""

    def give(value: Any, record: Record) -> Awaitable[Any]:
        args, kwargs = [], {}
        given = [(body, value)] if context is None else [(body, value), (context, Context(record, batch))]
        for parameter, argument in given:
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(argument)
            else:
                kwargs[parameter.name] = argument
        return start(*args, **kwargs)

    return give


async def _call_with_list(
    decode: Decode, give: Callable[[Any, Record], Awaitable[Any]], records: Sequence[Record]
) -> list[Any]:
    """Call a handler of lists with the bodies that can be decoded; those that cannot do not spoil the others."""

    async def call(bodies: list[Any]) -> Sequence[object]:
        count = len(bodies)  # a handler may change its list
        return split_list_result(await give(bodies, records[0]), count)

    return await run_stage(cut(records, [_decoded(decode, record) for record in records]), call)


def _decoded(decode: Decode, record: Record) -> Any:
    try:
        return decode(record)
    except Exception as error:  # noqa: BLE001 - of this record alone, be it no JSON or a validator that breaks
        return EndedEarly(error)


async def _run_on_thread(threads: Threads, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    context = contextvars.copy_context()
    value = await threads.run_in(context, function, *args, **kwargs)
    if not inspect.isawaitable(value):
        return value
    # A function around a coroutine function (a lambda, a decorator) returns what has yet to run, in the same context.
    return await create_task(asyncio.get_running_loop(), _awaited(value), context)


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _parameters(function: Callable[..., Any], name: str) -> tuple[inspect.Parameter, inspect.Parameter | None]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, AttributeError):
        signature = inspect.signature(function)  # an annotation that only type checkers can see
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} cannot be a handler: {error}") from error
    named = [p for p in signature.parameters.values() if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    given = named[:_MOST_PARAMETERS]
    needed = [p.name for p in named[_MOST_PARAMETERS:] if p.default is p.empty]
    if not given or needed:
        raise ConfigurationError(
            f"{name}{signature} cannot be a handler: it takes the body and, if it wants it, a context; "
            "for example  async def handler(order: dict, ctx: fanfold.Context) -> None"
        )
    context = given[1] if len(given) == _MOST_PARAMETERS and given[1].default is inspect.Parameter.empty else None
    return _resolved(given[0], function), context


def _resolved(body: inspect.Parameter, function: Callable[..., Any]) -> inspect.Parameter:
    """Return the body with its annotation as a type: where one is left as text, another one's may be the reason."""
    if not isinstance(body.annotation, str):
        return body

    def alone() -> None: ...

    alone.__annotations__ = {"body": body.annotation}
    try:
        annotations = inspect.get_annotations(alone, globals=_globals_of(function), eval_str=True)
    except (NameError, AttributeError):
        return body  # the decoder knows some by name, and refuses the others
    return body.replace(annotation=annotations["body"])


def _globals_of(function: Any) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    names: dict[str, Any] = getattr(function, "__globals__", None) or getattr(
        type(function).__call__, "__globals__", {}
    )
    return names


def _is_generator(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
