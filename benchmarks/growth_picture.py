"""Draw the results of growth.py, and write their table into the documentation.

::

    python benchmarks/growth.py batches --json benchmarks/results/growth.json
    python benchmarks/growth.py batches --memory 256 --gap-ms 0 --json benchmarks/results/growth_256.json
    python benchmarks/growth_picture.py

Reads both files, or the first alone. Writes benchmarks/results/growth.png, and replaces the text between the comments
``<!-- growth … -->`` and ``<!-- end -->`` in docs/benchmarks.md.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from measure import HERE, fail, report

RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"
PANELS = {"async, waits once": "async handlers that wait once", "def, no-op": "def handlers"}
COLORS = {"fanfold": "tab:blue", "Powertools": "tab:orange"}
PICTURE = (
    "![Time of a record by the size of the batch, for async and def handlers, fanfold and Powertools]"
    "(../benchmarks/results/growth.png)"
)
COLUMNS = {
    "growth": ("µs/batch", "p90", "/ Powertools", "p90 / Powertools", "CPU / Powertools"),
    "growth_256": ("µs/batch", "p90", "batches/s", "CPU / Powertools"),
}
"""Columns of the table of each run in the documentation, after those that say what was measured."""
FILES = {"growth": "CPU not limited", "growth_256": "a function of 256 MB: 0.145 of a core"}


def read(name: str) -> dict[str, Any] | None:
    """Return the JSON document of a run; None if there is none."""
    file = RESULTS / f"{name}.json"
    document: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return document


def draw(documents: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Draw the time of a record by the size of the batch: a row of panels for each run, a panel for each handler."""
    figure = Figure(figsize=(5.2 * len(PANELS), 4.0 * len(documents)), layout="constrained")
    axes = figure.subplots(len(documents), len(PANELS), squeeze=False, sharex=True)
    for across, (name, document) in zip(axes, documents, strict=True):
        for panel, (handler, title) in zip(across, PANELS.items(), strict=True):
            for peer, color in COLORS.items():
                _curve(panel, document, handler, peer, color)
            panel.set(xscale="log", yscale="log", xlabel="records in a batch", ylabel="µs per record")
            panel.set_title(f"{title}, {FILES[name]}", fontsize=10)
            panel.grid(visible=True, which="major", alpha=0.3)
            panel.legend(fontsize=8)
    figure.savefig(RESULTS / "growth.png", dpi=110)


def _curve(panel: Any, document: dict[str, Any], handler: str, peer: str, color: str) -> None:
    chosen = [row for row in document["results"] if (row["handler"], row["peer"]) == (handler, peer)]
    sizes = [row["records"] for row in chosen]
    if document["options"]["memory"] is not None:  # a quota shows in the batches per second, not in the median
        panel.plot(sizes, [1e6 / row["batches/s"] / row["records"] for row in chosen], "o-", color=color, label=peer)
        return
    panel.plot(sizes, [row["µs/record"] for row in chosen], "o-", color=color, label=f"{peer}, median")
    panel.plot(sizes, [row["p90"] / row["records"] for row in chosen], ":", color=color, label=f"{peer}, p90")


def write_table(name: str, document: dict[str, Any], picture: str) -> None:
    """Replace a table of the documentation by the report of a run."""
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n\n).*?(\n\n<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        fail(f"{PAGE.name} has no comment <!-- {name} -->")
    numbers = f"The numbers are in [results](../benchmarks/results/{name}.json), too."
    columns = ("handler", "peer", "records", *COLUMNS[name])
    rows = [{column: row[column] for column in columns} for row in document["results"]]
    parts = [picture, f"{document['cpu_limit']}. {numbers}", report(document | {"options": {}, "results": rows})]
    section = "\n\n".join(filter(None, parts))
    PAGE.write_text(pattern.sub(lambda match: f"{match[1]}{section}{match[2]}", text), encoding="utf-8")


def main() -> None:
    """Draw, and write the tables."""
    documents = [(name, document) for name in FILES if (document := read(name)) is not None]
    if not documents:
        fail(f"{RESULTS / 'growth.json'} does not exist; run growth.py batches --json first")
    draw(documents)
    for name, document in documents:
        write_table(name, document, PICTURE if name == "growth" else "")


if __name__ == "__main__":
    main()
