"""What an event source mapping puts into a batch, and what it makes of an answer: each rule by name."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanfold._replay.mapping import Errored, MappingSettings, Returned, Verdict, judge
from strategies import json_values

ON = MappingSettings()
IDS = ("a", "b", "c")
OFF = MappingSettings(report_batch_item_failures=False)


def judged(response: Any, settings: MappingSettings = ON) -> Verdict:
    """Return what becomes of the batch a, b, c when the function returns a value."""
    return judge(Returned(json.dumps(response)), IDS, settings)


def failures(*identifiers: Any) -> dict[str, Any]:
    """Return an answer that names these."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


def all_deleted(reason: str) -> Verdict:
    return Verdict("complete success", reason, frozenset())


def all_come_back(reason: str) -> Verdict:
    return Verdict("complete failure", reason, frozenset(IDS))


def assert_all_deleted(verdict: Verdict) -> None:
    assert (verdict.kind, verdict.failed) == ("complete success", frozenset())


def assert_all_come_back(verdict: Verdict) -> None:
    assert (verdict.kind, verdict.failed) == ("complete failure", frozenset(IDS))


# --- Complete success.


@pytest.mark.parametrize("text", ["", "null", " null\n"])
def test_an_empty_or_null_response_deletes_everything(text: str):
    """So a handler that forgets its return value acknowledges what failed, too."""
    assert judge(Returned(text), IDS, ON) == all_deleted("the response is null or empty")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"batchItemFailures": []}, "batchItemFailures is empty"),
        ({"batchItemFailures": None}, "batchItemFailures is null"),
        ({"batchItemFailures": [], "statusCode": 500}, "batchItemFailures is empty"),
    ],
)
def test_an_empty_or_null_list_of_failures_deletes_everything(response: Any, reason: str):
    """Whatever else the answer holds."""
    assert judged(response) == all_deleted(reason)


@pytest.mark.parametrize(
    "response",
    [{}, {"statusCode": 500}, {"batchitemfailures": [{"itemIdentifier": "a"}]}, {"batch_item_failures": ["a"]}],
)
def test_an_answer_without_the_key_deletes_everything(response: Any):
    """A key in another spelling is not the key, so the failures it names are lost."""
    assert judged(response) == all_deleted("batchItemFailures is not in the response")


# --- Complete failure.


@pytest.mark.parametrize(
    ("kind", "word"), [("error", "raised"), ("timeout", "timed out"), ("killed", "killed"), ("throttled", "throttled")]
)
@pytest.mark.parametrize("settings", [ON, OFF])
def test_an_invocation_that_returns_nothing_brings_the_whole_batch_back(
    kind: str, word: str, settings: MappingSettings
):
    """An exception, a timeout, a kill, a throttle: what had finished comes back too, whatever the mapping reads."""
    verdict = judge(Errored(kind, "because of this"), IDS, settings)
    assert_all_come_back(verdict)
    assert word in verdict.reason
    assert verdict.reason.endswith(": because of this")


def test_an_ending_of_a_kind_of_its_own_brings_the_whole_batch_back():
    """Whoever invokes may know of more ways to fail."""
    assert judge(Errored("eaten", "by a dog"), IDS, ON) == all_come_back("eaten: by a dog")


@pytest.mark.parametrize(
    "text",
    ["{", "batchItemFailures", "{'batchItemFailures': []}", '{"batchItemFailures": []', "\x00", "\ufeffnull", "None"],
)
def test_a_response_that_is_not_valid_json_brings_the_whole_batch_back(text: str):
    """Nothing can be read from it."""
    assert judge(Returned(text), IDS, ON) == all_come_back("the response is not valid JSON")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_a_response_with_a_number_that_json_does_not_know_brings_the_whole_batch_back(constant: str):
    """Python's encoder writes such a number and its decoder reads it; to JSON it is a fault of syntax."""
    assert judge(Returned(f'{{"batchItemFailures": [], "mean": {constant}}}'), IDS, ON) == all_come_back(
        "the response is not valid JSON"
    )


@pytest.mark.parametrize("text", ["[" * 200_000, '{"batchItemFailures":' * 100_000])
def test_a_response_that_is_nested_without_end_brings_the_whole_batch_back(text: str):
    """It is no reason to fall over."""
    assert_all_come_back(judge(Returned(text), IDS, ON))


@pytest.mark.parametrize("response", ["ok", 200, 0.5, True, ["a"], [{"itemIdentifier": "a"}]])
def test_a_response_that_is_no_object_brings_the_whole_batch_back(response: Any):
    """It is JSON, and no batch response."""
    verdict = judged(response)
    assert_all_come_back(verdict)
    assert verdict.reason.startswith("the response is no object but ")


@pytest.mark.parametrize("listed", ["a", 1, True, {"itemIdentifier": "a"}])
def test_failures_that_are_no_list_bring_the_whole_batch_back(listed: Any):
    """One failure still goes into a list."""
    verdict = judged({"batchItemFailures": listed})
    assert_all_come_back(verdict)
    assert verdict.reason.startswith("batchItemFailures is no list but ")


@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        ("", "that is empty"),
        (None, "that is null"),
        (5, "no text but a number"),
        (1.5, "no text but a number"),
        (True, "no text but true or false"),
        (["a"], "no text but a list"),
        ({"a": "a"}, "no text but an object"),
        ("elsewhere", "names 'elsewhere', which is not in the batch"),
        ("A", "names 'A', which is not in the batch"),
        ("a ", "names 'a ', which is not in the batch"),
    ],
)
@pytest.mark.parametrize("before", [(), ("a", "b")])
def test_one_bad_identifier_brings_the_whole_batch_back(identifier: Any, reason: str, before: tuple[str, ...]):
    """Empty, null, no text or not in the batch: the good ones beside it count for nothing."""
    verdict = judged(failures(*before, identifier))
    assert_all_come_back(verdict)
    assert verdict.reason.startswith(f"entry {len(before)} of batchItemFailures ")
    assert verdict.reason.endswith(reason)


