"""Numbers that DynamoDB can store exactly (DynamoDB developer guide, naming rules and data types)."""

from __future__ import annotations

from decimal import Decimal

from fanfold._base.aws_limits import DYNAMODB_MAX_EXPONENT, DYNAMODB_MIN_EXPONENT, DYNAMODB_NUMBER_DIGITS


def number_text(value: int | Decimal) -> str:
    """Return a number as DynamoDB takes it: at most 38 significant digits, zero or from 1E-130 to 9.99…E+125.

    Raises:
        TypeError: If DynamoDB cannot store it exactly.
    """
    number = Decimal(value)
    sign, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        raise TypeError(f"DynamoDB stores only finite numbers, not {value}")
    if number.is_zero():
        return "0"
    significant = "".join(map(str, digits)).rstrip("0")
    is_in_range = DYNAMODB_MIN_EXPONENT <= number.adjusted() <= DYNAMODB_MAX_EXPONENT
    if len(significant) > DYNAMODB_NUMBER_DIGITS or not is_in_range:
        raise TypeError(
            f"DynamoDB stores numbers of at most 38 digits, from 1E-130 to 9.9E+125, not {number:.3E} of "
            f"{len(significant)} digits"
        )
    if len(digits) <= DYNAMODB_NUMBER_DIGITS:
        return str(value)
    trimmed = tuple(map(int, significant))
    return str(Decimal((sign, trimmed, exponent + len(digits) - len(trimmed))))
