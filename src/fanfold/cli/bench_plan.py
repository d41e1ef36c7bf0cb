"""The plan of a ``fanfold bench`` sweep. Every mistake in the options is reported before the sweep starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from fanfold._base.aws_limits import LAMBDA_MB_PER_VCPU, LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB
from fanfold._replay.events import read_events
from fanfold.bench.batches import SYNTHETIC_BATCH, Batches, batches_of, synthetic_records
from fanfold.bench.cells import Grid, Sample, Setting
from fanfold.bench.prices import ARCHITECTURES, Prices, prices_of
from fanfold.bench.result import Result, Workload, about_this_machine, read_result
from fanfold.check.deployment import deployment_of, undetermined
from fanfold.cli.arguments import setting_of
from fanfold.errors import ConfigurationError

DEPLOYED = "a deployed function"
"""The place of a sweep that used the Lambda API."""
SYNTHETIC_HANDLER = "fanfold.bench.synthetic_handler:handler"
_MAX_CONCURRENCY = 10_000


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of ``fanfold bench``, as the user wrote them."""

    events: tuple[str, ...]
    handler: str | None
    concurrency: str
    memory: str
    repeats: int
    seconds: float
    timeout_seconds: float
    within_seconds: float | None
    architecture: str
    prices: Path | None
    batch_size: int | None
    downstream_latency_ms: float | None
    payload_bytes: int
    template: Path | None
    function: str | None
    present: str | None
    search: bool
    seed: int
    resume: Path | None
    auto: bool = False

    @property
    def deployed(self) -> bool:
        """True if the sweep measures a deployed function, not a handler on this machine."""
        return self.function is not None and self.template is None


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a sweep."""

    workload: Workload
    """The handler and its input."""
    batches: Batches
    """The batches to deliver."""
    grid: Grid
    """The settings to measure."""
    prices: Prices
    """The prices that costs are computed with."""
    present: Setting | None
    """The present setting of the function."""
    present_memory_mb: int | None
    """Its memory, if its concurrency is set in the handler's decorator."""
    samples: tuple[Sample, ...]
    """The samples of the result that is resumed."""
    notes: tuple[str, ...]
    """Caveats for readers of the numbers."""
    auto: bool = False
    """True if a concurrency limit that adjusts itself is measured, too."""

    @property
    def is_synthetic(self) -> bool:
        """True if the handler is synthetic, too."""
        return self.workload.handler == SYNTHETIC_HANDLER

    def with_present(self, present: Setting) -> Plan:
        """Return the plan with another present setting, measured too."""
        return replace(self, present=present, grid=replace(self.grid, also=(present,)))

    def result(
        self, samples: Sequence[Sample], limits: str, *, consumer: bool | None, more: Sequence[str] = ()
    ) -> Result:
        """Return the result of these samples."""
        notes = [*self.notes, *more]
        if consumer is False:
            notes.append(
                "The handler is not a fanfold consumer: it must read the concurrency from FANFOLD_CONCURRENCY, and "
                "durations of single records are not known."
            )
        if self.present is None and self.present_memory_mb is not None:
            notes.append("The present concurrency is not known: specify it with --present.")
        return Result(
            workload=self.workload,
            grid=self.grid,
            prices=self.prices,
            samples=tuple(samples),
            machine=about_this_machine(),
            limits=limits,
            present=self.present,
            consumer=consumer,
            notes=tuple(notes),
        )


def plan_of(options: BenchOptions, stdin: IO[bytes]) -> Plan:
    """Return the plan of a sweep.

    Raises:
        ConfigurationError: If an option is wrong, or options do not go together.
        EventError: If an event has no records.
    """
    if options.architecture not in ARCHITECTURES:
        raise ConfigurationError(f"--arch must be {' or '.join(ARCHITECTURES)}, not {options.architecture!r}")
    if options.template is not None and options.function is None:
        raise ConfigurationError("--template needs --function: add the logical id of the function in the template")
    batches = _batches(options, stdin)
    present, memory_mb, present_notes = _present(options)
    grid = Grid(
        _axis(options.concurrency, "--concurrency", 1, _MAX_CONCURRENCY),
        _axis(options.memory, "--memory", LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB),
        also=() if present is None else (present,),
        repeats=options.repeats,
        seed=options.seed,
        search=options.search,
        within_seconds=options.within_seconds,
    )
    workload = Workload(
        handler=_handler(options),
        where=DEPLOYED if options.deployed else "this machine",
        records=batches.records,
        batches=len(batches.events),
        digest=batches.digest,
        seconds=options.seconds,
        timeout_seconds=options.timeout_seconds,
        downstream_latency_ms=options.downstream_latency_ms,
    )
    samples = () if options.resume is None else _resumed(options.resume, workload)
    prices = prices_of(options.architecture, options.prices)
    notes = (*_notes(batches, grid, options), *present_notes)
    if options.auto and options.deployed:
        raise ConfigurationError("--auto measures a handler on this machine: leave it out, or add --template")
    return Plan(workload, batches, grid, prices, present, memory_mb, samples, notes, options.auto)


