"""fanfold: consume SQS batches on AWS Lambda, bounded and in time, and fold the results of scattered work.

Every batch comes back in time, and nothing is acknowledged that is not known to have succeeded.

Names are resolved at first use: importing this package loads neither an AWS SDK nor an event loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanfold import errors as errors
    from fanfold._base.backoff import Backoff as Backoff
    from fanfold._base.context import Context as Context
    from fanfold._base.deadline import Deadline as Deadline
    from fanfold._base.outcome import BatchResult as BatchResult
    from fanfold._base.outcome import Done as Done
    from fanfold._base.outcome import Failed as Failed
    from fanfold._base.outcome import NotStarted as NotStarted
    from fanfold._base.outcome import Reject as Reject
    from fanfold._base.outcome import Rejected as Rejected
    from fanfold._base.outcome import Retry as Retry
    from fanfold._base.outcome import Retrying as Retrying
    from fanfold._base.record import Record as Record
    from fanfold._consumer.consumer import Consumer as Consumer
    from fanfold._consumer.consumer import consumer as consumer
    from fanfold._jobs.job import Job as Job
    from fanfold._jobs.segment import Segment as Segment
    from fanfold.sources.dynamodb_scan import DynamoDBScan as DynamoDBScan
    from fanfold.sources.items import Items as Items
    from fanfold.sources.ranges import Ranges as Ranges
    from fanfold.sources.s3_json_array import S3JsonArray as S3JsonArray
    from fanfold.sources.s3_lines import S3Lines as S3Lines
    from fanfold.sources.s3_objects import S3Objects as S3Objects
    from fanfold.sources.s3_select import S3Select as S3Select

__all__ = [
    "Backoff",
    "BatchResult",
    "Consumer",
    "Context",
    "Deadline",
    "Done",
    "DynamoDBScan",
    "Failed",
    "Items",
    "Job",
    "NotStarted",
    "Ranges",
    "Record",
    "Reject",
    "Rejected",
    "Retry",
    "Retrying",
    "S3JsonArray",
    "S3Lines",
    "S3Objects",
    "S3Select",
    "Segment",
    "consumer",
    "errors",
]

__version__ = "0.1.0"

_HOMES = {
    "Backoff": "_base.backoff",
    "BatchResult": "_base.outcome",
    "Consumer": "_consumer.consumer",
    "Context": "_base.context",
    "Deadline": "_base.deadline",
    "Done": "_base.outcome",
    "DynamoDBScan": "sources.dynamodb_scan",
    "Failed": "_base.outcome",
    "Items": "sources.items",
    "Job": "_jobs.job",
    "NotStarted": "_base.outcome",
    "Ranges": "sources.ranges",
    "Record": "_base.record",
    "Reject": "_base.outcome",
    "Rejected": "_base.outcome",
    "Retry": "_base.outcome",
    "Retrying": "_base.outcome",
    "S3JsonArray": "sources.s3_json_array",
    "S3Lines": "sources.s3_lines",
    "S3Objects": "sources.s3_objects",
    "S3Select": "sources.s3_select",
    "Segment": "_jobs.segment",
    "consumer": "_consumer.consumer",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("fanfold.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'fanfold' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fanfold.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
