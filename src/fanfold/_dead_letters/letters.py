"""The messages of a dead-letter queue: why each failed, and which of them are sent back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fanfold._base.dead_letter import original_id_in, queue_in, reason_in
from fanfold._base.message_shape import shape_of
from fanfold._base.record import Record

NO_REASON: Final = "moved by the redrive policy, without a reason"
"""Shown for messages that SQS has moved itself."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of a dead-letter queue, without its content."""

    id: str
    """Its message id."""
    original_id: str
    """The message id that it had in its source queue."""
    reason: str
    """Why it is in the queue."""
    source: str | None
    """ARN of its source queue; None if the message does not name it."""
    group: str | None
    """Its message group; None on a standard queue."""


def letter_of(record: Record) -> Letter:
    """Return what a message of a dead-letter queue states about itself."""
    group = record.attributes.get("MessageGroupId") if record.queue_arn.endswith(".fifo") else None
    return Letter(
        id=record.message_id,
        original_id=original_id_in(record) or record.message_id,
        reason=reason_in(record) or NO_REASON,
        source=queue_in(record),
        group=group,
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """Which messages are sent back."""

    where: str | None = None
    """A part of their reason; None for any reason."""
    only: frozenset[str] = frozenset()
    """Their message ids, in this queue or in the source queue; empty for all."""
    sources: frozenset[str | None] | None = None
    """The source queues that they name; None for any."""

    def chooses(self, letter: Letter) -> bool:
        """Return whether a message is sent back."""
        if self.sources is not None and letter.source not in self.sources:
            return False
        if self.where is not None and self.where not in letter.reason:
            return False
        return not self.only or not self.only.isdisjoint({letter.id, letter.original_id})

    def missing(self, letters: Iterable[Letter]) -> list[str]:
        """Return the ids in ``only`` that are not among these messages."""
        return sorted(self.only - {name for letter in letters for name in (letter.id, letter.original_id)})


@dataclass(frozen=True, slots=True)
class ReasonGroup:
    """Messages with the same reason, except for numbers, and the same source queue."""

    reason: str
    """The reason of the first message."""
    source: str | None
    """ARN of their source queue; None if they do not name it."""
    count: int
    """Number of messages."""
    chosen: int
    """Number of messages that are sent back."""
    example: str
    """Id of the first message."""


def grouped(letters: Iterable[Letter], choice: Choice) -> Sequence[ReasonGroup]:
    """Return messages in groups by reason and source queue; largest group first."""
    groups: dict[tuple[str, str | None], list[Letter]] = {}
    for letter in letters:
        groups.setdefault((shape_of(letter.reason), letter.source), []).append(letter)
    return sorted(
        (
            ReasonGroup(first.reason, source, len(members), sum(map(choice.chooses, members)), first.id)
            for (_, source), members in groups.items()
            for first in members[:1]
        ),
        key=lambda group: -group.count,
    )
