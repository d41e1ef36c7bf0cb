"""Entries of idempotency keys, in the format of Powertools' idempotency records."""

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
"""Status of an entry whose handler is running or was interrupted."""
COMPLETED: Final = "COMPLETED"
"""Status of an entry whose handler succeeded."""
MOST_RESULT_BYTES: Final = 300_000
"""Maximum size of a stored result: a DynamoDB item has at most 400 KB."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The item of a key in the table."""

    key: str
    """The key, with its prefix."""
    status: str
    """IN_PROGRESS or COMPLETED."""
    expires_at: int
    """When it expires; integer seconds since 1970."""
    lease_ends_at: float | None = None
    """When another owner may take over an entry in progress; seconds since 1970, stored in milliseconds. None for when
    the entry expires."""
    owner: str | None = None
    """The owner of the claim; None if it is unknown."""
    result: str | None = None
    """The return value of the handler, as JSON."""

    def is_done(self, now: float) -> bool:
        """Return whether the handler has succeeded and the entry has not expired."""
        return self.status == COMPLETED and self.expires_at >= int(now)

    def is_held(self, now: float) -> bool:
        """Return whether no other owner may claim the key, because its handler may be running."""
        lease = self.lease_ends_at
        in_time = lease is None or int(lease * 1000) >= int(now * 1000)
        return self.status == IN_PROGRESS and self.expires_at >= int(now) and in_time

    def value(self) -> Any:
        """Return the stored return value of the handler; None without one."""
        try:
            return None if self.result is None else json.loads(self.result)
        except (ValueError, RecursionError):  # another program wrote it: only the status matters
            return None


class EntryStore(Protocol):
    """A store of entries by key. Every method raises ServiceError if the service failed."""

    async def read(self, keys: Sequence[str]) -> Sequence[Entry]:
        """Return the entries of 1 to 100 distinct keys, in any order; reads are eventually consistent."""
        ...

    async def claim(self, entry: Entry, now: float) -> Entry | None:
        """Write an entry unless the key has one that is completed or claimed; idempotent for the same owner.

        Returns:
            None if the entry was written; otherwise the existing entry.
        """
        ...

    async def complete(self, entries: Sequence[Entry]) -> Collection[int]:
        """Write 1 to 25 entries of distinct keys unconditionally; return the positions of those not written."""
        ...

    async def release(self, key: str, owner: str) -> None:
        """Delete an entry if it is in progress and has this owner."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """The attribute names of a DynamoDB table of entries.

    The fields and their defaults are those of Powertools' ``DynamoDBPersistenceLayer``, so both can share a table.

    Raises:
        ConfigurationError: If two attributes have the same name.
    """

    key_attr: str = "id"
    """The partition key."""
    sort_key_attr: str | None = None
    """The sort key, which then holds the key of the entry; None for a table without a sort key."""
    static_pk_value: str | None = None
    """The value of the partition key in a table with a sort key; None for ``idempotency#`` and the function's name."""
    expiry_attr: str = "expiration"
    """When the entry expires, seconds since 1970: the attribute for the table's time to live."""
    in_progress_expiry_attr: str = "in_progress_expiration"
    """When the lease ends, milliseconds since 1970."""
    status_attr: str = "status"
    """The status."""
    data_attr: str = "data"
    """The return value of the handler."""
    owner_attr: str = "owner"
    """The owner of the claim; Powertools does not have this attribute and ignores it."""

    def __post_init__(self) -> None:
        names = [self.key_attr, self.expiry_attr, self.in_progress_expiry_attr, self.status_attr, self.data_attr]
        names += [self.owner_attr, *([self.sort_key_attr] if self.sort_key_attr else [])]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"Layout: two attributes have the name {twice[0]!r}: use distinct names")


def key_of(prefix: str, value: Any, hash_function: str = "md5") -> str:
    """Return the key of an entry: the prefix, ``#``, and the hash of the value as JSON with sorted keys.

    It equals the key that Powertools creates for the same value, so each finds the entries of the other.

    Raises:
        ConfigurationError: If the value cannot be encoded as JSON.
    """
    try:
        text = json.dumps(value, sort_keys=True, default=_json_value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"an idempotency key cannot be made from a {type(value).__qualname__}: {error}"
        ) from error
    return f"{prefix}#{hashlib.new(hash_function, text.encode(), usedforsecurity=False).hexdigest()}"


def is_missing(value: Any) -> bool:
    """Return whether a key is empty: None, an empty string or collection, or a collection that holds only None."""
    if isinstance(value, dict):
        return all(item is None for item in value.values())
    if isinstance(value, list | tuple):
        return all(item is None for item in value)
    return not isinstance(value, bool | int | float | decimal.Decimal) and not value


def result_text(value: Any) -> str | None:
    """Return a return value as JSON; None if it is not JSON or is too large to store."""
    try:
        text = json.dumps(value, sort_keys=True)
    except Exception:  # noqa: BLE001 - a value that cannot be encoded does not change that the work is done
        return None
    return text if len(text) <= MOST_RESULT_BYTES else None  # ASCII: one byte per character


def _json_value(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID | pathlib.PurePath):
        return str(value)
    raise TypeError(f"a {type(value).__qualname__} is not a JSON value")
