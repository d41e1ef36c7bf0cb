"""``fanfold demo``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import typer
from rich.console import Console

from fanfold._folds.excel_files import write_excel
from fanfold.cli import options
from fanfold.cli.arguments import check_installed, make_folder, writing
from fanfold.cli.show import report_table, table_of, watching
from fanfold.errors import FanfoldError

if TYPE_CHECKING:
    from fanfold._stack.demo import DemoReport

_MIN_SEGMENTS = 16  # the injected faults need several segments


def demo(
    segments: int = typer.Option(
        20, min=_MIN_SEGMENTS, max=1000, metavar="N", help="Number of segments to cut the file into."
    ),
    output: Path = typer.Option(
        Path("fanfold-demo"),
        metavar="FOLDER",
        help="Folder for the Excel sheet and the page of the run.",
        file_okay=False,
    ),
    port: int | None = typer.Option(None, metavar="PORT", help="Port of the local AWS.", show_default="a free port"),
    log: Path | None = typer.Option(
        None, metavar="FILE", help="Write the log of the local AWS to this file.", dir_okay=False
    ),
    as_json: options.Json = False,
) -> None:
    """Run a complete job on an embedded local AWS, inject failures, and check the output.

    Use it to see fanfold at work; you need neither an AWS account nor Docker. The demo deploys the template, uploads
    27,004 flights, sends their segments to an SQS queue, and processes them in Lambda functions. Three segments fail
    on their first delivery, one is delivered twice, and one message is not a segment. The demo folds the results and
    compares them with a single pass over the file.

    Exit code 0 only if both agree exactly and the invalid message is in the quarantine queue.
    """
    for module in ("boto3", "aiobotocore", "yaml"):
        check_installed(module, "local", "the demo")
    from fanfold._stack.demo import run_demo

    make_folder(output)
    with watching() as seen:
        report = anyio.run(
            partial(run_demo, segments=segments, port=port, on_step=seen.step, progress=seen.run, keep_log=log)
        )
    sheet, page = output / "flights-by-carrier.xlsx", output / "run.html"
    rows = ({"carrier": carrier, **figures} for carrier, figures in report.output.items())
    with writing(sheet):
        write_excel(sheet, rows, None, sheet="flights by carrier", split=False, types={})
    with writing(page):
        page.write_text(report.page, encoding="utf-8")
    if as_json:
        print(json.dumps({**report.to_json(), "sheet": str(sheet), "page": str(page)}))
    else:
        _show(report, sheet, page)
    if report.problems:
        raise FanfoldError("; ".join(report.problems))


def _show(report: DemoReport, sheet: Path, page: Path) -> None:
    console = Console()
    console.print(table_of(report.output, "carrier", "flights of January 2013 by carrier, delays in minutes"))
    console.print(report_table(report.report))
    for message in report.quarantined:
        text = f"quarantined message: {message['body']}\n  reason: {message['reason']}"
        console.print(text, markup=False, highlight=False)
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.seconds.items())
    console.print(f"times: {took}", highlight=False)
    console.print(f"sheet: {sheet}", highlight=False)
    console.print(f"page of the run: {page}", highlight=False)
    if not report.problems:
        console.print("[green]the output of the run and the single pass over the file agree exactly[/green]")
