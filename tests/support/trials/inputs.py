"""The input of a simulated trial, and its expected result."""

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, Self

BUCKET, KEY = "source", "numbers.jsonl"
LINE_BYTES: Final = 7
"""Six digits and a newline."""


@dataclass(frozen=True, slots=True)
class Input:
    """An object with one number per line, cut into segments of equal size; some segments are broken."""

    numbers: list[int]
    """The numbers in the object."""
    lines: int
    """Lines per segment."""
    broken: dict[int, str] = field(default_factory=dict)
    """Segments whose handler ``raises`` or ``rejects`` until they are fixed."""

    @classmethod
    def from_seed(cls, seed: int) -> Self:
        """Return the input of a trial: 5 to 40 segments, up to three of them broken."""
        rng = random.Random(seed)
        segments, lines = rng.randint(5, 40), rng.randint(1, 6)
        numbers = [rng.randint(100_000, 999_999) for _ in range((segments - 1) * lines + rng.randint(1, lines))]
        broken = rng.sample(range(segments), rng.choice([0, 0, 1, 3]))
        return cls(numbers, lines, {number: rng.choice(["raises", "rejects"]) for number in sorted(broken)})

    @property
    def segments(self) -> int:
        """The number of segments."""
        return -(-len(self.numbers) // self.lines)

    @property
    def data(self) -> bytes:
        """The content of the object."""
        return b"".join(b"%d\n" % number for number in self.numbers)

    def expected(self, without: Collection[int] = ()) -> dict[str, Any]:
        """Return the expected output, without some segments."""
        parts = [
            self.numbers[first : first + self.lines]
            for number, first in enumerate(range(0, len(self.numbers), self.lines))
            if number not in without
        ]
        return {"total": sum(map(sum, parts)), "rows": sum(map(len, parts))}
