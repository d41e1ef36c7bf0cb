"""A consumer in the simulator: every message ends where its handler sends it."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from fanfold import Backoff, Record, Reject, Retry
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_record
from worlds import settings_of

ENDINGS = ["return", "raise", "retry", "retry at once", "reject"]


@given(
    st.lists(st.lists(st.sampled_from(ENDINGS), min_size=5, max_size=5), max_size=12),
    settings_of(fifo=False, max_receive_count=5),
)
@settings(deadline=None, max_examples=40)
def test_a_consumer_ends_every_message_where_its_handler_sends_it(endings: list[list[str]], chosen: dict[str, Any]):
    """Done once at least and gone, or a dead letter; of a chain of endings the first return or reject is the last."""

    @fanfold.consumer(backoff=Backoff(base=3, jitter=0))
    async def handler(record: Record) -> None:
        match endings[int(record.body)][record.receive_count - 1]:
            case "raise":
                raise ValueError
            case "retry":
                raise Retry(after=7)
            case "retry at once":
                raise Retry(after=0)
            case "reject":
                raise Reject("never")

    quiet = {"throttled": 0.0, "duplicates": 0.0, "maximum_concurrency": 1, "invocation_seconds": 0.0}
    simulator = Simulator(handler, **{**chosen, **quiet, "visibility_timeout": 1_800.0})
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
    """End the event loop that the simulator's copy of a consumer has started, if it can be ended."""
    close = getattr(simulator, "close", None)
    if close is not None:
        close()
