"""``fanfold report``."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import typer
from anyio.from_thread import start_blocking_portal

from fanfold._report.cost import DEFAULT_MEMORY_MB
from fanfold._report.page import RunPage, page
from fanfold._report.read_page import existing_run, read_page
from fanfold._report.serve import HOST, LivePage, open_server
from fanfold.cli import options, run_sources
from fanfold.cli.arguments import check_installed, check_page, writing
from fanfold.cli.backend import deployed_backend
from fanfold.cli.run_sources import read_inline_run, read_run
from fanfold.errors import ConfigurationError


def report_of(
    run: options.Run,
    output: Path | None = typer.Option(
        None, "--output", "-o", metavar="FILE", help="HTML file to write.", show_default="RUN.html"
    ),
    live: bool = typer.Option(False, "--serve", help="Serve the page on 127.0.0.1 instead, until Ctrl-C."),
    port: int | None = typer.Option(
        None, metavar="PORT", min=1, max=65_535, help="With --serve: the port.", show_default="a free port"
    ),
    inline: run_sources.Inline = False,
    folder: run_sources.Folder = run_sources.FOLDER,
    memory: int = typer.Option(
        DEFAULT_MEMORY_MB,
        metavar="MB",
        min=128,
        max=32_768,
        help="Memory of the segment function, for the estimated cost.",
    ),
) -> None:
    """Draw a run as one HTML page: timeline, throughput, failures, durations, cost.

    Use it to find out what a run does, why segments fail, and what takes long. The page is a single file without
    requests to other hosts, also for a million segments. It names the commands that retry what failed.

    With --serve, the page refreshes while the run is in progress and the page is visible. The ledger is read only
    then. The FANFOLD_… environment variables name the queues, the table and the bucket, as for `fanfold status`.

    Exit code 0 if the page was drawn, whatever the state of the run.
    """
    if live and output is not None:
        raise ConfigurationError("specify either --serve or --output")
    if port is not None and not live:
        raise ConfigurationError("--port requires --serve")
    if live:
        check_installed("jinja2", "cli", "an HTML page")
        _serve(run, folder if inline else None, memory, port or 0)
        return
    file = Path(f"{run}.html") if output is None else output
    check_page(file)
    source = anyio.run(read_run, run, folder if inline else None, memory)
    write_page(source, file)
    print(f"page: {file}")


def write_page(source: RunPage, file: Path) -> None:
    """Write the page of a run."""
    text = page(source)
    with writing(file):
        file.write_text(text, encoding="utf-8")


def _serve(run: str, folder: Path | None, memory: int, port: int) -> None:
    """Serve the page until Ctrl-C, with one connection to AWS, whose event loop runs on a separate thread."""
    if folder is not None:
        anyio.run(read_inline_run, run, folder)  # so that a wrong name is reported now
        _respond(LivePage(lambda: anyio.run(read_inline_run, run, folder)), port)
        return
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(deployed_backend()) as backend:
        portal.call(existing_run, run, backend)  # so that a wrong name is reported now
        live = LivePage(lambda: portal.call(partial(read_page, run, backend, memory_mb=memory)))
        _respond(live, port)


def _respond(live: LivePage, port: int) -> None:
    with open_server(live, port) as server, suppress(KeyboardInterrupt):
        print(f"page: http://{HOST}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()
