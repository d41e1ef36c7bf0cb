"""Handlers for the simulator, and views of its deliveries."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fanfold._replay.delivery import Delivery
from fanfold._replay.simulator import Simulator
from fanfold.testing import make_fifo_record

Event = dict[str, Any]


def ids_of(event: Event) -> list[str]:
    return [record["messageId"] for record in event["Records"]]


def count_of(record: dict[str, Any]) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def batch_response(failed: Iterable[str]) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def done(event: Event, context: Any) -> None:
    """Handle a batch successfully."""


def failing(*ids: str, times: float = math.inf) -> Callable[[Event, Any], dict[str, Any]]:
    """Return a handler that fails these messages in their first ``times`` deliveries."""

    def handler(event: Event, context: Any) -> dict[str, Any]:
        return batch_response(
            record["messageId"]
            for record in event["Records"]
            if record["messageId"] in ids and count_of(record) <= times
        )

    return handler


def in_groups(groups: str) -> list[dict[str, Any]]:
    """Return FIFO records with the IDs ``a0``, ``b1``, …: one per letter, which is its group."""
    return [make_fifo_record(number, group=group, message_id=f"{group}{number}") for number, group in enumerate(groups)]


def simulate(handler: Any, *bodies: Any, records: Sequence[dict[str, Any]] = (), **settings: Any) -> Simulator:
    """Return a simulator that has delivered all messages to a handler."""
    simulator = Simulator(handler, **settings)
    simulator.send(*bodies, records=records)
    simulator.run()
    return simulator


def batches(deliveries: Sequence[Delivery]) -> list[list[str]]:
    return [[message.message_id for message in delivery.messages] for delivery in deliveries]


def times(deliveries: Sequence[Delivery]) -> list[tuple[float, float]]:
    return [(delivery.began_at, delivery.ended_at) for delivery in deliveries]


def counts(deliveries: Sequence[Delivery]) -> list[list[int]]:
    return [list(delivery.receive_counts) for delivery in deliveries]


def dead(simulator: Simulator) -> list[str]:
    return [record.message_id for record in simulator.dead_letters]


def acknowledged(simulator: Simulator) -> list[str]:
    """Return the ids that deliveries acknowledged, in the order of delivery."""
    return [
        message.message_id
        for delivery in simulator.deliveries
        for message in delivery.messages
        if message.message_id not in delivery.verdict.failed
    ]


def max_concurrent(deliveries: Sequence[Delivery]) -> int:
    """Return the maximum number of overlapping deliveries; one that starts when another ends does not overlap."""
    moments = sorted(
        [(delivery.began_at, 1) for delivery in deliveries if delivery.ended_at > delivery.began_at]
        + [(delivery.ended_at, -1) for delivery in deliveries if delivery.ended_at > delivery.began_at]
    )
    running = most = 0
    for _, step in moments:
        running += step
        most = max(most, running)
    return most
