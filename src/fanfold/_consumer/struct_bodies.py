"""Decode bodies to ``msgspec.Struct`` types. Imported only for such an annotation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import msgspec.inspect

from fanfold._base.record import Record
from fanfold.errors import ConfigurationError, DecodeError

_PATH: Final = re.compile(r"(?P<problem>.*) - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")
_TEXTS_WITH_A_VALUE: Final = ("Invalid enum value ", "Invalid value ")
"""Beginnings of msgspec's texts that go on with a value of the body."""


def holds_struct(annotation: Any) -> bool:
    """Return whether a type is a ``msgspec.Struct``, or a union or a container of one."""
    return any(isinstance(part, type) and issubclass(part, msgspec.Struct) for part in _parts(annotation))


class StructDecoder:
    """Decodes the JSON body of a record; the decoder of msgspec is created once.

    Args:
        annotation: The type of the body.
        name: The handler's name, for errors.

    Raises:
        ConfigurationError: If msgspec cannot decode a body to the type.
    """

    def __init__(self, annotation: Any, name: str) -> None:
        self._type_name = getattr(annotation, "__name__", str(annotation))
        try:
            unsupported = sorted({custom.__qualname__ for custom in _custom_types(annotation)})
            self._decode = msgspec.json.Decoder(annotation).decode
        except Exception as error:  # such as TypeError for the type, NameError for an annotation of a field
            raise ConfigurationError(f"{name}: a body cannot be of type {annotation!r}: {error}") from error
        if unsupported:
            raise ConfigurationError(
                f"{name}: a body cannot be of type {annotation!r}: msgspec does not support {', '.join(unsupported)}"
            )

    def __call__(self, record: Record) -> Any:
        """Return the body as an instance of the type.

        Raises:
            DecodeError: If it is not JSON, or not valid. The text contains nothing of the body.
            Exception: What ``__post_init__`` of the user's type raises, except ``ValueError`` and ``TypeError``.
        """
        try:
            return self._decode(record.body)
        except msgspec.DecodeError as error:
            if _is_raised_by_the_type(error):  # a decoder of the user, in ``__post_init__``
                problem = f"body: invalid value ({type(error).__name__})"
            elif isinstance(error, msgspec.ValidationError):
                problem = _summary(error)
            else:
                raise _not_json(str(error).removeprefix("JSON is malformed: ")) from None
            raise DecodeError(f"the body is not a valid {self._type_name}: {problem}") from None
        except RecursionError as error:
            if _is_raised_by_the_type(error):
                raise
            raise _not_json(str(error)) from None
        except UnicodeEncodeError as error:  # its text contains the character
            raise _not_json(f"a character is not valid Unicode (position {error.start})") from None


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield a type, and the types in it: members of a union, items of a container, arguments of a generic type."""
    waiting, seen = [annotation], dict[int, Any]()  # with the parts, so that no other object gets their ids
    while waiting:
        part = waiting.pop()
        if id(part) in seen:  # an alias of a type may contain itself
            continue
        seen[id(part)] = part
        yield part
        # The origin of a generic type, the value of a ``type`` statement, and the type of a NewType.
        waiting += [getattr(part, name, None) for name in ("__origin__", "__value__", "__supertype__")]
        arguments = getattr(part, "__args__", ())
        waiting += arguments if isinstance(arguments, tuple) else ()


def _custom_types(annotation: Any) -> Iterator[type]:
    """Yield the classes in a type that msgspec leaves to a hook, which there is none of."""
    waiting: list[Any] = [msgspec.inspect.type_info(annotation)]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, (list, tuple)):
            waiting += part
        elif isinstance(part, msgspec.inspect.CustomType):
            yield part.cls
        elif isinstance(part, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(part) not in seen:
            seen.add(id(part))  # a type may contain itself
            waiting += [getattr(part, field) for field in part.__struct_fields__ if field in _NESTED]


_NESTED: Final = frozenset({"fields", "item_type", "item_types", "key_type", "type", "types", "value_type"})
"""Attributes of msgspec's descriptions of types that contain other descriptions."""


def _summary(error: msgspec.ValidationError) -> str:
    """Return where a body is invalid and why. msgspec reports the first problem."""
    text, path = str(error), ""
    if match := _PATH.fullmatch(text):
        text, path = match["problem"], match["path"].replace("[...]", ".…").replace("[", ".").replace("]", "")
        path += ".…" if match["key"] else ""
    if error.__cause__ is None and (match := _MISSING.fullmatch(text)):
        text, path = "missing", f"{path}.{match[1]}"
    elif error.__cause__ is None and text.startswith("Object contains unknown field"):
        text, path = "unknown field", f"{path}.…"
    else:
        text = _problem(text, error.__cause__)
    return f"{path.removeprefix('.') or 'body'}: {text}"


def _problem(text: str, cause: BaseException | None) -> str:
    """Return a text of msgspec without values of the body; of an error in the user's type, only its class."""
    if cause is not None:
        return f"invalid value ({type(cause).__name__})"
    if text.startswith("Expected "):
        return "expected " + text.removeprefix("Expected ").replace("`", "")
    if text.startswith(_TEXTS_WITH_A_VALUE) or not re.fullmatch("[A-Za-z0-9 ]+", text):
        return "invalid value"
    return text[0].lower() + text[1:]


def _is_raised_by_the_type(error: BaseException) -> bool:
    """Return whether code of the user's type raised an error, and not msgspec, which has no frames."""
    trace = error.__traceback__
    return trace is not None and trace.tb_next is not None


def _not_json(problem: str) -> DecodeError:
    return DecodeError(f"the body is not JSON: {problem}")
