"""Samples on this machine: start a process under the limits of a setting, warm it up, and run batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any, Final, TypeAlias

from fanfold._replay.function import HandlerError, InvocationResult, LocalFunction
from fanfold._replay.mapping import Errored
from fanfold.bench.batches import Batches, retried
from fanfold.bench.cells import FAILED, MEASURED, OUT_OF_MEMORY, TIMED_OUT, Sample, Setting, Spread
from fanfold.bench.groups import Group, Groups, open_group

AUTO: Final = "auto"
"""The concurrency of a limit that adjusts itself."""
START: Final = 10
"""Its limit at the start; the warm-up has at least as many records."""

_Measured: TypeAlias = tuple[Mapping[str, Any], InvocationResult]
"""A batch, and the result of its invocation."""
_ENDS = {"killed": OUT_OF_MEMORY, "timeout": TIMED_OUT}


@dataclass(slots=True)
class LocalMeasurer:
    """Measures a handler on this machine, each sample in a separate process."""

    handler: str
    """``MODULE:NAME``, imported from the current folder."""
    batches: Batches
    """The batches to run."""
    groups: Groups
    """The control groups that limit the process."""
    seconds: float = 2.0
    """Minimum duration of a sample. A sample ends with a batch."""
    timeout_seconds: float = 60.0
    """Maximum duration of a batch."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables in addition to those of this process."""
    is_consumer: bool | None = None
    """True if the handler is a fanfold consumer; None before the first sample."""

    def __call__(self, setting: Setting, repeat: int) -> Sample:
        """Return a sample of a setting.

        Raises:
            HandlerError: If the handler's module cannot be imported, for a reason other than its limits.
        """
        return self._run(setting, repeat, str(setting.concurrency))

    def adjusting(self, memory_mb: int) -> Sample:
        """Return a sample of a concurrency limit that adjusts itself. Its setting has the limit at the end.

        Raises:
            HandlerError: As for any sample.
        """
        return self._run(Setting(START, memory_mb), 0, AUTO)

    def _run(self, setting: Setting, repeat: int, concurrency: str) -> Sample:
        with (
            open_group(self.groups, setting.memory_mb) as group,
            LocalFunction(
                self.handler,
                timeout_seconds=self.timeout_seconds,
                memory_mb=setting.memory_mb,
                environment={**self.environment, **_lambda_variables(setting.memory_mb, concurrency)},
                confinement=group,
                durations=True,
                quiet=True,
                lazy=True,
            ) as function,
        ):
            try:
                return self._sample(function, group, setting, repeat)
            except HandlerError as error:
                if error.ended is None or error.ended.kind not in _ENDS:
                    raise
                return _ended(setting, repeat, error.ended, "during the import")

    def _sample(self, function: LocalFunction, group: Group, setting: Setting, repeat: int) -> Sample:
        began = time.monotonic()
        function.start()
        self.is_consumer = function.is_consumer
        first = function.invoke(self.batches.first(1))
        cold_start = time.monotonic() - began
        warmed = function.invoke(self.batches.warm_up(setting.concurrency))
        for invoked in (first, warmed):
            if isinstance(invoked.invocation, Errored):
                return _ended(setting, repeat, invoked.invocation, "during the warm-up")
        throttled_before = group.throttled_seconds()
        measured = self._measured(function)
        throttled = _between(throttled_before, group.throttled_seconds())
        last = measured[-1][1].invocation
        if isinstance(last, Errored):
            return _ended(setting, repeat, last, f"in batch {len(measured) - 1}")
        limit = measured[-1][1].concurrency_limit
        setting = setting if limit is None else replace(setting, concurrency=limit)
        return _sample_of(setting, repeat, measured, throttled_seconds=throttled, cold_start_seconds=cold_start)

    def _measured(self, function: LocalFunction) -> list[_Measured]:
        """Run batches for the duration of a sample, or until one does not return."""
        measured: list[_Measured] = []
        seconds = 0.0
        for event in cycle(self.batches.events):
            invoked = function.invoke(event)
            measured.append((event, invoked))
            seconds += _seconds(invoked)
            if seconds >= self.seconds or isinstance(invoked.invocation, Errored):
                break
        return measured


def _sample_of(
    setting: Setting,
    repeat: int,
    measured: Sequence[_Measured],
    *,
    throttled_seconds: float | None,
    cold_start_seconds: float,
) -> Sample:
    peaks = [peak for _, invoked in measured if (peak := invoked.measured["peak_memory_mb"]) is not None]
    in_flight = [count for _, invoked in measured if (count := invoked.measured["most_in_flight"]) is not None]
    batch_seconds = tuple(_seconds(invoked) for _, invoked in measured)
    return Sample(
        setting,
        repeat,
        MEASURED,
        records=sum(len(event["Records"]) for event, _ in measured),
        failed=sum(retried(invoked.invocation, event) for event, invoked in measured),
        batch_seconds=batch_seconds,
        record_seconds=Spread.of([duration for _, invoked in measured for duration in invoked.durations]),
        peak_memory_mb=max(peaks, default=None),
        throttled_seconds=None if throttled_seconds is None else min(throttled_seconds, sum(batch_seconds)),
        cpu_seconds=sum(invoked.cpu_seconds for _, invoked in measured),
        cold_start_seconds=cold_start_seconds,
        most_in_flight=max(in_flight, default=None),
    )


def _between(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _seconds(invoked: InvocationResult) -> float:
    return round(invoked.decode_seconds + float(invoked.measured["seconds"]), 6)


def _ended(setting: Setting, repeat: int, how: Errored, when: str) -> Sample:
    end = _ENDS.get(how.kind, FAILED)
    return Sample(setting, repeat, end, f"{how.reason.removeprefix(f'{end}: ')}, {when}")


def _lambda_variables(memory_mb: int, concurrency: str) -> dict[str, str]:
    """Return the environment variables that state the setting of a function on Lambda."""
    return {
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": "measured",
        "FANFOLD_CONCURRENCY": concurrency,
    }
