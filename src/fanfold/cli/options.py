"""The options of the commands: those that several share, and those of the commands that have many."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

_MEASURED: Final = "What is measured"
_SETTINGS: Final = "At which settings"
_WRITTEN: Final = "What is written"
_INPUT: Final = "What is replayed"
_DEPLOYED: Final = "As the deployed function and its queue are set"
_CHECKED: Final = "What comes out"
_WAITED: Final = "For a run that is deployed"
_DRY_RUN: Final = "With --dry-run"
_INLINE: Final = "With --inline"

# Shared.
Json = Annotated[bool, Option("--json", help="Print one JSON document instead of tables.")]
Run = Annotated[str, Argument(metavar="RUN", help="Name of the run.")]
QueueRegion = Annotated[str | None, Option(help="Region of the queue. (default: the environment's)")]
WatchWithin = Annotated[float, Option(min=1, help="With --watch: seconds to wait.")]

# Of bench, and of what reads its results.
BenchEvents = Annotated[
    list[str] | None,
    Argument(
        metavar="EVENT",
        help="Saved events, as 'fanfold replay' takes them; each is a batch. None for records that are made up.",
    ),
]
BenchHandler = Annotated[
    str | None,
    Option(
        metavar="MODULE:NAME",
        help="Any Lambda handler; found in the current folder. None for one that waits --downstream-latency.",
        rich_help_panel=_MEASURED,
    ),
]
BenchBatchSize = Annotated[
    int | None,
    Option(
        min=1,
        max=10_000,
        help="Records in a batch. (default: the events as they are; 1,000 made up)",
        rich_help_panel=_MEASURED,
    ),
]
DownstreamLatency = Annotated[
    float | None,
    Option(
        min=0,
        metavar="MS",
        help="Start a service that answers after so many ms, at FANFOLD_BENCH_URL; what a made-up handler waits.",
        rich_help_panel=_MEASURED,
    ),
]
PayloadSize = Annotated[
    int,
    Option(min=32, max=1_000_000, metavar="BYTES", help="Bytes of a made-up record's body.", rich_help_panel=_MEASURED),
]
BenchTemplate = Annotated[
    Path | None,
    Option(help="Take the present setting from this SAM or CloudFormation template …", rich_help_panel=_MEASURED),
]
BenchFunction = Annotated[
    str | None,
    Option(
        help="… and this function in it. Without --template: sweep this deployed function, by the Lambda API.",
        rich_help_panel=_MEASURED,
    ),
]
Present = Annotated[
    str | None,
    Option(metavar="CONCURRENCY:MEMORY", help="How the function is set now.", rich_help_panel=_MEASURED),
]
Concurrencies = Annotated[
    str,
    Option(metavar="N,N,…", help="Handlers at once, by FANFOLD_CONCURRENCY.", rich_help_panel=_SETTINGS),
]
Memories = Annotated[
    str,
    Option(
        metavar="MB,MB,…",
        help="Memory; CPU follows, 1,769 MB are one vCPU.",
        show_default="128, 256, 512, 1024, 1769, 3008",
        rich_help_panel=_SETTINGS,
    ),
]
Repeats = Annotated[
    int,
    Option(min=1, max=100, help="Samples of each cell; 9 for handlers that compute.", rich_help_panel=_SETTINGS),
]
SampleSeconds = Annotated[
    float, Option(min=0.1, max=600, help="Least time measured for a sample.", rich_help_panel=_SETTINGS)
]
BatchTimeout = Annotated[
    float, Option(min=1, max=900, help="What a batch may take, seconds.", rich_help_panel=_SETTINGS)
]
BatchWithin = Annotated[
    float | None,
    Option(min=0.001, help="Recommend only what takes so many seconds a batch.", rich_help_panel=_SETTINGS),
]
Architecture = Annotated[
    str,
    Option(help="x86 or arm: whose prices; what runs here is this machine.", rich_help_panel=_SETTINGS),
]
OwnPrices = Annotated[
    Path | None,
    Option(help="Your own prices, in the form of prices.json in fanfold/_base.", rich_help_panel=_SETTINGS),
]
Search = Annotated[
    bool,
    Option("--search", help="Look for the cheapest cell in a fraction of the cells.", rich_help_panel=_SETTINGS),
]
OrderSeed = Annotated[int, Option(help="Of the order in which cells are measured.", rich_help_panel=_SETTINGS)]
Resume = Annotated[
    Path | None,
    Option(metavar="FILE", help="Go on with this result, JSON, of the same sweep.", rich_help_panel=_SETTINGS),
]
Csv = Annotated[Path | None, Option(help="Write the cells there.", rich_help_panel=_WRITTEN)]
Png = Annotated[Path | None, Option(help="Draw throughput, cost and memory there.", rich_help_panel=_WRITTEN)]
BenchHtml = Annotated[Path | None, Option(help="Write one self-contained page there.", rich_help_panel=_WRITTEN)]
BenchOutput = Annotated[
    Path | None,
    Option(
        metavar="FOLDER",
        help="Write all of these there; the JSON grows while it measures.",
        rich_help_panel=_WRITTEN,
    ),
]
Result = Annotated[Path, Argument(metavar="FILE", help="A result of 'fanfold bench', its JSON.")]
Records = Annotated[float, Option(min=1, max=1e12, help="Records to estimate for, such as 1e9.")]
RecordSize = Annotated[int, Option(min=32, max=1_000_000, metavar="BYTES", help="Bytes of a record's body.")]
At = Annotated[
    str | None,
    Option(metavar="CONCURRENCY:MEMORY", help="Cell to estimate by. (default: the one the result recommends)"),
]
MaximumConcurrency = Annotated[int | None, Option(min=2, max=1_000, help="The mapping's MaximumConcurrency.")]
AccountConcurrency = Annotated[int, Option(min=1, help="Invocations at once that the account has left.")]

# Of replay.
Events = Annotated[
    list[str],
    Argument(
        metavar="EVENT",
        help="Saved events: files, folders, or - for standard input. Lambda events, the output of 'aws sqs "
        "receive-message' or 'sam local generate-event', a JSON array or JSON Lines of bodies.",
    ),
]
Handler = Annotated[
    str,
    Option(metavar="MODULE:NAME", help="Any Lambda handler; found in the current folder.", rich_help_panel=_INPUT),
]
UntilEmpty = Annotated[
    bool,
    Option(
        "--until-empty/--once",
        help="Deliver again what comes back, until it is deleted or a dead letter.",
        rich_help_panel=_INPUT,
    ),
]
Repeat = Annotated[
    int,
    Option(min=1, help="Send every event so many times, with new message ids.", rich_help_panel=_INPUT),
]
Duplicates = Annotated[
    float,
    Option(
        min=0,
        max=1,
        help="Share of receives that the queue forgets, as standard queues may.",
        rich_help_panel=_INPUT,
    ),
]
ChanceSeed = Annotated[int, Option(help="Of all chance: the same seed, the same replay.", rich_help_panel=_INPUT)]
RuntimeClient = Annotated[
    bool,
    Option(
        "--runtime-client",
        help="Run the handler under awslambdaric, the client Lambda runs it under.",
        rich_help_panel=_INPUT,
    ),
]
Template = Annotated[
    Path | None,
    Option(
        help="Take the settings from this SAM or CloudFormation template, YAML or JSON …", rich_help_panel=_DEPLOYED
    ),
]
Function = Annotated[
    str | None,
    Option(
        help="… and this function in it; or Function.Event, if the function reads several queues.",
        rich_help_panel=_DEPLOYED,
    ),
]
BatchSize = Annotated[
    int | None,
    Option(
        min=1,
        max=10_000,
        help="Most records in a batch. (default: the saved event's, or 10)",
        rich_help_panel=_DEPLOYED,
    ),
]
Window = Annotated[
    float | None,
    Option(
        min=0,
        max=300,
        help="Batching window, seconds. (default: 0, or 1 for over 10 records)",
        rich_help_panel=_DEPLOYED,
    ),
]
FunctionTimeout = Annotated[
    float | None,
    Option(
        min=0.1,
        max=900,
        help="Function timeout, seconds of real time. (default: 30)",
        rich_help_panel=_DEPLOYED,
    ),
]
Memory = Annotated[
    int | None,
    Option(min=64, max=10_240, help="Function memory, MB. (default: 1769)", rich_help_panel=_DEPLOYED),
]
MaxReceiveCount = Annotated[
    int | None,
    Option(min=1, max=1_000, help="Receives until the dead-letter queue. (default: 5)", rich_help_panel=_DEPLOYED),
]
VisibilityTimeout = Annotated[
    float | None,
    Option(
        min=0,
        max=43_200,
        help="Seconds a received message stays hidden, simulated. (default: 6 x timeout + window)",
        rich_help_panel=_DEPLOYED,
    ),
]
Invocations = Annotated[
    int | None,
    Option(
        "--concurrency",
        min=1,
        max=1_000,
        help="Invocations at once, in simulated time. (default: 5)",
        rich_help_panel=_DEPLOYED,
    ),
]
Fifo = Annotated[
    bool | None,
    Option("--fifo/--standard", help="Kind of the queue. (default: by the events' ARN)", rich_help_panel=_DEPLOYED),
]
Expect = Annotated[
    list[str] | None,
    Option(
        metavar="END=COUNT",
        help="What must come out, such as dead-lettered=2; ends: deleted, dead-lettered, left, lost.",
        rich_help_panel=_CHECKED,
    ),
]
Explain = Annotated[
    str | None,
    Option("--explain", metavar="ID", help="Say why this message came back.", rich_help_panel=_CHECKED),
]
Html = Annotated[Path | None, Option(help="Write one self-contained page there.", rich_help_panel=_CHECKED)]

# Of run.
Job = Annotated[str, Argument(metavar="MODULE:JOB", help="The job, such as app:job; found in the current folder.")]
Params = Annotated[str | None, Option(help="Parameters of the run, a JSON object.", show_default="{}")]
RunName = Annotated[
    str | None,
    Option(
        "--run",
        help="Name of the run; the same name resumes the same run, with the parameters it was begun with.",
    ),
]
Within = Annotated[float, Option(min=1, help="Seconds to wait for the run to end.", rich_help_panel=_WAITED)]
StateMachine = Annotated[
    bool,
    Option(
        "--state-machine",
        help="By the state machine that FANFOLD_STATE_MACHINE_ARN names, instead of by SQS.",
        rich_help_panel=_WAITED,
    ),
]
Inline = Annotated[
    bool, Option("--inline", help="Run all of it in this process: no queue, no table, no deployed function.")
]
Only = Annotated[
    str | None,
    Option(
        help="With --inline: these segments alone, such as 3,17,20-25; also those that are done.",
        metavar="LIST",
        rich_help_panel=_INLINE,
    ),
]
SegmentsAtOnce = Annotated[
    int | None,
    Option(
        "--concurrency",
        min=1,
        help="With --inline: segments worked on at once.",
        show_default="the job's",
        rich_help_panel=_INLINE,
    ),
]
RunFolder = Annotated[
    Path,
    Option(
        "--output",
        help="With --inline: keeps what is done, and the output, by run.",
        file_okay=False,
        rich_help_panel=_INLINE,
    ),
]
DryRun = Annotated[
    bool,
    Option("--dry-run", help="Plan it: segments, messages, requests, cost, warnings. Nothing is written or sent."),
]
ReadFirst = Annotated[
    bool,
    Option(
        "--read-first",
        help="With --dry-run: read the first segment, and say how long that takes.",
        rich_help_panel=_DRY_RUN,
    ),
]
ReadWithin = Annotated[
    float,
    Option(
        "--timeout",
        min=1,
        help="Timeout of the segment function, seconds: the most that --read-first takes.",
        rich_help_panel=_DRY_RUN,
    ),
]
SegmentBatchSize = Annotated[
    int,
    Option(
        "--batch-size",
        min=1,
        max=10_000,
        help="Batch size of the segment function, for the estimate.",
        rich_help_panel=_DRY_RUN,
    ),
]
