"""Idempotency: work that was done for a key is not done again, however often messages with that key are delivered.

::

    from fanfold.idempotency import Idempotency

    @fanfold.consumer(concurrency=100, idempotency=Idempotency(lambda order: order["id"], table="idempotency"))
    async def handler(order: dict) -> None:
        await charge(order)

Before a handler runs, fanfold claims its key in a DynamoDB table, for as long as the invocation may last. If the
handler succeeds, fanfold records that in the table and only then acknowledges the message. If it fails, the claim is
released. A message whose key is completed is acknowledged without a call of the handler. A message whose key another
invocation has claimed is redelivered after that claim ends. The table has the layout of Powertools' idempotency; both
can share one table.

Limitation: if the execution environment dies between the side effect of a handler and the write to the table, the
handler runs again.
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

if TYPE_CHECKING:  # keep cold starts short
    from fanfold._ports.idempotency import EntryStore

__all__ = ["Idempotency", "Layout", "OpenEntries"]

OpenEntries: TypeAlias = Callable[[], "AbstractAsyncContextManager[EntryStore]"]
"""Opens the store of entries: at the first record, and for the lifetime of the execution environment."""

TABLE_VARIABLE = "FANFOLD_IDEMPOTENCY_TABLE"


class Idempotency:
    """The settings of idempotency: which messages count as duplicates, and where completed work is recorded. Immutable.

    Args:
        key: Returns the idempotency key of a body as the handler receives it: a string, a number, or a list or dict of
            them. Do not use the message id: a message that is sent or redriven again gets a new one. A message for
            which it returns an empty key (None, an empty string, a list of None) is rejected; if it raises, the record
            fails.
        table: Name of the DynamoDB table; None for ``FANFOLD_IDEMPOTENCY_TABLE`` from the environment.
        expires_after_seconds: Seconds until a completed entry expires, over 0. Use more than a message can live: the
            retention of its queue, plus that of the queue from which it may be redriven.
        lease_seconds: Seconds that a handler may run before another invocation may process its record, over 0; None for
            the rest of its invocation, or 30 minutes without a deadline (``fanfold worker``).
        prefix: Beginning of the keys; None for the names of the Lambda function and the handler, as in Powertools.
        hash_function: A hash function of ``hashlib``, for the rest of a key.
        layout: Names of the table's attributes.
        open_entries: Opens another store, for tests; None for DynamoDB.
        clock: Returns the time, in seconds since 1970.

    Raises:
        ConfigurationError: If an argument is invalid.
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
            raise ConfigurationError(f"Idempotency: key must be a `def` function of the body, not {key!r}")
        for name, text in (("table", table), ("prefix", prefix)):
            if not isinstance(text, str | None):
                raise ConfigurationError(f"Idempotency: {name} must be a string or None, not {text!r}")
        if not isinstance(layout, Layout | None):
            raise ConfigurationError(
                f"Idempotency: layout must be a fanfold.idempotency.Layout or None, not {layout!r}"
            )
        _check_seconds(expires_after_seconds, "expires_after_seconds")
        if lease_seconds is not None:
            _check_seconds(lease_seconds, "lease_seconds")
        if hash_function not in hashlib.algorithms_available or hash_function.startswith("shake"):
            raise ConfigurationError(
                f"Idempotency: hash_function must be a fixed-length hash of hashlib, such as 'md5', not "
                f"{hash_function!r}"
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
            ConfigurationError: If no table is configured.
        """
        table = self._table or os.environ.get(TABLE_VARIABLE)
        if not table:
            raise ConfigurationError(f"idempotency needs a table: use Idempotency(…, table=…) or set {TABLE_VARIABLE}")
        return table

    def with_entries(self, open_entries: OpenEntries) -> Idempotency:
        """Return a copy that uses another store of entries, unless these settings already specify one."""
        changed = copy.copy(self)
        changed.open_entries = self.open_entries or open_entries
        return changed

    def key_for(self, body: Any, function: Callable[..., Any]) -> str:
        """Return the key of a body's entry.

        Raises:
            Reject: If the body has no key.
            ConfigurationError: If a key cannot be made from what ``key`` returns.
            Exception: Any exception that ``key`` raises.
        """
        value = self.key(body)
        if is_missing(value):
            raise Reject("the message has no idempotency key")
        return key_of(self.prefix_for(function), value, self.hash_function)

    def prefix_for(self, function: Callable[..., Any]) -> str:
        """Return the prefix of the keys of a handler's entries.

        Raises:
            ConfigurationError: If no prefix is set and the handler has no name.
        """
        if self.prefix is not None:
            return self.prefix
        name = getattr(function, "__qualname__", None)
        # Two partials, lambdas, or instances of a class would share their entries.
        if name is None or name.endswith("<lambda>"):
            raise ConfigurationError(
                f"idempotency needs a prefix because {function!r} has no name: use Idempotency(…, prefix=…)"
            )
        module = getattr(function, "__module__", "")
        return f"{os.environ.get('AWS_LAMBDA_FUNCTION_NAME', 'test-func')}.{module}.{name}"


def _check_seconds(value: object, name: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigurationError(f"Idempotency: {name} must be a number of seconds over 0, not {value!r}")
