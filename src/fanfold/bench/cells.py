"""Settings, their samples, and the cells that summarize the samples of a setting."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from fanfold._base.aws_limits import cpus_of
from fanfold.bench.prices import Prices

MEASURED: Final = "measured"
OUT_OF_MEMORY: Final = "out of memory"
TIMED_OUT: Final = "timed out"
FAILED: Final = "failed"

TIE_WAITING: Final = 0.02
"""Minimum relative difference between cells that mostly wait. Smaller ones are ties, even if their repeats agree."""
TIE_COMPUTING: Final = 0.10
"""The same for cells that mostly compute."""
COMPUTING_SHARE: Final = 0.5
"""Minimum share of its CPU, or of one core if it has more, that a cell uses if it mostly computes."""


@dataclass(frozen=True, order=True, slots=True)
class Setting:
    """A concurrency and a memory size of a function."""

    concurrency: int
    """Concurrent handlers in one execution environment."""
    memory_mb: int
    """Memory of the function, MB."""

    def __str__(self) -> str:
        return f"{self.concurrency} at {self.memory_mb:,} MB"


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of durations, in seconds."""

    p50: float
    """The median."""
    p95: float
    """The 95th percentile."""
    p99: float
    """The 99th percentile."""
    most: float
    """The maximum."""

    @classmethod
    def of(cls, durations: Sequence[float]) -> Spread | None:
        """Return the percentiles of durations, by nearest rank; None if there are no durations."""
        if not durations:
            return None
        ranked = sorted(durations)
        at = [ranked[max(0, -(-len(ranked) * percent // 100) - 1)] for percent in (50, 95, 99, 100)]
        return cls(*at)

    @classmethod
    def over(cls, spreads: Sequence[Spread]) -> Spread | None:
        """Return the medians of the repeats' percentiles, and the overall maximum; None if there are no repeats."""
        if not spreads:
            return None
        return cls(
            statistics.median(spread.p50 for spread in spreads),
            statistics.median(spread.p95 for spread in spreads),
            statistics.median(spread.p99 for spread in spreads),
            max(spread.most for spread in spreads),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One repeat of a setting: a process that was started, warmed up and measured."""

    setting: Setting
    """The setting of the process."""
    repeat: int
    """Number of the repeat, from 0."""
    end: str
    """``measured``, ``out of memory``, ``timed out`` or ``failed``."""
    reason: str = ""
    """Why it was not measured."""
    records: int = 0
    """Records in the measured batches."""
    failed: int = 0
    """Of these, records that would be redelivered."""
    batch_seconds: tuple[float, ...] = ()
    """Duration of each measured batch: decoding the event, the handler, encoding the response."""
    record_seconds: Spread | None = None
    """Duration of the handler for one record, if it is a fanfold consumer."""
    peak_memory_mb: float | None = None
    """Maximum resident memory of the process."""
    throttled_seconds: float | None = None
    """Time that the process waited for its CPU quota while measured; None if the CPU is not limited."""
    cpu_seconds: float | None = None
    """CPU time that the handler used while measured."""
    cold_start_seconds: float | None = None
    """Time from the start of the process to its response to one record."""
    most_in_flight: int | None = None
    """Maximum number of handlers that ran concurrently, if it is a fanfold consumer."""

    @property
    def seconds(self) -> float:
        """The measured time."""
        return sum(self.batch_seconds)

    @property
    def records_per_second(self) -> float:
        """Acknowledged records per second; 0 if nothing was measured."""
        return (self.records - self.failed) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """The summary of the samples of one setting: medians over the repeats."""

    setting: Setting
    """The setting of the samples."""
    end: str
    """As in ``Sample``. If any repeat was not ``measured``, its end."""
    reason: str
    """Why it was not measured."""
    repeats: int
    """Number of measured repeats."""
    kills: int
    """Repeats that ran out of memory."""
    records_per_second: float
    """Acknowledged records per second."""
    tolerance: float
    """Relative difference below which another cell is a tie with this one: twice the median distance of the repeats
    from their median, and at least 2 % if the handler waits, 10 % if it computes."""
    dollars_per_million: float
    """Lambda's price of a million acknowledged records: duration and requests, without SQS."""
    batch_seconds: Spread | None
    """Duration of a batch."""
    record_seconds: Spread | None
    """Duration of the handler for one record, if it is a fanfold consumer."""
    failed_share: float
    """Share of records that would be redelivered."""
    peak_memory_mb: float | None
    """Maximum resident memory in any repeat."""
    throttled_share: float | None
    """Share of the time that the process waited for its CPU quota."""
    cold_start_seconds: float | None
    """Time from the start of the process to its response to one record."""
    most_in_flight: int | None
    """Maximum number of handlers that ran concurrently, if it is a fanfold consumer."""

    @property
    def measured(self) -> bool:
        """True if every repeat was measured."""
        return self.end == MEASURED


def cells_of(samples: Iterable[Sample], prices: Prices) -> list[Cell]:
    """Return the cells of these samples, sorted by setting."""
    by_setting: dict[Setting, list[Sample]] = {}
    for sample in samples:
        by_setting.setdefault(sample.setting, []).append(sample)
    return [_cell(setting, by_setting[setting], prices) for setting in sorted(by_setting)]


def _cell(setting: Setting, samples: Sequence[Sample], prices: Prices) -> Cell:
    good = [sample for sample in samples if sample.end == MEASURED]
    bad = [sample for sample in samples if sample.end != MEASURED]
    rates = [sample.records_per_second for sample in good]
    records, failed = sum(sample.records for sample in good), sum(sample.failed for sample in good)
    throttled = [sample.throttled_seconds for sample in good if sample.throttled_seconds is not None]
    seconds = sum(sample.seconds for sample in good)
    all_failed = not bad and failed == records
    return Cell(
        setting=setting,
        end=bad[0].end if bad else FAILED if all_failed else MEASURED,
        reason=bad[0].reason if bad else "every record failed" if all_failed else "",
        repeats=len(good),
        kills=sum(sample.end == OUT_OF_MEMORY for sample in bad),
        records_per_second=statistics.median(rates) if rates else 0.0,
        tolerance=max(_noise(rates), TIE_COMPUTING if any(map(_computes, good)) else TIE_WAITING),
        dollars_per_million=statistics.median(_dollars(sample, prices) for sample in good) if good else 0.0,
        batch_seconds=Spread.of([duration for sample in good for duration in sample.batch_seconds]),
        record_seconds=Spread.over([sample.record_seconds for sample in good if sample.record_seconds is not None]),
        failed_share=failed / records if records else 0.0,
        peak_memory_mb=_maximum(sample.peak_memory_mb for sample in good),
        throttled_share=sum(throttled) / seconds if throttled and seconds else None,
        cold_start_seconds=_median(sample.cold_start_seconds for sample in good),
        most_in_flight=_maximum(sample.most_in_flight for sample in good),
    )


def _noise(rates: Sequence[float]) -> float:
    """Return the relative spread of the repeats. A single outlier, as from a busy machine, does not change it."""
    median = statistics.median(rates) if rates else 0.0
    return 2 * statistics.median(abs(rate - median) for rate in rates) / median if median else 0.0


def _computes(sample: Sample) -> bool:
    share = min(1.0, cpus_of(sample.setting.memory_mb))
    return (sample.cpu_seconds or 0.0) >= COMPUTING_SHARE * share * sample.seconds


def _dollars(sample: Sample, prices: Prices) -> float:
    done = sample.records - sample.failed
    cost = sum(prices.invocation(seconds, sample.setting.memory_mb) for seconds in sample.batch_seconds)
    return cost / done * 1_000_000 if done else 0.0


def _maximum(values: Iterable[float | int | None]) -> Any:
    return max((value for value in values if value is not None), default=None)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


@dataclass(frozen=True, slots=True)
class Grid:
    """The settings to measure."""

    concurrencies: tuple[int, ...]
    """Values of the concurrency, ascending."""
    memories: tuple[int, ...]
    """Memory sizes in MB, ascending."""
    also: tuple[Setting, ...] = ()
    """Settings in addition to the grid: the present one."""
    repeats: int = 5
    """Samples of each setting."""
    seed: int = 0
    """Seed of the order."""
    search: bool = False
    """True to search for the cheapest cell, and measure only a fraction of the grid."""
    within_seconds: float | None = None
    """Maximum duration of a batch, for the search."""

    @property
    def settings(self) -> list[Setting]:
        """All settings of the grid, and the additional ones."""
        pairs = (Setting(concurrency, memory) for concurrency, memory in product(self.concurrencies, self.memories))
        return sorted({*pairs, *self.also})
