"""``fanfold demo``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import typer
from rich.console import Console

from fanfold._folds.row_files import write_excel
from fanfold.cli import options
from fanfold.cli.arguments import check_installed, make_folder, writing
from fanfold.cli.show import report_table, table_of, watching
from fanfold.errors import FanfoldError

if TYPE_CHECKING:
    from fanfold._stack.demo import DemoReport

_LEAST_SEGMENTS = 16  # the faults that are injected need some


def demo(
    segments: int = typer.Option(20, min=_LEAST_SEGMENTS, max=1000, help="How many segments to cut the file into."),
    output: Path = typer.Option(Path("fanfold-demo"), help="Folder for the Excel sheet.", file_okay=False),
    port: int | None = typer.Option(None, help="Port of the local AWS.", show_default="a free one"),
    log: Path | None = typer.Option(None, help="Keep the log of the local AWS in this file.", dir_okay=False),
    as_json: options.Json = False,
) -> None:
    """Run the main job on real input, on an embedded local AWS, and check the answer.

    27,004 flights are uploaded, the template is deployed, the file is scattered over an SQS queue and consumed by
    Lambda functions, with failures injected: three segments fail on their first delivery, one is delivered twice, one
    message is no segment at all. The results are folded, and compared with one plain pass over the file.

    Exit code 0 only if both agree exactly and the message that is no segment lies in the quarantine queue.
    """
    for module in ("boto3", "aiobotocore", "yaml"):
        check_installed(module, "local", "the demo")
    from fanfold._stack.demo import run_demo

    make_folder(output)
    with watching() as seen:
        report = anyio.run(
            partial(run_demo, segments=segments, port=port, tell=seen.step, progress=seen.run, keep_log=log)
        )
    sheet = output / "flights-by-carrier.xlsx"
    rows = ({"carrier": carrier, **figures} for carrier, figures in report.answer.items())
    with writing(sheet):
        write_excel(sheet, rows, None, sheet="flights by carrier", split=False)
    if as_json:
        print(json.dumps({**report.to_json(), "sheet": str(sheet)}))
    else:
        _show(report, sheet)
    if report.problems:
        raise FanfoldError("; ".join(report.problems))


def _show(report: DemoReport, sheet: Path) -> None:
    console = Console()
    console.print(table_of(report.answer, "carrier", "flights of January 2013 by carrier, delays in minutes"))
    console.print(report_table(report.run_report))
    for message in report.quarantined:
        words = f"dead letter, quarantined: {message['body']}\n  reason: {message['reason']}"
        console.print(words, markup=False, highlight=False)
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.seconds.items())
    console.print(f"times: {took}", highlight=False)
    console.print(f"sheet: {sheet}", highlight=False)
    if not report.problems:
        console.print("[green]the committed answer and the plain pass over the file agree exactly[/green]")
