"""Idempotency: what was done once is not done again, however often its message comes, or others of the same key.

::

    from fanfold.idempotency import Idempotency

    @fanfold.consumer(concurrency=100, idempotency=Idempotency(lambda order: order["id"], table="idempotency"))
    async def handler(order: dict) -> None:
        await charge(order)

Before a handler runs, its key is claimed in a DynamoDB table, for as long as the invocation may last. When it has
succeeded, that is written down, and its message is acknowledged only then; when it has not, the claim is dropped. A
message whose key is done is acknowledged without running; one whose key another invocation holds comes back when that
has to have ended. The table has the layout of Powertools' idempotency, and may be the same.

What no such table can do: a handler whose execution environment dies between its side effect and the write that says so
runs again.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

from fanfold._base.callables import is_coroutine_function
from fanfold._base.outcome import Reject
from fanfold._ports.idempotency import Layout, is_missing, key_of
from fanfold.errors import ConfigurationError

if TYPE_CHECKING:  # a cold start pays for what it uses
    from fanfold._ports.idempotency import EntryStore

__all__ = ["Idempotency", "Layout", "OpenEntries"]

OpenEntries: TypeAlias = Callable[[], "AbstractAsyncContextManager[EntryStore]"]
"""Makes the store of entries: entered at the first record, kept for the execution environment's life."""

TABLE_VARIABLE = "FANFOLD_IDEMPOTENCY_TABLE"


class Idempotency:
    """What makes two messages one, and where it is written down that it was done. Not to be changed.

    Args:
        key: Returns, for a body as the handler gets it, what makes it the same as another: a text, a number, or a list
            or dict of them. Never the message's id: a message that is sent, or redriven, again gets a new one.
            A message of which it returns nothing (None, an empty text, a list of None) is rejected; what it raises is
            the record's failure.
        table: Name of the DynamoDB table; None for ``FANFOLD_IDEMPOTENCY_TABLE`` from the environment.
        expires_after_seconds: How long what was done is remembered, over 0. Longer than a message may live: its queue's
            retention, and that of the queue it may be redriven from.
        lease_seconds: How long a handler may run before another invocation may do its record, over 0; None for the rest
            of its invocation, and 15 minutes where there is no end of it (``fanfold worker``).
        prefix: What keys begin with; None for the function's name in Lambda and the handler's, as Powertools has it.
        hash_function: One of ``hashlib``'s, for the rest of a key.
        layout: Names of the table's attributes.
        open_entries: What opens another store; None for DynamoDB. For tests.
        clock: What tells the time, in seconds since 1970.

    Raises:
        ConfigurationError: If one of them is impossible.
    """

    def __init__(  # noqa: PLR0913 - all but the first by keyword
        self,
        key: Callable[[Any], Any],
        *,
        table: str | None = None,
        expires_after_seconds: float = 3_600,
        lease_seconds: float | None = None,
        prefix: str | None = None,
        hash_function: str = "md5",
        layout: Layout | None = None,
        open_entries: OpenEntries | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not callable(key) or is_coroutine_function(key):
            raise ConfigurationError(f"Idempotency: key must be a plain function of the body, not {key!r}")
        for name, text in (("table", table), ("prefix", prefix)):
            if not isinstance(text, str | None):
                raise ConfigurationError(f"Idempotency: {name} must be a text or None, not {text!r}")
        if not isinstance(layout, Layout | None):
            raise ConfigurationError(
                f"Idempotency: layout must be a fanfold.idempotency.Layout or None, not {layout!r}"
            )
        _check_seconds(expires_after_seconds, "expires_after_seconds")
        if lease_seconds is not None:
            _check_seconds(lease_seconds, "lease_seconds")
        if hash_function not in hashlib.algorithms_available or hash_function.startswith("shake"):
            raise ConfigurationError(
                f"Idempotency: hash_function must be one of hashlib's of a fixed length, not {hash_function!r}"
            )
        self.key: Callable[[Any], Any] = key
        self.expires_after_seconds = expires_after_seconds
        self.lease_seconds = lease_seconds
        self.prefix = prefix
        self.hash_function = hash_function
        self.layout: Layout = layout or Layout()
        self.open_entries = open_entries
        self.clock: Callable[[], float] = clock
        self._table = table

    @property
    def table(self) -> str:
        """Name of the DynamoDB table.

        Raises:
            ConfigurationError: If there is none.
        """
        table = self._table or os.environ.get(TABLE_VARIABLE)
        if not table:
            raise ConfigurationError(f"idempotency needs a table: Idempotency(…, table=…) or {TABLE_VARIABLE}")
        return table

    def with_entries(self, open_entries: OpenEntries) -> Idempotency:
        """Return the same with another store of entries, unless this one has been given one already."""
        same = copy.copy(self)
        same.open_entries = self.open_entries or open_entries
        return same

    def key_for(self, body: Any, function: Callable[..., Any]) -> str:
        """Return the key of a body's entry.

        Raises:
            Reject: If the body has none.
            ConfigurationError: If it is nothing a key can be made of.
            Exception: Whatever ``key`` raises.
        """
        value = self.key(body)
        if is_missing(value):
            raise Reject("the message has no idempotency key")
        return key_of(self.prefix_for(function), value, self.hash_function)

    def prefix_for(self, function: Callable[..., Any]) -> str:
        """Return what the keys of a handler's entries begin with.

        Raises:
            ConfigurationError: If there is no prefix, and the handler has no name to make one of.
        """
        if self.prefix is not None:
            return self.prefix
        name = getattr(function, "__qualname__", None)
        # Any two partials, objects of a class or lambdas would take each other's work for done.
        if name is None or name.endswith("<lambda>"):
            raise ConfigurationError(f"idempotency needs a prefix: Idempotency(…, prefix=…): {function!r} has no name")
        module = getattr(function, "__module__", "")
        return f"{os.environ.get('AWS_LAMBDA_FUNCTION_NAME', 'test-func')}.{module}.{name}"


def _check_seconds(value: object, name: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigurationError(f"Idempotency: {name} must be a number of seconds over 0, not {value!r}")
