"""The items of a breaker, and which of them counts."""

import base64
import json
import zlib
from typing import Any

import pytest

from fanfold._ports.breakers import CLOSED, HALF_OPEN, OPEN, Circuit, Held
from fanfold.aws.breaker_items import (
    UnreadableItemError,
    circuit_of,
    is_unchanged,
    messages_of,
    own_attributes,
    page_item,
    shared_item,
)

OPENED = Circuit(OPEN, 3, 7, 50.5, 100.5, 20.0, 130.5, tick_at=99.0)
PROBING = OPENED._replace(state=HALF_OPEN, owner="env-1", lease_until=160.25)
ENDED = OPENED._replace(state=CLOSED, closed_at=170.0, owner="env-1", lease_until=200.0)
MESSAGES = [Held("arn:one", "h1", 5.5, 2), Held("arn:two", "h2", 6.0, 0), Held("arn:one", "h3", 7.0, 1)]


def own_item(circuit: Circuit) -> dict[str, Any]:
    """Return the item with the whole circuit."""
    counts = {name: {"N": str(getattr(circuit, name))} for name in ("failures", "pages", "released")}
    return {"id": {"S": "orders#fanfold"}, **own_attributes(circuit), **counts}


def opened_by_powertools(opened_at: int) -> dict[str, Any]:
    return {"id": {"S": "orders"}, "state": {"S": "OPEN"}, "opened_at": {"N": str(opened_at)}}


@pytest.mark.parametrize("circuit", [Circuit(), OPENED, PROBING, ENDED, OPENED._replace(forced=True)])
def test_a_circuit_is_what_was_stored(circuit: Circuit):
    """Also if the shared item has expired: its times have no fractions."""
    assert circuit_of(shared_item("orders", circuit, 999), own_item(circuit)) == circuit
    assert circuit_of(None, own_item(circuit)) == circuit


def test_the_shared_item_has_the_attributes_of_powertools_for_each_state():
    """Integers only; a lease is rounded up, so that nobody takes over early."""
    base = {"id": {"S": "orders"}, "expiration": {"N": "999"}}
    opened = {**base, "state": {"S": "OPEN"}, "failure_count": {"N": "7"}, "opened_at": {"N": "100"}}
    assert shared_item("orders", OPENED, 999) == opened
    probe = {"half_open_owner": {"S": "env-1"}, "probe_lease_expiry": {"N": "161"}}
    assert shared_item("orders", PROBING, 999) == {**opened, "state": {"S": "HALF_OPEN"}, **probe}
    assert shared_item("orders", ENDED, 999) == {**base, "state": {"S": "CLOSED"}, "failure_count": {"N": "0"}}


def test_a_change_requires_the_state_that_was_read():
    """With the time of opening, and the owner of the probe."""
    missing = "attribute_not_exists(#id) OR "
    assert is_unchanged(ENDED) == (f"{missing}(#state = :state)", {":state": {"S": "CLOSED"}})
    values = {":state": {"S": "OPEN"}, ":opened_at": {"N": "100"}}
    assert is_unchanged(OPENED) == (f"{missing}(#state = :state AND #opened_at = :opened_at)", values)
    condition, values = is_unchanged(PROBING)
    assert condition.endswith("AND #half_open_owner = :owner)")
    assert values[":owner"] == {"S": "env-1"}


def test_powertools_opens_a_closed_circuit():
    """An outage begins; no tick was seen in it."""
    circuit = circuit_of(opened_by_powertools(300), own_item(ENDED))
    expected = ENDED._replace(state=OPEN, since=300.0, opened_at=300.0, probe_due=330.0, tick_at=0.0)
    assert circuit == expected._replace(owner="", lease_until=0.0)
    assert circuit_of(opened_by_powertools(300), None) == Circuit(OPEN, since=300, opened_at=300, probe_due=330)


def test_powertools_opens_an_open_circuit_again():
    """The outage goes on; it does not matter who probed."""
    for stored in (OPENED, PROBING):
        circuit = circuit_of(opened_by_powertools(300), own_item(stored))
        assert circuit == OPENED._replace(opened_at=300.0, probe_due=330.0)


