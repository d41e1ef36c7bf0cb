"""One cut of a source, as it travels in a message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fanfold.errors import SegmentError

__all__ = ["WIRE_VERSION", "Segment"]

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
    """What to read, in the words of the source that cut it; ``type`` names that source."""
    gen: int = 0
    """Generation of the run: 0 at first, one more with each redrive."""
    hop: int = 0
    """How many times this segment has been continued."""

    def to_body(self) -> str:
        """Return the message body: compact JSON, version 1."""
        return json.dumps(
            {
                "v": WIRE_VERSION,
                "job": self.job,
                "run": self.run,
                "gen": self.gen,
                "segment": self.number,
                "hop": self.hop,
                "source": self.source,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_body(cls, body: str) -> Segment:
        """Return the segment that a message body describes.

        Raises:
            SegmentError: If the body is none, names the fault: no JSON, another version, a field missing or of the
                wrong type.
        """
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise SegmentError(f"not a fanfold segment: the body is not JSON ({error})") from error
        if not isinstance(document, dict) or "v" not in document:
            raise SegmentError("not a fanfold segment: the body is no JSON object with a version 'v'")
        if document["v"] is True or document["v"] != WIRE_VERSION:
            raise SegmentError(
                f"segment of version {document['v']!r}: this release reads version {WIRE_VERSION}; deploy the same "
                "fanfold to every function of the job"
            )
        values = {name: _field(document, name, kind) for name, kind in _FIELDS.items()}
        if not isinstance(values["source"].get("type"), str):
            raise SegmentError("not a fanfold segment: 'source' has no 'type'")
        return cls(number=values.pop("segment"), **values)


def _field(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SegmentError(f"not a fanfold segment: {name!r} is {value!r}, not of type {kind.__name__}")
    if isinstance(value, int) and value < 0:
        raise SegmentError(f"not a fanfold segment: {name!r} is {value}, below 0")
    return value
