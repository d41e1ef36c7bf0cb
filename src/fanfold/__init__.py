"""fanfold: consume SQS batches on AWS Lambda, bounded and in time, and fold the results of scattered work.

Every batch comes back in time, and nothing is acknowledged that is not known to have succeeded.

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
    from fanfold._consumer.consumer import Consumer, consumer
    from fanfold._consumer.settings import CommitStage, Settings
    from fanfold._jobs.inline import InlineRun, run_inline
    from fanfold._jobs.job import Job
    from fanfold._jobs.segment import Segment
    from fanfold._jobs.segment_handler import SegmentContext
    from fanfold.sources.dynamodb_scan import DynamoDBScan
    from fanfold.sources.items import Items
    from fanfold.sources.ranges import Ranges
    from fanfold.sources.s3_json_array import S3JsonArray
    from fanfold.sources.s3_lines import S3Lines
    from fanfold.sources.s3_objects import S3Objects
    from fanfold.sources.s3_select import S3Select

__all__ = [
    "Backoff",
    "BatchContext",
    "BatchResult",
    "CommitStage",
    "Consumer",
    "Context",
    "Deadline",
    "Done",
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
    "S3JsonArray",
    "S3Lines",
    "S3Objects",
    "S3Select",
    "Segment",
    "SegmentContext",
    "Settings",
    "consumer",
    "errors",
    "run_inline",
]

__version__ = "0.1.0"

_HOMES = {
    "Backoff": "_base.backoff",
    "BatchContext": "_base.context",
    "BatchResult": "_base.outcome",
    "CommitStage": "_consumer.settings",
    "Consumer": "_consumer.consumer",
    "Context": "_base.context",
    "Deadline": "_base.deadline",
    "Done": "_base.outcome",
    "DynamoDBScan": "sources.dynamodb_scan",
    "Failed": "_base.outcome",
    "InlineRun": "_jobs.inline",
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
    "SegmentContext": "_jobs.segment_handler",
    "Settings": "_consumer.settings",
    "consumer": "_consumer.consumer",
    "run_inline": "_jobs.inline",
    "errors": "errors",
}

__getattr__ = lazy(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})
