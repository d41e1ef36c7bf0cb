"""Decode a record's body by the annotation of the handler's first parameter."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias, get_args, get_origin

from fanfold._base.record import Record
from fanfold.errors import ConfigurationError, DecodeError, MissingExtraError

Decode: TypeAlias = Callable[[Record], Any]
"""Returns the handler's argument for a record; raises DecodeError if the body cannot be decoded."""

_JSON: tuple[Any, ...] = (Any, object, dict, list)
_SCALARS: tuple[Any, ...] = (Any, str, int, float, bool)
_JSON_NAMES = {"Any", "dict", "list", "object"}
_MAX_ERRORS = 5

_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # exists on every Python; missing in the type stubs


def decoder(annotation: Any, name: str, *, chunked: bool) -> Decode:
    """Return the decoder for a parameter.

    No annotation, ``dict``, ``list``, and ``Any``: JSON. ``str``: the body as is. ``Record``: the record.
    ``SQSRecord`` of Powertools: the record as this class. Another of its data classes, such as ``S3Event``: the event
    in the body. ``msgspec.Struct``, or a union or a container of such types: decoded with msgspec. Any other type:
    validated with pydantic. For a handler that takes lists, the type of the list's items.

    Args:
        annotation: The parameter's annotation; ``inspect.Parameter.empty`` for none.
        name: The handler's name, for errors.
        chunked: Whether the handler takes lists.

    Raises:
        ConfigurationError: If no body can be decoded to the annotation.
        MissingExtraError: If pydantic is needed and not installed.
    """
    if chunked:
        annotation = _item_type(annotation, name)
    if annotation is Record or annotation == "Record":
        return lambda record: record
    if annotation is str or annotation == "str":
        return lambda record: record.body
    if _is_json(annotation):
        return _decode_json
    if isinstance(annotation, str):
        raise _unresolved(annotation, name)
    if _is_powertools_record(annotation):
        return lambda record: annotation(dict(record.raw))
    return _typed(annotation, name)


def needs_record(annotation: Any) -> bool:
    """Return whether a parameter is decoded from more than the body of a message."""
    return annotation is Record or annotation == "Record" or _is_powertools_record(annotation)


def _item_type(annotation: Any, name: str) -> Any:
    if annotation is list or _is_empty(annotation) or annotation is Any:
        return Any
    if isinstance(annotation, str):
        raise _unresolved(annotation, name)
    if get_origin(annotation) is list:
        return get_args(annotation)[0]
    raise ConfigurationError(f"{name}: with chunk_size, annotate the body as list[…], not {annotation!r}")


def _unresolved(annotation: str, name: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name}: the body's annotation {annotation!r} cannot be resolved at run time; "
        "import the type at module level, not under TYPE_CHECKING"
    )


def _is_json(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.split("[")[0] in _JSON_NAMES
    return _is_empty(annotation) or annotation in _JSON or _holds_scalars(annotation)


def _holds_scalars(annotation: Any) -> bool:
    """Return whether this is a dict or a list of scalars, such as ``dict[str, Any]``, which is not validated."""
    return get_origin(annotation) in {dict, list} and all(arg in _SCALARS for arg in get_args(annotation))


def _is_empty(annotation: Any) -> bool:
    return getattr(annotation, "__qualname__", "") == "_empty"


def _is_powertools_record(annotation: Any) -> bool:
    module = getattr(annotation, "__module__", "")
    return getattr(annotation, "__name__", "") == "SQSRecord" and module.startswith("aws_lambda_powertools.")


def _decode_json(record: Record) -> Any:
    body = record.body
    try:
        try:
            value, end = _scan(body, 0)  # json.loads without its search for white space before and after
        except StopIteration:
            return json.loads(body)
        return value if end == len(body) else json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the body is not JSON: {error}") from error


def _typed(annotation: Any, name: str) -> Decode:
    """Return the decoder of a type that is neither JSON, a text, nor a record."""
    if "msgspec" in sys.modules:  # imported by the handler's module if the annotation is one of its types
        from fanfold._consumer.struct_bodies import StructDecoder, holds_struct

        if holds_struct(annotation):
            return StructDecoder(annotation, name)
    from fanfold._consumer.event_data_classes import is_data_class, unwrapper  # not imported at cold start

    if is_data_class(annotation):
        unwrap = unwrapper(annotation)
        return lambda record: unwrap(_decode_json(record))
    return _validator(annotation, name)


def _validator(annotation: Any, name: str) -> Decode:
    try:
        import pydantic
    except ModuleNotFoundError as error:
        raise MissingExtraError("pydantic", f"{name}: a body of type {annotation!r}") from error
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.PydanticUserError as error:
        raise ConfigurationError(f"{name}: a body cannot be of type {annotation!r}: {error.message}") from error

    field_names = functools.cache(functools.partial(_field_names, adapter))

    def validate(record: Record) -> Any:
        try:
            return adapter.validate_json(record.body)
        except pydantic.ValidationError as error:
            name_of_type = getattr(annotation, "__name__", str(annotation))
            raise DecodeError(f"the body is not a valid {name_of_type}: {_summary(error, field_names())}") from None

    return validate


def _field_names(adapter: Any) -> frozenset[str]:
    """Return the names in a type's schema. Any other name in an error comes from the body and must not be logged."""
    try:
        schema = json.dumps(adapter.json_schema())
    except Exception:  # noqa: BLE001 - a type without a schema: no name is logged
        return frozenset()
    return frozenset(re.findall(r'"((?:[^"\\]|\\.)*)"', schema))


def _summary(error: Any, field_names: Collection[str]) -> str:
    """Return where a body is invalid and why, without its contents, because bodies are not logged."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    lines = [f"{_path(detail['loc'], field_names)}: {detail['type']}" for detail in errors[:_MAX_ERRORS]]
    more = f" and {len(errors) - _MAX_ERRORS} more" if len(errors) > _MAX_ERRORS else ""
    return "; ".join(lines) + more


def _path(parts: Sequence[int | str], field_names: Collection[str]) -> str:
    path = [str(part) if isinstance(part, int) or part in field_names else "…" for part in parts]
    return ".".join(path) or "body"
