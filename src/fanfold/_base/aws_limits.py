"""Limits, defaults, and recommendations of AWS, each with its unit and its source.

All numbers are from AWS's documentation as of November 2026; none was measured. Numbers marked "check" have changed
before. A test compares those that AWS's API models contain with the installed botocore. Prices are in ``aws_prices``.
"""

from __future__ import annotations

from typing import Final

SQS_BATCH_ENTRIES: Final = 10
"""Entries in one SendMessageBatch, DeleteMessageBatch or ChangeMessageVisibilityBatch (SQS API reference)."""
SQS_RECEIVE_MESSAGES: Final = 10
"""Messages in one ReceiveMessage (SQS API reference)."""
SQS_BILLED_BYTES: Final = 65_536
"""Bytes of payload that are billed as one request (SQS price list)."""
SQS_MESSAGE_BYTES: Final = 1_048_576
"""Bytes of one message, body and attributes together (SQS quotas; 262,144 on older endpoints)."""
SQS_BATCH_BYTES: Final = 1_048_576
"""Bytes of all messages of one SendMessageBatch together (SQS quotas)."""
SQS_MAX_DELAY_SECONDS: Final = 900
"""Seconds a message can be delayed when it is sent (SQS quotas)."""
SQS_MAX_VISIBILITY_SECONDS: Final = 43_200
"""Maximum total visibility timeout of a message after a receive, seconds, including all changes (SQS quotas)."""
SQS_DEFAULT_VISIBILITY_SECONDS: Final = 30
"""Visibility timeout of a queue that sets none, seconds (CloudFormation reference, AWS::SQS::Queue)."""
SQS_MAX_RETENTION_SECONDS: Final = 1_209_600
"""Seconds a queue can keep a message, 14 days (SQS quotas)."""
SQS_DEFAULT_RETENTION_SECONDS: Final = 345_600
"""Seconds a queue that sets none keeps a message, 4 days (CloudFormation reference, AWS::SQS::Queue)."""
SQS_MAX_RECEIVES: Final = 1_000
"""Largest maxReceiveCount (SQS API reference, SetQueueAttributes)."""
SQS_MAX_WAIT_SECONDS: Final = 20
"""Seconds a ReceiveMessage can wait for a message (SQS quotas)."""
SQS_IN_FLIGHT_MESSAGES: Final = 120_000
"""In-flight messages of a standard queue: received and not deleted; approximate (SQS quotas)."""
SQS_NOISY_SHARE: Final = 0.1
"""Share of the messages in flight, or of the recent processing time, above which a tenant is a noisy neighbor; check
(SQS developer guide, "How Amazon SQS fair queues work")."""
SQS_NOISY_IN_FLIGHT: Final = 30
"""Minimum messages in flight of a tenant that is noisy because of their number (same page)."""
SQS_QUIET_AFTER_SECONDS: Final = 300
"""Seconds without a new message after which a tenant is not noisy (same page)."""

SNS_SUBJECT_CHARACTERS: Final = 100
"""Characters of a notification's subject (SNS API reference, Publish)."""

