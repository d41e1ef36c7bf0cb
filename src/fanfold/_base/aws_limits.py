"""Numbers that AWS fixes, each with its unit and its source.

Every number here is from AWS's documentation as of November 2026; nothing in this module was measured.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "DYNAMODB_BATCH_BYTES",
    "DYNAMODB_BATCH_ITEMS",
    "DYNAMODB_ITEM_BYTES",
    "S3_COPY_BYTES",
    "S3_DELETE_KEYS",
    "S3_PAGE_KEYS",
    "S3_PARTS",
    "SQS_BATCH_BYTES",
    "SQS_BATCH_ENTRIES",
    "SQS_BILLED_BYTES",
    "SQS_MAX_DELAY_SECONDS",
    "SQS_MAX_VISIBILITY_SECONDS",
    "SQS_MESSAGE_BYTES",
]

SQS_BATCH_ENTRIES: Final = 10
"""Entries in one SendMessageBatch, DeleteMessageBatch or ChangeMessageVisibilityBatch (SQS API reference)."""

SQS_BILLED_BYTES: Final = 65_536
"""Bytes of payload that are billed as one request (SQS price list)."""

SQS_MESSAGE_BYTES: Final = 1_048_576
"""Bytes of one message, body and attributes together (SQS quotas; 262,144 on older endpoints)."""

SQS_BATCH_BYTES: Final = 1_048_576
"""Bytes of all messages of one SendMessageBatch together (SQS quotas)."""

SQS_MAX_DELAY_SECONDS: Final = 900
"""Seconds a message can be delayed when it is sent (SQS quotas)."""

SQS_MAX_VISIBILITY_SECONDS: Final = 43_200
"""Seconds a message can stay hidden after its first receive, all changes together (SQS quotas)."""

S3_PAGE_KEYS: Final = 1_000
"""Keys in one page of ListObjectsV2 (S3 API reference)."""

S3_DELETE_KEYS: Final = 1_000
"""Keys in one DeleteObjects (S3 API reference)."""

S3_COPY_BYTES: Final = 5_000_000_000
"""Bytes of the largest object that one CopyObject, or one part of a multipart copy, takes: 5 GB (S3 user guide)."""

S3_PARTS: Final = 10_000
"""Parts of one multipart upload (S3 user guide)."""

DYNAMODB_BATCH_ITEMS: Final = 25
"""Items in one BatchWriteItem (DynamoDB API reference)."""

DYNAMODB_BATCH_BYTES: Final = 16_000_000
"""Bytes of one BatchWriteItem, as it is sent: 16 MB (DynamoDB API reference)."""

DYNAMODB_ITEM_BYTES: Final = 409_600
"""Bytes of one item, names and values together, as it is stored: 400 KB (DynamoDB developer guide)."""
