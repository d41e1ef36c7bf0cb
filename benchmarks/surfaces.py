"""Sweeps of concurrency and memory for three handlers, each repeated, and whether both sweeps recommend the same.

::

    python benchmarks/surfaces.py [--only waits] [--repeats 5] [--seconds 2] [--draw]

Takes 30 minutes. Writes to benchmarks/results/: for each handler a folder with the numbers, plots and page of the first
sweep and the numbers of the second, and a summary of all. The page and the CSV file are not committed; ``--draw``
generates them from the numbers.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

from measure import add_options
from fanfold.bench.cells import Cell
from fanfold.bench.compare import compare
from fanfold.bench.decide import agreement, cheapest
from fanfold.bench.estimate import Backlog
from fanfold.bench.result import Result, read_result, write_result
from fanfold.bench.summary import conditions, sentences
from fanfold.bench.sweep import next_settings
from fanfold.cli.bench_estimate import estimated
from fanfold.cli.bench_files import Files

HERE = Path(__file__).parent
RESULTS = HERE / "results"


class Surface(NamedTuple):
    """A handler to sweep."""

    handler: str
    description: str
    options: tuple[str, ...]


SURFACES = {
    "waits": Surface(
        "handlers:waits",
        "waits for a service: one HTTP request of 20 ms a record",
        ("--concurrency", "1,10,50,200", "--memory", "128,512,1024,1769,3008", "--batch-size", "200",
         "--downstream-latency", "20"),
    ),
    "computes": Surface(
        "handlers:computes",
        "computes: JSON to SHA-256, about 0.3 ms of CPU a record",
        ("--concurrency", "1,10,50", "--memory", "128,512,1024,1769,3008", "--batch-size", "200"),
    ),
    "holds": Surface(
        "handlers:holds",
        "needs memory: 1 MB a record for 20 ms",
        ("--concurrency", "10,100,200,400", "--memory", "128,256,512,1024", "--batch-size", "400"),
    ),
}  # fmt: skip


def surfaces(
    *,
    only: Annotated[str | None, "sweep only this handler; the summary includes all", sorted(SURFACES)] = None,
    draw: Annotated[bool, "measure nothing; generate the files from the numbers"] = False,
    repeats: Annotated[int, "samples of each cell"] = 5,
    seconds: Annotated[float, "minimum duration of a sample"] = 2.0,
) -> None:
    """Sweep, and write the summary."""
    for name, surface in SURFACES.items():
        if only not in {None, name}:
            continue
        if draw:
            draw_again(RESULTS / name)
            continue
        for run in (1, 2):
            sweep(name, surface, run, repeats=repeats, seconds=seconds)
    text = summary()
    (RESULTS / "surfaces.md").write_text(text, encoding="utf-8")
    print(text)


def sweep(name: str, surface: Surface, run: int, *, repeats: int, seconds: float) -> None:
    """Sweep a handler once. Keep the pictures of the first sweep, and only the numbers of the second."""
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    sampling = ["--repeats", str(repeats), "--seconds", str(seconds), "--seed", str(run)]
    where = folder if run == 1 else folder / "again"
    command = [sys.executable, "-m", "fanfold", "bench", "--handler", surface.handler, *surface.options, *sampling]
    done = subprocess.run([*command, "--output", str(where)], cwd=HERE, check=False)  # noqa: S603 - ourselves
    if done.returncode:
        raise SystemExit(f"surfaces.py: {name} failed")
    if run == 2:  # noqa: PLR2004 - the second
        (where / "bench.json").replace(folder / "again.json")
        for file in where.iterdir():
            file.unlink()
        where.rmdir()


def draw_again(folder: Path) -> None:
    """Write pictures, page and findings from the numbers."""
    write_result(read_result(folder / "again.json"), folder / "again.json")
    files = Files(csv=None, png=None, html=None, folder=folder)
    files.check()
    files.write(read_result(folder / "bench.json"))


def summary() -> str:
    """Return the findings as Markdown."""
    lines = ["# Concurrency against memory: three handlers", "", "Made by `python benchmarks/surfaces.py`.", ""]
    for name, surface in SURFACES.items():
        folder = RESULTS / name
        if not (folder / "again.json").exists():
            continue
        first, second = read_result(folder / "bench.json"), read_result(folder / "again.json")
        command = f"`fanfold bench --handler {surface.handler} {' '.join(surface.options)}`"
        lines += [f"## A handler that {surface.description}", "", command, "", f"![Heat maps]({name}/bench.png)", ""]
        lines += [f"- {line}" for line in sentences(first)]
        lines += ["", "The same sweep again:", "", f"- {sentences(second)[0]}"]
        lines += [f"- {line}" for line in compare(first, second).lines]
        lines += [f"- {line}" for line in (searched(first), *estimated_lines(folder / "bench.json"))]
        lines += ["", *(f"<sub>{line}</sub>" for line in conditions(first)), ""]
    return "\n".join(lines)


def searched(result: Result) -> str:
    """Return the result of ``--search`` on the numbers of the first sweep, and the number of its cells."""
    cells = {cell.setting: cell for cell in result.cells}
    known: list[Cell] = []
    while settings := next_settings(result.grid.concurrencies, result.grid.memories, known):
        known += [cells[setting] for setting in settings]
    verdict = agreement(cheapest(cells.values()), cheapest(known))
    return f"`--search` on these numbers: {len(known)} of {len(cells)} cells; {verdict.kind}: {verdict.reason}."


def estimated_lines(file: Path) -> list[str]:
    """Return the errors of an estimate from the recommended cell."""
    return [line for line in estimated(file, Backlog(10**9), None).lines() if line.startswith("Error against")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sweep concurrency against memory for three handlers.")
    add_options(parser, surfaces)
    surfaces(**vars(parser.parse_args()))
