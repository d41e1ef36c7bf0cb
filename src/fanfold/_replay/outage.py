"""A simulated outage: a service that the handler calls is down from the start of a replay, for some simulated time."""

from __future__ import annotations

import builtins
import importlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanfold._replay.wording import counted, duration
from fanfold.errors import ConfigurationError

DEFAULT_ERROR: Final = "ConnectionError: simulated outage"


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage from the start of a replay."""

    seconds: float
    """Its length, in simulated time."""
    share: float = 1.0
    """Share of the calls that fail during the outage, over 0 and at most 1."""
    error: str = DEFAULT_ERROR
    """The error of these calls: ``Type: message``."""

    def fails(self, now: float, key: str) -> bool:
        """Return whether a call fails.

        Args:
            now: Simulated seconds since the start of the replay.
            key: Identifies the call: the same call always has the same result.
        """
        return now < self.seconds and random.Random(f"outage {key}").random() < self.share  # noqa: S311 - reproducible


def error_of(text: str) -> Callable[[], BaseException]:
    """Return a function that creates an error, given as ``Type: message``.

    The type is a built-in exception, or the full name of another one, such as ``botocore.exceptions.HTTPClientError``.

    Raises:
        ConfigurationError: If there is no such type, or it cannot be created from a message.
    """
    name, _, message = text.partition(":")
    kind = _exception(name.strip())
    arguments = [message.strip()] if message.strip() else []
    try:
        kind(*arguments)
    except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything
        raise ConfigurationError(
            f"--outage-error: {name.strip()} cannot be created from a message alone: {error}"
        ) from None
    return lambda: kind(*arguments)


def check_error(text: str) -> None:
    """Check the error of an outage, as far as this is possible without the modules of the handler.

    Raises:
        ConfigurationError: If it names no type, or a built-in type that is not an exception.
    """
    name = text.partition(":")[0].strip()
    if "." not in name:
        _exception(name)


def _exception(name: str) -> type[BaseException]:
    module, _, attribute = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module) if module else builtins, attribute, None)
    except Exception as error:  # noqa: BLE001 - a module of the user's may raise anything
        raise ConfigurationError(f"--outage-error: module {module!r} cannot be imported: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        raise ConfigurationError(
            f"--outage-error: {name!r} is not an exception; use a built-in one or its full name, as in "
            f'"{DEFAULT_ERROR}" or "package.module.Error: message"'
        )
    return kind


def survived(document: Mapping[str, Any]) -> list[str]:
    """Return what the queue's settings survive of an outage, one sentence each; empty without an outage.

    A message survives an outage if it has a receive left when the outage ends. So the time of the first last receive is
    the length of the outages that these settings survive, if every call fails.
    """
    outage = document["settings"]["outage"]
    if outage is None:
        return []
    limit, seconds = document["settings"]["max_receive_count"], outage["seconds"]
    begins = [delivery["began_at"] for delivery in document["deliveries"]]
    affected = [message for message in document["messages"] if _failed_during(message, begins, seconds)]
    last_receives = [begins[message["attempts"][-1]["delivery"]] for message in affected]
    dead = [
        last
        for message, last in zip(affected, last_receives, strict=True)
        if message["end"] == "dead-lettered" and message["outcome"] != "Rejected" and last < seconds
    ]
    were = "was" if len(dead) == 1 else "were"
    attempts = [attempt for message in affected for attempt in message["attempts"]]
    in_outage = [attempt for attempt in attempts if begins[attempt["delivery"]] < seconds]
    has_breaker = any(_is_held(attempt) for attempt in in_outage)
    failed = f"{counted(len(affected), 'message')} failed during it"
    if has_breaker:
        calls = sum(attempt["retried"] and not _is_held(attempt) for attempt in in_outage)
        failed += f" or were held by a breaker ({counted(calls, 'call')} failed)"
    lines = [f"Outage of {duration(seconds)}: {failed}, and {len(dead):,} of them {were} dead-lettered."]
    if dead:
        other = "the outage_budget of the breaker" if has_breaker else "the base of a backoff, or use a breaker"
        lines.append(
            f"The first of them used the last of {counted(limit, 'receive')} after {duration(min(dead))}: these "
            "settings survive an outage up to then. To survive a longer one, raise maxReceiveCount, or let "
            f"redeliveries wait longer: raise the visibility timeout, or {other}."
        )
    elif affected:
        most = max(message["receives"] for message in affected)
        recovered = max(0.0, max(last_receives) - seconds)
        lines.append(
            f"These settings survive it: at most {most} of {counted(limit, 'receive')} were used, and the last message "
            f"was delivered {duration(recovered)} after the outage."
        )
    return lines


def _failed_during(message: Mapping[str, Any], begins: Sequence[float], seconds: float) -> bool:
    """Return whether a receive of a message during the outage did not succeed."""
    return any(attempt["retried"] and begins[attempt["delivery"]] < seconds for attempt in message["attempts"])


def _is_held(attempt: Mapping[str, Any]) -> bool:
    """Return whether a breaker let the call of a message not start."""
    return attempt.get("outcome") == "NotStarted" and str(attempt.get("error")).startswith("breaker ")
