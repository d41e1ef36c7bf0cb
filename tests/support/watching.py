"""An observer that records notifications, and a consumer to observe."""

import fanfold
from fanfold.observers import BatchCallbacks, Observer


class Seen:
    """An observer that records all notifications."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.started: list[str] = []
        self.ended: list[tuple[list[str], list[type]]] = []
        self.results: list[fanfold.BatchResult] = []

    def batch_started(self, records, batch):
        self.batches.append(len(records))
        return BatchCallbacks(self.call_started, self.results.append)

    def call_started(self, records):
        ids = [record.message_id for record in records]
        self.started += ids
        return lambda outcomes: self.ended.append((ids, [type(outcome) for outcome in outcomes]))


@fanfold.consumer
async def handler(number: int) -> int:
    if number == 2:
        raise ValueError(number)
    return number


def watched(observer: Observer, **settings):
    return handler.with_settings(observers=[observer], **settings)
