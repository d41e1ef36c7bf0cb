"""System 4: the orders of ``examples/ten_thousand``, replayed in one batch against a local HTTP server."""

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
"""File descriptors of an execution environment."""
CONCURRENCY: Final = 100
BIN: Final = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Trouble:
    """The number of orders, and the intervals at which the shop fails."""

    orders: int = 10_000
    """Number of orders; their numbers start at 1."""
    fails: int = 97
    """Interval of the orders whose first attempt fails."""
    hangs: int = 3_001
    """Interval of the orders whose first attempt hangs."""
    refuses: int = 1_999
    """Interval of the orders that are always refused."""

    @property
    def refused(self) -> list[int]:
        """Orders that are never accepted."""
        return list(range(self.refuses, self.orders + 1, self.refuses))

    @property
    def failed(self) -> list[int]:
        """Orders that are accepted at a later delivery."""
        troubled = {number for every in (self.fails, self.hangs) for number in range(every, self.orders + 1, every)}
        return sorted(troubled - set(self.refused))

    def write(self, file: Path) -> None:
        """Write the orders to a file, as in the README."""
        numbers = range(1, self.orders + 1)
        file.write_text(json.dumps([{"order": n, "customer": n % 500, "articles": [n % 97]} for n in numbers]))


@contextmanager
def shop(trouble: Trouble) -> Iterator[str]:
    """Run the HTTP server; some orders fail, hang, or are refused."""
    options = ("--fails", str(trouble.fails), "--hangs", str(trouble.hangs), "--refuses", str(trouble.refuses))
    command = [sys.executable, "shop.py", "--port", "0", *options]
    with subprocess.Popen(command, cwd=EXAMPLE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - the example's server
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def seen_by(url: str) -> dict[str, Any]:
    """Return the counts of the shop."""
    with urllib.request.urlopen(f"{url}/seen") as response:  # noqa: S310 - our own server
        seen: dict[str, Any] = json.load(response)
        return seen


def replay(handler: str, url: str, orders: Path, *options: str) -> dict[str, Any]:
    """Replay the orders with the template's settings, in processes with at most 1,024 file descriptors."""

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
    """Return the orders in the first batch response."""
    numbers = {message["id"]: message["number"] + 1 for message in document["messages"]}
    failures = json.loads(document["deliveries"][0]["response"])["batchItemFailures"]
    return [numbers[failure["itemIdentifier"]] for failure in failures]


def rows(folder: Path, orders: int) -> list[Row]:
    """Send orders to a shop in one batch, with a concurrency of 100, and without a limit for comparison."""
    trouble = Trouble(orders, hangs=3 * orders // 10 + 1, refuses=orders // 5 - 1)
    trouble.write(file := folder / "orders.json")
    return [*in_trouble(trouble, file), *without_a_limit(orders, file), *settings()]


def in_trouble(trouble: Trouble, file: Path) -> list[Row]:
    """Send orders to a failing shop, with a concurrency of 100 and the descriptors of an execution environment."""
    orders = trouble.orders
    with shop(trouble) as url:
        expect = f"dead-lettered={len(trouble.refused)}"
        document = replay("app:handler", url, file, "--expect", expect, "--batch-size", str(orders))
        seen = seen_by(url)
    most, summary = seen["most_connections"], document["summary"]
    batch, failures = len(document["deliveries"][0]["messages"]), reported(document)
    accepted = sorted(set(range(1, orders + 1)) - set(trouble.refused))
    under = f"concurrent connections, with {DESCRIPTORS:,} file descriptors"
    return [
        row(4, "records in the first batch", orders, batch, PROVEN),
        row(4, under, f"at most {CONCURRENCY}", most, PROVEN, holds=most <= CONCURRENCY),
        row(
            4,
            "failures in the response, no others",
            len(trouble.failed),
            len(failures),
            PROVEN,
            holds=failures == trouble.failed,
        ),
        row(4, "accepted orders", len(accepted), len(seen["taken"]), PROVEN, holds=seen["taken"] == accepted),
        row(4, "records lost, or left", 0, summary["lost"] + summary["left"], PROVEN),
    ]


def without_a_limit(orders: int, file: Path) -> list[Row]:
    """Send orders to a reliable shop: with one ``gather``, and with a concurrency of 100."""
    failed = {}
    for handler in ("naive:handler", "app:handler"):
        with shop(Trouble(orders, fails=0, hangs=0, refuses=0)) as url:
            document = replay(handler, url, file, "--once", "--batch-size", str(orders))
        failed[handler] = document["summary"]["left"]
    least = orders - DESCRIPTORS
    naive, bounded = failed.values()
    return [
        row(4, f"all {orders:,} concurrently: failures", f"at least {least:,}", naive, PROVEN, holds=naive >= least),
        row(4, f"the same, {CONCURRENCY} concurrently: failures", 0, bounded, PROVEN),
    ]


def settings() -> list[Row]:
    """Return the settings of the template for the replay."""
    values = deployed_settings(EXAMPLE / "template.yaml", "ConsumeFunction").values
    window, visibility, reports = (
        values["window_seconds"],
        values["visibility_timeout"],
        values["report_batch_item_failures"],
    )
    least = 6 * values["function_timeout"] + window
    return [
        row(4, "template: batching window, s", "at least 1", window, PROVEN, holds=window >= 1),
        row(
            4,
            "template: visibility timeout, s: six function timeouts and the window",
            least,
            visibility,
            PROVEN,
            holds=visibility >= least,
        ),
        row(4, "template: ReportBatchItemFailures", "on", "on" if reports else "off", PROVEN),
    ]
