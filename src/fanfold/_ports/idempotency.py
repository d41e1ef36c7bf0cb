"""What is known of a key of idempotency: an entry, as Powertools' idempotency records have it, and what it means."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import hashlib
import json
import pathlib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fanfold.errors import ConfigurationError

IN_PROGRESS: Final = "INPROGRESS"
"""Status of an entry whose handler runs, or was cut off."""
COMPLETED: Final = "COMPLETED"
"""Status of an entry whose handler succeeded."""
MOST_RESULT_BYTES: Final = 300_000
"""Largest result that is kept: DynamoDB's items hold 400 KB."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a table holds under a key."""

    key: str
    """The key, with its prefix."""
    status: str
    """IN_PROGRESS or COMPLETED."""
    expires_at: int
    """When it counts no more; whole seconds since 1970."""
    lease_ends_at: float | None = None
    """When another may take over what is in progress; seconds since 1970, kept to the millisecond. None for not before
    the entry expires."""
    owner: str | None = None
    """Who works on it; None where that was not said."""
    result: str | None = None
    """What the handler returned, as JSON."""

    def is_done(self, now: float) -> bool:
        """Tell whether its handler has succeeded, and that still counts."""
        return self.status == COMPLETED and self.expires_at >= int(now)

    def is_held(self, now: float) -> bool:
        """Tell whether nobody else may begin: its handler may be running."""
        lease = self.lease_ends_at
        in_time = lease is None or int(lease * 1000) >= int(now * 1000)
        return self.status == IN_PROGRESS and self.expires_at >= int(now) and in_time

    def value(self) -> Any:
        """Return what the handler returned, as far as it was kept; None otherwise."""
        try:
            return None if self.result is None else json.loads(self.result)
        except (ValueError, RecursionError):  # written by something else: that it is done is what counts
            return None


class EntryStore(Protocol):
    """Entries of idempotency under keys. Every method raises ServiceError if the service failed."""

    async def read(self, keys: Sequence[str]) -> Sequence[Entry]:
        """Return what is known of 1 to 100 different keys, in no order; what was written just now may be missing."""
        ...

    async def claim(self, entry: Entry, now: float) -> Entry | None:
        """Write an entry unless there is one that is done or held; a claim made twice by one owner is one.

        Returns:
            None if it is written; else what stands there.
        """
        ...

    async def complete(self, entries: Sequence[Entry]) -> Collection[int]:
        """Write 1 to 25 entries of different keys, whatever stands there; return the positions of those not written."""
        ...

    async def release(self, key: str, owner: str) -> None:
        """Delete an entry, if it is in progress and still this owner's."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """How a DynamoDB table names what an entry holds.

    The names, and their defaults, are those of Powertools' ``DynamoDBPersistenceLayer``: both can share a table.

    Raises:
        ConfigurationError: If two attributes have the same name.
    """

    key_attr: str = "id"
    """The partition key."""
    sort_key_attr: str | None = None
    """The sort key, which then holds the entry's key; None for a table without."""
    static_pk_value: str | None = None
    """What the partition key holds where there is a sort key; None for ``idempotency#`` and the function's name."""
    expiry_attr: str = "expiration"
    """When the entry expires, in seconds: the table's time to live."""
    in_progress_expiry_attr: str = "in_progress_expiration"
    """When the lease ends, in milliseconds."""
    status_attr: str = "status"
    """The status."""
    data_attr: str = "data"
    """What the handler returned."""
    owner_attr: str = "owner"
    """Who works on it; Powertools has no such attribute, and does not mind it."""

    def __post_init__(self) -> None:
        names = [self.key_attr, self.expiry_attr, self.in_progress_expiry_attr, self.status_attr, self.data_attr]
        names += [self.owner_attr, *([self.sort_key_attr] if self.sort_key_attr else [])]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"an idempotency table has two attributes of the name {twice[0]!r}")


def key_of(prefix: str, value: Any, hash_function: str = "md5") -> str:
    """Return the key of an entry: the prefix, ``#``, and the hash of a value's JSON with its names in order.

    The same as Powertools makes for the same value, so that both find each other's entries.

    Raises:
        ConfigurationError: If the value is nothing a key can be made of.
    """
    try:
        text = json.dumps(value, sort_keys=True, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"no idempotency key can be made of a {type(value).__qualname__}: {error}") from error
    return f"{prefix}#{hashlib.new(hash_function, text.encode(), usedforsecurity=False).hexdigest()}"


def is_missing(value: Any) -> bool:
    """Tell whether a value is no key: None, an empty text or collection, or a collection of nothing but None."""
    if isinstance(value, dict):
        return all(each is None for each in value.values())
    if isinstance(value, list | tuple):
        return all(each is None for each in value)
    return not isinstance(value, bool | int | float | decimal.Decimal) and not value


def result_text(value: Any) -> str | None:
    """Return what a handler returned as JSON; None for what is no JSON, or too large to be kept."""
    try:
        text = json.dumps(value, sort_keys=True)
    except Exception:  # noqa: BLE001 - whatever a value of the handler's raises: it is done all the same
        return None
    return text if len(text) <= MOST_RESULT_BYTES else None  # ASCII: as many bytes as characters


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | pathlib.PurePath):
        return str(value)
    raise TypeError(f"a {type(value).__qualname__} is no JSON")
