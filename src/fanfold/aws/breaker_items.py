"""Conversion between the state of a breaker and its items in DynamoDB; no call of AWS.

| key ``id``           | content                                                                            |
|----------------------|------------------------------------------------------------------------------------|
| ``<name>``           | the state, in the format of Powertools' circuit breaker, which reads and writes it |
| ``<name>#fanfold``   | the whole circuit                                                                  |
| ``<name>#held#<n>``  | a page of messages, from 1 on                                                      |

Powertools' writes remove every attribute of its item that it does not know, so the circuit has a separate one.
``expiration`` is the table's time-to-live attribute.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, PAGE_HANDLES, Circuit, Held
from fanfold.aws.ledger_items import number

Item: TypeAlias = Mapping[str, Any]
"""An item in DynamoDB's JSON."""

KEY: Final = "id"
"""The partition key; the table has no sort key."""
OWN_SUFFIX: Final = "#fanfold"
"""The end of the key of a circuit."""
POWERTOOLS_RECOVERY_SECONDS: Final = 30
"""When Powertools' circuit breaker probes after it has opened, by default."""

_STATES: Final = (CLOSED, OPEN, HALF_OPEN)
_STATES_TEXT: Final = "CLOSED, OPEN or HALF_OPEN"
_TIMES: Final = ("since", "opened_at", "closed_at", "probe_due", "lease_until", "tick_at")
_COUNTS: Final = ("version", "failures", "pages", "released")
_MESSAGES: Final = "messages"
_MAX_PAGE_BYTES: Final = 4_000_000
"""Size of a page's JSON: 500 messages with a handle of 1,024 characters and an ARN have about 0.6 MB."""
_MOST: Final = 1e11
"""Largest number that can be true; as a time, it is in the year 5138."""


class UnreadableItemError(ValueError):
    """An item that another program has written, or changed."""


def key(name: str) -> dict[str, Any]:
    """Return the key of the item that Powertools shares."""
    return {KEY: {"S": name}}


def own_key(name: str) -> dict[str, Any]:
    """Return the key of the item with the whole circuit."""
    return key(name + OWN_SUFFIX)


def page_key(name: str, page: int) -> dict[str, Any]:
    """Return the key of a page, by its number."""
    return key(f"{name}#held#{page}")


def shared_item(name: str, circuit: Circuit, expires_at: int) -> dict[str, Any]:
    """Return the item that Powertools shares: as it would write it."""
    item = {
        **key(name),
        "state": {"S": circuit.state},
        "failure_count": number(0 if circuit.is_closed else circuit.failures),
        "expiration": number(expires_at),
    }
    if not circuit.is_closed:
        item["opened_at"] = number(int(circuit.opened_at))
    if circuit.state == HALF_OPEN:
        item["half_open_owner"] = {"S": circuit.owner}
        item["probe_lease_expiry"] = number(math.ceil(circuit.lease_until))
    return item


def own_attributes(circuit: Circuit) -> dict[str, Any]:
    """Return the attributes of a circuit that a change of its state writes."""
    return {
        "state": {"S": circuit.state},
        "version": number(circuit.version),
        "owner": {"S": circuit.owner},
        "paused": {"S": circuit.paused},
        "ticker": {"S": circuit.ticker},
        "forced": {"BOOL": circuit.forced},
        **{name: number(getattr(circuit, name)) for name in _TIMES},
    }


def is_unchanged(circuit: Circuit) -> tuple[str, dict[str, Any]]:
    """Return the condition that the shared item has the state of a circuit, and the values in it.

    An item that does not exist has expired, or nobody has written it.
    """
    values: dict[str, Any] = {":state": {"S": circuit.state}}
    same = "#state = :state"
    if not circuit.is_closed:
        same += " AND #opened_at = :opened_at"
        values[":opened_at"] = number(int(circuit.opened_at))
    if circuit.state == HALF_OPEN:
        same += " AND #half_open_owner = :owner"
        values[":owner"] = {"S": circuit.owner}
    return f"attribute_not_exists(#id) OR ({same})", values


def circuit_of(shared: Item | None, own: Item | None) -> Circuit:
    """Return the circuit in its two items; None for one that does not exist.

    The state is that of the shared item if Powertools has changed it, unless a person has opened the circuit.

    Raises:
        UnreadableItemError: If an item is malformed.
    """
    stored = Circuit() if own is None else _own_circuit(own)
    if shared is None or (stored.forced and not stored.is_closed):
        return stored
    seen = _shared_circuit(shared)
    if (seen.state, seen.opened_at, seen.owner) == (stored.state, *_shared_parts(stored)):
        return stored
    if seen.is_closed:  # nothing states when; it was after it was opened
        closed_at = max(stored.closed_at, stored.opened_at)
        return stored._replace(state=CLOSED, closed_at=closed_at, owner="", lease_until=0.0, forced=False)
    return stored._replace(
        state=seen.state,
        since=seen.opened_at if stored.is_closed else stored.since,
        tick_at=0.0 if stored.is_closed else stored.tick_at,
        opened_at=seen.opened_at,
        probe_due=seen.opened_at + POWERTOOLS_RECOVERY_SECONDS,
        owner=seen.owner,
        lease_until=seen.lease_until,
        forced=False,
    )


