"""From a record to what the handler's first parameter is annotated to take."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias, get_args, get_origin

from fanfold._base.record import Record
from fanfold.errors import ConfigurationError, DecodeError, MissingExtraError

Decode: TypeAlias = Callable[[Record], Any]
"""Makes the value from a record; raises DecodeError for a body that cannot be decoded."""

_JSON: tuple[Any, ...] = (Any, object, dict, list)
_PLAIN: tuple[Any, ...] = (Any, str, int, float, bool)
_JSON_NAMES = {"Any", "dict", "list", "object"}
_MOST_FAULTS = 5

_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined] # there on every Python; the stubs leave it out


def decoder(annotation: Any, name: str, *, chunked: bool) -> Decode:
    """Return what decodes bodies for a parameter.

    No annotation, ``dict``, ``list`` and ``Any``: JSON. ``str``: the text as it is. ``Record``: the record itself.
    Powertools' ``SQSRecord``: that. Another of Powertools' data classes, such as ``S3Event``: the event in the body.
    Any other type: validated with pydantic. For a handler of lists, the type is that of the list's items.

    Args:
        annotation: The parameter's annotation; ``inspect.Parameter.empty`` for none.
        name: The handler's name, for errors.
        chunked: Whether the handler takes lists.

    Raises:
        ConfigurationError: If the annotation says nothing that can be decoded.
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
    from fanfold._consumer.event_data_classes import is_data_class, unwrapper  # a cold start pays for what it uses

    if is_data_class(annotation):
        unwrap = unwrapper(annotation)
        return lambda record: unwrap(_decode_json(record))
    return _validator(annotation, name)


def _item_type(annotation: Any, name: str) -> Any:
    if annotation is list or _is_empty(annotation) or annotation is Any:
        return Any
    if isinstance(annotation, str):
        raise _unresolved(annotation, name)
    if get_origin(annotation) is list:
        return get_args(annotation)[0]
    raise ConfigurationError(f"{name}: with chunk_size the body is annotated list[…], not {annotation!r}")


def _unresolved(annotation: str, name: str) -> ConfigurationError:
    return ConfigurationError(f"{name}: the body's annotation {annotation!r} cannot be resolved at run time")


def _is_json(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.split("[")[0] in _JSON_NAMES
    return _is_empty(annotation) or annotation in _JSON or _of_any(annotation)


def _of_any(annotation: Any) -> bool:
    """Tell whether a generic dict or list says nothing of its values that is worth a validation."""
    return get_origin(annotation) in {dict, list} and all(arg in _PLAIN for arg in get_args(annotation))


def _is_empty(annotation: Any) -> bool:
    return getattr(annotation, "__qualname__", "") == "_empty"


def _is_powertools_record(annotation: Any) -> bool:
    module = getattr(annotation, "__module__", "")
    return getattr(annotation, "__name__", "") == "SQSRecord" and module.startswith("aws_lambda_powertools.")


def _decode_json(record: Record) -> Any:
    body = record.body
    try:
        try:
            value, end = _scan(body, 0)  # what json.loads does between looking for white space before and after
        except StopIteration:
            return json.loads(body)
        return value if end == len(body) else json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the body is not JSON: {error}") from error


def _validator(annotation: Any, name: str) -> Decode:
    try:
        import pydantic
    except ModuleNotFoundError as error:
        raise MissingExtraError("pydantic", f"{name}: a body of type {annotation!r}") from error
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.PydanticUserError as error:
        raise ConfigurationError(f"{name}: a body cannot be of type {annotation!r}: {error.message}") from error

    known = functools.cache(functools.partial(_field_names, adapter))

    def validate(record: Record) -> Any:
        try:
            return adapter.validate_json(record.body)
        except pydantic.ValidationError as error:
            raise DecodeError(f"the body is no {_name_of(annotation)}: {_faults(error, known())}") from None

    return validate


def _name_of(annotation: Any) -> str:
    return getattr(annotation, "__name__", str(annotation))


def _field_names(adapter: Any) -> frozenset[str]:
    """Return the names that stand in a type's schema; a name that does not comes from a body."""
    try:
        schema = json.dumps(adapter.json_schema())
    except Exception:  # noqa: BLE001 - not every type has a schema; then no name is shown
        return frozenset()
    return frozenset(re.findall(r'"((?:[^"\\]|\\.)*)"', schema))


def _faults(error: Any, known: Collection[str]) -> str:
    """Say what is wrong with a body without repeating any of it: bodies are not logged."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [f"{_place(fault['loc'], known)}: {fault['type']}" for fault in found[:_MOST_FAULTS]]
    more = f" and {len(found) - _MOST_FAULTS} more" if len(found) > _MOST_FAULTS else ""
    return "; ".join(shown) + more


def _place(parts: Sequence[int | str], known: Collection[str]) -> str:
    shown = [str(part) if isinstance(part, int) or part in known else "…" for part in parts]
    return ".".join(shown) or "body"
