"""Settle the records of a batch with outcomes that a test chooses."""

from fanfold import Backoff, Record
from fanfold._base.outcome import Outcome
from fanfold._consumer.settle import Settling
from fanfold.testing import make_record


def record(message_id: str = "m", receive_count: int = 1) -> Record:
    return Record(make_record("body", message_id=message_id, receive_count=receive_count))


def settling(settler, *, backoff: Backoff | None = None, dead_letters: bool = True) -> Settling:
    return Settling(settler, backoff=backoff, dead_letters=dead_letters, retry_seconds=(0, 0, None))


async def settled(settler, *ended: tuple[Record, Outcome], seconds: float = 10, **settings) -> Settling:
    """Settle a batch with these outcomes, in order."""
    batch = settling(settler, **settings)
    for position, (ended_record, outcome) in enumerate(ended):
        batch.add(position, ended_record, outcome)
    await batch.finish(seconds)
    return batch
