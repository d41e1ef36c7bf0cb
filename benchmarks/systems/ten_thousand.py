"""System 4: the orders of ``examples/ten_thousand``, replayed in one batch against a real shop on this machine."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "ten_thousand"
DESCRIPTORS: Final = 1_024
"""Of a sandbox."""
BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Trouble:
    """The orders, and every how many of them the shop makes trouble."""

    orders: int = 10_000
    """How many there are; their numbers start at 1."""
    fails: int = 97
    """At the first try."""
    hangs: int = 3_001
    """At the first try."""
    refuses: int = 1_999
    """At each try."""

    @property
    def refused(self) -> list[int]:
        """The orders that never arrive."""
        return list(range(self.refuses, self.orders + 1, self.refuses))

    @property
    def failed(self) -> list[int]:
        """The orders that arrive by another delivery."""
        often = {number for every in (self.fails, self.hangs) for number in range(every, self.orders + 1, every)}
        return sorted(often - set(self.refused))

    def write(self, file: Path) -> None:
        """Write the orders down as the README makes them."""
        numbers = range(1, self.orders + 1)
        file.write_text(json.dumps([{"order": n, "customer": n % 500, "articles": [n % 97]} for n in numbers]))


@contextmanager
def shop(trouble: Trouble) -> Iterator[str]:
    """A real HTTP server, with as many descriptors as it may have; some orders fail, hang or are refused."""
    each = ("--fails", str(trouble.fails), "--hangs", str(trouble.hangs), "--refuses", str(trouble.refuses))
    command = [sys.executable, "shop.py", "--port", "0", *each]
    with subprocess.Popen(command, cwd=EXAMPLE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - the example's own
        assert process.stdout is not None  # noqa: S101 - a pipe
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def seen_by(url: str) -> dict[str, Any]:
    """Return what the shop has counted."""
    with urllib.request.urlopen(f"{url}/seen") as answer:  # noqa: S310 - our own server
        seen: dict[str, Any] = json.load(answer)
        return seen


def replay(handler: str, url: str, orders: Path, *options: str) -> dict[str, Any]:
    """Replay the orders under the template's settings, in processes that may have 1,024 descriptors."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

    settings = ("--template", "template.yaml", "--function", "ConsumeFunction")
    done = subprocess.run(  # noqa: S603 - installed
        [BIN / "fanfold", "replay", orders, "--handler", handler, *settings, "--json", *options],
        cwd=EXAMPLE,
        env={"SHOP_URL": url, "PATH": str(BIN)},
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"fanfold replay: {done.stderr[-2_000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def reported(document: dict[str, Any]) -> list[int]:
    """Return the orders that the answer to the first batch names."""
    numbers = {message["id"]: message["number"] + 1 for message in document["messages"]}
    failures = json.loads(document["deliveries"][0]["response"])["batchItemFailures"]
    return [numbers[each["itemIdentifier"]] for each in failures]
