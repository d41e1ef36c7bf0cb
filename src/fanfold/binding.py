"""From a user's function to a call per record: the body decoded by the annotation, the context if it is wanted."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, get_origin

from fanfold.context import BatchContext, Context
from fanfold.errors import ConfigurationError, DecodeError
from fanfold.record import Record
from fanfold.threads import Threads

__all__ = ["Bind", "Call", "bind"]

Call: TypeAlias = Callable[[Record], Awaitable[Any]]
"""Starts the handler for one record; a body that cannot be decoded raises DecodeError before it starts."""

Bind: TypeAlias = Callable[[BatchContext[Any], Threads], Call]
"""Makes the call for the records of one batch."""

_JSON_TYPES = (inspect.Parameter.empty, Any, object, dict, list)
_MOST_PARAMETERS = 2


def bind(function: Callable[..., Any]) -> Bind:
    """Return what turns the records of a batch into calls of this function.

    Raises:
        ConfigurationError: If the function cannot be called so: it takes no body, more than a body and a context, a
            body of a type nothing is known of, or it is a generator, which would never run.
    """
    name = getattr(function, "__qualname__", repr(function))
    body, wants_context = _parameters(function, name)
    decode = _decoder(body, name)
    if _is_generator(function):
        raise ConfigurationError(f"{name} is a generator: a handler is called, not iterated; return instead of yield")
    is_async = _is_async(function)
    by_keyword = body.kind is not inspect.Parameter.POSITIONAL_ONLY

    def bound(batch: BatchContext[Any], threads: Threads) -> Call:
        start = function if is_async else functools.partial(_run_on_thread, threads, function)
        if wants_context is None:
            if by_keyword:
                key = body.name
                return lambda record: start(**{key: decode(record)})
            return lambda record: start(decode(record))
        return lambda record: _start_with_context(start, body, wants_context, decode(record), Context(record, batch))

    return bound


def _start_with_context(
    start: Callable[..., Awaitable[Any]],
    body: inspect.Parameter,
    context: inspect.Parameter,
    value: object,
    context_value: Context[Any],
) -> Awaitable[Any]:
    args, kwargs = [], {}
    for parameter, given in ((body, value), (context, context_value)):
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            args.append(given)
        else:
            kwargs[parameter.name] = given
    return start(*args, **kwargs)


async def _run_on_thread(threads: Threads, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    value = await threads.run(function, *args, **kwargs)
    # A plain function around a coroutine function (a lambda, a decorator) hands back what is still to be awaited.
    return await value if inspect.isawaitable(value) else value


def _parameters(function: Callable[..., Any], name: str) -> tuple[inspect.Parameter, inspect.Parameter | None]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:
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
    optional = given[1] if len(given) == _MOST_PARAMETERS and given[1].default is inspect.Parameter.empty else None
    return given[0], optional


def _decoder(body: inspect.Parameter, name: str) -> Callable[[Record], Any]:
    annotation = body.annotation
    if annotation is Record or annotation == "Record":
        return lambda record: record
    if annotation is str or annotation == "str":
        return lambda record: record.body
    plain = get_origin(annotation) or annotation
    if plain in _JSON_TYPES or (isinstance(plain, str) and plain.split("[")[0] in {"Any", "dict", "list", "object"}):
        return _decode_json
    raise ConfigurationError(
        f"{name}: the body is annotated {annotation!r}; a body can be dict, list, Any (JSON), str (the text as it is) "
        "or fanfold.Record"
    )


def _decode_json(record: Record) -> Any:
    try:
        return json.loads(record.body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the body is not JSON: {error}") from error


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the class's method, not callability
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _is_generator(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