def test_powertools_claims_the_probe():
    """Also one that fanfold has claimed, after its lease."""
    probe = {"half_open_owner": {"S": "thread-1"}, "probe_lease_expiry": {"N": "190"}}
    item = {**opened_by_powertools(100), "state": {"S": "HALF_OPEN"}, **probe}
    for stored in (OPENED, PROBING):
        circuit = circuit_of(item, own_item(stored))
        assert (circuit.state, circuit.owner, circuit.lease_until, circuit.since) == (HALF_OPEN, "thread-1", 190, 50.5)


def test_powertools_closes_a_circuit():
    """At an unknown time after it was opened."""
    item = {"id": {"S": "orders"}, "state": {"S": "CLOSED"}}
    expected = OPENED._replace(state=CLOSED, closed_at=100.5)
    assert circuit_of(item, own_item(OPENED)) == circuit_of(item, own_item(PROBING)) == expected
    assert circuit_of(item, own_item(ENDED)) == ENDED


def test_a_circuit_that_a_person_has_opened_stays_open():
    """Powertools' probes do not change it."""
    forced = OPENED._replace(forced=True)
    assert circuit_of({"id": {"S": "orders"}, "state": {"S": "CLOSED"}}, own_item(forced)) == forced
    assert circuit_of(opened_by_powertools(300), own_item(forced)) == forced


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ({"state": {"S": "BROKEN"}}, r"attribute state is \{'S': 'BROKEN'\}, not CLOSED, OPEN or HALF_OPEN"),
        ({"state": "OPEN"}, "attribute state is OPEN, not CLOSED, OPEN or HALF_OPEN"),
        ({"since": {"N": "-1"}}, "attribute since is .* not a number of at least 0"),
        ({"since": {"N": "NaN"}}, "attribute since is .* not a number of at least 0"),
        ({"since": {"N": "x"}}, "attribute since is .* not a number of at least 0"),
        ({"since": {"NULL": True}}, "attribute since is .* not a number"),
        ({"version": {"N": "1e300"}}, "attribute version is .* not a number of at least 0"),
        ({"released": {"N": "0.5"}}, "attribute released is .* not an integer"),
        ({"owner": {"N": "1"}}, "attribute owner is .* not a string"),
        ({"forced": {"S": "yes"}}, "attribute forced is .* not true or false"),
    ],
)
def test_an_attribute_that_cannot_be_read_is_named(attribute: dict[str, Any], message: str):
    """With its item, and at most 80 characters of its value."""
    with pytest.raises(UnreadableItemError, match=f"^item 'orders#fanfold': {message}"):
        circuit_of(None, {**own_item(OPENED), **attribute})


def test_a_page_contains_its_messages():
    """Compressed; each queue is named once. Frequent calls return binaries in base64."""
    item = page_item("orders", 2, MESSAGES, 600.5)
    assert (item["id"], item["expiration"]) == ({"S": "orders#held#2"}, {"N": "601"})
    assert messages_of(item) == MESSAGES
    assert messages_of({**item, "messages": {"B": base64.b64encode(item["messages"]["B"]).decode()}}) == MESSAGES
    assert zlib.decompress(item["messages"]["B"]).count(b"arn:one") == 1


ROW = [0, "handle", 5.5, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"no page",
        zlib.compress(b"no page"),
        zlib.compress(b" " * 5_000_000),
        *(
            zlib.compress(json.dumps(page).encode())
            for page in (
                3,
                {"v": 2, "queues": ["arn"], "messages": [ROW]},
                {"v": 1, "queues": ["arn"], "messages": [ROW] * 501},
                {"v": 1, "queues": [], "messages": [ROW]},
                {"v": 1, "queues": [3], "messages": [ROW]},
                {"v": 1, "queues": ["arn"], "messages": [ROW[:3]]},
                {"v": 1, "queues": ["arn"], "messages": [[0, 3, 5.5, 2]]},
                {"v": 1, "queues": ["arn"], "messages": [[0, "handle", float("inf"), 2]]},
                {"v": 1, "queues": ["arn"], "messages": [[0, "handle", 5.5, "2"]]},
            )
        ),
    ],
)
def test_a_page_that_cannot_be_read_is_named(content: bytes):
    """In time proportional to its size, even if it is compressed a thousandfold."""
    with pytest.raises(UnreadableItemError, match=r"^item 'orders#held#1': attribute messages is"):
        messages_of({"id": {"S": "orders#held#1"}, "messages": {"B": content}})
