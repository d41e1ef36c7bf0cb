"""The plan of a ``fanfold bench`` sweep. Every mistake in the options is reported before the sweep starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from fanfold._base.aws_limits import LAMBDA_MB_PER_VCPU, LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB
from fanfold._base.import_string import split_name
from fanfold._replay.events import read_events
from fanfold._replay.wording import counted
from fanfold.bench.batches import SYNTHETIC_BATCH, Batches, batches_of, synthetic_records
from fanfold.bench.cells import Grid, Sample, Setting
from fanfold.bench.prices import ARCHITECTURES, Prices, prices_of
from fanfold.bench.result import Result, Workload, about_this_machine, read_result
from fanfold.check.deployment import Deployment, deployment_of, undetermined
from fanfold.check.values import Function
from fanfold.check.values import Setting as TemplateSetting
from fanfold.cli.arguments import setting_of
from fanfold.cli.bench_axis import MAX_CONCURRENCY, axis, distinct
from fanfold.errors import ConfigurationError

DEPLOYED = "a deployed function"
"""The place of a sweep that used the Lambda API."""
_ARCHITECTURES = {"x86_64": "x86", "arm64": "arm"}
SYNTHETIC_HANDLER = "fanfold.bench.synthetic_handler:handler"


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
    architecture: str | None
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
class Deployed:
    """A function as its template deploys it."""

    present: Setting | None = None
    """The present setting; None if it is not known."""
    memory_mb: int | None = None
    """Its memory, if its concurrency is set in the handler's decorator."""
    architecture: str | None = None
    """``x86`` or ``arm``; None if it is not known."""
    batch_size: int | None = None
    """The batch size of its mapping; None if it is not known."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Its environment variables whose values are known."""
    queue_variables: tuple[str, ...] = ()
    """Its environment variables that are the URL of a queue of the template."""
    notes: tuple[str, ...] = ()
    """One line for each setting that is not known."""


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
    deployed: Deployed
    """The settings that the template determines."""
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
        """Return the plan with another present setting, measured too, unless it is the same as one of the grid."""
        present = _same(present, self.grid.concurrencies, self.batches.records)
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
        if self.present is None and self.deployed.memory_mb is not None:
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
    if options.architecture not in (None, *ARCHITECTURES):
        raise ConfigurationError(f"--arch must be {' or '.join(ARCHITECTURES)}, not {options.architecture!r}")
    if options.template is not None and options.function is None:
        raise ConfigurationError("--template needs --function: add the logical id of the function in the template")
    from_template = _deployed(options)
    batches = _batches(options, stdin, options.batch_size or from_template.batch_size)
    grid, present, grid_notes = _grid(options, from_template.present, batches.records)
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
    prices = prices_of(options.architecture or from_template.architecture or ARCHITECTURES[0], options.prices)
    notes = (*_notes(batches, grid, options), *grid_notes, *from_template.notes)
    if options.auto and options.deployed:
        raise ConfigurationError("--auto measures a handler on this machine: leave it out, or add --template")
    return Plan(workload, batches, grid, prices, present, from_template, samples, notes, options.auto)


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
    if not all(split_name(options.handler)):
        raise ConfigurationError(f"--handler {options.handler!r} is not of the form MODULE:NAME, such as app:handler")
    return options.handler


def _batches(options: BenchOptions, stdin: IO[bytes], batch_size: int | None) -> Batches:
    if options.events:
        return batches_of(read_events(options.events, stdin=stdin), batch_size)
    return batches_of([synthetic_records(batch_size or SYNTHETIC_BATCH, options.payload_bytes)], None)


def _deployed(options: BenchOptions) -> Deployed:
    """Return the settings of the template, with the present setting that the user specified instead."""
    from_template = Deployed()
    if options.template is not None and options.function is not None:
        from_template = deployed(options.template, options.function)
    if options.present is None:
        return from_template
    setting = setting_of(options.present, "--present")
    axis(str(setting.concurrency), "--present", 1, MAX_CONCURRENCY)
    axis(str(setting.memory_mb), "--present", LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB)
    notes = tuple(note for note in from_template.notes if "--present" not in note)
    return replace(from_template, present=setting, memory_mb=None, notes=notes)


def _grid(options: BenchOptions, present: Setting | None, records: int) -> tuple[Grid, Setting | None, list[str]]:
    """Return the grid without cells that cannot differ, the present setting in it, and notes."""
    requested = axis(options.concurrency, "--concurrency", 1, MAX_CONCURRENCY)
    concurrencies = distinct(requested, records)
    notes = []
    if omitted := requested[len(concurrencies) :]:
        values = ", ".join(f"{value:,}" for value in omitted)
        notes.append(
            f"Concurrency {values} is not measured: a batch has {counted(records, 'record')}, so it is the same as "
            f"{concurrencies[-1]:,}; see --batch-size."
        )
    if present is not None:
        same = _same(present, concurrencies, records)
        if same != present:
            notes.append(f"The present concurrency of {present.concurrency:,} is measured as {same.concurrency:,}.")
        present = same
    grid = Grid(
        concurrencies,
        axis(options.memory, "--memory", LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB),
        also=() if present is None else (present,),
        repeats=options.repeats,
        seed=options.seed,
        search=options.search,
        within_seconds=options.within_seconds,
    )
    return grid, present, notes


