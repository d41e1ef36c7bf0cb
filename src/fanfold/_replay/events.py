"""Read saved events in every common format, as records in the form that Lambda delivers."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from fanfold._base.sample_events import QUEUE_ARN, make_record
from fanfold._replay.event_sources import S3, service_name, service_of, service_of_records
from fanfold.errors import ConfigurationError, EventError

_SUFFIXES: Final = (".json", ".jsonl", ".ndjson")
_FORMATS: Final = "a Lambda event, the output of 'aws sqs receive-message', a JSON array or JSON Lines of bodies"


@dataclass(frozen=True, slots=True)
class SavedEvent:
    """The records of one saved batch."""

    name: str
    """The source of the records: a file, or a line of a file."""
    records: Sequence[dict[str, Any]]
    """Records as Lambda delivers them; at least one."""
    note: str = ""
    """A note for the user about how it was read; empty if it is an event of SQS or a body."""


def read_events(sources: Sequence[str], *, stdin: IO[bytes] | None = None) -> list[SavedEvent]:
    """Read saved events.

    The content determines the format: a Lambda event (or the output of ``sam local generate-event``), the output of
    ``aws sqs receive-message``, a JSON array of either or of bodies, JSON Lines of any of these, or one JSON value as a
    body. A notification of S3, SNS or EventBridge counts as a body: so these services send it to a queue.

    Args:
        sources: Files, folders (their ``*.json``, ``*.jsonl``, and ``*.ndjson`` files), or ``-`` for standard input.
        stdin: The stream for ``-``; None for the standard input of the process.

    Raises:
        ConfigurationError: If a source does not exist or cannot be read.
        EventError: If a source contains no events, or an event of another service; the error names the file, the place,
            and the problem.
    """
    events: list[SavedEvent] = []
    for source in sources:
        if source == "-":
            events += _events((stdin or sys.stdin.buffer).read(), "standard input")
        else:
            for file in _files(Path(source)):
                events += _events(_bytes(file), str(file))
    return events


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise ConfigurationError(f"folder {path} contains no {', '.join('*' + suffix for suffix in _SUFFIXES)} files")
    return files


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"file {file} does not exist") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error


def _events(data: bytes, name: str) -> list[SavedEvent]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EventError(f"{name} is not UTF-8 text: byte {error.start} cannot be decoded") from None
    if not text.strip():
        raise EventError(f"{name} is empty; expected {_FORMATS}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _lines(text, name, error)
    return _of_value(value, name)


def _lines(text: str, name: str, whole: Exception) -> list[SavedEvent]:
    """Read JSON Lines: one event per line, or the bodies of a single event."""
    values: list[tuple[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values.append((f"{name}:{number}", json.loads(line)))
        except (ValueError, RecursionError) as error:
            problem = whole if not values else f"line {number}: {error}"
            raise EventError(f"{name} is neither JSON nor JSON Lines: {problem}") from None
    if any(_is_event(value) for _, value in values):
        return [event for place, value in values for event in _of_value(value, place)]
    return [_of_bodies([value for _, value in values], name)]


def _of_value(value: Any, name: str) -> list[SavedEvent]:
    if not isinstance(value, list):
        return [_of_event(value, name) if _is_event(value) else _of_body(value, name)]
    if not value:
        raise EventError(f"{name} is an empty array: it contains no messages to replay")
    if all(_is_event(item) for item in value):
        return [_of_event(item, f"{name}[{position}]") for position, item in enumerate(value)]
    if all(isinstance(item, Mapping) and "messageId" in item and "body" in item for item in value):
        return [_of_event({"Records": value}, name)]
    if all(isinstance(item, Mapping) and "MessageId" in item and "Body" in item for item in value):
        return [_of_event({"Messages": value}, name)]
    return [_of_bodies(value, name)]


def _is_event(value: object) -> bool:
    """Return whether a value is an event, or the output of ``receive-message``; S3 sends its events as bodies."""
    if not isinstance(value, Mapping) or not value.keys() & {"Records", "Messages"}:
        return False
    return service_of_records(value) != S3


def _of_body(body: Any, name: str) -> SavedEvent:
    """Return the one message of a file that is not an event of SQS."""
    event = _of_bodies([body], name)
    if not isinstance(body, Mapping):
        return event
    service = service_name(S3) if service_of_records(body) == S3 else service_of(body)
    if service is None:
        return event
    return replace(event, note=f"{name} is an event of {service}: it is replayed as the body of one SQS message")


def _of_event(event: Mapping[str, Any], name: str) -> SavedEvent:
    key = "Records" if "Records" in event else "Messages"
    items = event[key]
    if not isinstance(items, list) or not items:
        raise EventError(f"{name} has no records: its {key!r} is {'empty' if items in ([], None) else 'not an array'}")
    make = _record if key == "Records" else _received
    return SavedEvent(name, [make(item, name, position) for position, item in enumerate(items)])


def _of_bodies(bodies: Sequence[Any], name: str) -> SavedEvent:
    return SavedEvent(name, [make_record(body, message_id=_id(name, index)) for index, body in enumerate(bodies)])


def _record(saved: Any, name: str, position: int) -> dict[str, Any]:
    """Return a record of a Lambda event, with defaults for missing fields."""
    if not isinstance(saved, Mapping):
        raise EventError(f"{name}: record {position} must be an object, not {type(saved).__name__}")
    if (source := service_of_records({"Records": [saved]})) is not None:
        raise EventError(
            f"{name}: record {position} is of {service_name(source)}: only events of SQS can be replayed; to test a "
            "handler with it, send it as a message body"
        )
    body = _text(saved.get("body"), name, position)
    record = make_record(body, message_id=str(saved.get("messageId") or _id(name, position)))
    record["eventSourceARN"] = QUEUE_ARN
    return {
        **record,
        **{key: value for key, value in saved.items() if value is not None},
        "messageId": record["messageId"],
    }


def _received(saved: Any, name: str, position: int) -> dict[str, Any]:
    """Return a record from a message in the output of ``aws sqs receive-message``."""
    if not isinstance(saved, Mapping):
        raise EventError(f"{name}: message {position} must be an object, not {type(saved).__name__}")
    body = _text(saved.get("Body"), name, position)
    record = make_record(body, message_id=str(saved.get("MessageId") or _id(name, position)))
    attributes = saved.get("Attributes") or {}
    sent = saved.get("MessageAttributes") or {}
    record["attributes"] = {**record["attributes"], **attributes}
    record["messageAttributes"] = {
        key: {part[0].lower() + part[1:]: value for part, value in attribute.items()} for key, attribute in sent.items()
    }
    record["receiptHandle"] = saved.get("ReceiptHandle") or record["receiptHandle"]
    return record


def _text(body: object, name: str, position: int) -> str:
    if body is None:
        raise EventError(f"{name}: record {position} has no body")
    if not isinstance(body, str):
        raise EventError(
            f"{name}: the body of record {position} must be a string, not {type(body).__name__}; "
            "encode it as a JSON string"
        )
    return body


def _id(name: str, position: int) -> str:
    """Return a message id that is the same in every replay."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{Path(name).name}#{position}"))
