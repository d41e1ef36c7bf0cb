"""How wrong an estimate is against the simulator: the same batches on a simulated queue, at a fixed concurrency.

Batches are of ten messages there, whatever they hold in truth: how long each takes is drawn from what was measured.
The simulator does not scale up, so neither does the estimate that is held against it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fanfold._base.aws_limits import MAPPING_DEFAULT_BATCH_SIZE
from fanfold._replay.mapping import Returned
from fanfold._replay.simulator import Simulator
from fanfold.bench.estimate import Backlog, Rates, estimate
from fanfold.bench.prices import Prices

_AT_ONCE = 10
_WAVES = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """An estimate and a simulation of the same backlog."""

    batches: int
    """Batches of it."""
    concurrency: int
    """Invocations at once, from the start to the end."""
    simulated_seconds: float
    """How long the simulator took, in simulated time."""
    estimated_seconds: float
    """How long it was estimated to take."""

    @property
    def error(self) -> float:
        """Relative error of the estimate; above 0 it is too long."""
        return self.estimated_seconds / self.simulated_seconds - 1


def against_the_simulator(
    rates: Rates, batch_seconds: Sequence[float], backlog: Backlog, prices: Prices, *, seed: int = 0
) -> Trial:
    """Return a trial of an estimate, at most 20 batches for each of at most ten invocations at once.

    Args:
        rates: What is estimated from.
        batch_seconds: Durations that were measured; at least one.
        backlog: What is estimated; a part of it is simulated if it is large.
        prices: Needed, and of no consequence.
        seed: Of the durations drawn.
    """
    batches = max(1, min(-(-backlog.records // rates.records), _AT_ONCE * _WAVES))
    concurrency = min(_AT_ONCE, backlog.maximum_concurrency or _AT_ONCE, batches)
    chance = random.Random(seed)  # noqa: S311 - to be the same every time
    with Simulator(
        invoke=lambda _: Returned("null"),
        batch_size=MAPPING_DEFAULT_BATCH_SIZE,
        maximum_concurrency=concurrency,
        visibility_timeout=43_200,
        function_timeout=900,
        invocation_seconds=lambda _: chance.choice(batch_seconds),
        seed=seed,
    ) as simulator:
        simulator.send(*range(batches * MAPPING_DEFAULT_BATCH_SIZE))
        deliveries = simulator.run()
    simulated = max(delivery.ended_at for delivery in deliveries)
    warm = Rates(rates.records, rates.seconds, rates.memory_mb)
    part = Backlog(batches * rates.records, maximum_concurrency=concurrency, scales=False)
    return Trial(batches, concurrency, simulated, estimate(warm, part, prices).seconds)
