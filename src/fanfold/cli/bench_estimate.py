"""``fanfold bench compare`` and ``fanfold bench estimate``, which read results of ``fanfold bench``."""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._base.aws_limits import (
    LAMBDA_ACCOUNT_CONCURRENCY,
    MANAGED_INSTANCES_ENVIRONMENTS,
    MANAGED_INSTANCES_MAX_ENVIRONMENTS,
    MAPPING_MAX_MINIMUM_POLLERS,
    MAPPING_MIN_POLLERS,
)
from fanfold._replay.scaling import ManagedInstances, Pollers
from fanfold._replay.wording import counted
from fanfold.bench.cells import Cell, Setting
from fanfold.bench.compare import Comparison, compare
from fanfold.bench.estimate import (
    Backlog,
    Estimate,
    Quota,
    Rates,
    Trial,
    against_the_simulator,
    held_out_errors,
    quotas_of,
    rates_of,
)
from fanfold.bench.estimate import estimate as estimate_of
from fanfold.bench.result import Result, read_result
from fanfold.bench.summary import dollars
from fanfold.cli import estimate_options as option
from fanfold.cli import options
from fanfold.cli.arguments import setting_of
from fanfold.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Estimated:
    """An estimate, its basis, and its errors where they could be measured."""

    handler: str
    """The handler that was measured."""
    setting: Setting
    """The setting it was measured at."""
    backlog: Backlog
    """The backlog to process."""
    rates: Rates
    """Time and memory of a batch."""
    quotas: tuple[Quota, ...]
    """The limits of concurrent invocations, tightest first."""
    estimate: Estimate
    """Time and cost of the backlog."""
    trial: Trial
    """The error against the simulator."""
    held_out: tuple[float, ...]
    """The errors against the measurements: relative error of each repeat, predicted from the others."""
    where: str
    """Where the measurements ran."""

    def to_json(self) -> str:
        """Return the estimate as one JSON document."""
        document: dict[str, Any] = asdict(self)
        document["trial"]["error"] = self.trial.error
        return json.dumps(document)

    def _instances(self) -> str:
        """Return a remark on the price of Managed Instances."""
        if self.backlog.instances is None:
            return ""
        if not self.backlog.hourly_price:
            return "; without the instances, whose price is set with --hourly-price"
        return f"; with instances for {dollars(self.backlog.hourly_price)} per hour"

    def _tenants(self) -> Iterator[str]:
        """Yield a line about the quiet tenants of a fair queue."""
        if self.estimate.quiet_seconds is None:
            return
        share, seconds = self.backlog.noisy_share or 0.0, duration(self.estimate.quiet_seconds)
        yield f"  fair queue: messages of all but the tenant that has sent {share:.0%} of the backlog take {seconds}"

    def lines(self) -> list[str]:
        """Return the estimate as lines of text."""
        estimate, backlog, trial = self.estimate, self.backlog, self.trial
        limits = ", ".join(f"{quota.name} {quota.batches:,}" for quota in self.quotas)
        records = counted(backlog.records, "record")
        time, invocations = duration(estimate.seconds), counted(estimate.batches, "invocation")
        total = dollars(estimate.lambda_dollars + estimate.sqs_dollars)
        parts = f"Lambda {dollars(estimate.lambda_dollars)}, SQS {dollars(estimate.sqs_dollars)}"
        basis = f"documented scaling rules and quotas, and on batches measured on {self.where}"
        conditions = f"{counted(trial.batches, 'batch', 'batches')}, at most {trial.concurrency:,} concurrently"
        lines = [
            f"{records} with {self.handler} at {self.setting}, {self.rates.records:,} per batch:",
            f"  {time} in {invocations}, at most {estimate.concurrency:,} concurrently",
            f"  {total}: {parts} for bodies of {backlog.record_bytes:,} bytes{self._instances()}",
            *self._tenants(),
            f"  limiting factor: {estimate.binds} (concurrent invocations: {limits})",
            f"This estimate is based on {basis}. It was not measured on Lambda at this size.",
            f"Error against the simulator ({conditions}): {trial.error:+.1%}.",
        ]
        if self.held_out:
            worst = max(self.held_out, key=abs)
            median = statistics.median(map(abs, self.held_out))
            method = f"Error against the measurements on {self.where} (each repeat predicted from the others)"
            lines.append(f"{method}: median {median:.1%}, worst {worst:+.1%}.")
        else:
            lines.append("Error against the measurements: not known, because it needs at least two repeats.")
        return lines


