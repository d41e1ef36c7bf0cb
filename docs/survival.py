"""Compute the table of docs/outages.md: the longest outage that settings survive, with and without a breaker.

::

    python docs/survival.py [--check]

The numbers are those of ``fanfold check --outage``. With ``--check``, nothing is written, and the exit code is 1 if the
table of the page is not up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fanfold import Backoff
from fanfold._base.readable import duration_text
from fanfold.check.survival import QueueSettings, with_breaker, without_breaker

PAGE: Final = Path(__file__).parent / "outages.md"
_BEGIN: Final = "<!-- computed by docs/survival.py -->\n"
_END: Final = "<!-- end -->\n"

ROWS: Final[Sequence[tuple[str, QueueSettings]]] = [
    ("30 s (SQS's default), 2", QueueSettings(30, 2)),
    ("30 s, 3", QueueSettings(30, 3)),
    ("30 s, 5", QueueSettings(30, 5)),
    ("30 s, 10", QueueSettings(30, 10)),
    ("30 s, 5, retention of an hour", QueueSettings(30, 5, retention=3_600)),
    ("361 s, 5", QueueSettings(361, 5)),
    ("1 h, 5", QueueSettings(3_600, 5)),
    ("any, 5, `Backoff()` (`fanfold init`)", QueueSettings(30, 5, backoff=Backoff())),
    ("any, 5, `Backoff(base=60)` (`fanfold init --breaker`)", QueueSettings(30, 5, backoff=Backoff(base=60))),
    ("any, 10, `Backoff(base=60)`", QueueSettings(30, 10, backoff=Backoff(base=60))),
]


def table() -> str:
    """Return the table as Markdown."""
    head = [
        "| visibility timeout, receives | without a breaker | with a breaker |",
        "|---|---:|---:|",
    ]
    rows = []
    for name, settings in ROWS:
        alone, protected = without_breaker(settings), with_breaker(settings)
        rows.append(f"| {name} | {duration_text(alone.seconds)} | {duration_text(protected.seconds)} |")
    return "\n".join([*head, *rows, ""])


def main() -> None:
    """Write the table into the page, or check whether it is up to date."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    page = before + begin + table() + end + after
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        raise SystemExit(f"{PAGE.name} is not up to date: run python docs/survival.py")


if __name__ == "__main__":
    main()
