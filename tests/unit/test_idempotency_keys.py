"""The key of a message, which equals that of Powertools."""

import datetime as dt
import enum
import json
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from fanfold import Done, Record
from fanfold._ports.idempotency import is_missing, key_of
from fanfold.idempotency import Idempotency
from fanfold.inmemory import InMemoryEntries, InMemoryStore
from fanfold.testing import make_extended_record, make_record
from idempotent import bodies, by_id, counting, handler_of_nothing, opening, run
from powertools_store import InProcess
from simple_handlers import nothing

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def test_the_key_of_a_large_payload_is_derived_from_the_payload():
    """The payload is fetched first, and each record gets the key of its payload."""
    store = InMemoryStore()
    store.fill("bucket", {"one": b'{"id": 1}', "two": b'{"id": 2}'})
    handler = counting(by_id(InMemoryEntries()), large_payloads=opening(store))
    records = [make_extended_record("bucket", name, size_bytes=9) for name in ("one", "two", "one", "gone")]
    assert run(handler, *records, *bodies(2))[:3] == [Done(1), Done(2), Done(1)]
    assert handler.done == {1: 1, 2: 1}


def test_two_records_with_one_message_id_are_distinguished_by_their_bodies():
    """The message id is not part of the key."""
    handler = counting(by_id(InMemoryEntries()))
    records = [make_record({"id": number}, message_id="same") for number in (1, 2)]
    run(handler, *records)
    assert handler.done == {1: 1, 2: 1}


def test_the_prefix_of_a_key_is_the_name_of_the_handler(monkeypatch):
    """This is Powertools' default; the settings may specify another prefix."""
    terms = Idempotency(lambda body: body, table="t")
    name = f"{handler_of_nothing.__module__}.handler_of_nothing"
    assert terms.key_for("a", handler_of_nothing).startswith(f"test-func.{name}#")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    assert terms.key_for("a", handler_of_nothing).startswith(f"orders.{name}#")
    assert Idempotency(lambda body: body, prefix="p").key_for("a", handler_of_nothing).startswith("p#")


def test_the_key_function_receives_the_body_as_the_handler_does():
    """The body may be a record, a string, or an item of a list."""
    seen: list[Any] = []

    def key(body: Any) -> str:
        seen.append(body)
        return "key"

    terms = Idempotency(key, prefix="", open_entries=opening(InMemoryEntries()))

    @fanfold.consumer(idempotency=terms)
    async def of_record(record: Record) -> None: ...

    @fanfold.consumer(idempotency=terms)
    async def of_text(text: str) -> None: ...

    of_list = fanfold.consumer(idempotency=terms, chunk_size=2)(nothing)
    for handler in (of_record, of_text, of_list):
        run(handler, make_record({"id": 1}))
    assert [type(body) for body in seen] == [Record, str, dict]
    assert json.loads(seen[1]) == seen[2] == {"id": 1}


def test_some_values_that_are_not_json_can_be_keys():
    """Enum members are encoded by value and dates as ISO 8601, as in Powertools."""
    values = [Color.RED, dt.date(2026, 11, 25), dt.time(1, 2), Decimal("1.10"), UUID(int=7), PurePosixPath("a/b")]
    texts = ["red", "2026-11-25", "01:02:00", "1.10", str(UUID(int=7)), "a/b"]
    for value, text in zip(values, texts, strict=True):
        assert key_of("p", {"a": value}) == key_of("p", {"a": text}) == f"p#{powertools()._generate_hash({'a': value})}"


class Color(enum.Enum):
    """A type to which bodies may be validated."""

    RED = "red"


def powertools() -> InProcess:
    """Return Powertools' persistence layer, which creates keys."""
    store = InProcess()
    store.configure(IdempotencyConfig(), "handler", key_prefix="p")
    return store


@given(JSON, st.sampled_from(["md5", "sha256"]))
def test_keys_are_those_of_powertools(value: Any, hash_function: str):
    """This holds for every JSON value, and also for the values that count as missing."""
    store = InProcess()
    store.configure(IdempotencyConfig(hash_function=hash_function), "handler", key_prefix="p")
    assert is_missing(value) == store.is_missing_idempotency_key(value)
    if not is_missing(value):
        assert key_of("p", value, hash_function) == store._get_hashed_idempotency_key(value)
