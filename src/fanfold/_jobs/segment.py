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
from typing import Any

from fanfold.errors import SegmentError

WIRE_VERSION = 1
"""The version of the message body that this release writes, and the only one it reads."""

_FIELDS: Mapping[str, type] = {
    "job": str,
    "run": str,
    "gen": int,
    "segment": int,
    "hop": int,
    "source": dict,
}


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
    """Return the segments that a message body describes, at least one.

    Raises:
        SegmentError: If the body is not a valid fanfold message; states the reason.
    """
    document = _document_in(body)
    if "segments" not in document:
        return [_segment_in(document)]
    entries = document.pop("segments")
    if not isinstance(entries, list) or not entries or "segment" in document or "source" in document:
        raise SegmentError(
            "not a fanfold segment: 'segments' must be a list with at least one entry, without 'segment' or 'source'"
        )
    return [_entry(document, entry) for entry in entries]


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
    values = {name: _field(document, name, kind) for name, kind in _FIELDS.items()}
    if not isinstance(values["source"].get("type"), str):
        raise SegmentError("not a fanfold segment: 'source' has no 'type'")
    return Segment(number=values.pop("segment"), **values)


def _entry(document: Mapping[str, Any], entry: object) -> Segment:
    if not isinstance(entry, list) or len(entry) != 2:  # noqa: PLR2004 - a number and a source
        raise SegmentError(f"not a fanfold segment: {str(entry)[:80]!r} is not a pair of a number and a source")
    return _segment_in({**document, "segment": entry[0], "source": entry[1]})


def _field(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SegmentError(f"not a fanfold segment: {name!r} must be of type {kind.__name__}, not {value!r}")
    if isinstance(value, int) and value < 0:
        raise SegmentError(f"not a fanfold segment: {name!r} must be at least 0, not {value}")
    return value
