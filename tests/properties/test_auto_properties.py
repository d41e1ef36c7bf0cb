"""Under a limit that adjusts itself, every record ends once, whatever the handlers do, and no promise is broken."""

import asyncio
import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import fanfold
from fanfold import Auto, Done, Failed, Reject, Rejected, Retry, Retrying
from fanfold._consumer.auto_limit import AutoLimit
from fanfold.testing import ManualClock, make_context, make_event, make_fifo_record, make_record
from settlers import AcceptingAll

ENDINGS = ["return", "wait", "raise", "overload", "overload for a moment", "retry", "reject", "hang", "cancel"]
KINDS: dict[str, tuple[type, ...]] = {
    "return": (Done,),
    "wait": (Done, Failed),  # on a busy machine, it may time out
    "raise": (Failed,),
    "overload": (Failed,),
    "overload for a moment": (Failed,),
    "retry": (Retrying,),
    "reject": (Rejected,),
    "hang": (Failed,),
    "cancel": (Failed,),
}


class TooManyRequestsError(Exception):
    """An error of overload."""

    status = 429

    def __init__(self, retry_after: str | None) -> None:
        super().__init__("too many requests")
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}


def act(ending: str) -> None:
    """Raise what an ending raises."""
    match ending:
        case "raise":
            raise ValueError
        case "overload":
            raise TooManyRequestsError(None)
        case "overload for a moment":
            raise TooManyRequestsError("0.002")
        case "retry":
            raise Retry(after=1)
        case "reject":
            raise Reject("never")


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=40),
    st.sampled_from(["async", "def", "fifo"]),
    st.fixed_dictionaries(
        {},
        optional={
            "fair": st.sampled_from([True]),
            "tenant_concurrency": st.integers(1, 3),
            "starts_per_second": st.just(10_000.0),
        },
    ),
    st.integers(1, 4),
)
def test_every_record_ends_as_its_handler_decides(endings: list[str], kind: str, options: dict[str, Any], minimum: int):
    """Two batches in a row, so that what the first one leaves does not stop the second one."""

    async def handler(number: int) -> None:
        ending = endings[number]
        if ending == "wait":
            await asyncio.sleep(0.001)
        elif ending == "hang":
            await asyncio.sleep(60)
        elif ending == "cancel":
            raise asyncio.CancelledError
        act(ending)

    def on_thread(number: int) -> None:
        if endings[number] == "wait":
            threading.Event().wait(0.001)
        if endings[number] in {"hang", "cancel"}:
            raise TimeoutError
        act(endings[number])

    auto = Auto(minimum=minimum, maximum=8)
    settler = AcceptingAll()
    consumer = fanfold.consumer(concurrency=auto, timeout=0.02, settler=settler, dead_letter_queue_url="x", **options)(
        on_thread if kind == "def" else handler
    )
    numbers = range(len(endings))
    records = [
        make_fifo_record(number, group=str(number), message_id=f"m{number}")
        if kind == "fifo"
        else make_record(number, message_id=f"m{number}", attributes={"MessageGroupId": str(number % 3)})
        for number in numbers
    ]
    for _ in range(2):
        result = consumer.invoke(make_event(records=records), make_context(30))
        for ending, outcome in zip(endings, result.outcomes, strict=True):
            is_late = isinstance(outcome, Failed) and isinstance(outcome.error, TimeoutError)  # on a busy machine
            assert is_late or isinstance(outcome, KINDS[ending]), (ending, outcome)
    consumer.close()


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["end", "end", "end", "error", "overload", "pause", "start", "batch"]),
        st.floats(0.0001, 3.0),
        st.floats(0, 90),
    ),
    max_size=120,
)


@settings(max_examples=200)
@given(EVENTS, st.integers(1, 20), st.integers(0, 50))
def test_the_limit_stays_within_its_bounds_and_never_stops_for_good(
    events: list[tuple[str, float, float]], minimum: int, more: int
):
    """If nothing is in flight, a record may start after the time that the service has stated, and not before."""
    clock = ManualClock()
    limit = AutoLimit(Auto(minimum=minimum, maximum=minimum + more), clock=clock, wall=lambda: 1e9 + clock())
    allowed_at = 0.0
    for what, latency, seconds in events:
        clock.advance(seconds if what == "batch" else seconds / 100)
        now = clock()
        if what == "batch":
            limit.batch_starts()
        elif what == "start":
            if not limit.wait(now, limit.workers):
                assert now >= allowed_at - 1e-6
                limit.started(now, limit.workers)
        else:
            error = {"pause": TooManyRequestsError(str(seconds)), "overload": TooManyRequestsError(None)}.get(what)
            value = ValueError() if what == "error" else error
            limit.ended(now - latency, now, value, limit.workers)
            allowed_at = max(allowed_at, now + seconds) if what == "pause" else allowed_at
        assert minimum <= limit.workers <= minimum + more
    for _ in range(10_000):
        if not (wait := limit.wait(clock(), 0)):
            break
        clock.advance(wait)
    assert limit.wait(clock(), 0) == 0
    assert clock() >= allowed_at - 1e-6
