"""What a simulated trial works on, and the plain computation that its answer is compared with."""

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, Self

BUCKET, KEY = "source", "numbers.jsonl"
LINE_BYTES: Final = 7
"""Six digits, and the end of the line."""


@dataclass(frozen=True, slots=True)
class Input:
    """An object of numbers, one a line, cut into segments of as many lines; some segments are broken."""

    numbers: list[int]
    """The numbers."""
    lines: int
    """Lines of a segment."""
    broken: dict[int, str] = field(default_factory=dict)
    """Segments whose handler cannot succeed until they are mended: it ``raises``, or ``rejects``."""

    @classmethod
    def drawn(cls, seed: int) -> Self:
        """Return the input of a trial: 5 to 40 segments, up to three of them broken."""
        chance = random.Random(seed)
        segments, lines = chance.randint(5, 40), chance.randint(1, 6)
        numbers = [chance.randint(100_000, 999_999) for _ in range((segments - 1) * lines + chance.randint(1, lines))]
        broken = chance.sample(range(segments), chance.choice([0, 0, 1, 3]))
        return cls(numbers, lines, {number: chance.choice(["raises", "rejects"]) for number in sorted(broken)})

    @property
    def segments(self) -> int:
        """How many segments there are."""
        return -(-len(self.numbers) // self.lines)

    @property
    def data(self) -> bytes:
        """The object."""
        return b"".join(b"%d\n" % number for number in self.numbers)

    def answer(self, without: Collection[int] = ()) -> dict[str, Any]:
        """Compute plainly what the run is to compute, without some segments."""
        parts = [
            self.numbers[first : first + self.lines]
            for number, first in enumerate(range(0, len(self.numbers), self.lines))
            if number not in without
        ]
        return {"total": sum(map(sum, parts)), "rows": sum(map(len, parts))}
