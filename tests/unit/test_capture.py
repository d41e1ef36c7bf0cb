"""Save batches as event files."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanfold
from fanfold._replay.events import read_events
from fanfold.capture import REDACTED, Capture, redacted
from fanfold.errors import ConfigurationError
from fanfold.testing import make_context, make_event, make_record

SECRET = "s3cr3t-4711"


def saved(folder):
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.iterdir())]


def test_a_batch_is_saved_and_processed_as_without_capture(tmp_path):
    """The response is that of the handler; the saved file can be read as an event."""

    @fanfold.consumer
    async def consume(number: int) -> None:
        if number == 2:
            raise ValueError(number)

    handler = Capture(consume, tmp_path / "captured")
    response = handler(make_event(1, 2), make_context())
    consume.close()
    assert response == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}
    (event,) = read_events([str(tmp_path / "captured")])
    assert [record["body"] for record in event.records] == ["1", "2"]
    assert all(record["receiptHandle"].startswith(REDACTED) for record in event.records)


def test_an_error_of_the_handler_is_raised(tmp_path):
    """The event that caused it is saved."""

    def handler(event, context):
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        Capture(handler, tmp_path)(make_event(1), make_context())
    assert len(saved(tmp_path)) == 1


def test_the_handler_runs_even_if_saving_fails(tmp_path, caplog):
    """The failure is logged, and the batch is processed."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    handler = Capture(lambda event, context: "done", tmp_path / "file" / "below")
    assert handler(make_event(1), make_context()) == "done"
    assert handler({"no": "records"}, make_context()) == "done"
    assert caplog.text.count("Could not save the event") == 2


def test_at_most_max_files_are_written(tmp_path):
    """After that, the handler runs without saving."""
    handler = Capture(lambda event, context: len(event["Records"]), tmp_path, max_files=2)
    assert [handler(make_event(1), make_context()) for _ in range(4)] == [1, 1, 1, 1]
    assert len(saved(tmp_path)) == 2


def test_named_fields_and_attributes_are_not_saved(tmp_path):
    """Fields are found in lists, too; a body that is not a JSON object is redacted completely."""
    body = {"customer": {"email": SECRET, "name": "Ada"}, "lines": [{"card": SECRET}, {"card": SECRET, "n": 1}]}
    attribute = {"token": {"dataType": "String", "stringValue": SECRET}}
    records = [make_record(body, message_attributes=attribute), make_record(f"no JSON {SECRET}"), make_record(7)]
    handler = Capture(lambda event, context: None, tmp_path, redact=("customer.email", "lines.card", "token"))
    handler({"Records": records}, make_context())
    (event,) = saved(tmp_path)
    assert SECRET not in json.dumps(event)
    assert json.loads(event["Records"][0]["body"])["customer"] == {"email": REDACTED, "name": "Ada"}
    assert [record["body"] for record in event["Records"][1:]] == [REDACTED, REDACTED]


@pytest.mark.parametrize("settings", [{"redact": "customer"}, {"redact": ("",)}, {"max_files": 0}, {"max_files": 1.5}])
def test_invalid_settings_are_refused(tmp_path, settings):
    """They are refused when the handler is wrapped, not at the first batch."""
    with pytest.raises(ConfigurationError):
        Capture(lambda event, context: None, tmp_path, **settings)
    with pytest.raises(ConfigurationError):
        Capture("handler", tmp_path)  # type: ignore[arg-type]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(value=VALUES, deep=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4), many=st.booleans())
def test_a_redacted_value_is_nowhere_in_the_saved_event(value, deep, many):
    """This holds at any depth and next to any other values; the event itself is not changed."""
    nested = {deep[-1]: SECRET, "other": value}
    for name in reversed(deep[:-1]):
        nested = {name: [nested, value] if many else nested, "other": value}
    event = make_event(nested)
    before = json.dumps(event)
    assert SECRET not in json.dumps(redacted(event, [".".join(deep)]))
    assert json.dumps(event) == before
