"""Entries of idempotency in this process, under the same contract as DynamoDB's; part of ``fanfold.inmemory``."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fanfold._ports.idempotency import IN_PROGRESS, Entry

__all__ = ["InMemoryEntries"]


class InMemoryEntries:
    """Entries in a dict."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """What is known, by key."""

    async def read(self, keys: Sequence[str]) -> Sequence[Entry]:
        """Return what is known of some keys."""
        return [self.entries[key] for key in keys if key in self.entries]

    async def claim(self, entry: Entry, now: float) -> Entry | None:
        """Write an entry unless there is one that is done or held."""
        known = self.entries.get(entry.key)
        if known is not None and known.owner != entry.owner and (known.is_done(now) or known.is_held(now)):
            return known
        self.entries[entry.key] = entry
        return None

    async def complete(self, entries: Sequence[Entry]) -> Collection[int]:
        """Write entries, whatever stands there."""
        self.entries.update({entry.key: entry for entry in entries})
        return ()

    async def release(self, key: str, owner: str) -> None:
        """Delete an entry, if it is in progress and still this owner's."""
        known = self.entries.get(key)
        if known is not None and known.owner == owner and known.status == IN_PROGRESS:
            del self.entries[key]
