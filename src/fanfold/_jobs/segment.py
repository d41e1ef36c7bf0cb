"""A segment, one cut of a source, and its message body; several small segments can share a message to save cost.

The body of a single segment is ``{"v":1,"job":…,"run":…,"gen":0,"segment":17,"hop":0,"source":{"type":…}}``. The body
of several has no ``segment``, so that a release without support for bundles rejects it instead of reading a part of it:
``{"v":1,"job":…,"run":…,"gen":0,"hop":0,"segments":[[17,{"type":…}],[18,{"type":…}]]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from fanfold._ports.run import check_name
from fanfold.errors import ConfigurationError, SegmentError

WIRE_VERSION = 1
"""The version of the message body that this release writes, and the only one it reads."""

MAX_SEGMENTS: Final = 1_000
"""Maximum number of segments in a message: they are processed one after another, in one invocation."""
_SHARED: Final[Mapping[str, type]] = {"job": str, "run": str, "gen": int, "hop": int}
"""Fields that the segments of a message share."""
_OWN: Final[Mapping[str, type]] = {"segment": int, "source": dict}
_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Segment:
    """One cut of a source: the body of one message."""

    job: str
    """Name of the job."""
    run: str
    """Name of the run."""
    number: int
    """Number of this segment in its run, from 0."""
    source: Mapping[str, Any]
    """The data to read, in the format of the source that cut it; ``type`` names that source."""
    gen: int = 0
    """Generation of the run: 0 at first, incremented by each redrive."""
    hop: int = 0
    """How often this segment has been continued."""

    def to_body(self) -> str:
        """Return the message body: compact JSON, version 1."""
        return _text_of(_document_of(self))

    @classmethod
    def from_body(cls, body: str) -> Segment:
        """Return the segment that a message body describes.

        Raises:
            SegmentError: If the body is not JSON, has another version, or a field is missing or has the wrong type.
        """
        return _segment_in(_document_in(body))


def bodies(segments: Iterable[Segment], size: int) -> Iterator[tuple[str, int]]:
    """Yield message bodies of ``size`` segments each, and the number of segments so far. The last may hold fewer.

    Args:
        segments: Segments of one run and generation, none of them continued.
        size: Segments per body, at least 1.
    """
    drawn, taken = iter(segments), 0
    while bundle := list(islice(drawn, size)):
        taken += len(bundle)
        yield bundle[0].to_body() if len(bundle) == 1 else _bundle_body(bundle), taken


def segments_of(body: str) -> Sequence[Segment]:
    """Return the segments that a message body describes, at least one; takes time proportional to the body.

    Raises:
        SegmentError: If the body is not a valid fanfold message; states the reason.
    """
    document = _document_in(body)
    if "segments" not in document:
        return [_segment_in(document)]
    shared = _fields_in(document, _SHARED, also="segments")
    entries = document["segments"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_SEGMENTS:
        raise SegmentError(f"not a fanfold segment: 'segments' must be a list of 1 to {MAX_SEGMENTS:,} entries")
    if shared["hop"]:
        raise SegmentError("not a fanfold segment: a continued segment must be the only one in its message")
    segments = [_entry(shared, entry) for entry in entries]
    if len({segment.number for segment in segments}) < len(segments):
        raise SegmentError("not a fanfold segment: 'segments' contains a number twice")
    return segments


def _document_of(segment: Segment) -> dict[str, Any]:
    return {
        "v": WIRE_VERSION,
        "job": segment.job,
        "run": segment.run,
        "gen": segment.gen,
        "segment": segment.number,
        "hop": segment.hop,
        "source": segment.source,
    }


def _text_of(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _bundle_body(segments: Sequence[Segment]) -> str:
    document = _document_of(segments[0])
    del document["segment"], document["source"]
    return _text_of({**document, "segments": [[segment.number, segment.source] for segment in segments]})


def _document_in(body: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SegmentError(f"not a fanfold segment: the body is not JSON ({error})") from error
    if not isinstance(document, dict) or "v" not in document:
        raise SegmentError("not a fanfold segment: the body must be a JSON object with a version 'v'")
    if document["v"] is True or document["v"] != WIRE_VERSION:
        raise SegmentError(
            f"segment of version {document['v']!r}: this release reads only version {WIRE_VERSION}; deploy the same "
            "release of fanfold to every function of the job"
        )
    return document


def _segment_in(document: Mapping[str, Any]) -> Segment:
    return _segment(_fields_in(document, {**_SHARED, **_OWN}))


def _entry(shared: Mapping[str, Any], entry: object) -> Segment:
    if not isinstance(entry, list) or len(entry) != 2:  # noqa: PLR2004 - a number and a source
        raise SegmentError(f"not a fanfold segment: {_shown(entry)} is not a pair of a number and a source")
    own = {"segment": entry[0], "source": entry[1]}
    return _segment({**shared, **{name: _field(own, name, kind) for name, kind in _OWN.items()}})


def _segment(fields: dict[str, Any]) -> Segment:
    if not isinstance(fields["source"].get("type"), str):
        raise SegmentError("not a fanfold segment: 'source' has no 'type'")
    return Segment(number=fields.pop("segment"), **fields)


def _fields_in(document: Mapping[str, Any], fields: Mapping[str, type], *, also: str = "v") -> dict[str, Any]:
    """Return the fields of a document, which must have no others, except the version and one more."""
    values = {name: _field(document, name, kind) for name, kind in fields.items()}
    for name in ("job", "run"):
        try:
            check_name(values[name], name)
        except ConfigurationError:
            raise SegmentError(f"not a fanfold segment: {_shown(values[name])} is not the name of a {name}") from None
    if unknown := next((name for name in document if name not in fields and name not in {"v", also}), None):
        raise SegmentError(
            f"not a fanfold segment: unknown field {_shown(unknown)}; deploy the same release of fanfold to every "
            "function of the job"
        )
    return values


def _field(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SegmentError(f"not a fanfold segment: {name!r} must be of type {kind.__name__}, not {_shown(value)}")
    if isinstance(value, int) and value < 0:
        raise SegmentError(f"not a fanfold segment: {name!r} must be at least 0, not {value}")
    return value


def _shown(value: object) -> str:
    """Return the beginning of a value of any size."""
    text = repr(value[:_SHOWN_CHARACTERS] if isinstance(value, str) else value)
    return text if len(text) <= 2 * _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