def estimate(
    result: options.Result,
    records: option.Records = 1e6,
    payload_size: option.PayloadSize = 640,
    at: option.At = None,
    maximum_concurrency: option.MaximumConcurrency = None,
    account_concurrency: option.AccountConcurrency = LAMBDA_ACCOUNT_CONCURRENCY,
    minimum_pollers: option.MinimumPollers = None,
    maximum_pollers: option.MaximumPollers = None,
    processes: option.Processes = None,
    environments: option.Environments = None,
    maximum_environments: option.MaximumEnvironments = None,
    hourly_price: option.HourlyPrice = None,
    noisy_share: option.NoisyShare = None,
    as_json: options.Json = False,
) -> None:
    """Estimate the time and the cost of a backlog of any size from a result of `fanfold bench`.

    Use it before a large run or a redrive. The time follows from Lambda's documented scaling rules and quotas, in
    standard mode, in provisioned mode (--minimum-pollers, --maximum-pollers), and on Managed Instances (--processes).
    The output names the limiting factor, and the errors of the estimate against the simulator and the measurements.
    """
    if maximum_concurrency is not None and (minimum_pollers or maximum_pollers):
        raise ConfigurationError("--maximum-concurrency does not go with pollers: AWS accepts only one of them")
    backlog = Backlog(
        round(records),
        payload_size,
        maximum_concurrency=maximum_concurrency,
        account_concurrency=account_concurrency,
        pollers=_pollers(minimum_pollers, maximum_pollers),
        instances=_instances(processes, environments, maximum_environments, hourly_price),
        hourly_price=hourly_price or 0.0,
        noisy_share=noisy_share,
    )
    outcome = estimated(result, backlog, at)
    if as_json:
        print(outcome.to_json())
        return
    for line in outcome.lines():
        print(textwrap.fill(line, Console().width, subsequent_indent=" " * 4 if line.startswith(" ") else ""))


def estimated(file: Path, backlog: Backlog, at: str | None) -> Estimated:
    """Return the estimate for a backlog.

    Args:
        file: A result of ``fanfold bench``.
        backlog: The backlog to process.
        at: ``CONCURRENCY:MEMORY`` of a cell in the file; None for the recommended one.

    Raises:
        ConfigurationError: If the file cannot be read, or the cell was not measured.
    """
    result = read_result(file)
    cell = _cell(result, at, file)
    rates = rates_of(cell, result.samples, result.workload.records)
    return Estimated(
        handler=result.workload.handler,
        setting=cell.setting,
        backlog=backlog,
        rates=rates,
        quotas=tuple(quotas_of(backlog, rates.records)),
        estimate=estimate_of(rates, backlog, result.prices),
        trial=against_the_simulator(rates, backlog),
        held_out=tuple(held_out_errors(cell, result.samples)),
        where=result.workload.where,
    )


def _pollers(minimum: int | None, maximum: int | None) -> Pollers | None:
    """Return the pollers of provisioned mode, with AWS's defaults; None for standard mode."""
    if minimum is None and maximum is None:
        return None
    least = MAPPING_MIN_POLLERS if minimum is None else minimum
    return Pollers(least, max(least, MAPPING_MAX_MINIMUM_POLLERS) if maximum is None else maximum)


def _instances(
    processes: int | None, environments: int | None, maximum: int | None, hourly_price: float | None
) -> ManagedInstances | None:
    """Return the Managed Instances, with AWS's defaults; None for an ordinary function."""
    if processes is None:
        if (environments, maximum, hourly_price) != (None, None, None):
            raise ConfigurationError(
                "--environments, --maximum-environments, and --hourly-price are for Managed Instances: add --processes"
            )
        return None
    start = MANAGED_INSTANCES_ENVIRONMENTS if environments is None else environments
    most = MANAGED_INSTANCES_MAX_ENVIRONMENTS if maximum is None else maximum
    if most < start:
        raise ConfigurationError(f"--maximum-environments {most:,} is below the {start:,} of --environments")
    return ManagedInstances(processes, start, most)


def duration(seconds: float) -> str:
    """Return a duration as text, in days, hours, minutes, or seconds."""
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} seconds"


def _cell(result: Result, at: str | None, file: Path) -> Cell:
    if at is None:
        if result.findings.cheapest is None:
            raise ConfigurationError(f"{file} recommends no setting: choose one with --at CONCURRENCY:MEMORY")
        return result.findings.cheapest.best
    setting = setting_of(at, "--at")
    measured = {cell.setting: cell for cell in result.cells if cell.measured}
    if setting not in measured:
        settings = ", ".join(f"{setting.concurrency}:{setting.memory_mb}" for setting in measured)
        raise ConfigurationError(f"{file} has no measurement at {at}: --at must be one of {settings or 'none'}")
    return measured[setting]


def compare_results(first: options.Result, second: options.Result, as_json: options.Json = False) -> None:
    """Compare two results of `fanfold bench`, setting by setting.

    Use it to see whether a change made a handler faster, cheaper, or smaller. Ratios are second to first. A difference
    within the noise does not count; the output states if there are too few samples to decide.
    """
    comparison = compare(read_result(first), read_result(second))
    if as_json:
        print(json.dumps(asdict(comparison)))
    else:
        _show(comparison, Console())


def _show(comparison: Comparison, console: Console) -> None:
    table = Table(title="second / first", title_justify="left")
    for name in ("concurrency", "MB", "records/s", "$/million", "peak MB", ""):
        table.add_column(name, justify="left" if not name else "right")
    for row in comparison.rows:
        ratios = [_ratio(row.speed), _ratio(row.cost), _ratio(row.memory)]
        table.add_row(str(row.setting.concurrency), f"{row.setting.memory_mb:,}", *ratios, row.text)
    console.print(table)
    for line in comparison.lines:
        console.print(escape(line), highlight=False)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
