"""Bind a user's function to records: decode bodies by the annotation, and pass the context if the function takes it."""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from fanfold._base.callables import is_coroutine_function
from fanfold._base.context import BatchContext, Context
from fanfold._base.record import Record
from fanfold._consumer.classify import split_list_result
from fanfold._consumer.decode import Decode, decoder, needs_record
from fanfold._consumer.stages import EarlyResult, HandlerCall, run_stage, stop_group_at_failure
from fanfold.errors import ConfigurationError

if TYPE_CHECKING:  # loads the event loop
    from fanfold._base.threads import Threads

T = TypeVar("T")

Bind: TypeAlias = "Callable[[BatchContext[Any], Threads], HandlerCall]"
"""Return the call of the handler for the records of one batch."""

_MAX_PARAMETERS = 2
_UNSUPPORTED_ON_ASYNC = {"aws_lambda_powertools.utilities.idempotency.idempotency": "Powertools' idempotent_function"}
"""Modules of decorators that take the coroutine of an ``async def`` for its result, and the decorators' names."""

_DECODERS: WeakKeyDictionary[Callable[..., Any], tuple[bool, Any, Decode]] = WeakKeyDictionary()
"""By handler: whether it takes lists, the annotation of its body, and the decoder for both."""


def bind(function: Callable[..., Any], *, chunk_size: int | None = None) -> Bind:
    """Return a function that binds the handler to a batch.

    Args:
        function: The handler.
        chunk_size: Maximum number of bodies in one call of a handler that takes lists; None for one body per call.

    Raises:
        ConfigurationError: If the function cannot be a handler: it takes no body, requires more than a body and a
            context, has a body of an unsupported type, is a generator, which would never run, or is an ``async def``
            under a decorator that does not support one.
    """
    name = getattr(function, "__qualname__", repr(function))
    if _is_generator(function):
        raise ConfigurationError(f"{name} is a generator: fanfold calls a handler once; use return instead of yield")
    _check_decorators(function, name)
    _check_not_a_method(function, name)
    body, context = _parameters(function, name)
    decode = _decoder(function, body.annotation, name, chunked=chunk_size is not None)
    is_async = is_coroutine_function(function)
    here = bind_here(function) if not (is_async or chunk_size) else None

    def bound(batch: BatchContext[Any], threads: Threads) -> HandlerCall:
        start = function if is_async else functools.partial(_run_on_thread, threads, function)
        if chunk_size is not None:
            call_list = _caller(start, body, context, batch)
            return HandlerCall(functools.partial(_call_with_list, decode, call_list), takes_list=True)
        if context is None and body.kind is not inspect.Parameter.POSITIONAL_ONLY:
            key = body.name  # the fast path for a handler that takes only the body
            return HandlerCall(
                lambda record: start(**{key: decode(record)}), takes_list=False, on_thread=here and here(batch)
            )
        call = _caller(start, body, context, batch)
        return HandlerCall(
            lambda record: call(decode(record), record), takes_list=False, on_thread=here and here(batch)
        )

    return bound


def bind_here(function: Callable[..., Any]) -> Callable[[BatchContext[Any]], Callable[[Record], Any]]:
    """Return a function that binds a ``def`` handler of one body to a batch: it calls the handler on its own thread.

    Raises:
        ConfigurationError: As ``bind`` does.
    """
    name = getattr(function, "__qualname__", repr(function))
    body, context = _parameters(function, name)
    decode = _decoder(function, body.annotation, name, chunked=False)

    def bound(batch: BatchContext[Any]) -> Callable[[Record], Any]:
        if context is None and body.kind is not inspect.Parameter.POSITIONAL_ONLY:
            key = body.name  # the fast path for a handler that takes only the body
            return lambda record: function(**{key: decode(record)})
        call = _caller(function, body, context, batch)
        return lambda record: call(decode(record), record)

    return bound


def takes_only_body(function: Callable[..., Any]) -> bool:
    """Return whether a handler needs no more of a record than its body."""
    body, context = _parameters(function, getattr(function, "__qualname__", repr(function)))
    return context is None and not needs_record(body.annotation)


def decoding(function: Callable[..., Any], *, chunked: bool) -> Decode:
    """Return the decoder of a handler's body; for a handler that takes lists, the decoder of one item.

    Raises:
        ConfigurationError: As ``bind`` does.
    """
    name = getattr(function, "__qualname__", repr(function))
    return _decoder(function, _parameters(function, name)[0].annotation, name, chunked=chunked)


def _decoder(function: Callable[..., Any], annotation: Any, name: str, *, chunked: bool) -> Decode:
    """Return the decoder of a handler's body, which is built once for all consumers of the handler."""
    try:
        known = _DECODERS.get(function)
        if known is None or known[:2] != (chunked, annotation):
            known = _DECODERS[function] = (chunked, annotation, decoder(annotation, name, chunked=chunked))
    except TypeError:  # a handler without a hash or weak references
        return decoder(annotation, name, chunked=chunked)
    return known[2]


