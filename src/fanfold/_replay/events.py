"""Saved events in every form people have them, as records the way Lambda delivers them."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from fanfold._base.sample_events import QUEUE_ARN, make_record
from fanfold.errors import ConfigurationError, EventError

_ENDINGS: Final = (".json", ".jsonl", ".ndjson")
_FORMS: Final = "a Lambda event, the output of 'aws sqs receive-message', a JSON array or JSON Lines of bodies"


@dataclass(frozen=True, slots=True)
class SavedEvent:
    """The records of one saved batch."""

    name: str
    """Where they come from: a file, or a line of one."""
    records: Sequence[dict[str, Any]]
    """As Lambda delivers them; at least one."""


def read_events(sources: Sequence[str], *, stdin: IO[bytes] | None = None) -> list[SavedEvent]:
    """Read saved events.

    What a source holds is told by its content: a Lambda event (also as ``sam local generate-event`` prints it), the
    output of ``aws sqs receive-message``, a JSON array of either or of bodies, JSON Lines of any of these, or one JSON
    value, which is a body.

    Args:
        sources: Files, folders (their ``*.json``, ``*.jsonl`` and ``*.ndjson``), or ``-`` for standard input.
        stdin: Standard input; None for the process's own.

    Raises:
        ConfigurationError: If a source does not exist or cannot be read.
        EventError: If it holds no events; the error names the file, the place and the fault.
    """
    found: list[SavedEvent] = []
    for source in sources:
        if source == "-":
            found += _events((stdin or sys.stdin.buffer).read(), "standard input")
        else:
            for file in _files(Path(source)):
                found += _events(_bytes(file), str(file))
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _ENDINGS and file.is_file())
    if not files:
        raise ConfigurationError(f"folder {path} holds no {', '.join('*' + ending for ending in _ENDINGS)}")
    return files


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"there is no file {file}") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error


def _events(data: bytes, name: str) -> list[SavedEvent]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EventError(f"{name} is not UTF-8 text: byte {error.start} cannot be decoded") from None
    if not text.strip():
        raise EventError(f"{name} is empty: give it {_FORMS}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _lines(text, name, error)
    return _of_value(value, name)


def _lines(text: str, name: str, whole: Exception) -> list[SavedEvent]:
    """Read JSON Lines: events, one each, or bodies, all of one event."""
    values: list[tuple[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values.append((f"{name}:{number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            told = whole if not values else f"line {number}: {error}"
            raise EventError(f"{name} is not JSON, nor JSON Lines: {told}") from None
    if any(_is_event(value) for _, value in values):
        return [event for place, value in values for event in _of_value(value, place)]
    return [_of_bodies([value for _, value in values], name)]


def _of_value(value: Any, name: str) -> list[SavedEvent]:
    if not isinstance(value, list):
        return [_of_event(value, name) if _is_event(value) else _of_bodies([value], name)]
    if not value:
        raise EventError(f"{name} holds an empty array: there is nothing to replay")
    if all(_is_event(item) for item in value):
        return [_of_event(item, f"{name}[{position}]") for position, item in enumerate(value)]
    if all(isinstance(item, Mapping) and "messageId" in item and "body" in item for item in value):
        return [_of_event({"Records": value}, name)]
    if all(isinstance(item, Mapping) and "MessageId" in item and "Body" in item for item in value):
        return [_of_event({"Messages": value}, name)]
    return [_of_bodies(value, name)]


def _is_event(value: object) -> bool:
    return isinstance(value, Mapping) and ("Records" in value or "Messages" in value)


def _of_event(event: Mapping[str, Any], name: str) -> SavedEvent:
    key = "Records" if "Records" in event else "Messages"
    items = event[key]
    if not isinstance(items, list) or not items:
        raise EventError(f"{name} has no records: its {key!r} is {'empty' if items in ([], None) else 'no array'}")
    make = _record if key == "Records" else _received
    return SavedEvent(name, [make(item, name, position) for position, item in enumerate(items)])


def _of_bodies(bodies: Sequence[Any], name: str) -> SavedEvent:
    made = [make_record(body, message_id=_id(name, position)) for position, body in enumerate(bodies)]
    return SavedEvent(name, made)


def _record(given: Any, name: str, position: int) -> dict[str, Any]:
    """Return a record of a Lambda event, with what is missing filled in."""
    if not isinstance(given, Mapping):
        raise EventError(f"{name}: record {position} is no object but {type(given).__name__}")
    source = given.get("eventSource", given.get("EventSource", "aws:sqs"))
    if source != "aws:sqs":
        raise EventError(f"{name}: record {position} comes from {source!r}: only SQS events can be replayed")
    body = _text(given.get("body"), name, position)
    made = make_record(body, message_id=str(given.get("messageId") or _id(name, position)))
    made["eventSourceARN"] = QUEUE_ARN
    return {**made, **{key: value for key, value in given.items() if value is not None}, "messageId": made["messageId"]}


def _received(given: Any, name: str, position: int) -> dict[str, Any]:
    """Return a record from what ``aws sqs receive-message`` prints of a message."""
    if not isinstance(given, Mapping):
        raise EventError(f"{name}: message {position} is no object but {type(given).__name__}")
    body = _text(given.get("Body"), name, position)
    made = make_record(body, message_id=str(given.get("MessageId") or _id(name, position)))
    attributes = given.get("Attributes") or {}
    sent = given.get("MessageAttributes") or {}
    made["attributes"] = {**made["attributes"], **attributes}
    made["messageAttributes"] = {
        key: {part[0].lower() + part[1:]: value for part, value in attribute.items()} for key, attribute in sent.items()
    }
    made["receiptHandle"] = given.get("ReceiptHandle") or made["receiptHandle"]
    return made


def _text(body: object, name: str, position: int) -> str:
    if not isinstance(body, str):
        raise EventError(f"{name}: record {position} has no body" if body is None else f"{name}: the body of record "
                         f"{position} is no text but {type(body).__name__}: write it as JSON in a text")  # fmt: skip
    return body


def _id(name: str, position: int) -> str:
    """Return an id that is the same each time."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{Path(name).name}#{position}"))
