"""What is measured and what it comes to: the settings, one sample of one, and the cell that its samples make."""

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
"""Relative difference under which cells that mostly wait are ties, however well their repeats agree."""
TIE_COMPUTING: Final = 0.10
"""The same for cells that mostly compute."""
COMPUTING_SHARE: Final = 0.5
"""Share of its CPU, or of one core if it has more, from which a cell mostly computes."""


@dataclass(frozen=True, order=True, slots=True)
class Setting:
    """A pair that can be set on a function."""

    concurrency: int
    """Handlers at once in one execution environment."""
    memory_mb: int
    """Memory of the function, MB."""

    def __str__(self) -> str:
        return f"{self.concurrency} at {self.memory_mb:,} MB"


@dataclass(frozen=True, slots=True)
class Spread:
    """How durations are distributed, seconds."""

    p50: float
    """Half took longer."""
    p95: float
    """One in twenty took longer."""
    p99: float
    """One in a hundred took longer."""
    most: float
    """The longest."""

    @classmethod
    def of(cls, durations: Sequence[float]) -> Spread | None:
        """Return the spread of durations, by nearest rank; None of none."""
        if not durations:
            return None
        ranked = sorted(durations)
        at = [ranked[max(0, -(-len(ranked) * percent // 100) - 1)] for percent in (50, 95, 99, 100)]
        return cls(*at)

    @classmethod
    def over(cls, spreads: Sequence[Spread]) -> Spread | None:
        """Return the median of repeats' percentiles, and the longest of all; None of none."""
        if not spreads:
            return None
        return cls(
            statistics.median(each.p50 for each in spreads),
            statistics.median(each.p95 for each in spreads),
            statistics.median(each.p99 for each in spreads),
            max(each.most for each in spreads),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One repeat of one setting: a process that was started, warmed up and measured."""

    setting: Setting
    """What was set."""
    repeat: int
    """Which repeat, from 0."""
    end: str
    """``measured``, ``out of memory``, ``timed out`` or ``failed``."""
    reason: str = ""
    """Why it was not measured, in words."""
    records: int = 0
    """Records delivered in the batches measured."""
    failed: int = 0
    """Of these, records that came back."""
    batch_seconds: tuple[float, ...] = ()
    """What each batch measured took: decoding the event, the handler, encoding the answer."""
    record_seconds: Spread | None = None
    """What the handler took for one record, if it is a fanfold consumer."""
    peak_memory_mb: float | None = None
    """Most resident memory of the process."""
    throttled_seconds: float | None = None
    """Time in which the process waited for its share of the CPU while measured; None where it is not limited."""
    cpu_seconds: float | None = None
    """CPU that the handler used while measured."""
    cold_start_seconds: float | None = None
    """From the start of the process to its answer to one record."""
    most_in_flight: int | None = None
    """Most handlers that ran at once, if it is a fanfold consumer."""

    @property
    def seconds(self) -> float:
        """Time measured."""
        return sum(self.batch_seconds)

    @property
    def records_per_second(self) -> float:
        """Records that were acknowledged, in a second; 0 if nothing was measured."""
        return (self.records - self.failed) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """What the samples of one setting come to: medians over repeats."""

    setting: Setting
    """What was set."""
    end: str
    """As in ``Sample``; anything but ``measured`` in any repeat counts."""
    reason: str
    """Why it was not measured, in words."""
    repeats: int
    """Repeats measured."""
    kills: int
    """Repeats that ran out of memory."""
    records_per_second: float
    """Records acknowledged in a second."""
    tolerance: float
    """Relative difference from this cell under which another one is a tie: twice the median distance of the repeats
    from their median, and at least 2 % where the handler waits, 10 % where it computes."""
    dollars_per_million: float
    """What Lambda costs for a million acknowledged records: duration and requests, without SQS."""
    batch_seconds: Spread | None
    """What a batch took."""
    record_seconds: Spread | None
    """What the handler took for a record, if it is a fanfold consumer."""
    failed_share: float
    """Share of records that came back."""
    peak_memory_mb: float | None
    """Most resident memory in any repeat."""
    throttled_share: float | None
    """Share of the time in which it waited for its share of the CPU."""
    cold_start_seconds: float | None
    """From the start of the process to its answer to one record."""
    most_in_flight: int | None
    """Most handlers that ran at once, if it is a fanfold consumer."""

    @property
    def measured(self) -> bool:
        """Whether there is anything to compare."""
        return self.end == MEASURED


def cells_of(samples: Iterable[Sample], prices: Prices) -> list[Cell]:
    """Return the cells that samples make, by setting."""
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
    nothing = not bad and failed == records
    return Cell(
        setting=setting,
        end=bad[0].end if bad else FAILED if nothing else MEASURED,
        reason=bad[0].reason if bad else "every record came back" if nothing else "",
        repeats=len(good),
        kills=sum(sample.end == OUT_OF_MEMORY for sample in bad),
        records_per_second=statistics.median(rates) if rates else 0.0,
        tolerance=max(_noise(rates), TIE_COMPUTING if any(map(_computes, good)) else TIE_WAITING),
        dollars_per_million=statistics.median(_dollars(sample, prices) for sample in good) if good else 0.0,
        batch_seconds=Spread.of([each for sample in good for each in sample.batch_seconds]),
        record_seconds=Spread.over([each.record_seconds for each in good if each.record_seconds is not None]),
        failed_share=failed / records if records else 0.0,
        peak_memory_mb=_most(sample.peak_memory_mb for sample in good),
        throttled_share=sum(throttled) / seconds if throttled and seconds else None,
        cold_start_seconds=_median(sample.cold_start_seconds for sample in good),
        most_in_flight=_most(sample.most_in_flight for sample in good),
    )


def _noise(rates: Sequence[float]) -> float:
    """Return how far repeats lie apart, relative; one that is far off, as when the machine was busy, does not count."""
    middle = statistics.median(rates) if rates else 0.0
    return 2 * statistics.median(abs(rate - middle) for rate in rates) / middle if middle else 0.0


def _computes(sample: Sample) -> bool:
    share = min(1.0, cpus_of(sample.setting.memory_mb))
    return (sample.cpu_seconds or 0.0) >= COMPUTING_SHARE * share * sample.seconds


def _dollars(sample: Sample, prices: Prices) -> float:
    done = sample.records - sample.failed
    cost = sum(prices.invocation(seconds, sample.setting.memory_mb) for seconds in sample.batch_seconds)
    return cost / done * 1_000_000 if done else 0.0


def _most(values: Iterable[float | int | None]) -> Any:
    return max((value for value in values if value is not None), default=None)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


@dataclass(frozen=True, slots=True)
class Grid:
    """What is to be measured."""

    concurrencies: tuple[int, ...]
    """Ascending."""
    memories: tuple[int, ...]
    """Ascending, MB."""
    also: tuple[Setting, ...] = ()
    """Settings beside the grid: the present one."""
    repeats: int = 5
    """Samples of each setting."""
    seed: int = 0
    """Of the order."""
    search: bool = False
    """Whether to look for the cheapest cell in a fraction of the grid."""
    within_seconds: float | None = None
    """What a batch may take, for the search."""

    @property
    def settings(self) -> list[Setting]:
        """The whole grid."""
        pairs = (Setting(concurrency, memory) for concurrency, memory in product(self.concurrencies, self.memories))
        return sorted({*pairs, *self.also})
