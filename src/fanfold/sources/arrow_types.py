"""Arrow types as rows of Python values represent them."""

from __future__ import annotations

from typing import Any


def kind_of(kind: Any) -> str:
    """Return the name of the Python values of an Arrow type; types with the same values have the same name."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {kind_of(field.type)}' for field in fields_of(kind))}>"
    if types.is_map(kind):
        return f"map<{kind_of(kind.key_type)}, {kind_of(kind.item_type)}>"
    if has_elements(kind):
        return f"list<{kind_of(kind.value_type)}>"
    if types.is_timestamp(kind):
        return "timestamp with time zone" if kind.tz else "timestamp"
    named = (
        (types.is_integer, "integer"),
        (types.is_floating, "floating-point number"),
        (types.is_decimal, "decimal"),
        (types.is_date, "date"),
        (types.is_time, "time"),
        (types.is_duration, "duration"),
        (lambda text: types.is_string(text) or types.is_large_string(text) or types.is_string_view(text), "string"),
        (
            lambda data: (
                types.is_binary(data)
                or types.is_large_binary(data)
                or types.is_fixed_size_binary(data)
                or types.is_binary_view(data)
            ),
            "binary",
        ),
    )
    return next((name for is_kind, name in named if is_kind(kind)), str(kind))


def has_elements(kind: Any) -> bool:
    """Return whether the values of a type are lists of one type of element."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def in_microseconds(kind: Any) -> Any:
    """Return a type with microseconds in place of nanoseconds, which ``datetime`` cannot represent."""
    import pyarrow as pa

    types = pa.types
    if types.is_temporal(kind):
        return _in_microseconds(kind)
    if types.is_struct(kind):
        return pa.struct([field.with_type(in_microseconds(field.type)) for field in fields_of(kind)])
    if types.is_map(kind):
        key, item = kind.key_field, kind.item_field
        return pa.map_(key.with_type(in_microseconds(key.type)), item.with_type(in_microseconds(item.type)))
    if has_elements(kind):
        element = kind.value_field.with_type(in_microseconds(kind.value_type))
        if types.is_fixed_size_list(kind):
            return pa.list_(element, kind.list_size)
        return pa.large_list(element) if types.is_large_list(kind) else pa.list_(element)
    return kind


def _in_microseconds(kind: Any) -> Any:
    import pyarrow as pa

    if getattr(kind, "unit", None) != "ns":
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def fields_of(kind: Any) -> list[Any]:
    """Return the fields of a struct type."""
    return [kind.field(number) for number in range(kind.num_fields)]
