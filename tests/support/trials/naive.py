"""What is written by hand first: an atomic counter of segments that ended, and whoever brings it to N folds.

Each segment is a message. The function that handles it adds its result and a one to an item, in one atomic update that
returns the sums (DynamoDB's ``UpdateItem`` with ``ADD`` and ``ReturnValues=ALL_NEW``), and if the one made the count
N, it writes the output. Failures are reported one by one in a partial batch response, the scatter tries what the queue
refuses again, dead letters count as ended, and services are asked again three times, as their SDKs do. The count goes
through N once, so that the output is written once: if no message is delivered twice, no update is done twice, and
nobody dies between the update and the output.
"""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import anyio

from fanfold._ports.queue import Message
from fanfold._replay.mapping import Errored
from fanfold.errors import ServiceError
from trials.cloud import Cloud, Mapped
from trials.faults import troubled
from trials.inputs import BUCKET, KEY, LINE_BYTES, Input

T = TypeVar("T")

OUTPUT: Final = "output.json"
ATTEMPTS: Final = 3
WEEK_SECONDS: Final = 7 * 86_400.0
RIGHT, WRONG, EARLY, TWICE, NEVER = "right", "wrong sum", "early", "twice", "never"


class Sums:
    """An item of numbers, to which is added atomically."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    async def add(self, numbers: Mapping[str, int]) -> Mapping[str, int]:
        """Add to the numbers; return them all as they are then."""
        self._numbers.update(numbers)
        return dict(self._numbers)


@dataclass(slots=True)
class Naive:
    """The functions, and what they share."""

    cloud: Cloud
    given: Input
    sums: Any
    """Where results are added up."""
    ended: set[int] = field(default_factory=set)
    """Segments that have ended, as an onlooker knows them; the functions do not."""
    early: bool = False
    """Whether an output was begun while segments had not ended."""

    async def scatter(self) -> None:
        """Send a message for each segment."""
        messages = [Message(json.dumps({"segment": number})) for number in range(self.given.segments)]
        for first in range(0, len(messages), 10):
            waiting = messages[first : first + 10]
            for _ in range(ATTEMPTS):
                refused = await asked(partial(self.cloud.backend.work_queue.send, waiting))
                waiting = [waiting[failure.position] for failure in refused]
                if not waiting:
                    break
            else:
                raise RuntimeError("the queue does not take the messages")

    async def work(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Handle a batch of segments."""
        return await self._each(event, self._segment)

    async def send_dead_letters(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Handle a batch of dead letters: they have ended, too."""
        return await self._each(event, self._dead)

    async def _each(self, event: Mapping[str, Any], handle: Callable[[int], Awaitable[None]]) -> dict[str, Any]:
        failures = []
        for record in event["Records"]:
            try:
                await handle(json.loads(record["body"])["segment"])
            except Exception:  # noqa: BLE001 - as one writes it
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    async def _segment(self, number: int) -> None:
        size = self.given.lines * LINE_BYTES
        data = await asked(lambda: self._read(number * size, (number + 1) * size))
        if number in self.given.broken:
            raise ValueError("broken")
        rows = [json.loads(line) for line in data.splitlines()]
        self.ended.add(number)
        await self._count({"total": sum(rows), "rows": len(rows), "ended": 1})

    async def _dead(self, number: int) -> None:
        self.ended.add(number)
        await self._count({"ended": 1})

    async def _count(self, numbers: Mapping[str, int]) -> None:
        sums = await asked(lambda: self.sums.add(numbers))
        if sums["ended"] == self.given.segments:
            self.early = self.early or len(self.ended) < self.given.segments
            output = json.dumps({"total": sums["total"], "rows": sums["rows"]}).encode()
            await asked(lambda: self.cloud.backend.put_result(OUTPUT, output))

    async def _read(self, start: int, stop: int) -> bytes:
        pieces = self.cloud.backend.store.read(BUCKET, KEY, start=start, stop=min(stop, len(self.given.data)))
        return b"".join([piece async for piece in pieces])


async def asked(call: Callable[[], Awaitable[T]]) -> T:
    """Ask a service, three times if need be, as its SDK does."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return await call()
        except ServiceError:
            await anyio.sleep(0.1 * 2**attempt)
    return await call()


async def naive_trial(cloud: Cloud, seed: int) -> str:
    """Run the same work, with the input of a seed; return how it came out.

    Returns:
        ``never``: no output after a week; ``twice``: more than one; ``early``: one, begun before all segments had
        ended; ``wrong sum``: one, in time, that is not the plain computation's; ``right``.
    """
    given = Input.drawn(seed)
    naive = Naive(cloud, given, troubled(Sums(), cloud.chance))
    cloud.plain.store.fill(BUCKET, {KEY: given.data})  # type: ignore[attr-defined] # it is one in memory

    async def is_over() -> bool:
        return not (len(cloud.work) or len(cloud.dead))

    async with cloud.mapping(Mapped(cloud.work, naive.work, 4), Mapped(cloud.dead, naive.send_dead_letters, 2)):
        while isinstance(await cloud.invoke(naive.scatter), Errored):
            pass
        await cloud.until(is_over, within_seconds=WEEK_SECONDS)
    outputs = [data for _, key, data in cloud.store.written if key == OUTPUT]
    if not outputs:
        return NEVER
    if len(outputs) > 1:
        return TWICE
    if naive.early:
        return EARLY
    return RIGHT if json.loads(outputs[0]) == given.answer(without=given.broken) else WRONG
