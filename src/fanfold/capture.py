"""Saving the batches a function gets as event files, so that today's incident is tomorrow's replay."""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fanfold.errors import ConfigurationError

__all__ = ["REDACTED", "Capture", "redacted", "save_event"]

logger = logging.getLogger("fanfold")

REDACTED: Final = "redacted"
"""What stands in place of a value that is not to be saved."""


class Capture:
    """A Lambda handler that saves each event before another handler gets it.

    The answer, or the error, is the other handler's own. A save that fails is logged and disturbs nothing.

    Args:
        handler: The Lambda handler that does the work, a ``Consumer`` for one.
        folder: Where the files go, one for each batch; on Lambda below ``/tmp``.
        redact: Dotted names of fields in JSON bodies, and names of message attributes, whose values are not saved. With
            any, a body that is no JSON object or array is not saved either: what it holds cannot be told.
        most: Files that this process writes at most; None for no limit.

    Raises:
        ConfigurationError: If a setting is impossible.
    """

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        folder: str | os.PathLike[str],
        *,
        redact: Collection[str] = (),
        most: int | None = 100,
    ) -> None:
        if not callable(handler):
            raise ConfigurationError(f"Capture: the handler must be callable, not {handler!r}")
        if isinstance(redact, str) or not all(isinstance(name, str) and name for name in redact):
            raise ConfigurationError(
                f"Capture: redact takes names of fields, such as ('customer.email',), not {redact!r}"
            )
        if most is not None and (type(most) is not int or most < 1):
            raise ConfigurationError(f"Capture: most must be a whole number from 1, or None, not {most!r}")
        self._handler = handler
        self._folder = Path(folder)
        self._redact = tuple(redact)
        self._most = most
        self._count = itertools.count()
        functools.update_wrapper(self, handler)
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("event", "context")]
        self.__signature__: inspect.Signature = inspect.Signature(parameters)

    def __call__(self, event: Any, context: Any) -> Any:
        """Save the event, then let the handler handle it."""
        number = next(self._count)
        if self._most is None or number < self._most:
            try:
                name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{_request_id(context)}-{number:06d}.json"
                save_event(event, self._folder / name, redact=self._redact)
            except Exception as error:  # noqa: BLE001 - a batch is worth more than its copy
                logger.warning("an event could not be captured: %s", error)
        return self._handler(event, context)


def save_event(event: Mapping[str, Any], file: Path, *, redact: Sequence[str] = ()) -> None:
    """Write an event as JSON, whole or not at all; folders are made.

    Raises:
        OSError: If it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(json.dumps(redacted(event, redact), indent=1), encoding="utf-8")
    unfinished.replace(file)


def redacted(event: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return an event without the values of some fields, and without receipt handles, which are keys to the queue.

    Args:
        event: An SQS event; it is not changed.
        names: Dotted names of fields in JSON bodies, which are found in lists as well, and names of message attributes.
    """
    return {**event, "Records": [_record(record, names) for record in event["Records"]]}


def _record(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    saved = {**record, "receiptHandle": f"{REDACTED}-{record.get('messageId', '')}"}
    if names:
        saved["body"] = _body(record["body"], names)
        saved["md5OfBody"] = hashlib.md5(
            saved["body"].encode("utf-8", "surrogatepass"), usedforsecurity=False
        ).hexdigest()
        saved["messageAttributes"] = {
            name: {"dataType": "String", "stringValue": REDACTED} if name in names else value
            for name, value in (record.get("messageAttributes") or {}).items()
        }
    return saved


def _body(body: str, names: Sequence[str]) -> str:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return REDACTED
    if not isinstance(value, dict | list):
        return REDACTED
    for name in names:
        _redact(value, name.split("."))
    return json.dumps(value)


def _redact(value: Any, path: Sequence[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _redact(item, path)
    elif isinstance(value, dict) and path[0] in value:
        if len(path) == 1:
            value[path[0]] = REDACTED
        else:
            _redact(value[path[0]], path[1:])


def _request_id(context: Any) -> str:
    given = str(getattr(context, "aws_request_id", "") or "request")
    return "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in given)[:64]
