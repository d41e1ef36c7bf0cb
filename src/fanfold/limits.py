"""Numbers that AWS fixes, each with its unit and its source.

Every number here is from AWS's documentation as of November 2026; nothing in this module was measured.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "SQS_BATCH_BYTES",
    "SQS_BATCH_ENTRIES",
    "SQS_MAX_DELAY_SECONDS",
    "SQS_MAX_VISIBILITY_SECONDS",
    "SQS_MESSAGE_BYTES",
]

SQS_BATCH_ENTRIES: Final = 10
"""Entries in one SendMessageBatch, DeleteMessageBatch or ChangeMessageVisibilityBatch (SQS API reference)."""

SQS_MESSAGE_BYTES: Final = 1_048_576
"""Bytes of one message, body and attributes together (SQS quotas; 262,144 on older endpoints)."""

SQS_BATCH_BYTES: Final = 1_048_576
"""Bytes of all messages of one SendMessageBatch together (SQS quotas)."""

SQS_MAX_DELAY_SECONDS: Final = 900
"""Seconds a message can be delayed when it is sent (SQS quotas)."""

SQS_MAX_VISIBILITY_SECONDS: Final = 43_200
"""Seconds a message can stay hidden after its first receive, all changes together (SQS quotas)."""
