"""System 4: the orders of ``examples/ten_thousand``, replayed in one batch against a real shop on this machine."""

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

from fanfold._replay.deployed_settings import deployed_settings
from systems.rows import PROVEN, Row, row

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "ten_thousand"
DESCRIPTORS: Final = 1_024
"""Of an execution environment."""
AT_ONCE: Final = 100
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
        assert process.stdout is not None
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


def rows(folder: Path, orders: int) -> list[Row]:
    """Put orders into a shop, one batch of them, a hundred at once, and all at once beside it."""
    trouble = Trouble(orders, hangs=3 * orders // 10 + 1, refuses=orders // 5 - 1)
    trouble.write(file := folder / "orders.json")
    return [*in_trouble(trouble, file), *without_a_bound(orders, file), *settings()]


def in_trouble(trouble: Trouble, file: Path) -> list[Row]:
    """Put them a hundred at once, under an execution environment's descriptors, into a shop that makes trouble."""
    orders = trouble.orders
    with shop(trouble) as url:
        expect = f"dead-lettered={len(trouble.refused)}"
        document = replay("app:handler", url, file, "--expect", expect, "--batch-size", str(orders))
        seen = seen_by(url)
    most, summary = seen["most_connections"], document["summary"]
    batch, named = len(document["deliveries"][0]["messages"]), reported(document)
    arrive = sorted(set(range(1, orders + 1)) - set(trouble.refused))
    under = f"connections at once, under {DESCRIPTORS:,} descriptors"
    return [
        row(4, "records in the first batch", orders, batch, PROVEN),
        row(4, under, f"at most {AT_ONCE}", most, PROVEN, holds=most <= AT_ONCE),
        row(4, "failures named, no other", len(trouble.failed), len(named), PROVEN, holds=named == trouble.failed),
        row(4, "orders that arrive", len(arrive), len(seen["taken"]), PROVEN, holds=seen["taken"] == arrive),
        row(4, "records lost, or left", 0, summary["lost"] + summary["left"], PROVEN),
    ]


def without_a_bound(orders: int, file: Path) -> list[Row]:
    """Put them into a shop without trouble: by a gather of all, and a hundred at once."""
    failed = {}
    for handler in ("naive:handler", "app:handler"):
        with shop(Trouble(orders, fails=0, hangs=0, refuses=0)) as url:
            document = replay(handler, url, file, "--once", "--batch-size", str(orders))
        failed[handler] = document["summary"]["left"]
    least = orders - DESCRIPTORS
    naive, bounded = failed.values()
    return [
        row(4, f"all {orders:,} at once: fail", f"at least {least:,}", naive, PROVEN, holds=naive >= least),
        row(4, f"the same, {AT_ONCE} at once: fail", 0, bounded, PROVEN),
    ]


def settings() -> list[Row]:
    """Say what the template sets, under which the orders are replayed."""
    had = deployed_settings(EXAMPLE / "template.yaml", "ConsumeFunction").values
    window, visible, read = had["window_seconds"], had["visibility_timeout"], had["report_batch_item_failures"]
    least = 6 * had["function_timeout"] + window
    return [
        row(4, "template: window of the batch, s", "at least 1", window, PROVEN, holds=window >= 1),
        row(4, "template: visibility, s: six timeouts and the window", least, visible, PROVEN, holds=visible >= least),
        row(4, "template: ReportBatchItemFailures", "on", "on" if read else "off", PROVEN),
    ]