def _check_not_a_method(function: Callable[..., Any], name: str) -> None:
    """Refuse a method in a class body: its first parameter, ``self``, would take the body.

    Raises:
        ConfigurationError: If it is one.
    """
    scope = getattr(function, "__qualname__", "").rpartition(".")[0]
    if inspect.isfunction(function) and scope and not scope.endswith("<locals>"):
        first = next(iter(inspect.signature(function).parameters), "")
        if first in {"self", "cls"}:
            raise ConfigurationError(
                f"{name} is a method: {first} would take the message body. Decorate a function, or a bound method, as "
                "in  handler = fanfold.consumer(Orders().handle)"
            )


def _check_decorators(function: Callable[..., Any], name: str) -> None:
    """Refuse a decorator that would store the coroutine of an ``async def`` instead of its result.

    Decorators that return the coroutine are supported. ``functools.wraps`` copies the name of the wrapped function,
    but ``__globals__`` still identifies the module that defines the decorator.

    Raises:
        ConfigurationError: If such a decorator is anywhere in the chain of wrappers.
    """
    layer: Any = function
    while (inner := getattr(layer, "__wrapped__", None)) is not None:
        decorator = _UNSUPPORTED_ON_ASYNC.get(getattr(layer, "__globals__", {}).get("__name__", ""))
        if decorator is not None and is_coroutine_function(inner):
            raise ConfigurationError(
                f"{name}: {decorator} cannot wrap an async def: it would store the coroutine instead of its result; "
                "make the handler a def, which runs on a thread with the same concurrency"
            )
        layer = inner


def _caller(
    start: Callable[..., T],
    body: inspect.Parameter,
    context: inspect.Parameter | None,
    batch: BatchContext[Any],
) -> Callable[[Any, Record], T]:
    """Return a function that calls the handler with the body and, if it takes one, the context."""

    def call(value: Any, record: Record) -> T:
        args, kwargs = [], {}
        arguments = [(body, value)] if context is None else [(body, value), (context, Context(record, batch))]
        for parameter, argument in arguments:
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(argument)
            else:
                kwargs[parameter.name] = argument
        return start(*args, **kwargs)

    return call


async def _call_with_list(
    decode: Decode, call: Callable[[Any, Record], Awaitable[Any]], records: Sequence[Record]
) -> list[Any]:
    """Call a handler that takes lists with the bodies that can be decoded; an invalid body fails only its record."""

    async def call_handler(bodies: list[Any]) -> Sequence[object]:
        count = len(bodies)  # before the call: a handler may change its list
        return split_list_result(await call(bodies, records[0]), count)

    decoded = stop_group_at_failure(records, [_decoded(decode, record) for record in records])
    return await run_stage(decoded, call_handler)


def _decoded(decode: Decode, record: Record) -> Any:
    try:
        return decode(record)
    except Exception as error:  # noqa: BLE001 - fails only this record, whether its body or a validator is at fault
        return EarlyResult(error)


async def _run_on_thread(threads: Threads, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    context = contextvars.copy_context()
    value = await threads.run_in(context, function, *args, **kwargs)
    if not inspect.isawaitable(value):
        return value
    # A ``def`` around a coroutine function (a lambda, a decorator) returns a coroutine, which runs in the same context.
    import asyncio  # loaded already

    from fanfold._consumer.worker_tasks import run_awaitable

    return await run_awaitable(asyncio.get_running_loop(), value, context)


def _parameters(function: Callable[..., Any], name: str) -> tuple[inspect.Parameter, inspect.Parameter | None]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, AttributeError):
        signature = inspect.signature(function)  # an annotation imported under TYPE_CHECKING
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name} cannot be a handler: {error}") from error
    named = [p for p in signature.parameters.values() if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    passed = named[:_MAX_PARAMETERS]
    unfilled = [p.name for p in named[_MAX_PARAMETERS:] if p.default is p.empty]
    if not passed or unfilled:
        raise ConfigurationError(
            f"{name}{signature} cannot be a handler: a handler takes the body and, optionally, a context; "
            "for example  async def handler(order: dict, ctx: fanfold.Context) -> None"
        )
    context = passed[1] if len(passed) == _MAX_PARAMETERS and passed[1].default is inspect.Parameter.empty else None
    return _resolved(passed[0], function), context


def _resolved(body: inspect.Parameter, function: Callable[..., Any]) -> inspect.Parameter:
    """Return the body parameter with its annotation as a type, even if another annotation cannot be resolved."""
    if not isinstance(body.annotation, str):
        return body

    def annotated() -> None: ...

    annotated.__annotations__ = {"body": body.annotation}
    try:
        annotations = inspect.get_annotations(annotated, globals=_globals_of(function), eval_str=True)
    except (NameError, AttributeError):
        return body  # the decoder accepts some types by name and refuses the others
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