def _same(setting: Setting, concurrencies: Sequence[int], records: int) -> Setting:
    """Return the setting of a grid that a batch of this many records cannot distinguish from another; or that one."""
    same = distinct((*concurrencies, setting.concurrency), records)[-1]
    return Setting(same, setting.memory_mb) if setting.concurrency > records else setting


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
    cores = int(about_this_machine()["cores"] or 1)
    if not options.deployed and grid.memories[-1] > cores * LAMBDA_MB_PER_VCPU:
        notes.append(f"This machine has {cores} cores: cells above {cores * LAMBDA_MB_PER_VCPU:,} MB get only these.")
    return notes


def deployed(template: Path, name: str) -> Deployed:
    """Return the settings of a function.

    Args:
        template: A SAM or CloudFormation file, YAML or JSON; parameters have their default values.
        name: The logical id of the function, or of its mapping (``Function.Event``) if it reads several queues.

    Raises:
        ConfigurationError: If the template cannot be read or has no such function, or if AWS would reject a setting.
        MissingExtraError: If the extra ``check`` is not installed.
    """
    deployment = deployment_of(template, name)
    function = deployment.function
    if function is None:
        return Deployed(
            batch_size=_batch_size(deployment, []),
            notes=(f"{template} does not declare the function of {name}: specify the present setting with --present.",),
        )
    notes: list[str] = []
    present, memory_mb = _present(template, function, notes)
    variables, queue_variables = _variables(deployment, function, notes)
    return Deployed(
        present,
        memory_mb,
        _architecture(template, function, notes),
        _batch_size(deployment, notes),
        variables,
        queue_variables,
        tuple(notes),
    )


def _present(template: Path, function: Function, notes: list[str]) -> tuple[Setting | None, int | None]:
    """Return the present setting; only the memory if the handler's decorator sets the concurrency."""
    values = {variable.setting.name: variable.setting.value for variable in function.variables}
    if values.get("FANFOLD_CONCURRENCY") == "auto":
        notes.append("FANFOLD_CONCURRENCY is auto, so there is no present setting to compare with.")
        return None, None
    unknown = [undetermined(template, value) for value in (function.memory, function.concurrency) if not value.known]
    if unknown:
        notes += [f"{reason}: specify the present setting with --present." for reason in unknown]
        return None, None
    memory, concurrency = function.memory.value or 0, function.concurrency.value
    axis(f"{memory:g}", function.memory.subject, LAMBDA_MIN_MEMORY_MB, MANAGED_INSTANCES_MAX_MEMORY_MB)
    if concurrency is None:
        return None, int(memory)
    axis(f"{concurrency:g}", function.concurrency.subject, 1, MAX_CONCURRENCY)
    return Setting(int(concurrency), int(memory)), None


def _architecture(template: Path, function: Function, notes: list[str]) -> str | None:
    setting = function.architectures
    if setting is None:
        return None
    if not setting.known:
        notes.append(f"{undetermined(template, setting)}: specify it with --arch.")
        return None
    return _ARCHITECTURES.get((*(setting.value or ()), "x86_64")[0])


def _batch_size(deployment: Deployment, notes: list[str]) -> int | None:
    """Return the batch size of the only mapping of the function."""
    sizes: list[TemplateSetting[Any]] = [mapping.batch_size for mapping in deployment.mappings]
    known = {int(size.value) for size in sizes if size.known and size.value is not None}
    notes += [
        f"{undetermined(deployment.template, size)}: specify it with --batch-size." for size in sizes if not size.known
    ]
    if len(known) > 1:
        keys = " or ".join(f"--function {mapping.key}" for mapping in deployment.mappings)
        notes.append(f"{deployment.name} reads several queues: for the batch size, use {keys}.")
    return known.pop() if len(known) == 1 else None


def _variables(deployment: Deployment, function: Function, notes: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the known environment variables, and the names of those that are URLs of queues."""
    known: dict[str, str] = {}
    queues: list[str] = []
    for variable in function.variables:
        name, reference = variable.setting.name, variable.reference
        if variable.setting.known:
            known[name] = str(variable.setting.value)
        elif reference is not None and reference.resource in deployment.model.queues:
            queues.append(name)
        elif name != "FANFOLD_CONCURRENCY":
            notes.append(f"{undetermined(deployment.template, variable.setting)}: set it in this shell.")
    return known, tuple(queues)