LAMBDA_DEFAULT_TIMEOUT_SECONDS: Final = 3
"""Timeout of a function that sets none, seconds (CloudFormation reference, AWS::Lambda::Function)."""
LAMBDA_MAX_TIMEOUT_SECONDS: Final = 1_800
"""Longest timeout of a function, seconds (Lambda API model, CreateFunction; 900 before November 2026)."""
MANAGED_INSTANCES_MAX_TIMEOUT_SECONDS: Final = 5_400
"""Longest timeout of a function on Managed Instances, seconds, for asynchronous invocations and those of mappings."""
LAMBDA_DEFAULT_MEMORY_MB: Final = 128
"""Memory of a function that sets none, MB (CloudFormation reference, AWS::Lambda::Function)."""
LAMBDA_MIN_MEMORY_MB: Final = 128
"""Minimum memory of a function, MB (Lambda quotas)."""
LAMBDA_MAX_MEMORY_MB: Final = 10_240
"""Maximum memory of a function, MB (Lambda quotas)."""
MANAGED_INSTANCES_MAX_MEMORY_MB: Final = 32_768
"""Maximum memory of a function on Managed Instances, MB (Lambda API model, CreateFunction)."""
MANAGED_INSTANCES_GIB_PER_VCPU: Final = 2
"""Memory per vCPU on Managed Instances unless set, GiB (Lambda developer guide, "Lambda Managed Instances"; check)."""
MANAGED_INSTANCES_PROCESSES_PER_VCPU: Final = 16
"""Concurrent invocations per vCPU on Managed Instances unless set, for Python: one process each (same guide; check)."""
MANAGED_INSTANCES_MAX_PROCESSES: Final = 1_600
"""Maximum concurrent invocations in one execution environment of Managed Instances (Lambda API model)."""
LAMBDA_PYTHON_RUNTIMES: Final = ("python3.11", "python3.12", "python3.13", "python3.14", "python3.15")
"""Python runtimes of Lambda that fanfold supports (Lambda API model, Runtime)."""
LAMBDA_MB_PER_VCPU: Final = 1_769
"""Memory at which a function has the equivalent of one vCPU, MB (Lambda developer guide, "Configure memory")."""
LAMBDA_MAX_VCPUS: Final = 6.0
"""vCPUs of a function with the maximum memory (Lambda announcement of 10 GB functions)."""
LAMBDA_FILE_DESCRIPTORS: Final = 1_024
"""File descriptors of an execution environment (Lambda quotas)."""
LAMBDA_EVENT_BYTES: Final = 6 * 1024 * 1024
"""Bytes of one event; Lambda ends a batch early to stay below it (Lambda quotas)."""
LAMBDA_RESPONSE_BYTES: Final = 6_291_556
"""Bytes of one response (Lambda quotas; the exact number is in the error that a larger response causes)."""
LAMBDA_ACCOUNT_CONCURRENCY: Final = 1_000
"""Concurrent invocations in an account and region, unless raised (Lambda quotas)."""
LAMBDA_BILLED_STEP_SECONDS: Final = 0.001
"""Granularity in which duration is billed, seconds, rounded up (Lambda pricing)."""

MAPPING_DEFAULT_BATCH_SIZE: Final = 10
"""Records in a batch of a mapping that sets none (CloudFormation reference, AWS::Lambda::EventSourceMapping)."""
MAPPING_MAX_BATCH_SIZE: Final = 10_000
"""Maximum records in a batch of a standard queue (Lambda developer guide, "Using Lambda with Amazon SQS")."""
MAPPING_MAX_FIFO_BATCH_SIZE: Final = 10
"""Maximum records in a batch of a FIFO queue (same page)."""
MAPPING_MAX_UNWINDOWED_BATCH: Final = 10
"""Maximum records in a batch without a batching window (same page)."""
MAPPING_MAX_WINDOW_SECONDS: Final = 300
"""Longest batching window, seconds (same page)."""
MAPPING_MIN_CONCURRENCY: Final = 2
"""Minimum value of MaximumConcurrency of a mapping (Lambda developer guide, "Scaling for SQS")."""
MAPPING_MAX_CONCURRENCY: Final = 1_000
"""Maximum value of MaximumConcurrency of a mapping (same page)."""
MAPPING_SCALING_INITIAL: Final = 5
"""Concurrent batches of a mapping when it starts (same page; check)."""
MAPPING_SCALING_PER_SECOND: Final = 300 / 60
"""Concurrent batches that a mapping adds per second: 300 per minute (same page; check)."""
MAPPING_SCALING_MAX: Final = 1_250
"""Maximum concurrent batches of one mapping (same page; check)."""
MAPPING_PROVISIONED_PER_SECOND: Final = 1_000 / 60
"""Concurrent batches that a mapping in provisioned mode adds per second: 1,000 per minute (same page; check)."""
MAPPING_PROVISIONED_MAX: Final = 20_000
"""Maximum concurrent batches of one mapping in provisioned mode (same page; check)."""
MAPPING_MIN_POLLERS: Final = 2
"""Minimum of MinimumPollers and of MaximumPollers, and default of MinimumPollers (Lambda API reference,
ProvisionedPollerConfig)."""
MAPPING_MAX_MINIMUM_POLLERS: Final = 200
"""Maximum of MinimumPollers, and default of MaximumPollers (same page)."""
MAPPING_MAX_POLLERS: Final = 10_000
"""Maximum of MaximumPollers (same page)."""
MAPPING_POLLER_BATCHES: Final = 10
"""Concurrent batches of one poller in provisioned mode (Lambda developer guide, "Scaling for SQS")."""
MAPPING_POLLER_BYTES_PER_SECOND: Final = 1_048_576
"""Bytes of messages that one poller reads per second, approximately: 1 MB (same page)."""
MAPPING_POLLER_RECEIVES_PER_SECOND: Final = 10
"""ReceiveMessage calls of one poller per second (same page)."""
MANAGED_INSTANCES_ENVIRONMENTS: Final = 3
"""Execution environments that a function on Managed Instances starts with (Lambda developer guide, "Scaling Lambda
Managed Instances"; check)."""
MANAGED_INSTANCES_MAX_ENVIRONMENTS: Final = 15_000
"""Largest MaxExecutionEnvironments (Lambda API reference, FunctionScalingConfig)."""
MANAGED_INSTANCES_DOUBLING_SECONDS: Final = 300
"""Seconds in which traffic can double without throttling (same guide as MANAGED_INSTANCES_ENVIRONMENTS)."""
MAPPING_UPDATE_SECONDS: Final = 60
"""Seconds until a mapping is disabled or enabled, approximately (Lambda developer guide, "Event source mappings")."""
MAPPING_RECOMMENDED_TIMEOUTS: Final = 6
"""Recommended visibility timeout, in multiples of the function's timeout, plus the batching window (same guide).

6 times the longest timeout, 5,400 s, plus the longest window is 32,700 s, within the 43,200 s that SQS allows.
"""
MAPPING_RECOMMENDED_RECEIVES: Final = 5
"""Minimum recommended maxReceiveCount of a queue that a mapping reads (same guide)."""

