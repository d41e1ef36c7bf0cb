"""Save the batches that a function receives as event files, so that you can replay them later."""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fanfold._base.log import logger
from fanfold.errors import ConfigurationError

__all__ = ["REDACTED", "Capture", "redacted", "save_event"]


REDACTED: Final = "redacted"
"""The text that replaces a redacted value."""


class Capture:
    """A Lambda handler that saves each event before it calls another handler.

    It returns or raises what the other handler returns or raises. If an event cannot be saved, a warning is logged and
    the handler runs as usual.

    Args:
        handler: The Lambda handler that does the work, such as a ``Consumer``.
        folder: The folder for the files, one per batch; on Lambda below ``/tmp``.
        redact: Dotted names of fields in JSON bodies, and names of message attributes, whose values are not saved. If
            you name any, a body that is not a JSON object or array is not saved either: its fields are unknown.
        max_files: Maximum number of files that this process writes; None for no limit.

    Raises:
        ConfigurationError: If a setting is invalid.
    """

    def __init__(
        self,
        handler: Callable[[Any, Any], Any],
        folder: str | os.PathLike[str],
        *,
        redact: Collection[str] = (),
        max_files: int | None = 100,
    ) -> None:
        if not callable(handler):
            raise ConfigurationError(f"Capture: the handler must be callable, not {handler!r}")
        if isinstance(redact, str) or not all(isinstance(name, str) and name for name in redact):
            raise ConfigurationError(
                f"Capture: redact must be a list of field names, such as ['customer.email'], not {redact!r}"
            )
        if max_files is not None and (type(max_files) is not int or max_files < 1):
            raise ConfigurationError(f"Capture: max_files must be an integer of at least 1, or None, not {max_files!r}")
        self._handler = handler
        self._folder = Path(folder)
        self._redact = tuple(redact)
        self._max_files = max_files
        self._count = itertools.count()
        functools.update_wrapper(self, handler)
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("event", "context")]
        self.__signature__: inspect.Signature = inspect.Signature(parameters)

    def __call__(self, event: Any, context: Any) -> Any:
        """Save the event, then call the handler."""
        number = next(self._count)
        if self._max_files is None or number < self._max_files:
            try:
                name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{_request_id(context)}-{number:06d}.json"
                save_event(event, self._folder / name, redact=self._redact)
            except Exception as error:  # noqa: BLE001 - a failure to save must not stop the batch
                logger.warning("Could not save the event: %s", error)
        return self._handler(event, context)


def save_event(event: Mapping[str, Any], file: Path, *, redact: Sequence[str] = ()) -> None:
    """Write an event as JSON, atomically; create missing folders.

    Raises:
        OSError: If the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(json.dumps(redacted(event, redact), indent=1), encoding="utf-8")
    unfinished.replace(file)


def redacted(event: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return a copy of an event with the values of some fields and all receipt handles replaced.

    A receipt handle lets its holder delete the message.

    Args:
        event: An SQS event; it is not changed.
        names: Dotted names of fields in JSON bodies, also inside lists, and names of message attributes.
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
    request_id = str(getattr(context, "aws_request_id", "") or "request")
    return "".join(letter if letter.isalnum() or letter == "-" else "-" for letter in request_id)[:64]
