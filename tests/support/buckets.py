"""One bucket of a store, for the contract of stores."""

from dataclasses import dataclass

from fanfold._ports.stores import Store

ODD_KEYS = [
    "a/b/c.csv",
    "with space",
    "naïve/日本語",
    "a+b&c=d?e#f%20",
    "dots/../kept",
    "return\rand\nline",
    "bell\x07",
]


@dataclass(frozen=True)
class Bucket:
    """One bucket of a store."""

    store: Store
    name: str

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        await self.store.put(self.name, key, data, if_absent=if_absent)

    async def get(self, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None) -> bytes:
        pieces = self.store.read(self.name, key, start=start, stop=stop, etag=etag)
        return b"".join([piece async for piece in pieces])

    async def etag(self, key: str) -> str:
        return (await self.store.head(self.name, key)).etag

    async def keys(self, prefix: str = "", *, start_after: str = "") -> list[str]:
        return [listed.key async for listed in self.store.list(self.name, prefix, start_after=start_after)]

    async def copy(self, key: str, to_key: str, *, etag: str | None = None) -> None:
        await self.store.copy(self.name, key, self.name, to_key, etag=etag or await self.etag(key))