def _handler(options: BenchOptions) -> str:
    if options.deployed:
        if options.handler is not None:
            raise ConfigurationError(
                "--handler and --function do not go together: leave out one of them, or add --template with the "
                "template that declares the function"
            )
        return str(options.function)
    if options.handler is None:
        if options.downstream_latency_ms is None or options.events:
            raise ConfigurationError(
                "specify --handler MODULE:NAME; or --downstream-latency without events, for a synthetic handler and "
                "synthetic records"
            )
        return SYNTHETIC_HANDLER
    module, colon, name = options.handler.partition(":")
    if not (module and colon and name):
        raise ConfigurationError(f"--handler {options.handler!r} is not of the form MODULE:NAME, such as app:handler")
    return options.handler


def _batches(options: BenchOptions, stdin: IO[bytes]) -> Batches:
    if options.events:
        return batches_of(read_events(options.events, stdin=stdin), options.batch_size)
    return batches_of([synthetic_records(options.batch_size or SYNTHETIC_BATCH, options.payload_bytes)], None)


def _axis(text: str, name: str, least: int, most: int) -> tuple[int, ...]:
    values = set()
    for part in text.split(","):
        value = int(part) if part.strip().isdecimal() else -1
        if not least <= value <= most:
            raise ConfigurationError(
                f"{name} must be integers from {least:,} to {most:,}, such as {least},{most}, not {part.strip()!r}"
            )
        values.add(value)
    return tuple(sorted(values))


def _present(options: BenchOptions) -> tuple[Setting | None, int | None, Sequence[str]]:
    """Return the present setting, and notes; only the memory if the handler's decorator sets the concurrency."""
    if options.present is not None:
        setting = setting_of(options.present, "--present")
        _axis(str(setting.concurrency), "--present", 1, _MAX_CONCURRENCY)
        _axis(str(setting.memory_mb), "--present", LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB)
        return setting, None, ()
    if options.template is not None and options.function is not None:
        return _deployed(options.template, options.function)
    return None, None, ()


def _deployed(template: Path, name: str) -> tuple[Setting | None, int | None, Sequence[str]]:
    """Return the setting of a function in a template; if it cannot be determined, only notes with the reasons."""
    function = deployment_of(template, name).function
    if function is None:
        return (
            None,
            None,
            [f"{template} does not declare the function of {name}: specify the present setting with --present."],
        )
    unknown = [undetermined(template, value) for value in (function.memory, function.concurrency) if not value.known]
    if unknown:
        return None, None, [f"{reason}: specify the present setting with --present." for reason in unknown]
    memory, concurrency = function.memory.value or 0, function.concurrency.value
    _axis(f"{memory:g}", function.memory.subject, LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB)
    if concurrency is None:
        return None, int(memory), ()
    _axis(f"{concurrency:g}", function.concurrency.subject, 1, _MAX_CONCURRENCY)
    return Setting(int(concurrency), int(memory)), None, ()


def _resumed(file: Path, workload: Workload) -> tuple[Sample, ...]:
    old = read_result(file)
    differing = [
        f"{name} {getattr(old.workload, name)!r}, now {getattr(workload, name)!r}"
        for name in Workload.__dataclass_fields__
        if getattr(old.workload, name) != getattr(workload, name)
    ]
    if differing:
        raise ConfigurationError(
            f"--resume {file} is the result of another sweep: {'; '.join(differing)}. "
            "Use the same options, or leave out --resume"
        )
    return old.samples


def _notes(batches: Batches, grid: Grid, options: BenchOptions) -> list[str]:
    notes = []
    if batches.cut:
        notes.append("Batches are smaller than requested: an event holds at most 6 MB.")
    if grid.concurrencies[-1] > batches.records:
        notes.append(
            f"At most {batches.records:,} handlers can run concurrently, because a batch has {batches.records:,} "
            "records: see --batch-size."
        )
    cores = int(about_this_machine()["cores"] or 1)
    if not options.deployed and grid.memories[-1] > cores * LAMBDA_MB_PER_VCPU:
        notes.append(f"This machine has {cores} cores: cells above {cores * LAMBDA_MB_PER_VCPU:,} MB get only these.")
    return notes
