"""Convert between Python values and DynamoDB's JSON; every number that DynamoDB stores is exact in both directions.

The SDK's converters refuse numbers below 1E-128, which DynamoDB stores down to 1E-130.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from fanfold._base.dynamodb_numbers import number_text


class ToTyped(TypeSerializer):  # type: ignore[misc] # boto3 has no types
    """A serializer to DynamoDB's JSON."""

    def _serialize_n(self, value: int | Decimal) -> str:
        return number_text(value)


class ToPlain(TypeDeserializer):  # type: ignore[misc] # boto3 has no types
    """A deserializer of DynamoDB's JSON that returns binaries as ``bytes``."""

    def _deserialize_b(self, value: str | bytes) -> bytes:
        return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)

    def _deserialize_n(self, value: str) -> Decimal:
        return number_of(value)


def number_of(text: str) -> Decimal:
    """Return a number of DynamoDB, with every digit.

    Raises:
        ValueError: If it is not finite.
        ArithmeticError: If it is not a number.
    """
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(f"{text} is not a finite number")
    return number


class UndecodableError(ValueError):
    """A value in DynamoDB's JSON that stands for no Python value."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"attribute {path}: {reason}")


FAULTS = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""Errors of a deserializer that reads a malformed value."""


def undecodable(item: Mapping[str, Any], to_plain: ToPlain) -> UndecodableError | None:
    """Return the error for the first attribute of an item that cannot be decoded; None if all can."""
    for name, typed in item.items():
        problem = _first_problem(typed, repr(name), to_plain)
        if problem is not None:
            return problem
    return None


def _first_problem(typed: Any, path: str, to_plain: ToPlain) -> UndecodableError | None:
    try:
        to_plain.deserialize(typed)
    except FAULTS as error:
        for inner, place in _members(typed):
            problem = _first_problem(inner, f"{path}[{place!r}]", to_plain)
            if problem is not None:
                return problem
        text = str(typed)
        shown = text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - as in other errors
        return UndecodableError(path, f"{shown} cannot be decoded ({type(error).__name__}: {error})")
    return None


def _members(typed: Any) -> list[tuple[Any, str | int]]:
    if isinstance(typed, Mapping) and isinstance(typed.get("M"), Mapping):
        return [(value, name) for name, value in typed["M"].items()]
    if isinstance(typed, Mapping) and isinstance(typed.get("L"), list):
        return [(value, position) for position, value in enumerate(typed["L"])]
    return []
