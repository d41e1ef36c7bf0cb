"""Check that the response is in time if handlers do not end.

::

    python benchmarks/in_time.py [--trials 200] [--seconds 0.5] [--json FILE]

Each trial delivers a batch of ten records that succeed and a hundred that do not end to a new consumer, with half a
second until the timeout. While abandoned handlers are still running, it delivers a second batch in which one record
fails. The table counts responses before the deadline, records that were acknowledged but not done, records that were
reported as failed but done, and correct responses to second batches. If too many abandoned handlers are running, the
execution environment is replaced; then the second batch is redelivered as a whole, which is counted separately. Exit
code 1 if a response was late, or a record or a second batch wrong.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median
from typing import Annotated, Any, TypeAlias

from measure import Rows, isolated, main, table

Work: TypeAlias = Callable[[str], Any]
"""The handler of a hostile consumer. Its body is "fine", "wrong", or "hostile"."""

FINE, HOSTILE = 10, 100
"""Numbers of records in a batch that succeed, and that do not end."""


# --- Handlers that do not end until they are released.


def _is_hostile(body: str) -> bool:
    if body == "wrong":
        raise ValueError(body)
    return body == "hostile"


def sleeping(_release: threading.Event) -> Work:
    """Create a handler that sleeps past the deadline, and is cancelled."""

    async def handle(body: str) -> None:
        if _is_hostile(body):
            await asyncio.sleep(3600)

    return handle


def swallowing(release: threading.Event) -> Work:
    """Create a handler that ignores its cancellation."""

    async def handle(body: str) -> None:
        while _is_hostile(body) and not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    return handle


def sitting(release: threading.Event) -> Work:
    """Create a ``def`` handler that blocks its thread."""

    def handle(body: str) -> None:
        if _is_hostile(body):
            release.wait()

    return handle


def blocking(release: threading.Event) -> Work:
    """Create a handler that blocks the event loop."""

    async def handle(body: str) -> None:
        sitting(release)(body)

    return handle


KINDS: dict[str, Callable[[threading.Event], Work]] = {
    "sleep past the end": sleeping,
    "swallow their cancellation": swallowing,
    "sit in threads": sitting,
    "block the event loop": blocking,
}


# --- The trials of one kind, in a separate process.


def trial(kind: str, seconds: float) -> tuple[int, int, int, bool, bool]:
    """Deliver two batches to a new consumer.

    Returns:
        The milliseconds from the response to the deadline, 0 if it was late; the records acknowledged that were not
        done; the records reported that were done; whether the next response was correct; and whether the execution
        environment was replaced instead of processing the second batch.
    """
    import fanfold
    from fanfold import testing

    release = threading.Event()
    handler = fanfold.consumer(concurrency=FINE + HOSTILE)(KINDS[kind](release))
    context = testing.make_context(seconds)
    response = handler(testing.make_event(*["fine"] * FINE, *["hostile"] * HOSTILE), context)
    left = context.get_remaining_time_in_millis()
    try:
        after = handler(testing.make_event("fine", "wrong", "fine"), testing.make_context(30.0))
    except SystemExit:
        after = None
    release.set()
    handler.close()
    reported = {int(failure["itemIdentifier"].removeprefix("message-")) for failure in response["batchItemFailures"]}
    hostile = set(range(FINE, FINE + HOSTILE))
    right = {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    return left, len(hostile - reported), len(reported - hostile), after == right, after is None


@isolated
def row(kind: str, trials: int, seconds: float) -> dict[str, Any]:
    """Run the trials of one kind, and return their row of the table."""
    left, lost, repeated, right, given_up = zip(*(trial(kind, seconds) for _ in range(trials)), strict=True)
    return {
        "handlers": kind,
        "trials": trials,
        "in time": sum(milliseconds > 0 for milliseconds in left),
        "ms left, least": min(left),
        "ms left, median": float(median(left)),
        "records lost": sum(lost),
        "records repeated": sum(repeated),
        "next batch right": sum(right),
        "given up": sum(given_up),
    }


def in_time_and_right(rows: Rows) -> bool:
    """Return whether every response was in time and correct."""
    return all(
        row["in time"] == row["next batch right"] + row["given up"] == row["trials"] and not row["records lost"]
        for row in rows
    )


@table(holds=in_time_and_right)
def in_time(
    *,
    trials: Annotated[int, "batches of each kind"] = 200,
    seconds: Annotated[float, "seconds until the timeout"] = 0.5,
) -> Rows:
    """Count the responses before the deadline if handlers do not end."""
    # All kinds run concurrently: they mostly wait, and a busy machine makes the test harder.
    with ThreadPoolExecutor(len(KINDS)) as pool:
        return list(pool.map(lambda kind: row(kind, trials, seconds), KINDS))


if __name__ == "__main__":
    main(in_time)
