"""Options of ``fanfold replay``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from fanfold._base.aws_limits import MANAGED_INSTANCES_MAX_MEMORY_MB, MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS

_in = partial(Option, rich_help_panel="Replay")
_outage = partial(Option, rich_help_panel="Outage")
_template = partial(Option, rich_help_panel="Settings from a template")
_set = partial(Option, rich_help_panel="Settings of the function, the mapping and the queue")
_out = partial(Option, rich_help_panel="Results")

Events = Annotated[
    list[str],
    Argument(
        metavar="EVENT",
        help="Saved events: files, folders, or - for standard input. Each is a Lambda event, the output of "
        "`aws sqs receive-message` or `sam local generate-event`, or message bodies as a JSON array or "
        "JSON Lines.",
    ),
]
Handler = Annotated[str, _in(help="Any Lambda handler, imported from the current folder.", metavar="MODULE:NAME")]
UntilEmpty = Annotated[
    bool,
    _in(
        "--until-empty/--once",
        help="Redeliver failed messages until each is deleted or sent to the dead-letter queue, or deliver "
        "each only once.",
    ),
]
Repeat = Annotated[int, _in(help="Number of times to send each event, with new message ids.", min=1, metavar="N")]
Duplicates = Annotated[
    float,
    _in(
        help="Share of receives that leave the message visible, as standard queues may.", min=0, max=1, metavar="SHARE"
    ),
]
Seed = Annotated[int, _in(help="Random seed. The same seed gives the same replay.", metavar="N")]
Outage = Annotated[
    float | None,
    _outage(
        help="Let the handler fail from the start, for this simulated time, and report what the queue's settings "
        "survive.",
        min=1,
        max=1_209_600,
        metavar="SECONDS",
    ),
]
OutageShare = Annotated[
    float, _outage(help="Share of the calls that fail during --outage.", min=0.001, max=1, metavar="SHARE")
]
OutageError = Annotated[
    str,
    _outage(
        help="Error of these calls: a built-in exception, or the full name of another, and a message.", metavar="ERROR"
    ),
]
RealIdempotency = Annotated[
    bool,
    _in(
        "--real-idempotency",
        help="Write idempotency keys to the table of the handler. By default, they stay in memory.",
    ),
]
ConcurrentInvocations = Annotated[
    int | None,
    _in(
        help="Let invocations overlap, in N processes of one execution environment, as on Managed Instances. Implies "
        "--runtime-client.",
        min=2,
        max=64,
        metavar="N",
    ),
]
RuntimeClient = Annotated[
    bool, _in("--runtime-client", help="Run the handler under awslambdaric, the runtime client that Lambda uses.")
]
Template = Annotated[
    Path | None,
    _template(
        help="SAM or CloudFormation template, YAML or JSON, to read the settings of --function from.", metavar="FILE"
    ),
]
Function = Annotated[
    str | None,
    _template(
        help="Logical id of the function in --template. If it reads several queues: FUNCTION.EVENT.", metavar="FUNCTION"
    ),
]
Parameter = Annotated[
    list[str] | None,
    _template(help="Value of a parameter of --template. Repeatable.", metavar="NAME=VALUE", show_default="its default"),
]
EnvVars = Annotated[
    Path | None,
    _template(help="Environment variables, as a file for `sam local invoke --env-vars`.", metavar="FILE"),
]
BatchSize = Annotated[
    int | None,
    _set(help="Maximum records in a batch.", min=1, max=10_000, metavar="N", show_default="that of the events, or 10"),
]
Window = Annotated[
    float | None,
    _set(help="Batching window.", min=0, max=300, metavar="SECONDS", show_default="0, or 1 for over 10 records"),
]
Concurrency = Annotated[
    int | None, _set(help="Concurrent invocations, in simulated time.", min=1, max=1_000, metavar="N", show_default="5")
]
Timeout = Annotated[
    float | None,
    _set(
        help="Function timeout, in real time. Over 1,800 s only on Managed Instances.",
        min=0.1,
        max=MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS,
        metavar="SECONDS",
        show_default="30",
    ),
]
Memory = Annotated[
    int | None,
    _set(
        help="Function memory. Over 10,240 MB only on Managed Instances.",
        min=64,
        max=MANAGED_INSTANCES_MAX_MEMORY_MB,
        metavar="MB",
        show_default="1769",
    ),
]
MaxReceiveCount = Annotated[
    int | None,
    _set(
        help="Receives before a message moves to the dead-letter queue.",
        min=1,
        max=1_000,
        metavar="N",
        show_default="5",
    ),
]
VisibilityTimeout = Annotated[
    float | None,
    _set(
        help="Visibility timeout of the queue, in simulated time.",
        min=0,
        max=43_200,
        metavar="SECONDS",
        show_default="6 x timeout + window",
    ),
]
Fifo = Annotated[bool | None, _set("--fifo/--standard", help="Type of the queue.", show_default="from the events' ARN")]
Expect = Annotated[
    list[str] | None,
    _out(
        help="Expected count for END: deleted, dead-lettered, left, lost, or filtered. Example: dead-lettered=2. "
        "Repeatable.",
        metavar="END=COUNT",
    ),
]
ExplainId = Annotated[
    str | None,
    _out("--explain", help="Explain what happened to this message: its id, or the start of it.", metavar="ID"),
]
Html = Annotated[Path | None, _out(help="Write one self-contained HTML page.", metavar="FILE")]
