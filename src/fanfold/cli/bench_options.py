"""Options of ``fanfold bench``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fanfold._base.aws_limits import MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS

_workload = partial(Option, rich_help_panel="Workload")
_present = partial(Option, rich_help_panel="Present setting")
_settings = partial(Option, rich_help_panel="Settings to measure")
_sampling = partial(Option, rich_help_panel="Measurement")
_output = partial(Option, rich_help_panel="Output")

Events = Annotated[
    list[str] | None,
    Argument(
        metavar="EVENT",
        help="Saved events, in any form that `fanfold replay` reads. Each event is one batch. Without events, "
        "synthetic records are used.",
        show_default=False,
    ),
]
Handler = Annotated[
    str | None,
    _workload(
        help="Any Lambda handler, imported from the current folder. Without it, a synthetic handler waits for "
        "--downstream-latency.",
        metavar="MODULE:NAME",
    ),
]
BatchSize = Annotated[
    int | None,
    _workload(
        help="Records in a batch.",
        min=1,
        max=10_000,
        metavar="N",
        show_default="that of --template; as saved; 1000 synthetic records",
    ),
]
PayloadSize = Annotated[
    int, _workload(help="Size of a synthetic record's body.", min=32, max=1_000_000, metavar="BYTES")
]
DownstreamLatency = Annotated[
    float | None,
    _workload(
        help="Start an HTTP service that responds after this time; the handler finds it in FANFOLD_BENCH_URL. "
        "A synthetic handler waits this time.",
        min=0,
        metavar="MS",
    ),
]
Concurrency = Annotated[
    str, _settings(help="Values of FANFOLD_CONCURRENCY: handlers that run concurrently.", metavar="N,N,…")
]
Auto = Annotated[
    bool,
    _settings("--auto", help="Also measure a concurrency limit that adjusts itself, once for each memory."),
]
Memory = Annotated[
    str, _settings(help="Function memory. CPU is proportional: 1,769 MB is one vCPU.", metavar="MB,MB,…")
]
Search = Annotated[
    bool, _settings("--search", help="Search for the cheapest cell and measure only a fraction of them.")
]
Within = Annotated[
    float | None,
    _settings(help="Recommend only settings that process a batch within this time.", min=0.001, metavar="SECONDS"),
]
Arch = Annotated[
    str | None,
    _settings(
        help="Architecture whose prices apply. Measurements use this machine.",
        metavar="x86|arm",
        show_default="that of --template, or x86",
    ),
]
Prices = Annotated[
    Path | None, _settings(help="Custom prices, in the format of prices.json in fanfold/_base.", metavar="FILE")
]
Template = Annotated[
    Path | None,
    _present(
        help="Read the present setting of --function, its batch size, architecture, and environment variables from "
        "this SAM or CloudFormation template.",
        metavar="FILE",
    ),
]
Function = Annotated[
    str | None,
    _present(
        help="Logical id of the function in --template. Without --template: name of a deployed function to "
        "measure with the Lambda API.",
        metavar="NAME",
    ),
]
Present = Annotated[str | None, _present(help="The present setting of the function.", metavar="CONCURRENCY:MEMORY")]
Repeats = Annotated[
    int, _sampling(help="Samples of each cell. Use 9 for handlers that compute.", min=1, max=100, metavar="N")
]
Seconds = Annotated[float, _sampling(help="Minimum duration of a sample.", min=0.1, max=600, metavar="SECONDS")]
Timeout = Annotated[
    float,
    _sampling(help="Maximum duration of a batch.", min=1, max=MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS, metavar="SECONDS"),
]
Seed = Annotated[int, _sampling(help="Seed of the order in which cells are measured.", metavar="N")]
Resume = Annotated[Path | None, _sampling(help="Resume this JSON result of the same sweep.", metavar="FILE")]
AsJson = Annotated[bool, _output("--json", help="Print one JSON document instead of tables.")]
Csv = Annotated[Path | None, _output(help="Write the cells as CSV.", metavar="FILE")]
Png = Annotated[Path | None, _output(help="Draw throughput, cost and memory.", metavar="FILE")]
Html = Annotated[Path | None, _output(help="Write one self-contained HTML page.", metavar="FILE")]
Output = Annotated[
    Path | None,
    _output(help="Write all of these, and a JSON result that is updated while measuring.", metavar="FOLDER"),
]
