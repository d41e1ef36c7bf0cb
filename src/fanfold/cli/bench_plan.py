"""From what a user asked ``fanfold bench`` for to what is measured; every fault in it is told before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from fanfold._base.aws_limits import LAMBDA_MAX_MEMORY_MB, LAMBDA_MB_PER_VCPU, LAMBDA_MIN_MEMORY_MB
from fanfold._replay.events import read_events
from fanfold.bench.batches import SYNTHETIC_BATCH, Batches, batches_of, synthetic_records
from fanfold.bench.cells import Grid, Sample, Setting
from fanfold.bench.prices import ARCHITECTURES, Prices, prices_of
from fanfold.bench.result import Result, Workload, about_this_machine, read_result
from fanfold.check.deployment import deployment_of, undetermined
from fanfold.cli.arguments import setting_of
from fanfold.errors import ConfigurationError

DEPLOYED = "a deployed function"
"""Where a sweep by the Lambda API ran."""
SYNTHETIC_HANDLER = "fanfold.bench.synthetic_handler:handler"
_MOST_CONCURRENCY = 10_000


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of ``fanfold bench``, as they were given."""

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

    @property
    def deployed(self) -> bool:
        """Whether a deployed function is to be swept, not a handler here."""
        return self.function is not None and self.template is None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    workload: Workload
    """What is run."""
    batches: Batches
    """What it is given."""
    grid: Grid
    """At which settings."""
    prices: Prices
    """By which cells are judged."""
    present: Setting | None
    """How the function is set now."""
    present_memory_mb: int | None
    """Its memory, where its concurrency is the handler's own."""
    samples: tuple[Sample, ...]
    """What a result that is resumed has already."""
    notes: tuple[str, ...]
    """What a reader of the numbers should know."""

    @property
    def is_synthetic(self) -> bool:
        """Whether the handler is made up, too."""
        return self.workload.handler == SYNTHETIC_HANDLER

    def with_present(self, present: Setting) -> Plan:
        """Return the plan with another present setting, measured too."""
        return replace(self, present=present, grid=replace(self.grid, also=(present,)))

    def result(
        self, samples: Sequence[Sample], limits: str, *, consumer: bool | None, more: Sequence[str] = ()
    ) -> Result:
        """Return what was measured so far."""
        notes = [*self.notes, *more]
        if consumer is False:
            notes.append(
                "The handler is no fanfold consumer: it finds the concurrency in FANFOLD_CONCURRENCY, and how long "
                "single records took is not known."
            )
        if self.present is None and self.present_memory_mb is not None:
            notes.append("How many handlers run at once now is not known: --present says it.")
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


def plan_of(asked: BenchOptions, stdin: IO[bytes]) -> Plan:
    """Return what is measured.

    Raises:
        ConfigurationError: If something that was asked for is impossible, or does not fit together.
        EventError: If an event holds no records.
    """
    if asked.architecture not in ARCHITECTURES:
        raise ConfigurationError(f"--arch is {' or '.join(ARCHITECTURES)}, not {asked.architecture!r}")
    if asked.template is not None and asked.function is None:
        raise ConfigurationError("--template needs --function: the function in it")
    batches = _batches(asked, stdin)
    present, memory_mb, present_notes = _present(asked)
    grid = Grid(
        _axis(asked.concurrency, "--concurrency", 1, _MOST_CONCURRENCY),
        _axis(asked.memory, "--memory", LAMBDA_MIN_MEMORY_MB, LAMBDA_MAX_MEMORY_MB),
        also=() if present is None else (present,),
        repeats=asked.repeats,
        seed=asked.seed,
        search=asked.search,
        within_seconds=asked.within_seconds,
    )
    workload = Workload(
        handler=_handler(asked),
        where=DEPLOYED if asked.deployed else "this machine",
        records=batches.records,
        batches=len(batches.events),
        digest=batches.digest,
        seconds=asked.seconds,
        timeout_seconds=asked.timeout_seconds,
        downstream_latency_ms=asked.downstream_latency_ms,
    )
    samples = () if asked.resume is None else _resumed(asked.resume, workload)
    prices = prices_of(asked.architecture, asked.prices)
    notes = (*_notes(batches, grid, asked), *present_notes)
    return Plan(workload, batches, grid, prices, present, memory_mb, samples, notes)


