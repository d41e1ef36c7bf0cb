"""fanfold: process SQS batches on AWS Lambda with bounded concurrency, and aggregate the results of distributed jobs.

Every batch gets a response before the Lambda timeout, and a message is deleted only after its handler has succeeded.

Names are resolved at first use: importing this package loads neither an AWS SDK nor an event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanfold._base.lazy import lazy

if TYPE_CHECKING:
    from fanfold import errors as errors
    from fanfold._base.backoff import Backoff
    from fanfold._base.context import BatchContext, Context
    from fanfold._base.deadline import Deadline
    from fanfold._base.outcome import BatchResult, Done, Failed, NotStarted, Reject, Rejected, Retry, Retrying
    from fanfold._base.record import Record
    from fanfold._breakers.breaker import Breaker
    from fanfold._consumer.auto import Auto
    from fanfold._consumer.consumer import Consumer, consumer
    from fanfold._consumer.settings import CommitStage, Settings
    from fanfold._jobs.inline import InlineRun, run_inline
    from fanfold._jobs.job import Job
    from fanfold._jobs.segment import Segment
    from fanfold._jobs.segment_handler import SegmentContext
    from fanfold.sources.dynamodb_export import DynamoDBExport
    from fanfold.sources.dynamodb_scan import DynamoDBScan
    from fanfold.sources.items import Items
    from fanfold.sources.ranges import Ranges
    from fanfold.sources.s3_inventory import S3Inventory
    from fanfold.sources.s3_json_array import S3JsonArray
    from fanfold.sources.s3_lines import S3Lines
    from fanfold.sources.s3_objects import S3Objects
    from fanfold.sources.s3_parquet import S3Parquet
    from fanfold.sources.s3_select import S3Select

__all__ = [
    "Auto",
    "Backoff",
    "BatchContext",
    "BatchResult",
    "Breaker",
    "CommitStage",
    "Consumer",
    "Context",
    "Deadline",
    "Done",
    "DynamoDBExport",
    "DynamoDBScan",
    "Failed",
    "InlineRun",
    "Items",
    "Job",
    "NotStarted",
    "Ranges",
    "Record",
    "Reject",
    "Rejected",
    "Retry",
    "Retrying",
    "S3Inventory",
    "S3JsonArray",
    "S3Lines",
    "S3Objects",
    "S3Parquet",
    "S3Select",
    "Segment",
    "SegmentContext",
    "Settings",
    "consumer",
    "errors",
    "run_inline",
]

__version__ = "0.1.0"

__getattr__ = lazy(
    __name__,
    {
        "_base.backoff": "Backoff",
        "_base.context": "BatchContext Context",
        "_base.deadline": "Deadline",
        "_base.outcome": "BatchResult Done Failed NotStarted Reject Rejected Retry Retrying",
        "_base.record": "Record",
        "_breakers.breaker": "Breaker",
        "_consumer.auto": "Auto",
        "_consumer.consumer": "Consumer consumer",
        "_consumer.settings": "CommitStage Settings",
        "_jobs.inline": "InlineRun run_inline",
        "_jobs.job": "Job",
        "_jobs.segment": "Segment",
        "_jobs.segment_handler": "SegmentContext",
        "errors": "errors",
        "sources.dynamodb_export": "DynamoDBExport",
        "sources.dynamodb_scan": "DynamoDBScan",
        "sources.items": "Items",
        "sources.ranges": "Ranges",
        "sources.s3_inventory": "S3Inventory",
        "sources.s3_json_array": "S3JsonArray",
        "sources.s3_lines": "S3Lines",
        "sources.s3_objects": "S3Objects",
        "sources.s3_parquet": "S3Parquet",
        "sources.s3_select": "S3Select",
    },
)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
