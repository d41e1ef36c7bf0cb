"""The answer to Lambda, decided from outcomes alone."""

from __future__ import annotations

from collections.abc import Sequence

from fanfold._base.outcome import DONE, BatchResponse, Outcome, acknowledges
from fanfold._base.record import Record

__all__ = ["partial_response"]


def partial_response(records: Sequence[Record], outcomes: Sequence[Outcome]) -> BatchResponse:
    """Return the partial batch response: what is in it comes back, what is not is deleted.

    A message id stands in it if any record of that id is not acknowledged, once, in batch order. (Source: Lambda
    developer guide, "Reporting batch item failures for Lambda functions with an Amazon SQS trigger".)

    Args:
        records: The whole batch.
        outcomes: One outcome for each record, in the same order.

    Raises:
        ValueError: If there are not as many outcomes as records.
    """
    failed = {
        record.message_id: None
        for record, outcome in zip(records, outcomes, strict=True)
        if outcome is not DONE and not acknowledges(outcome)
    }
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