STEP_FUNCTIONS_PAYLOAD_BYTES: Final = 262_144
"""Bytes of the input or output of a state, UTF-8 (Step Functions quotas)."""
STEP_FUNCTIONS_NAME_CHARACTERS: Final = 80
"""Characters of an execution's name (Step Functions API reference, StartExecution)."""

S3_PAGE_KEYS: Final = 1_000
"""Keys in one page of ListObjectsV2 (S3 API reference)."""
S3_DELETE_KEYS: Final = 1_000
"""Keys in one DeleteObjects (S3 API reference)."""
S3_COPY_BYTES: Final = 5_000_000_000
"""Maximum bytes of one CopyObject, or of one part of a multipart copy: 5 GB (S3 user guide)."""
S3_PARTS: Final = 10_000
"""Parts of one multipart upload (S3 user guide)."""

DYNAMODB_BATCH_ITEMS: Final = 25
"""Items in one BatchWriteItem (DynamoDB API reference)."""
DYNAMODB_BATCH_BYTES: Final = 16_000_000
"""Bytes of one BatchWriteItem on the wire: 16 MB (DynamoDB API reference)."""
DYNAMODB_READ_KEYS: Final = 100
"""Keys in one BatchGetItem (DynamoDB API reference)."""
DYNAMODB_ITEM_BYTES: Final = 409_600
"""Bytes of one stored item, names and values together: 400 KB (DynamoDB developer guide)."""
DYNAMODB_PARTITION_KEY_BYTES: Final = 2_048
"""Bytes of the longest partition key (DynamoDB developer guide)."""
DYNAMODB_SORT_KEY_BYTES: Final = 1_024
"""Bytes of the longest sort key (DynamoDB developer guide)."""
DYNAMODB_NUMBER_DIGITS: Final = 38
"""Significant digits of a number (DynamoDB developer guide)."""
DYNAMODB_MIN_EXPONENT: Final = -130
"""Minimum exponent of a number, as ``Decimal.adjusted`` counts it (DynamoDB developer guide)."""
DYNAMODB_MAX_EXPONENT: Final = 125
"""Maximum exponent of a number, as ``Decimal.adjusted`` counts it (DynamoDB developer guide)."""
DYNAMODB_SCAN_SEGMENTS: Final = 1_000_000
"""Segments of a parallel scan (DynamoDB API reference, Scan, TotalSegments)."""


def cpus_of(memory_mb: float) -> float:
    """Return the vCPUs of a function with this memory: proportional to the memory, at most 6."""
    return min(memory_mb / LAMBDA_MB_PER_VCPU, LAMBDA_MAX_VCPUS)
