"""The generations of a run: the first does all segments, each redrive one more, with those that had failed.

What was done in any generation counts. A failure counts unless a later generation did the segment again: so a failure
that is entered late, by a duplicate of an old message, changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence

from fanfold._jobs.tally import Tally
from fanfold._ports.backend import Backend
from fanfold._ports.ledger_encoding import decode_ids, encode_ids
from fanfold._ports.run import Marker, Run

__all__ = ["put_redo", "redo_of", "tally_of"]


async def put_redo(key: str, segments: Sequence[int], backend: Backend) -> None:
    """Write down which segments a generation does again."""
    await backend.put_result(key, json.dumps(encode_ids(segments)).encode())


async def redo_of(run: Run, gen: int, backend: Backend) -> Sequence[int]:
    """Return the segments that a generation, from 1, does again; ascending."""
    return decode_ids(json.loads(await backend.get_result(run.redos[gen - 1])))


async def tally_of(
    run: Run,
    total: int,
    backend: Backend,
    *,
    only: Collection[str] | None = None,
    also: Callable[[Marker], object] | None = None,
) -> Tally:
    """Count which segments of a run have ended, in one pass over the markers of its generations.

    Args:
        run: The run.
        total: Its segments.
        backend: Where its ledger is.
        only: Ids of the markers that count; None for all.
        also: Called with each marker that counts.
    """
    tally = Tally(total)
    for gen in range(run.gen + 1):
        if gen:
            tally.redo(await redo_of(run, gen, backend))
        async for marker in backend.ledger.markers(run.id, gen):
            if only is None or marker.id in only:
                tally.add(marker)
                if also is not None:
                    also(marker)
    return tally