def _shared_parts(circuit: Circuit) -> tuple[float, str]:
    """Return the time and the owner that the shared item has for a circuit."""
    return (
        0.0 if circuit.is_closed else float(int(circuit.opened_at)),
        circuit.owner if circuit.state == HALF_OPEN else "",
    )


def _shared_circuit(item: Item) -> Circuit:
    circuit = Circuit(state=_state(item, required=True))
    if circuit.is_closed:
        return circuit
    circuit = circuit._replace(opened_at=_number(item, "opened_at", required=True))
    if circuit.state == OPEN:
        return circuit
    return circuit._replace(owner=_text(item, "half_open_owner"), lease_until=_number(item, "probe_lease_expiry"))


def _own_circuit(item: Item) -> Circuit:
    numbers: dict[str, Any] = {name: _number(item, name) for name in _TIMES} | {
        name: _count(item, name) for name in _COUNTS
    }
    forced = _value(item, "forced", "BOOL", "true or false", bool) or False
    owner, paused, ticker = (_text(item, name) for name in ("owner", "paused", "ticker"))
    return Circuit(state=_state(item), owner=owner, paused=paused, ticker=ticker, forced=forced, **numbers)


def _state(item: Item, *, required: bool = False) -> Any:
    state = _value(item, "state", "S", _STATES_TEXT, str, required=required) or CLOSED
    if state not in _STATES:
        raise _unreadable(item, "state", _STATES_TEXT)
    return state


def _text(item: Item, name: str) -> str:
    return _value(item, name, "S", "a string", str) or ""


def _count(item: Item, name: str) -> int:
    value = _number(item, name)
    if value != int(value):
        raise _unreadable(item, name, "an integer")
    return int(value)


def _number(item: Item, name: str, *, required: bool = False) -> float:
    text = _value(item, name, "N", "a number", str, required=required) or "0"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < _MOST:
        raise _unreadable(item, name, "a number of at least 0")
    return value


def _value(item: Item, name: str, kind: str, meaning: str, of: type, *, required: bool = False) -> Any:
    """Return the value of an attribute of this kind; None if the item does not have it."""
    if name not in item and not required:
        return None
    typed = item.get(name)
    value = typed.get(kind) if isinstance(typed, Mapping) else None
    if not isinstance(value, of):
        raise _unreadable(item, name, meaning)
    return value


def _unreadable(item: Item, name: str, meaning: str) -> UnreadableItemError:
    shown = str(item.get(name, "missing"))[:80]
    identifier = str(item.get(KEY, {}).get("S", ""))
    return UnreadableItemError(f"item {identifier!r}: attribute {name} is {shown}, not {meaning}")


def page_item(name: str, page: int, messages: Sequence[Held], expires_at: float) -> dict[str, Any]:
    """Return the item of a page: compressed JSON, below the 400 KB of an item with handles of 1,024 characters."""
    queues = list(dict.fromkeys(message.queue for message in messages))
    positions = {queue: position for position, queue in enumerate(queues)}
    rows = [[positions[one.queue], one.handle, one.until, one.receives_left] for one in messages]
    content = json.dumps({"v": 1, "queues": queues, "messages": rows}, separators=(",", ":"), allow_nan=False)
    return {
        **page_key(name, page),
        _MESSAGES: {"B": zlib.compress(content.encode())},
        "expiration": number(math.ceil(expires_at)),
    }


def messages_of(item: Item) -> Sequence[Held]:
    """Return the messages of a page.

    Raises:
        UnreadableItemError: If the item is malformed.
    """
    try:
        content = _unpacked(item[_MESSAGES]["B"])
        return [_message(content["queues"], *row) for row in content["messages"]]
    except (LookupError, TypeError, ValueError, zlib.error) as error:
        raise _unreadable(item, _MESSAGES, "a page of messages that this release can read") from error


def _unpacked(packed: bytes | str) -> Any:
    data = base64.b64decode(packed, validate=True) if isinstance(packed, str) else bytes(packed)
    content = json.loads(zlib.decompressobj().decompress(data, _MAX_PAGE_BYTES))
    if content["v"] != 1 or len(content["messages"]) > PAGE_HANDLES:
        raise ValueError("not a page of this version")
    return content


def _message(queues: Sequence[Any], queue: int, handle: Any, until: Any, receives_left: Any) -> Held:
    arn = queues[queue]
    is_valid = isinstance(arn, str) and isinstance(handle, str) and type(receives_left) is int
    if not is_valid or not math.isfinite(until):
        raise ValueError("not a message")
    return Held(arn, handle, float(until), receives_left)
