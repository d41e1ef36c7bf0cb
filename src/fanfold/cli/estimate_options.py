"""Options of ``fanfold bench estimate``."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from typer import Option

from fanfold._base.aws_limits import (
    MANAGED_INSTANCES_ENVIRONMENTS,
    MANAGED_INSTANCES_MAX_ENVIRONMENTS,
    MANAGED_INSTANCES_MAX_PROCESSES,
    MAPPING_MAX_CONCURRENCY,
    MAPPING_MAX_MINIMUM_POLLERS,
    MAPPING_MAX_POLLERS,
    MAPPING_MIN_CONCURRENCY,
    MAPPING_MIN_POLLERS,
)

_backlog = partial(Option, rich_help_panel="Backlog")
_mapping = partial(Option, rich_help_panel="Event source mapping and account")
_managed = partial(Option, rich_help_panel="Managed Instances")

Records = Annotated[
    float, _backlog(min=1, max=1e12, metavar="RECORDS", help="Number of records in the backlog, such as 1e9.")
]
PayloadSize = Annotated[int, _backlog(min=32, max=1_000_000, metavar="BYTES", help="Size of a record's body.")]
NoisyShare = Annotated[
    float | None,
    _backlog(
        min=0, max=1, metavar="SHARE", help="Fair queue: share of the backlog, from 0 to 1, that one tenant has sent."
    ),
]
At = Annotated[
    str | None,
    _backlog(metavar="CONCURRENCY:MEMORY", help="Measured setting to use.", show_default="the recommended one"),
]
MaximumConcurrency = Annotated[
    int | None,
    _mapping(
        min=MAPPING_MIN_CONCURRENCY,
        max=MAPPING_MAX_CONCURRENCY,
        metavar="N",
        help="MaximumConcurrency of the event source mapping.",
    ),
]
AccountConcurrency = Annotated[
    int,
    _mapping(min=1, metavar="N", help="Concurrent invocations that the account can use for this function."),
]
MinimumPollers = Annotated[
    int | None,
    _mapping(
        min=MAPPING_MIN_POLLERS,
        max=MAPPING_MAX_MINIMUM_POLLERS,
        metavar="N",
        help="MinimumPollers of the mapping: provisioned mode.",
        show_default="standard mode",
    ),
]
MaximumPollers = Annotated[
    int | None,
    _mapping(
        min=MAPPING_MIN_POLLERS,
        max=MAPPING_MAX_POLLERS,
        metavar="N",
        help="MaximumPollers of the mapping: provisioned mode.",
        show_default="standard mode",
    ),
]
Processes = Annotated[
    int | None,
    _managed(
        min=1,
        max=MANAGED_INSTANCES_MAX_PROCESSES,
        metavar="N",
        help="Concurrent invocations in one execution environment.",
        show_default="an ordinary function",
    ),
]
Environments = Annotated[
    int | None,
    _managed(
        min=1,
        max=MANAGED_INSTANCES_MAX_ENVIRONMENTS,
        metavar="N",
        help="Execution environments at the start.",
        show_default=str(MANAGED_INSTANCES_ENVIRONMENTS),
    ),
]
MaximumEnvironments = Annotated[
    int | None,
    _managed(
        min=1,
        max=MANAGED_INSTANCES_MAX_ENVIRONMENTS,
        metavar="N",
        help="MaxExecutionEnvironments of the function.",
        show_default=str(MANAGED_INSTANCES_MAX_ENVIRONMENTS),
    ),
]
HourlyPrice = Annotated[
    float | None,
    _managed(min=0, metavar="USD", help="Price of all instances per hour, with the management fee.", show_default="0"),
]
