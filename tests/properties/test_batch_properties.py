"""Properties of every batch, for any behavior of its handlers."""

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from batches import ids
from endings import end_as
from fanfold import Done
from fanfold.testing import make_context, make_event, make_record

ENDINGS = ["return", "raise", "retry", "reject", "cancel", "exit", "swallow", "self-cancel", "hang", "bad body"]


@dataclass(frozen=True)
class Case:
    ending: str
    steps: int
    message_id: str


cases = st.builds(
    Case,
    ending=st.sampled_from(ENDINGS),
    steps=st.integers(0, 3),
    message_id=st.integers(0, 40).map(lambda number: f"m{number}"),
)


class Handlers:
    """Ends each record as its case specifies, and counts concurrent calls."""

    def __init__(self, batch: list[Case]) -> None:
        self.batch = batch
        self.calls: list[int] = []
        self.running = 0
        self.peak = 0

    async def __call__(self, number) -> int:
        self.calls.append(number)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            return await self.end(self.batch[number])
        finally:
            self.running -= 1

    async def end(self, case: Case) -> int:
        for _ in range(case.steps):
            await asyncio.sleep(0)
        await end_as(case.ending)
        return case.steps


def event_of(batch: list[Case]) -> dict:
    bodies = ["{" if case.ending == "bad body" else str(number) for number, case in enumerate(batch)]
    pairs = zip(bodies, batch, strict=True)
    return make_event(records=[make_record(body, message_id=case.message_id) for body, case in pairs])


@given(st.lists(cases, max_size=200), st.integers(1, 50), st.sets(st.integers(0, 200)) | st.none())
@settings(deadline=None, max_examples=60)
def test_a_record_is_acknowledged_only_if_it_is_known_to_have_succeeded(batch, concurrency, committed):
    """Each record has one outcome; the response has only ids of the event, once, in order; concurrency is bounded."""
    hangs = any(case.ending in {"hang", "swallow"} for case in batch)
    handlers = Handlers(batch)

    async def commit(done, shared):
        return {position for position, (record, _) in enumerate(done) if int(record.body) in committed}

    handler = fanfold.consumer(concurrency=concurrency, commit=None if committed is None else commit)(handlers)
    context = make_context(0.3 if hangs else 60)
    result = asyncio.run(handler.process(event_of(batch), context))

    assert len(result.outcomes) == len(batch)
    assert len(handlers.calls) == len(set(handlers.calls))
    assert handlers.peak <= concurrency
    for number, (case, outcome) in enumerate(zip(batch, result.outcomes, strict=True)):
        if isinstance(outcome, Done):
            assert case.ending == "return"
            assert number in handlers.calls
            assert committed is None or number in committed
    pairs = zip(batch, result.outcomes, strict=True)
    not_done = [case.message_id for case, outcome in pairs if not isinstance(outcome, Done)]
    assert ids(result) == list(dict.fromkeys(not_done))
    if not hangs and committed is None:
        assert sum(isinstance(outcome, Done) for outcome in result.outcomes) == sum(
            case.ending == "return" for case in batch
        )


@given(st.integers(0, 40), st.integers(1, 8), st.integers(0, 60))
@settings(deadline=None, max_examples=60)
def test_a_batch_cancelled_at_any_await_leaves_no_handler_running(size, concurrency, steps):
    """The cancellation is raised only after all handlers have ended."""
    handlers = Handlers([Case("return", 3, f"m{number}") for number in range(size)])
    handler = fanfold.consumer(concurrency=concurrency)(handlers)

    async def main() -> None:
        task = asyncio.ensure_future(handler.process(make_event(*range(size)), make_context(60)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert handlers.running == 0
