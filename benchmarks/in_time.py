"""Whether the answer is there before the end, whatever the handlers do.

::

    python benchmarks/in_time.py [--trials 200] [--seconds 0.5] [--json FILE]

Each trial gives a batch of ten records that succeed and a hundred that do not end to a fresh consumer, with half a
second to answer, and then, with what is abandoned still running, a second batch of which one record fails. Counted
are answers before the deadline, records reported as done that were not, records reported though they were done, and
right answers to second batches. An execution environment that is given up for a fresh one, because too much that was
abandoned still runs in it, is counted apart: its second batch comes back whole. Exit code 1 if an answer was late, or a
record or a second batch wrong.
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
"""What a hostile consumer calls with a body: "fine", "wrong", or "hostile"."""

FINE, HOSTILE = 10, 100
"""Records of a batch that succeed, and that do not end."""


# --- Handlers that do not end until they are released.


def _is_hostile(body: str) -> bool:
    if body == "wrong":
        raise ValueError(body)
    return body == "hostile"


def sleeping(_release: threading.Event) -> Work:
    """Make a handler that sleeps past the end, and is cancelled."""

    async def handle(body: str) -> None:
        if _is_hostile(body):
            await asyncio.sleep(3600)

    return handle


def swallowing(release: threading.Event) -> Work:
    """Make a handler that goes on when it is cancelled."""

    async def handle(body: str) -> None:
        while _is_hostile(body) and not release.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    return handle


def sitting(release: threading.Event) -> Work:
    """Make a plain handler that sits in its thread."""

    def handle(body: str) -> None:
        if _is_hostile(body):
            release.wait()

    return handle


def blocking(release: threading.Event) -> Work:
    """Make a handler that blocks the event loop."""

    async def handle(body: str) -> None:
        sitting(release)(body)

    return handle


KINDS: dict[str, Callable[[threading.Event], Work]] = {
    "sleep past the end": sleeping,
    "swallow their cancellation": swallowing,
    "sit in threads": sitting,
    "block the event loop": blocking,
}


# --- The trials of one kind, in a process of its own.


def trial(kind: str, seconds: float) -> tuple[int, int, int, bool, bool]:
    """Deliver two batches to a fresh consumer.

    Returns:
        The milliseconds until the deadline when the answer was there, 0 for late; the records reported as done that
        were not; those reported as not done that were; whether the next answer was right; and whether the execution
        environment was given up for a fresh one instead of taking the second batch.
    """
    import fanfold
    from fanfold import testing

    release = threading.Event()
    handler = fanfold.consumer(concurrency=FINE + HOSTILE)(KINDS[kind](release))
    context = testing.make_context(seconds)
    answer = handler(testing.make_event(*["fine"] * FINE, *["hostile"] * HOSTILE), context)
    left = context.get_remaining_time_in_millis()
    try:
        after = handler(testing.make_event("fine", "wrong", "fine"), testing.make_context(30.0))
    except SystemExit:
        after = None
    release.set()
    handler.close()
    reported = {int(failure["itemIdentifier"].removeprefix("message-")) for failure in answer["batchItemFailures"]}
    hostile = set(range(FINE, FINE + HOSTILE))
    right = {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    return left, len(hostile - reported), len(reported - hostile), after == right, after is None


@isolated
def row(kind: str, trials: int, seconds: float) -> dict[str, Any]:
    """Run the trials of one kind, and return its line of the table."""
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
    """Return whether every answer was in time and right."""
    return all(
        each["in time"] == each["next batch right"] + each["given up"] == each["trials"] and not each["records lost"]
        for each in rows
    )


@table(holds=in_time_and_right)
def in_time(
    *,
    trials: Annotated[int, "batches of each kind"] = 200,
    seconds: Annotated[float, "time that an invocation has"] = 0.5,
) -> Rows:
    """Count the answers before the deadline under handlers that do not end."""
    # All kinds at once: they wait most of the time, and a busy machine makes it no easier.
    with ThreadPoolExecutor(len(KINDS)) as pool:
        return list(pool.map(lambda kind: row(kind, trials, seconds), KINDS))


if __name__ == "__main__":
    main(in_time)
