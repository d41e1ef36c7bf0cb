"""``fanfold bench compare`` and ``fanfold bench estimate``, which read what ``fanfold bench`` has written."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fanfold._base.aws_limits import LAMBDA_ACCOUNT_CONCURRENCY
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
from fanfold.cli import options
from fanfold.cli.arguments import setting_of
from fanfold.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Estimated:
    """An estimate, what it rests on, and how wrong it was where that could be seen."""

    handler: str
    """What was measured."""
    setting: Setting
    """At which setting."""
    backlog: Backlog
    """What is to be worked off."""
    rates: Rates
    """What a batch takes."""
    quotas: tuple[Quota, ...]
    """What limits invocations at once, tightest first."""
    estimate: Estimate
    """What it takes."""
    trial: Trial
    """Against the simulator."""
    held_out: tuple[float, ...]
    """Against what ran: relative error of each repeat, predicted from the others."""
    where: str
    """Where it ran."""

    def to_json(self) -> str:
        """Return all of it as one JSON document."""
        document: dict[str, Any] = asdict(self)
        document["trial"]["error"] = self.trial.error
        return json.dumps(document)

    def lines(self) -> list[str]:
        """Return all of it in sentences."""
        found, backlog, trial = self.estimate, self.backlog, self.trial
        tightest = ", ".join(f"{quota.name} {quota.batches:,}" for quota in self.quotas)
        whole = dollars(found.lambda_dollars + found.sqs_dollars)
        parts = f"Lambda {dollars(found.lambda_dollars)}, SQS {dollars(found.sqs_dollars)}"
        rests = f"documented scaling rules and quotas and from batches measured on {self.where}"
        how = f"simulated; {trial.batches} batches, {trial.concurrency} at once from the start"
        lines = [
            f"{backlog.records:,} records with {self.handler} at {self.setting}, {self.rates.records:,} a batch:",
            f"  {duration(found.seconds)} in {found.batches:,} invocations, at most {found.concurrency:,} at once",
            f"  {whole}: {parts} for bodies of {backlog.record_bytes:,} bytes",
            f"  binds first: {found.binds} (at once: {tightest})",
            f"An estimate, from {rests}; not measured on Lambda at this size.",
            f"Against the simulator ({how}): {trial.error:+.1%}.",
        ]
        if self.held_out:
            worst = max(self.held_out, key=abs)
            middle = statistics.median(map(abs, self.held_out))
            how = f"Against what ran on {self.where} (each repeat predicted from the others)"
            lines.append(f"{how}: {middle:.1%} in the median, {worst:+.1%} at worst.")
        else:
            lines.append("Against what ran: not known, it takes two repeats.")
        return lines


def estimate(
    result: options.Result,
    records: float = typer.Option(1e6, min=1, max=1e12, help="Records to estimate for, such as 1e9."),
    payload_size: int = typer.Option(640, min=32, max=1_000_000, metavar="BYTES", help="Bytes of a record's body."),
    at: str | None = typer.Option(
        None, metavar="CONCURRENCY:MEMORY", help="Cell to estimate by. (default: the one the result recommends)"
    ),
    maximum_concurrency: int | None = typer.Option(None, min=2, max=1_000, help="The mapping's MaximumConcurrency."),
    account_concurrency: int = typer.Option(
        LAMBDA_ACCOUNT_CONCURRENCY, min=1, help="Invocations at once that the account has left."
    ),
    as_json: options.Json = False,
) -> None:
    """Estimate by a result of 'fanfold bench' how long a backlog of any size takes, and what it costs.

    The time follows from the documented scaling rules and quotas; what binds first is named, and how wrong the
    estimate was where that could be seen: against the simulator, and against what ran.
    """
    backlog = Backlog(
        round(records),
        payload_size,
        maximum_concurrency=maximum_concurrency,
        account_concurrency=account_concurrency,
    )
    found = estimated(result, backlog, at)
    print(found.to_json() if as_json else "\n".join(found.lines()))


def estimated(file: Path, backlog: Backlog, at: str | None) -> Estimated:
    """Return the estimate for a backlog.

    Args:
        file: A result of ``fanfold bench``.
        backlog: What is to be worked off.
        at: ``CONCURRENCY:MEMORY`` of a cell in it; None for the one it recommends.

    Raises:
        ConfigurationError: If the file cannot be read, or such a cell was not measured.
    """
    result = read_result(file)
    cell = _cell(result, at, file)
    rates = rates_of(cell, result.samples, result.workload.records)
    durations = _durations(result, cell)
    return Estimated(
        handler=result.workload.handler,
        setting=cell.setting,
        backlog=backlog,
        rates=rates,
        quotas=tuple(quotas_of(backlog, rates.records)),
        estimate=estimate_of(rates, backlog, result.prices),
        trial=against_the_simulator(rates, durations, backlog, result.prices),
        held_out=tuple(held_out_errors(cell, result.samples)),
        where=result.workload.where,
    )


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} seconds"


def _durations(result: Result, cell: Cell) -> Sequence[float]:
    own = [sample for sample in result.samples if sample.setting == cell.setting]
    return [seconds for sample in own for seconds in sample.batch_seconds]


def _cell(result: Result, at: str | None, file: Path) -> Cell:
    if at is None:
        if result.findings.cheapest is None:
            raise ConfigurationError(f"{file} recommends no cell: say which with --at CONCURRENCY:MEMORY")
        return result.findings.cheapest.best
    setting = setting_of(at, "--at")
    found = next((cell for cell in result.cells if cell.setting == setting and cell.measured), None)
    if found is None:
        have = ", ".join(
            f"{each.setting.concurrency}:{each.setting.memory_mb}" for each in result.cells if each.measured
        )
        raise ConfigurationError(f"{file} has no measurement at {at}; it has {have or 'none'}")
    return found


def compare_results(first: options.Result, second: options.Result, as_json: options.Json = False) -> None:
    """Compare two results of 'fanfold bench', setting by setting: whether they agree, differ, or cannot tell.

    Ratios are those of the second to the first. A difference within the noise is none.
    """
    comparison = compare(read_result(first), read_result(second))
    if as_json:
        print(json.dumps(asdict(comparison)))
    else:
        _show(comparison, Console())


def _show(comparison: Comparison, console: Console) -> None:
    table = Table(title="second / first", title_justify="left")
    for name in ("at once", "MB", "records/s", "$/million", "peak MB", ""):
        table.add_column(name, justify="left" if not name else "right")
    for row in comparison.rows:
        ratios = [_ratio(row.speed), _ratio(row.cost), _ratio(row.memory)]
        table.add_row(str(row.setting.concurrency), f"{row.setting.memory_mb:,}", *ratios, row.words)
    console.print(table)
    for line in comparison.lines:
        console.print(escape(line), highlight=False)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
