"""Settlers that record their calls."""

from collections.abc import Sequence
from typing import Any, Self

from fanfold import Backoff, Record
from fanfold._ports.queue import Refusal

STEADY = Backoff(base=10, factor=2, cap=60, jitter=0)
DEAD = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"


class RecordingSettler:
    """A settler that records calls, refuses given messages and long delays, and can fail its first calls."""

    def __init__(
        self, *refused: str, longest: float = float("inf"), fails: Exception | None = None, failures: int = 1
    ) -> None:
        self.visibility_changes: list[list[tuple[str, int]]] = []
        self.dead_letters: list[list[tuple[str, str]]] = []
        self.refused = set(refused)
        self.longest = longest
        self.fails = fails
        self.failures = failures

    async def __call__(self) -> Self:
        return self

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        self.visibility_changes.append([(record.message_id, seconds) for record, seconds in changes])
        self.fail(self.visibility_changes)
        return [
            Refusal(position, "too long", final=True)
            for position, (record, seconds) in enumerate(changes)
            if record.message_id in self.refused or seconds > self.longest
        ]

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        self.dead_letters.append([(record.message_id, reason) for record, reason in rejects])
        self.fail(self.dead_letters)
        return [
            Refusal(position, "AccessDenied", final=True)
            for position, (record, _) in enumerate(rejects)
            if record.message_id in self.refused
        ]

    def fail(self, calls: list[Any]) -> None:
        if self.fails and len(calls) <= self.failures:
            raise self.fails


class Accepting:
    """A settler that accepts dead letters of the given messages only, and records visibility changes."""

    def __init__(self, *accepted: str) -> None:
        self.accepted = set(accepted)
        self.visibility_changes: dict[str, int] = {}
        self.requested: list[str] = []

    async def __call__(self) -> Self:
        return self

    async def change_visibility(self, changes: Sequence[tuple[Record, int]]) -> Sequence[Refusal]:
        self.visibility_changes |= {record.message_id: seconds for record, seconds in changes}
        return []

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        self.requested += [record.message_id for record, _ in rejects]
        return [
            Refusal(position, "no", final=True)
            for position, (record, _) in enumerate(rejects)
            if record.message_id not in self.accepted
        ]


class AcceptingAll(Accepting):
    """A settler that accepts every call."""

    async def send_dead_letters(self, rejects: Sequence[tuple[Record, str]]) -> Sequence[Refusal]:
        return []


async def accepting() -> AcceptingAll:
    return AcceptingAll()
