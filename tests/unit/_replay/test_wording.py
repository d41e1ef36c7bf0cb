"""Text about replays: counts, durations, labels, prefixes, and settings in sentences."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanfold._base.sample_events import make_eventbridge_record, make_s3_record, make_sns_record
from fanfold._replay.options import ReplayOptions
from fanfold._replay.outage import Outage
from fanfold._replay.scaling import Pollers
from fanfold._replay.wording import (
    counted,
    duration,
    label_of,
    notable,
    outcomes_unknown,
    settings_in_words,
    unique_prefix_length,
)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 deliveries"), (1, "1 delivery"), (2, "2 deliveries"), (2_000, "2,000 deliveries")]
)
def test_a_count_has_the_plural_of_its_noun(number: int, text: str):
    """Only 1 has the singular."""
    assert counted(number, "delivery", "deliveries") == text
    assert counted(1, "message") == "1 message"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5 s"),
        (90, "90 s"),
        (120, "2 min"),
        (125, "2 min 5 s"),
        (125.5, "125.5 s"),
        (5_400, "1 h 30 min"),
        (43_200, "12 h"),
        (7_201, "2 h 1 s"),
    ],
)
def test_a_duration_is_in_units_that_people_use(seconds: float, text: str):
    """Up to two minutes in seconds."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("body", "label"),
    [
        ({"customer": "Ada", "id": 7}, "id=7"),
        ({"total": 3, "orderId": "o-7"}, "orderId=o-7"),
        ({"total": 3, "order_id": "o-7"}, "order_id=o-7"),
        ({"paid": True, "avoid": "x"}, "paid=True"),
        ({"order": {"number": 7}}, "number=7"),
        ({"items": []}, '{"items": []}'),
        ([{"id": 1}, {"id": 2}], "id=1"),
        ([], "[]"),
        ("plain text", "plain text"),
        ("two\nlines", "two lines"),
        ("x" * 100, "x" * 59 + "…"),
        ("[" * 100_000, "[" * 59 + "…"),
    ],
)
def test_a_label_is_a_key_of_the_body_or_its_start(body: Any, label: str):
    """Ids come before other fields."""
    assert label_of(body if isinstance(body, str) else json.dumps(body)) == label


def test_the_label_of_a_notification_is_that_of_what_it_is_about():
    """The key of an S3 object, the message of a topic, the detail of an event."""
    assert label_of(make_s3_record("bucket", "in/a.csv")["body"]) == "in/a.csv"
    assert label_of(make_sns_record({"id": 3})["body"]) == "id=3"
    assert label_of(make_sns_record("hello")["body"]) == "hello"
    assert label_of(make_eventbridge_record({"orderId": 4})["body"]) == "orderId=4"


KEYS = st.sampled_from(["s3", "object", "Records", "Message", "TopicArn", "detail-type", "detail", "id"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_every_body_has_a_label(body: Any):
    """Of one line, and at most 60 characters."""
    label = label_of(json.dumps(body))
    assert len(label) <= 60
    assert "\n" not in label


@given(st.lists(st.text("ab", min_size=1, max_size=9), min_size=1))
def test_a_prefix_identifies_each_id(ids: list[str]):
    """Equal ids count as one."""
    length = unique_prefix_length(ids)
    assert length >= 6
    padded = {name.ljust(9, " ")[:length] for name in ids}
    assert len(padded) == len(set(ids))


@pytest.mark.parametrize(
    ("consumer", "options", "text"),
    [
        (True, {}, ""),
        (False, {}, "this handler is not a fanfold consumer: "),
        (False, {"runtime_client": True}, "under Lambda's runtime client, "),
        (False, {"concurrent_invocations": 2}, "under Lambda's runtime client, "),
    ],
)
def test_a_replay_states_why_it_knows_no_outcomes(consumer: bool, options: dict[str, Any], text: str):
    """A handler without fanfold does not report them, nor does the runtime client."""
    settings = asdict(replace(ReplayOptions(), **options))
    assert outcomes_unknown({"consumer": consumer, "settings": settings}).startswith(text)


def test_messages_that_did_not_simply_succeed_are_listed_with_the_worst_first():
    """So a list that is cut off still has the lost ones."""
    ends = ["deleted", "deleted", "in the queue", "filtered out", "dead-lettered", "lost", "dead-lettered"]
    messages = [{"number": number, "end": end, "receives": min(number, 2)} for number, end in enumerate(ends)]
    messages.append({"number": 7, "end": "deleted", "receives": 2})
    assert [message["number"] for message in notable(messages)] == [5, 4, 6, 2, 7]


def sentences(**options: Any) -> str:
    return " ".join(settings_in_words(asdict(replace(ReplayOptions(), **options))))


def test_settings_are_sentences():
    """The usual ones."""
    assert sentences() == (
        "A standard queue with a visibility timeout of 30 s; dead letters after 5 receives. "
        "Batches of up to 10 records; ReportBatchItemFailures is on. "
        "A function with a timeout of 30 s and 1,769 MB; at most 5 concurrent invocations. Seed 0."
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"fifo": True, "max_receive_count": 1},
            "A FIFO queue with a visibility timeout of 30 s; dead letters after 1 receive",
        ),
        ({"window_seconds": 300}, "Batches of up to 10 records within a window of 5 min;"),
        ({"report_batch_item_failures": False}, "ReportBatchItemFailures is off, so the response is ignored."),
        ({"maximum_concurrency": 1}, "at most 1 concurrent invocation."),
        ({"maximum_concurrency": None, "pollers": Pollers(2, 200)}, "; 2 to 200 provisioned pollers."),
        (
            {"maximum_concurrency": None, "scales": True},
            "; 5 concurrent invocations at first, 300 more per minute.",
        ),
        ({"maximum_concurrency": 9, "scales": True}, "300 more per minute, at most 9 concurrent invocations."),
        ({"reserved_concurrency": 3}, "invocations, throttled above its reserved concurrency of 3."),
        ({"outage": Outage(900)}, "Outage: calls fail for the first 15 min, with ConnectionError: simulated outage."),
        ({"outage": Outage(60, 0.25, "E")}, "Outage: 25 % of calls fail for the first 60 s, with E."),
        ({"duplicates": 0.1}, "10 % of the receives are duplicated."),
        ({"until_empty": False}, "Each batch is delivered once."),
        ({"runtime_client": True}, "The handler runs under Lambda's runtime client."),
        ({"concurrent_invocations": 4}, "runs 4 concurrent invocations in one execution environment."),
        ({"real_idempotency": True}, "Idempotency uses the table of the handler."),
    ],
)
def test_an_unusual_setting_is_stated(options: dict[str, Any], text: str):
    """Each in the sentence of its subject."""
    assert text in sentences(**options)
