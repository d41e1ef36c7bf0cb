"""The result of a segment as JSON text; a value that its fold or JSON cannot represent is refused with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

from fanfold._base.json_problems import has_other_keys, json_problem, place_of
from fanfold.errors import SegmentError

CheckResult: TypeAlias = Callable[[Any], Any]
"""Returns the result of a segment as a JSON value that the fold can use; raises SegmentError for another one."""
_ESCAPED_SURROGATE: Final = "\\ud"


def result_text(value: Any, source: Mapping[str, Any], check: CheckResult | None) -> str:
    """Return the return value of a segment handler as JSON text.

    Args:
        value: The value.
        source: The data of the segment, whose name is part of an error.
        check: The check of the job's fold; None if it has none.

    Raises:
        SegmentError: If the fold cannot use the value, or it is not a JSON value that UTF-8 can encode; names the row
            and the column, if the value is a list of rows.
    """
    try:
        is_suspect = has_other_keys(value)
        return _json_text(value if check is None or is_suspect else check(value), is_suspect=is_suspect)
    except SegmentError as error:
        raise SegmentError(f"the fold cannot use the result{origin_of(source)}: {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise SegmentError(f"the segment handler must return a JSON value{origin_of(source)}: {error}") from error


def _json_text(value: Any, *, is_suspect: bool) -> str:
    text = None
    with suppress(TypeError, ValueError):  # raised again below, unless the problem is found
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if is_suspect or text is None or _ESCAPED_SURROGATE in text:
        problem = json_problem(value)
        if problem is not None:
            raise ValueError(": ".join(filter(None, [place_of(problem.path), problem.reason])))
    return json.dumps(value, separators=(",", ":"), allow_nan=False) if text is None else text


def origin_of(source: Mapping[str, Any]) -> str:
    """Return the name of the object or the table of a segment, if its data contains it."""
    if "bucket" in source and "key" in source:
        return f" (from s3://{source['bucket']}/{source['key']})"
    name = source.get("object") or source.get("table")
    return f" (from {name})" if name else ""
