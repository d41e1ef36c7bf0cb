"""The result of a sweep: a file that is written during the sweep, and read to resume, compare and estimate."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from fanfold import __version__
from fanfold.bench.cells import MEASURED, Cell, Grid, Sample, Setting, Spread, cells_of
from fanfold.bench.decide import Choice, Findings, findings
from fanfold.bench.decode import decode
from fanfold.bench.prices import Prices
from fanfold.errors import ConfigurationError

FORM: Final = 1
"""Version of the document."""
_DERIVED: Final = frozenset({"fanfold_bench", "complete", "findings", "cells"})
"""Keys of the document that are computed from the others."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The handler, its input, and the conditions. A sweep can be resumed only with the same workload."""

    handler: str
    """``MODULE:NAME``, or the name of a deployed function."""
    where: str
    """``this machine`` or ``a deployed function``."""
    records: int
    """Records in a batch."""
    batches: int
    """Number of different batches."""
    digest: str
    """Hash of the batches."""
    seconds: float
    """Minimum duration of a sample."""
    timeout_seconds: float
    """Maximum duration of a batch."""
    downstream_latency_ms: float | None = None
    """Response time of the downstream service, or waiting time of the synthetic handler."""


@dataclass(frozen=True, slots=True)
class Result:
    """The samples of a sweep, and its conditions."""

    workload: Workload
    """The handler and its input."""
    grid: Grid
    """The settings to measure."""
    prices: Prices
    """The prices that costs are computed with."""
    samples: tuple[Sample, ...]
    """The samples."""
    machine: Mapping[str, Any]
    """Processor, system, versions and date."""
    limits: str
    """A description of how the limits were enforced."""
    present: Setting | None = None
    """The present setting of the function."""
    consumer: bool | None = None
    """True if the handler is a fanfold consumer; None if that is not known."""
    notes: tuple[str, ...] = ()
    """Caveats for readers of the numbers."""
    adjusting: tuple[Sample, ...] = ()
    """A sample for each memory of a concurrency limit that adjusts itself, which its setting contains."""

    @property
    def cells(self) -> list[Cell]:
        """The cells of the samples."""
        return cells_of(self.samples, self.prices)

    @property
    def findings(self) -> Findings:
        """The findings from the cells."""
        return findings(self.cells, within_seconds=self.grid.within_seconds, present=self.present)

    @property
    def complete(self) -> bool:
        """True if every setting of the grid has a sample; always True for a search."""
        return self.grid.search or {sample.setting for sample in self.samples} >= set(self.grid.settings)


def document_of(result: Result) -> dict[str, Any]:
    """Return a result, with its findings and cells, as one JSON document."""
    conclusions = result.findings
    saving = conclusions.saving
    return {
        "fanfold_bench": FORM,
        **asdict(result),
        "complete": result.complete,
        "findings": {
            "cheapest": _choice(conclusions.cheapest),
            "fastest": _choice(conclusions.fastest),
            "knee": None if conclusions.knee is None else asdict(conclusions.knee.setting),
            "pareto": [asdict(cell.setting) for cell in conclusions.pareto],
            "enough": [asdict(setting) for setting in conclusions.enough],
            "frontier": [asdict(row) for row in conclusions.frontier],
            "saving": None if saving is None else {"share": saving.share, "certain": saving.certain},
        },
        "cells": [asdict(cell) for cell in result.cells],
    }


def write_result(result: Result, file: Path) -> None:
    """Write a result. An older file is replaced atomically.

    Raises:
        ConfigurationError: If the file cannot be written.
    """
    try:
        part = file.with_name(file.name + ".part")
        part.write_text(json.dumps(document_of(result)) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror}") from error


def read_result(file: Path) -> Result:
    """Read a result.

    Raises:
        ConfigurationError: If the file cannot be read, or is not a result of this version.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("fanfold_bench") != FORM:
        raise ConfigurationError(f"{file} is not a result of this version of `fanfold bench`: measure again")
    try:
        content = {name: value for name, value in document.items() if name not in _DERIVED}
        return _checked(decode(Result, content, "the result"))
    except ConfigurationError as error:
        raise ConfigurationError(f"{file} is damaged: {error}; measure again") from None


def _checked(result: Result) -> Result:
    """Return a result that all findings can be computed from.

    Raises:
        ConfigurationError: If a number is out of range.
    """
    _require(result.prices.gb_second > 0, "the result.prices.gb_second must be above 0")
    _require(result.prices.requests_million >= 0, "the result.prices.requests_million must be at least 0")
    _require(result.workload.records >= 1, "the result.workload.records must be at least 1")
    _require(bool(result.grid.concurrencies and result.grid.memories), "the result.grid must have values on both axes")
    _require("cpu" in result.machine and "packages" in result.machine, "the result.machine must have cpu and packages")
    for number, sample in enumerate(result.samples):
        where = f"the result.samples[{number}]"
        setting = sample.setting
        _require(setting.concurrency >= 1 and setting.memory_mb >= 1, f"{where}.setting must be above 0")
        _require(0 <= sample.failed <= sample.records, f"{where}.failed must be from 0 to its number of records")
        _require(all(seconds >= 0 for seconds in sample.batch_seconds), f"{where}.batch_seconds must be at least 0")
        measured = sample.end != MEASURED or (sample.records > 0 and sample.seconds > 0)
        _require(measured, f"{where} must have records and durations above 0, because it is measured")
    return result


def _require(valid: bool, problem: str) -> None:
    if not valid:
        raise ConfigurationError(problem)


def _choice(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {**asdict(choice.best.setting), "clear": choice.clear, "ties": _settings(choice.ties)}


def _settings(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    return [asdict(cell.setting) for cell in cells]


COLUMNS: Final = (
    "concurrency", "memory_mb", "end", "reason", "repeats", "out_of_memory_kills", "records_per_second",
    "tolerance_share", "dollars_per_million_records", "batch_p50_seconds", "batch_p95_seconds", "batch_p99_seconds",
    "batch_max_seconds", "record_p50_seconds", "record_p95_seconds", "record_p99_seconds", "record_max_seconds",
    "failed_share", "peak_memory_mb", "throttled_share", "cold_start_seconds", "most_in_flight",
)  # fmt: skip
"""Names of the CSV columns. An empty value was not measured."""


def rows(result: Result) -> list[list[Any]]:
    """Return a row for each cell, with the values of ``COLUMNS``; None for a value that was not measured."""
    return [_row(cell) for cell in result.cells]


def _row(cell: Cell) -> list[Any]:
    numbers = [cell.records_per_second, cell.tolerance, cell.dollars_per_million] if cell.measured else [None] * 3
    return [
        cell.setting.concurrency,
        cell.setting.memory_mb,
        cell.end,
        cell.reason,
        cell.repeats,
        cell.kills,
        *numbers,
        *_four(cell.batch_seconds),
        *_four(cell.record_seconds),
        cell.failed_share if cell.measured else None,
        cell.peak_memory_mb,
        cell.throttled_share,
        cell.cold_start_seconds,
        cell.most_in_flight,
    ]


def _four(spread: Spread | None) -> list[Any]:
    return [None] * 4 if spread is None else [spread.p50, spread.p95, spread.p99, spread.most]


_PACKAGES: Final = ("anyio", "aiohttp", "aiobotocore", "boto3", "aws-lambda-powertools")


def about_this_machine() -> dict[str, Any]:
    """Return processor, system, versions and date, without anything that identifies the owner."""
    packages = {"fanfold": __version__}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": packages,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())
