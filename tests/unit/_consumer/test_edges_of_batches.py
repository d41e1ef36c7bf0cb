"""Rare states of a batch: no breaker in the process, nothing to settle, and limits that change at a timeout."""

import asyncio
import sys
import threading
from typing import Any

import pytest

import fanfold
from adaptive import ScriptedLimit, run
from fanfold import Done, Failed, Record
from fanfold._base.deadline import Deadline
from fanfold._base.record import records_from_event
from fanfold._consumer.outcomes import BatchOutcomes
from fanfold.testing import make_context, make_event
from settlers import RecordingSettler


@pytest.mark.parametrize("kind", ["async def", "def"])
def test_a_process_without_breakers_asks_for_none(kind: str, monkeypatch: pytest.MonkeyPatch):
    """It does not even import them."""
    monkeypatch.delitem(sys.modules, "fanfold._breakers.breaker", raising=False)

    async def handler(body: Any) -> None: ...

    consumer = fanfold.consumer(handler if kind == "async def" else lambda body: None)
    assert [type(outcome) for outcome in consumer.invoke(make_event(1), make_context(20)).outcomes] == [Done]
    assert "fanfold._breakers.breaker" not in sys.modules
    consumer.close()


async def test_nothing_is_settled_after_the_response():
    """Another consumer may have the messages."""
    settler = RecordingSettler()
    records = records_from_event(make_event(1))
    outcomes = BatchOutcomes(
        records,
        deadline=Deadline.never(),
        open_settler=settler,
        backoff=None,
        dead_letters=False,
        reject_on=lambda error: False,
        keep_details=True,
        on_interrupt=lambda: None,
    )
    outcomes.close()
    outcomes.settle().change_visibility(records[0], 30)
    await outcomes.settle().finish(None)
    assert settler.visibility_changes == []


def test_more_threads_start_if_a_timeout_raises_the_limit():
    """The thread of the record that timed out keeps its slot."""
    release = threading.Event()

    def handler(record: Record) -> None:
        if record.message_id == "message-0":
            release.wait(20)

    async def unused(record: Record) -> None: ...

    limit = ScriptedLimit(1, *[4] * 10)
    events = make_event(*range(4))
    result = asyncio.run(run(events, limit, unused, on_thread=handler, timeout=0.2))
    release.set()
    assert [type(outcome) for outcome in result.outcomes] == [Failed, Done, Done, Done]
