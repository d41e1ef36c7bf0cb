"""A crafted message of a live run is quarantined with the reason, and the run ends with the right output."""

import json
import time
from typing import Any

import pytest

from fanfold._jobs.segment import MAX_SEGMENTS, segments_of
from fanfold._jobs.segment_result import INLINE_RESULTS_BYTES
from fanfold._ports.queue import Message
from fanfold.errors import SegmentError
from harness import Bench, started
from numbers_job import ranges_job

pytestmark = pytest.mark.counted

COUNT = 8
VALID = {"v": 1, "job": "numbers", "run": "run", "gen": 0, "segment": 3, "hop": 0}
SOURCE = {"type": "ranges", "start": 3, "stop": 4, "yields": "numbers"}
BUNDLE = {name: value for name, value in VALID.items() if name != "segment"}
CRAFTED: dict[str, Any] = {
    "a number outside the run": VALID | {"segment": COUNT, "source": SOURCE},
    "a huge number": VALID | {"segment": 10**18, "source": SOURCE},
    "a number that no parser reads": VALID | {"segment": 10**4_000, "source": SOURCE},
    "a negative number": VALID | {"segment": -1, "source": SOURCE},
    "a later generation": VALID | {"gen": 1, "source": SOURCE},
    "a hop that the ledger lacks": VALID | {"hop": 2, "source": SOURCE | {"stop": 9}},
    "data of another segment": VALID | {"source": SOURCE | {"start": 0}},
    "data of another type": VALID | {"source": {"type": "items", "values": [99]}},
    "an unknown type": VALID | {"source": {"type": "unknown"}},
    "an unknown field": VALID | {"source": SOURCE, "more": 1},
    "an unknown version": VALID | {"v": 2, "source": SOURCE},
    "another job": VALID | {"job": "other", "source": SOURCE},
    "another run": VALID | {"run": "other", "source": SOURCE},
    "an invalid name of a run": VALID | {"run": "run#1", "source": SOURCE},
    "no segment": BUNDLE | {"segments": []},
    "a segment twice": BUNDLE | {"segments": [[3, SOURCE], [3, SOURCE]]},
    "one of several outside the run": BUNDLE | {"segments": [[3, SOURCE], [99, SOURCE]]},
    "several that were continued": BUNDLE | {"hop": 1, "segments": [[3, SOURCE], [4, SOURCE]]},
    "too many": BUNDLE | {"segments": [[number, SOURCE] for number in range(4_000)]},
    "a pair of something else": BUNDLE | {"segments": [[3, SOURCE, 1]]},
}


@pytest.mark.parametrize("name", CRAFTED)
async def test_a_crafted_message_is_quarantined_and_the_run_ends_with_the_right_output(name: str):
    """It is not processed, and it is not acknowledged as if it were a segment."""
    bench = await started(Bench(ranges_job(COUNT)))
    body = json.dumps(CRAFTED[name])
    await bench.plain.work_queue.send([Message(body)])
    await bench.settle(rounds=2_000)
    assert (await bench.run()).state == "SUCCEEDED"
    assert await bench.output() == list(range(COUNT))
    assert [queued.body for queued in bench.plain.quarantine_queue.messages()] == [body]


def test_a_crafted_message_costs_time_proportional_to_its_size():
    """4,000 pairs and 4,000 unknown fields in a megabyte: no pair is compared with every field."""
    pairs: list[Any] = [[number, SOURCE] for number in range(MAX_SEGMENTS)]
    fields = {f"field {number}": number for number in range(4_000)}
    for crafted in (
        BUNDLE | {"segments": pairs} | fields,
        BUNDLE | {"segments": [[number, SOURCE] for number in range(4_000)]} | fields,
        BUNDLE | {"job": "j" * 900_000, "segments": pairs},
        BUNDLE | {"segments": [[number, "s" * 200] for number in range(4_000)]},
    ):
        body = json.dumps(crafted)
        began = time.process_time()
        json.loads(body)
        parsed = time.process_time() - began
        with pytest.raises(SegmentError) as raised:
            segments_of(body)
        assert len(str(raised.value)) < 500
        assert time.process_time() - began < 20 * parsed + 0.5


async def test_a_message_whose_body_is_large_is_a_segment():
    """A source may put its values in the message."""
    assert INLINE_RESULTS_BYTES < 10_000
    source = {"type": "items", "values": ["x" * 100] * 1_000}
    (segment,) = segments_of(json.dumps(VALID | {"source": source}))
    assert segment.source == source
