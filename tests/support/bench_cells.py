"""Hand-made cells and samples."""

from fanfold.bench.cells import MEASURED, OUT_OF_MEMORY, Cell, Sample, Setting, Spread
from fanfold.bench.prices import Prices

PRICES = Prices("us-east-1", "2026-11", "x86", 0.0000166667, 0.20, 0.40)


def cell(
    concurrency: int,
    memory_mb: int,
    *,
    speed: float = 100.0,
    cost: float = 1.0,
    tolerance: float = 0.02,
    batch_p95: float = 1.0,
    failed: float = 0.0,
) -> Cell:
    """Return a measured cell."""
    return Cell(
        setting=Setting(concurrency, memory_mb),
        end=MEASURED,
        reason="",
        repeats=3,
        kills=0,
        records_per_second=speed,
        tolerance=tolerance,
        dollars_per_million=cost,
        batch_seconds=Spread(batch_p95 / 2, batch_p95, batch_p95, batch_p95),
        record_seconds=Spread(0.020, 0.021, 0.022, 0.030),
        failed_share=failed,
        peak_memory_mb=40.0,
        throttled_share=0.1,
        cold_start_seconds=0.2,
        most_in_flight=concurrency,
    )


def dead(concurrency: int, memory_mb: int, *, end: str = OUT_OF_MEMORY) -> Cell:
    """Return a cell that could not be measured."""
    return Cell(
        setting=Setting(concurrency, memory_mb),
        end=end,
        reason=f"over {memory_mb} MB, in batch 0",
        repeats=0,
        kills=int(end == OUT_OF_MEMORY),
        records_per_second=0.0,
        tolerance=0.02,
        dollars_per_million=0.0,
        batch_seconds=None,
        record_seconds=None,
        failed_share=0.0,
        peak_memory_mb=None,
        throttled_share=None,
        cold_start_seconds=None,
        most_in_flight=None,
    )


def sample(
    concurrency: int,
    memory_mb: int,
    *,
    repeat: int = 0,
    seconds: float = 2.0,
    records: int = 200,
    failed: int = 0,
    cpu_seconds: float = 0.0,
    end: str = MEASURED,
) -> Sample:
    """Return a sample of two batches."""
    if end != MEASURED:
        return Sample(Setting(concurrency, memory_mb), repeat, end, "made up")
    return Sample(
        Setting(concurrency, memory_mb),
        repeat,
        MEASURED,
        records=records,
        failed=failed,
        batch_seconds=(seconds / 2, seconds / 2),
        record_seconds=Spread(0.020, 0.021, 0.022, 0.030 + repeat / 1000),
        peak_memory_mb=40.0 + repeat,
        throttled_seconds=seconds / 10,
        cpu_seconds=cpu_seconds,
        cold_start_seconds=0.2,
        most_in_flight=concurrency,
    )