@pytest.mark.parametrize(
    "failure", [{}, {"itemidentifier": "a"}, {"messageId": "a"}, {"itemIdentifer": "a"}, {"item_identifier": "a"}]
)
def test_a_misspelt_identifier_key_brings_the_whole_batch_back(failure: Any):
    """The reason asks after the spelling."""
    assert judged({"batchItemFailures": [{"itemIdentifier": "b"}, failure]}) == all_come_back(
        "entry 1 of batchItemFailures has no itemIdentifier: is the key misspelt?"
    )


@pytest.mark.parametrize("failure", ["a", None, 1, True, ["a"], ["itemIdentifier"], "itemIdentifier"])
def test_a_list_of_anything_but_objects_brings_the_whole_batch_back(failure: Any):
    """Bare ids too, also where one holds the key's name."""
    assert_all_come_back(judged({"batchItemFailures": [failure]}))


def test_naming_every_message_is_a_complete_failure():
    """Nothing is deleted."""
    assert judged(failures(*IDS)) == all_come_back("every message of the batch is reported")


# --- Partial success.


def test_what_is_named_comes_back_and_the_rest_is_deleted():
    """The one answer that tells messages apart."""
    verdict = judged(failures("c", "a"))
    assert verdict == Verdict("partial success", "2 of 3 messages are reported", frozenset({"a", "c"}))


def test_an_id_that_is_named_twice_counts_once():
    """Two messages of an id, or a careless handler."""
    assert judged(failures("a", "a")) == Verdict("partial success", "1 of 3 messages are reported", frozenset({"a"}))


def test_what_stands_beside_an_identifier_is_not_read():
    """Libraries put the error there."""
    verdict = judged({"batchItemFailures": [{"itemIdentifier": "b", "error": {"itemIdentifier": ""}}], "other": 1})
    assert verdict.failed == {"b"}


def test_messages_of_one_id_come_back_together():
    """An answer cannot tell them apart."""
    verdict = judge(Returned(json.dumps(failures("twice"))), ["twice", "once", "twice"], ON)
    assert verdict.failed == {"twice"}


def test_an_unknown_id_for_an_empty_batch_is_a_failure_of_nothing():
    """There is nothing that could come back."""
    assert judge(Returned(json.dumps(failures("a"))), (), ON).failed == frozenset()


# --- Without ReportBatchItemFailures.


@pytest.mark.parametrize(
    "text", [json.dumps(failures("a")), json.dumps(failures(*IDS)), json.dumps(failures("elsewhere")), "{", "null"]
)
def test_without_report_batch_item_failures_every_answer_deletes_everything(text: str):
    """The list is not read, so what it names is lost; a function cannot see that setting."""
    verdict = judge(Returned(text), IDS, OFF)
    assert_all_deleted(verdict)
    assert "ReportBatchItemFailures is off" in verdict.reason


# --- For every answer.

identifiers = st.sampled_from([*IDS, "", "d", None, 5]) | json_values()


entries = st.builds(lambda identifier: {"itemIdentifier": identifier}, identifiers) | json_values()


answers = (
    json_values()
    | st.builds(lambda listed: {"batchItemFailures": listed}, st.lists(entries, max_size=6) | json_values())
    | st.builds(lambda named: failures(*named), st.lists(st.sampled_from(IDS), max_size=6))
)


batches = st.lists(st.sampled_from([*IDS, "d"]), max_size=5)


def named_in(response: Any) -> set[str]:
    """Return every text that an answer gives as an identifier, in good form or not."""
    listed = response.get("batchItemFailures") if isinstance(response, dict) else None
    found = [one.get("itemIdentifier") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {one for one in found if isinstance(one, str)}


@given(answers, batches)
def test_no_answer_deletes_what_it_names_or_keeps_what_is_not_in_the_batch(response: Any, batch: list[str]):
    """And every answer is one of the three kinds, with a reason."""
    verdict = judge(Returned(json.dumps(response)), batch, ON)
    assert verdict.failed <= set(batch)
    assert named_in(response) & set(batch) <= verdict.failed
    assert verdict.reason
    match verdict.kind:
        case "complete success":
            assert not verdict.failed
        case "complete failure":
            assert verdict.failed == set(batch)
        case kind:
            assert kind == "partial success"
            assert set() < verdict.failed < set(batch)
            assert verdict.failed == named_in(response)


@given(st.text() | json_values().map(json.dumps), batches)
@example("1" * 5_000, ["a"])
@example('"\\ud800"', ["a"])
def test_every_text_gets_a_verdict(text: str, batch: list[str]):
    """A mapping has nobody to raise an error to."""
    verdict = judge(Returned(text), batch, ON)
    assert verdict.failed in (frozenset(), frozenset(batch))
    assert verdict.reason


@given(answers, batches)
def test_without_report_batch_item_failures_no_answer_keeps_anything(response: Any, batch: list[str]):
    """Every message of the batch is deleted, those that are named too."""
    assert_all_deleted(judge(Returned(json.dumps(response)), batch, OFF))


@given(st.sampled_from(["error", "timeout", "killed", "throttled"]), st.text(), batches)
def test_no_error_deletes_anything(kind: str, reason: str, batch: list[str]):
    """Nothing is known of what was done."""
    assert judge(Errored(kind, reason), batch, ON).failed == set(batch)
