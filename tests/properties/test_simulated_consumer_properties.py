"""A consumer in the simulator: every message ends as its handler decides."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from fanfold import Backoff, Record, Reject, Retry
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_record
from worlds import settings_of

ENDINGS = ["return", "raise", "retry", "retry immediately", "reject"]


@given(
    st.lists(st.lists(st.sampled_from(ENDINGS), min_size=5, max_size=5), max_size=12),
    settings_of(fifo=False, max_receive_count=5),
)
@settings(deadline=None, max_examples=40)
def test_every_message_ends_as_its_handler_decides(endings: list[list[str]], options: dict[str, Any]):
    """A message is deleted after its first return, dead-lettered after its first reject, or exhausts its receives."""

    @fanfold.consumer(backoff=Backoff(base=3, jitter=0))
    async def handler(record: Record) -> None:
        match endings[int(record.body)][record.receive_count - 1]:
            case "raise":
                raise ValueError
            case "retry":
                raise Retry(after=7)
            case "retry immediately":
                raise Retry(after=0)
            case "reject":
                raise Reject("never")

    quiet = {"throttled": 0.0, "duplicates": 0.0, "maximum_concurrency": 1, "invocation_seconds": 0.0}
    simulator = Simulator(handler, **{**options, **quiet, "visibility_timeout": 1_800.0})
    simulator.send(records=[make_record(number, message_id=f"m{number}") for number in range(len(endings))])
    deliveries = simulator.run()
    simulator_close(simulator)

    rejected = {record.message_id for record in simulator.dead_letters if "fanfold" in record.message_attributes}
    exhausted = {record.message_id for record in simulator.dead_letters} - rejected
    received = Counter(message.message_id for delivery in deliveries for message in delivery.messages)
    for number, chain in enumerate(endings):
        last = next((step for step, ending in enumerate(chain) if ending in {"return", "reject"}), None)
        assert received[f"m{number}"] == (5 if last is None else last + 1)
        assert (f"m{number}" in exhausted) == (last is None)
        assert (f"m{number}" in rejected) == (last is not None and chain[last] == "reject")
    assert len(simulator.queue) == 0


def simulator_close(simulator: Simulator) -> None:
    """Close the event loop of the simulator's copy of a consumer, if the simulator supports it."""
    close = getattr(simulator, "close", None)
    if close is not None:
        close()