def _handler(asked: BenchOptions) -> str:
    if asked.deployed:
        if asked.handler is not None:
            raise ConfigurationError(
                "--handler and --function do not go together, unless --template says what the function is in"
            )
        return str(asked.function)
    if asked.handler is None:
        if asked.downstream_latency_ms is None or asked.events:
            raise ConfigurationError(
                "give --handler MODULE:NAME; or --downstream-latency and no events, for a handler and records made up"
            )
        return SYNTHETIC_HANDLER
    module, colon, name = asked.handler.partition(":")
    if not (module and colon and name):
        raise ConfigurationError(f"{asked.handler!r} is not of the form MODULE:NAME, such as app:handler")
    return asked.handler


def _batches(asked: BenchOptions, stdin: IO[bytes]) -> Batches:
    if asked.events:
        return batches_of(read_events(asked.events, stdin=stdin), asked.batch_size)
    return batches_of([synthetic_records(asked.batch_size or SYNTHETIC_BATCH, asked.payload_bytes)], None)


def _axis(text: str, name: str, least: int, most: int) -> tuple[int, ...]:
    values = set()
    for word in text.split(","):
        value = int(word) if word.strip().isdecimal() else -1
        if not least <= value <= most:
            raise ConfigurationError(
                f"{name} holds whole numbers from {least:,} to {most:,}, such as {least},{most}; not {word.strip()!r}"
            )
        values.add(value)
    return tuple(sorted(values))


def _present(asked: BenchOptions) -> tuple[Setting | None, int | None, Sequence[str]]:
    """Return the present setting, or its memory alone where its concurrency is the handler's own, and what to note."""
    if asked.present is not None:
        setting = setting_of(asked.present, "--present")
        _axis(str(setting.concurrency), "--present", 1, _MOST_CONCURRENCY)
        _axis(str(setting.memory_mb), "--present", LAMBDA_MIN_MEMORY_MB, LAMBDA_MAX_MEMORY_MB)
        return setting, None, ()
    if asked.template is not None and asked.function is not None:
        return _deployed(asked.template, asked.function)
    return None, None, ()


def _deployed(template: Path, name: str) -> tuple[Setting | None, int | None, Sequence[str]]:
    """Return what a template says of a function; if it does not tell all, only why."""
    function = deployment_of(template, name).function
    if function is None:
        return None, None, [f"{template} says nothing of the function of {name}: --present says how it is set now."]
    unknown = [undetermined(template, each) for each in (function.memory, function.concurrency) if not each.known]
    if unknown:
        return None, None, [f"{each}: the present setting is left out; --present says it." for each in unknown]
    memory, concurrency = function.memory.value or 0, function.concurrency.value
    _axis(f"{memory:g}", function.memory.subject, LAMBDA_MIN_MEMORY_MB, LAMBDA_MAX_MEMORY_MB)
    if concurrency is None:
        return None, int(memory), ()
    _axis(f"{concurrency:g}", function.concurrency.subject, 1, _MOST_CONCURRENCY)
    return Setting(int(concurrency), int(memory)), None, ()


def _resumed(file: Path, workload: Workload) -> tuple[Sample, ...]:
    old = read_result(file)
    differing = [
        f"{name} {getattr(old.workload, name)!r}, now {getattr(workload, name)!r}"
        for name in Workload.__dataclass_fields__
        if getattr(old.workload, name) != getattr(workload, name)
    ]
    if differing:
        raise ConfigurationError(f"{file} is of another sweep: {'; '.join(differing)}")
    return old.samples


def _notes(batches: Batches, grid: Grid, asked: BenchOptions) -> list[str]:
    notes = []
    if batches.cut:
        notes.append("Batches end early: an event holds at most 6 MB.")
    if grid.concurrencies[-1] > batches.records:
        notes.append(
            f"No more than {batches.records:,} can be handled at once, which is what a batch holds: see --batch-size."
        )
    cores = int(about_this_machine()["cores"] or 1)
    if not asked.deployed and grid.memories[-1] > cores * LAMBDA_MB_PER_VCPU:
        notes.append(
            f"This machine has {cores} cores: cells over {cores * LAMBDA_MB_PER_VCPU:,} MB have no more CPU than that."
        )
    return notes
