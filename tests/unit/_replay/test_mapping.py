"""The verdict of an event source mapping on each kind of response."""

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
    """Return the verdict on the batch a, b, c for a response."""
    return judge(Returned(json.dumps(response)), IDS, settings)


def failures(*identifiers: Any) -> dict[str, Any]:
    """Return a batch response that names these ids."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


def all_deleted(reason: str) -> Verdict:
    return Verdict("complete success", reason, frozenset())


def all_failed(reason: str) -> Verdict:
    return Verdict("complete failure", reason, frozenset(IDS))


def assert_all_deleted(verdict: Verdict) -> None:
    assert (verdict.kind, verdict.failed) == ("complete success", frozenset())


def assert_all_failed(verdict: Verdict) -> None:
    assert (verdict.kind, verdict.failed) == ("complete failure", frozenset(IDS))


# --- Complete success.


@pytest.mark.parametrize("text", ["", "null", " null\n"])
def test_an_empty_or_null_response_deletes_the_whole_batch(text: str):
    """A handler without a return value acknowledges failed messages too."""
    assert judge(Returned(text), IDS, ON) == all_deleted("the response is null or empty")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"batchItemFailures": []}, "batchItemFailures is empty"),
        ({"batchItemFailures": None}, "batchItemFailures is null"),
        ({"batchItemFailures": [], "statusCode": 500}, "batchItemFailures is empty"),
    ],
)
def test_an_empty_or_null_list_of_failures_deletes_the_whole_batch(response: Any, reason: str):
    """Other keys of the response do not matter."""
    assert judged(response) == all_deleted(reason)


@pytest.mark.parametrize(
    "response",
    [{}, {"statusCode": 500}, {"batchitemfailures": [{"itemIdentifier": "a"}]}, {"batch_item_failures": ["a"]}],
)
def test_a_response_without_the_key_deletes_the_whole_batch(response: Any):
    """A misspelled key does not count, so the failures under it are lost."""
    assert judged(response) == all_deleted("batchItemFailures is not in the response")


# --- Complete failure.


@pytest.mark.parametrize(
    ("kind", "text"), [("error", "raised"), ("timeout", "timed out"), ("killed", "killed"), ("throttled", "throttled")]
)
@pytest.mark.parametrize("settings", [ON, OFF])
def test_after_a_failed_invocation_the_whole_batch_is_redelivered(kind: str, text: str, settings: MappingSettings):
    """After an error, a timeout, a kill, or throttling; completed messages too, with any settings."""
    verdict = judge(Errored(kind, "because of this"), IDS, settings)
    assert_all_failed(verdict)
    assert text in verdict.reason
    assert verdict.reason.endswith(": because of this")


def test_after_a_failure_of_a_custom_kind_the_whole_batch_is_redelivered():
    """An ``invoke`` callable may report further kinds of failures."""
    assert judge(Errored("eaten", "by a dog"), IDS, ON) == all_failed("eaten: by a dog")


@pytest.mark.parametrize(
    "text",
    ["{", "batchItemFailures", "{'batchItemFailures': []}", '{"batchItemFailures": []', "\x00", "\ufeffnull", "None"],
)
def test_if_the_response_is_not_valid_json_the_whole_batch_is_redelivered(text: str):
    """The mapping cannot read any ids."""
    assert judge(Returned(text), IDS, ON) == all_failed("the response is not valid JSON")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_if_the_response_contains_a_number_that_is_not_json_the_whole_batch_is_redelivered(constant: str):
    """Python writes and reads such numbers, but they are not valid JSON."""
    assert judge(Returned(f'{{"batchItemFailures": [], "mean": {constant}}}'), IDS, ON) == all_failed(
        "the response is not valid JSON"
    )


@pytest.mark.parametrize("text", ["[" * 200_000, '{"batchItemFailures":' * 100_000])
def test_if_the_response_is_nested_too_deeply_the_whole_batch_is_redelivered(text: str):
    """No recursion error is raised."""
    assert_all_failed(judge(Returned(text), IDS, ON))


@pytest.mark.parametrize("response", ["ok", 200, 0.5, True, ["a"], [{"itemIdentifier": "a"}]])
def test_if_the_response_is_not_an_object_the_whole_batch_is_redelivered(response: Any):
    """It is JSON, but not a batch response."""
    verdict = judged(response)
    assert_all_failed(verdict)
    assert verdict.reason.startswith("the response is ")
    assert verdict.reason.endswith(", not an object")


@pytest.mark.parametrize("listed", ["a", 1, True, {"itemIdentifier": "a"}])
def test_if_the_failures_are_not_a_list_the_whole_batch_is_redelivered(listed: Any):
    """A single failure requires a list too."""
    verdict = judged({"batchItemFailures": listed})
    assert_all_failed(verdict)
    assert verdict.reason.startswith("batchItemFailures is ")
    assert verdict.reason.endswith(", not a list")


@pytest.mark.parametrize(
    ("identifier", "reason"),
    [
        ("", "that is empty"),
        (None, "that is null"),
        (5, "that is a number, not a string"),
        (1.5, "that is a number, not a string"),
        (True, "that is a Boolean, not a string"),
        (["a"], "that is a list, not a string"),
        ({"a": "a"}, "that is an object, not a string"),
        ("elsewhere", "names 'elsewhere', which is not in the batch"),
        ("A", "names 'A', which is not in the batch"),
        ("a ", "names 'a ', which is not in the batch"),
    ],
)
@pytest.mark.parametrize("before", [(), ("a", "b")])
def test_after_one_invalid_identifier_the_whole_batch_is_redelivered(
    identifier: Any, reason: str, before: tuple[str, ...]
):
    """If it is empty, null, not a string, or not in the batch; valid identifiers do not count then."""
    verdict = judged(failures(*before, identifier))
    assert_all_failed(verdict)
    assert verdict.reason.startswith(f"entry {len(before)} of batchItemFailures ")
    assert verdict.reason.endswith(reason)


@pytest.mark.parametrize(
    "failure", [{}, {"itemidentifier": "a"}, {"messageId": "a"}, {"itemIdentifer": "a"}, {"item_identifier": "a"}]
)
def test_if_an_identifier_key_is_misspelled_the_whole_batch_is_redelivered(failure: Any):
    """The reason mentions the spelling."""
    assert judged({"batchItemFailures": [{"itemIdentifier": "b"}, failure]}) == all_failed(
        "entry 1 of batchItemFailures has no itemIdentifier; check the spelling of the key"
    )


@pytest.mark.parametrize("failure", ["a", None, 1, True, ["a"], ["itemIdentifier"], "itemIdentifier"])
def test_if_a_failure_is_not_an_object_the_whole_batch_is_redelivered(failure: Any):
    """Bare ids are not enough, nor is a string or list with the name of the key."""
    assert_all_failed(judged({"batchItemFailures": [failure]}))


def test_reporting_every_message_is_a_complete_failure():
    """No message is deleted."""
    assert judged(failures(*IDS)) == all_failed("every message of the batch is reported as failed")


# --- Partial success.


def test_reported_messages_are_redelivered_and_the_others_are_deleted():
    """Only this response distinguishes messages."""
    verdict = judged(failures("c", "a"))
    assert verdict == Verdict("partial success", "2 of 3 messages are reported as failed", frozenset({"a", "c"}))


def test_an_id_that_is_named_twice_counts_once():
    """Two messages may have the same id, or a handler may repeat one."""
    expected = Verdict("partial success", "1 of 3 messages are reported as failed", frozenset({"a"}))
    assert judged(failures("a", "a")) == expected


def test_other_keys_next_to_an_identifier_are_ignored():
    """Some libraries add the error there."""
    verdict = judged({"batchItemFailures": [{"itemIdentifier": "b", "error": {"itemIdentifier": ""}}], "other": 1})
    assert verdict.failed == {"b"}


def test_messages_with_the_same_id_are_redelivered_together():
    """A response cannot distinguish them."""
    verdict = judge(Returned(json.dumps(failures("twice"))), ["twice", "once", "twice"], ON)
    assert verdict.failed == {"twice"}


def test_for_an_empty_batch_no_message_fails():
    """Even if the response names an id."""
    assert judge(Returned(json.dumps(failures("a"))), (), ON).failed == frozenset()


# --- Without ReportBatchItemFailures.


@pytest.mark.parametrize(
    "text", [json.dumps(failures("a")), json.dumps(failures(*IDS)), json.dumps(failures("elsewhere")), "{", "null"]
)
def test_without_report_batch_item_failures_every_response_deletes_the_whole_batch(text: str):
    """The response is ignored, so the reported messages are lost; a function cannot see this setting."""
    verdict = judge(Returned(text), IDS, OFF)
    assert_all_deleted(verdict)
    assert "ReportBatchItemFailures is off" in verdict.reason


# --- For every response.

identifiers = st.sampled_from([*IDS, "", "d", None, 5]) | json_values()


entries = st.builds(lambda identifier: {"itemIdentifier": identifier}, identifiers) | json_values()


responses = (
    json_values()
    | st.builds(lambda listed: {"batchItemFailures": listed}, st.lists(entries, max_size=6) | json_values())
    | st.builds(lambda named: failures(*named), st.lists(st.sampled_from(IDS), max_size=6))
)


batches = st.lists(st.sampled_from([*IDS, "d"]), max_size=5)


def named_in(response: Any) -> set[str]:
    """Return every string that a response uses as an identifier, even if the response is invalid."""
    listed = response.get("batchItemFailures") if isinstance(response, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {name for entry in entries if isinstance(name := entry.get("itemIdentifier"), str)}


@given(responses, batches)
def test_no_response_deletes_the_messages_that_it_names(response: Any, batch: list[str]):
    """Only messages of the batch are kept, and every verdict is one of three kinds and has a reason."""
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
    """No error is raised."""
    verdict = judge(Returned(text), batch, ON)
    assert verdict.failed in (frozenset(), frozenset(batch))
    assert verdict.reason


@given(responses, batches)
def test_without_report_batch_item_failures_no_response_keeps_a_message(response: Any, batch: list[str]):
    """Every message of the batch is deleted, including those that the response names."""
    assert_all_deleted(judge(Returned(json.dumps(response)), batch, OFF))


@given(st.sampled_from(["error", "timeout", "killed", "throttled"]), st.text(), batches)
def test_a_failed_invocation_deletes_no_message(kind: str, reason: str, batch: list[str]):
    """Which messages were completed is not known."""
    assert judge(Errored(kind, reason), batch, ON).failed == set(batch)
