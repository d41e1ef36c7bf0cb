"""Several tiny segments in one message, which costs as much as one.

The body of a single segment is that of ``Segment.to_body``. That of several has no ``segment``, so that a release which
knows of no bundles refuses it instead of reading a part:
``{"v":1,"job":…,"run":…,"gen":0,"hop":0,"segments":[[17,{"type":…}],[18,{"type":…}]]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from fanfold._jobs.segment import Segment
from fanfold.errors import SegmentError

__all__ = ["bodies", "segments_of"]


def bodies(segments: Iterable[Segment], size: int) -> Iterator[tuple[str, int]]:
    """Yield message bodies of ``size`` segments each, the last of fewer, and how many segments there have been by then.

    Args:
        segments: Of one run and generation, none of them continued.
        size: From 1.
    """
    drawn, taken = iter(segments), 0
    while several := list(islice(drawn, size)):
        taken += len(several)
        yield _body(several), taken


def _body(segments: Sequence[Segment]) -> str:
    if len(segments) == 1:
        return segments[0].to_body()
    document = json.loads(replace(segments[0], source={"type": ""}).to_body())
    del document["segment"], document["source"]
    document["segments"] = [[each.number, each.source] for each in segments]
    return json.dumps(document, separators=(",", ":"))


def segments_of(body: str) -> Sequence[Segment]:
    """Return the segments that a message body describes, at least one.

    Raises:
        SegmentError: If the body is none of fanfold's, names the fault.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return [Segment.from_body(body)]  # which says what is wrong with it
    if not isinstance(document, dict) or "segments" not in document:
        return [Segment.from_body(body)]
    several = document.pop("segments")
    if not isinstance(several, list) or not several or "segment" in document or "source" in document:
        raise SegmentError("not a fanfold segment: 'segments' is no list of several, or stands beside 'segment'")
    return [_one_of(document, each) for each in several]


def _one_of(document: dict[str, object], described: object) -> Segment:
    if not isinstance(described, list) or len(described) != 2:  # noqa: PLR2004 - a number and a source
        raise SegmentError(f"not a fanfold segment: {str(described)[:80]!r} is no pair of a number and a source")
    return Segment.from_body(json.dumps({**document, "segment": described[0], "source": described[1]}))
