"""The obvious hand-written solution: an atomic counter of ended segments; the function that reaches N folds.

Each segment is a message. The function that handles it adds its result and 1 to an item in one atomic update, which
returns the sums (DynamoDB's ``UpdateItem`` with ``ADD`` and ``ReturnValues=ALL_NEW``). If the count is N then, the
function writes the output. Failures are reported in a partial batch response, the scatter retries refused messages,
dead letters count as ended, and calls have three attempts, as in SDKs. The count reaches N once, so the output is
written once: provided that no message is delivered twice, no update is repeated, and no function dies between the
update and the output.
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
from trials.faults import with_faults
from trials.inputs import BUCKET, KEY, LINE_BYTES, Input

T = TypeVar("T")

OUTPUT: Final = "output.json"
ATTEMPTS: Final = 3
WEEK_SECONDS: Final = 7 * 86_400.0
RIGHT, WRONG, EARLY, TWICE, NEVER = "right", "wrong sum", "early", "twice", "never"


class Sums:
    """An item of numbers with atomic additions."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    async def add(self, numbers: Mapping[str, int]) -> Mapping[str, int]:
        """Add to the numbers; return all new values."""
        self._numbers.update(numbers)
        return dict(self._numbers)


@dataclass(slots=True)
class Naive:
    """The functions and their shared state."""

    cloud: Cloud
    case: Input
    sums: Any
    """The item with the sums."""
    ended: set[int] = field(default_factory=set)
    """Segments that have ended, for the verdict only; the functions do not read it."""
    early: bool = False
    """True if a function started to write the output before all segments had ended."""

    async def scatter(self) -> None:
        """Send a message for each segment."""
        messages = [Message(json.dumps({"segment": number})) for number in range(self.case.segments)]
        for first in range(0, len(messages), 10):
            waiting = messages[first : first + 10]
            for _ in range(ATTEMPTS):
                refused = await with_attempts(partial(self.cloud.backend.work_queue.send, waiting))
                waiting = [waiting[failure.position] for failure in refused]
                if not waiting:
                    break
            else:
                raise RuntimeError("the queue refuses the messages")

    async def work(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Handle a batch of segments."""
        return await self._handle_batch(event, self._segment)

    async def send_dead_letters(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Handle a batch of dead letters, which count as ended."""
        return await self._handle_batch(event, self._dead)

    async def _handle_batch(self, event: Mapping[str, Any], handle: Callable[[int], Awaitable[None]]) -> dict[str, Any]:
        failures = []
        for record in event["Records"]:
            try:
                await handle(json.loads(record["body"])["segment"])
            except Exception:  # noqa: BLE001 - typical of such code
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    async def _segment(self, number: int) -> None:
        size = self.case.lines * LINE_BYTES
        data = await with_attempts(lambda: self._read(number * size, (number + 1) * size))
        if number in self.case.broken:
            raise ValueError("broken")
        rows = [json.loads(line) for line in data.splitlines()]
        self.ended.add(number)
        await self._count({"total": sum(rows), "rows": len(rows), "ended": 1})

    async def _dead(self, number: int) -> None:
        self.ended.add(number)
        await self._count({"ended": 1})

    async def _count(self, numbers: Mapping[str, int]) -> None:
        sums = await with_attempts(lambda: self.sums.add(numbers))
        if sums["ended"] == self.case.segments:
            self.early = self.early or len(self.ended) < self.case.segments
            output = json.dumps({"total": sums["total"], "rows": sums["rows"]}).encode()
            await with_attempts(lambda: self.cloud.backend.put_result(OUTPUT, output))

    async def _read(self, start: int, stop: int) -> bytes:
        chunks = self.cloud.backend.store.read(BUCKET, KEY, start=start, stop=min(stop, len(self.case.data)))
        return b"".join([chunk async for chunk in chunks])


async def with_attempts(call: Callable[[], Awaitable[T]]) -> T:
    """Call a service with up to three attempts, as its SDK does."""
    for attempt in range(ATTEMPTS - 1):
        try:
            return await call()
        except ServiceError:
            await anyio.sleep(0.1 * 2**attempt)
    return await call()


async def naive_trial(cloud: Cloud, seed: int) -> str:
    """Run the same work, with the input of a seed; return the verdict.

    Returns:
        ``never``: no output after a week; ``twice``: more than one; ``early``: one, begun before all segments had
        ended; ``wrong sum``: one, in time, with a wrong result; ``right``.
    """
    case = Input.from_seed(seed)
    naive = Naive(cloud, case, with_faults(Sums(), cloud.chance))
    cloud.plain.store.fill(BUCKET, {KEY: case.data})  # type: ignore[attr-defined] # an in-memory store

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
    return RIGHT if json.loads(outputs[0]) == case.expected(without=case.broken) else WRONG
