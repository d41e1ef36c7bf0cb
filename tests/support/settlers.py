"""Settlers that take down what they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from fanfold import Backoff, Record
from fanfold._ports.queue import Refusal

STEADY = Backoff(base=10, factor=2, cap=60, jitter=0)
DEAD = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"


class Accepting:
    """A settler that buries the messages named and no others; what it hides is noted."""

    def __init__(self, *accepted: str) -> None:
        self.accepted = set(accepted)
        self.hidden: dict[str, int] = {}
        self.asked: list[str] = []

    async def __call__(self) -> Accepting:
        return self

    async def hide(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        self.hidden |= {record.message_id: seconds for record, seconds in changes}
        return []

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        self.asked += [record.message_id for record, _ in rejects]
        return [
            Refusal(at, "no", final=False)
            for at, (record, _) in enumerate(rejects)
            if record.message_id not in self.accepted
        ]


class AcceptingAll(Accepting):
    """A settler for which every hand-back goes well."""

    async def bury(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        return []


async def accepting() -> AcceptingAll:
    return AcceptingAll()
