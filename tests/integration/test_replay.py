"""``fanfold replay``, as a user runs it: a folder with a handler and saved events."""

import json
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from depth import by_depth
from fanfold.testing import make_fifo_record
from replayed import command, folder_in, replay, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_in(tmp_path)


def document(folder: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    done = replay(folder, *arguments, "--json", **variables)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def without_measured(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_measured(entry) for name, entry in value.items() if name != "measured"}
    return [without_measured(entry) for entry in value] if isinstance(value, list) else value


def ends(result: dict[str, Any]) -> list[str]:
    return [message["end"] for message in result["messages"]]


def test_a_replay_continues_until_every_message_is_deleted_or_dead_lettered(folder):
    """Done is deleted, a failure is redelivered up to the receive limit, and a reject is dead-lettered immediately."""
    done = replay(folder, "event.json", "--handler", "app:handler", "--json", "--max-receive-count", "3")
    result = json.loads(done.stdout)
    assert ends(result) == ["deleted", "dead-lettered", "dead-lettered", "deleted"]
    assert [message["receives"] for message in result["messages"]] == [1, 3, 1, 2]
    assert [message["outcome"] for message in result["messages"]] == ["Done", "Failed", "Rejected", "Done"]
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == "fanfold: 2 dead-lettered, 0 expected"
    assert [(letter["id"], letter["reason"]) for letter in result["dead_letters"]] == [
        ("message-1", "moved to the dead-letter queue after 3 receives"),
        ("message-2", "no such customer"),
    ]


def test_calls_of_the_handler_to_sqs_reach_the_simulated_queue(folder):
    """A backoff and a retry with a delay change the time of the next delivery, through the SDK's HTTP calls."""
    result = document(folder, "event.json", "--handler", "app:handler", "--max-receive-count", "3")
    times = {
        number: [delivery["began_at"] for delivery in result["deliveries"] if number in delivery["messages"]]
        for number in (1, 3)
    }
    assert times == {1: [0, 7, 21], 3: [0, 100]}
    assert "visibility timeout set to 100 s by the handler" in result["messages"][3]["history"]


def test_calls_of_a_handler_without_fanfold_reach_the_simulated_queues_too(folder):
    """With boto3: a changed visibility timeout, and a message that is sent to the dead-letter queue."""
    result = document(folder, "event.json", "--handler", "app:asks")
    assert [delivery["began_at"] for delivery in result["deliveries"]] == [0, 50]
    assert ends(result) == ["deleted"] * 4
    assert len(result["dead_letters"]) == 2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_document_except_for_measurements(folder):
    """With duplicates, jitter, records that end in any order, and another seed of Python's hashes."""
    arguments = ("event.json", "--handler", "app:shaky", "--repeat", "10", "--duplicates", "0.3", "--seed", "5")
    first, second = (document(folder, *arguments, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert without_measured(first) == without_measured(second)
    assert len(first["messages"]) == 40
    assert len({letter["reason"] for letter in first["dead_letters"]}) == 2


def test_a_handler_that_forgets_its_failures_deletes_everything(folder):
    """Its own output is not part of the document."""
    done = replay(folder, "event.json", "--handler", "app:forgetful", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert ends(result) == ["deleted"] * 4
    assert result["deliveries"][0]["verdict"] == {"kind": "complete success", "reason": "the response is null or empty"}
    assert "working on message-0" in done.stderr


@pytest.mark.parametrize(
    ("handler", "timeout", "kind", "text"),
    [
        ("sleepy", "1", "timeout", "timed out"),
        ("fat", "60", "killed", "out of memory"),
        ("leaves", "60", "error", "exited"),
        ("raises", "60", "error", "RuntimeError: no database"),
    ],
)
def test_the_whole_batch_of_a_function_that_does_not_respond_is_redelivered(folder, handler, timeout, kind, text):
    """Timeouts, kills, and errors are reported like Lambda does, and every message is redelivered."""
    limits = ("--timeout", timeout, "--memory", "200", "--once")
    result = document(folder, "event.json", "--handler", f"app:{handler}", *limits)
    (delivery,) = result["deliveries"]
    assert delivery["error"]["kind"] == kind
    assert text in delivery["error"]["reason"]
    assert ends(result) == ["in the queue"] * 4


def test_a_response_with_a_foreign_id_keeps_the_whole_batch(folder):
    """The verdict states the reason."""
    result = document(folder, "event.json", "--handler", "app:odd", "--once")
    assert result["deliveries"][0]["verdict"]["reason"].endswith("names 'nobody', which is not in the batch")


@pytest.mark.slow
def test_the_real_runtime_client_gives_the_same_results(folder):
    """With awslambdaric, warm from one batch to the next, including an error."""
    direct, real = (
        document(folder, "event.json", "--handler", "app:handler", *flags) for flags in ((), ("--runtime-client",))
    )
    assert ends(real) == ends(direct)
    result = document(folder, "event.json", "--handler", "app:raises", "--once", "--runtime-client")
    assert result["deliveries"][0]["error"]["reason"] == "RuntimeError: no database"


def test_a_fifo_event_keeps_the_order_of_its_groups(folder):
    """The ARN shows that the queue is FIFO. Records behind a poison record wait until it is dead-lettered."""
    orders = [{"number": 0, "do": "fail"}, {"number": 1}, {"number": 2}]
    records = [
        make_fifo_record(order, group="a" if order["number"] < 2 else "b", message_id=f"m{order['number']}")
        for order in orders
    ]
    save(folder, {"Records": records})
    result = document(folder, "event.json", "--handler", "app:handler", "--max-receive-count", "2")
    assert result["settings"]["fifo"]
    assert ends(result)[0] == "dead-lettered"
    assert ends(result)[2] == "deleted"


def test_settings_come_from_a_template(folder):
    """The function's timeout, memory, and mapping, and the queue's visibility timeout and receive limit."""
    template = """
        Parameters:
          Receives: {Type: Number, Default: 2}
        Globals: {Function: {Timeout: 7}}
        Resources:
          Orders:
            Type: AWS::SQS::Queue
            Properties:
              VisibilityTimeout: 55
              RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: !Ref Receives}
          Consume:
            Type: AWS::Serverless::Function
            Properties:
              MemorySize: 512
              Events:
                Orders:
                  Type: SQS
                  Properties:
                    Queue: !GetAtt Orders.Arn
                    BatchSize: 5
                    FunctionResponseTypes: [ReportBatchItemFailures]
    """
    (folder / "template.yaml").write_text(textwrap.dedent(template), encoding="utf-8")
    flags = ("event.json", "--handler", "app:handler", "--template", "template.yaml", "--function")
    settings = document(folder, *flags, "Consume")["settings"]
    expected = {
        "function_timeout": 7,
        "memory_mb": 512,
        "batch_size": 5,
        "visibility_timeout": 55,
        "max_receive_count": 2,
    }
    assert {name: settings[name] for name in expected} == expected
    wrong = replay(folder, *flags, "Nope")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "fanfold: template template.yaml has no function 'Nope'; its functions: Consume\n",
    )


def test_a_setting_that_a_template_does_not_determine_is_named_with_the_default(folder):
    """The warning names the function, the property, its value, and the default, unless an option sets it."""
    template = {
        "Parameters": {"Time": {"Type": "Number"}},
        "Resources": {
            "Orders": {
                "Type": "AWS::SQS::Queue",
                "Properties": {"RedrivePolicy": {"deadLetterTargetArn": "x", "maxReceiveCount": 2}},
            },
            "Consume": {"Type": "AWS::Lambda::Function", "Properties": {"Timeout": {"Ref": "Time"}}},
            "Reads": {
                "Type": "AWS::Lambda::EventSourceMapping",
                "Properties": {
                    "EventSourceArn": {"Fn::GetAtt": ["Orders", "Arn"]},
                    "FunctionName": {"Ref": "Consume"},
                    "FunctionResponseTypes": ["ReportBatchItemFailures"],
                },
            },
        },
    }
    (folder / "template.json").write_text(json.dumps(template), encoding="utf-8")
    flags = ("event.json", "--handler", "app:handler", "--template", "template.json", "--function", "Consume", "--json")
    done = replay(folder, *flags)
    warning, *others = done.stderr.splitlines()
    assert warning == (
        'fanfold: template.json:1 Timeout of Consume is not known: {"Ref": "Time"} (parameter Time has no default); '
        "30 s is used instead, --timeout sets it"
    )
    assert not [line for line in others if "is not known" in line]
    assert json.loads(done.stdout)["settings"]["function_timeout"] == 30
    assert "is not known" not in replay(folder, *flags, "--timeout", "20").stderr


def test_expectations_decide_the_exit_code(folder):
    """The results must equal the expectations exactly."""
    flags = ("event.json", "--handler", "app:handler")
    assert replay(folder, *flags, "--expect", "dead-lettered=2", "--expect", "deleted=2").returncode == 0
    wrong = replay(folder, *flags, "--expect", "dead-lettered=1")
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (1, "fanfold: 2 dead-lettered, 1 expected")


def test_explain_shows_why_a_message_was_redelivered(folder):
    """Each receive is listed with its outcome and the verdict of the mapping, and each thing is stated once."""
    arguments = ("event.json", "--handler", "app:handler", "--max-receive-count", "2", "--explain", "message-1")
    assert replay(folder, *arguments).stdout.splitlines() == [
        "message message-1 (number=1) from event.json: dead-lettered",
        "  receive 1 at 0 s: Failed: ValueError: order 1",
        "    visibility timeout set to 7 s by the handler",
        "    kept for redelivery: 2 of 4 messages are reported as failed",
        "  receive 2 at 7 s: the same",
        "    visibility timeout set to 14 s by the handler",
        "    kept for redelivery: every message of the batch is reported as failed",
        "  moved to the dead-letter queue after 2 receives",
    ]


def test_the_table_shows_deliveries_slots_and_the_summary(folder):
    """It shows the verdicts, when each record ran, and the result of each message."""
    output = replay(folder, "event.json", "--handler", "app:handler", COLUMNS="160").stdout
    for text in (
        "partial success",
        "measured timeline of delivery 0",
        "ValueError: order 1",
        "4 messages: 2 deleted, 2 dead-lettered",
    ):
        assert text in output


def test_a_page_is_written_on_request(folder):
    """It is one self-contained file."""
    replay(folder, "event.json", "--handler", "app:handler", "--html", "replay.html")
    page = (folder / "replay.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "message-1" in page


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("event.json", "--handler", "app:nobody"), 2, "module app has no 'nobody'"),
        (("event.json", "--handler", "app:notHandler"), 2, "not a Lambda handler"),
        (
            ("event.json", "--handler", "nowhere:handler"),
            2,
            "module 'nowhere' was not found: run the command in the folder that contains it",
        ),
        (("event.json", "--handler", "app"), 2, "'app' must have the form MODULE:NAME, such as app:handler"),
        (("missing.json", "--handler", "app:handler"), 2, "missing.json"),
        (("bad.json", "--handler", "app:handler"), 2, "bad.json"),
        (("empty.json", "--handler", "app:handler"), 2, "empty.json"),
        (("event.json", "--handler", "app:handler", "--batch-size", "50", "--window", "0"), 2, "batching window"),
        (("event.json", "--handler", "app:handler", "--expect", "much"), 2, "END=COUNT"),
        (("event.json", "--handler", "app:handler", "--template", "t.yaml"), 2, "go together"),
        (("event.json", "--handler", "app:handler", "--html", "none/x.html"), 2, "folder none does not exist"),
        (("event.json", "--handler", "app:handler", "--html", "."), 2, "it is a folder"),
    ],
)
def test_bad_input_gets_one_clear_line(folder, arguments, code, text):
    """With an exit code, and without a traceback of fanfold."""
    (folder / "bad.json").write_text('{"Records": [', encoding="utf-8")
    (folder / "empty.json").write_text("", encoding="utf-8")
    done = replay(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1].startswith("fanfold: ")
    assert text in done.stderr.splitlines()[-1]
    assert "fanfold/_" not in done.stderr
    assert not done.stdout
    assert done.stderr.strip() == done.stderr.removesuffix("\n"), "no empty line where no bar is shown"


def test_an_import_error_shows_the_users_traceback(folder):
    """It starts at the user's code, not in fanfold."""
    (folder / "broken.py").write_text("import json\n\nvalue = json.loads('{')\n", encoding="utf-8")
    done = replay(folder, "event.json", "--handler", "broken:handler")
    assert done.returncode == 2
    assert "line 3, in <module>" in done.stderr
    assert "fanfold/_" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_running(folder, number):
    """The handler's process ends with the replay."""
    arguments = command("event.json", "--handler", "app:sleepy", "--timeout", "600")
    with subprocess.Popen(  # noqa: S603 - fanfold itself
        arguments,
        cwd=folder,
        stderr=subprocess.PIPE,
        preexec_fn=_interruptible,  # noqa: PLW1509 - no threads here
    ) as process:
        _wait_for(lambda: (folder / "pid").is_file() and (folder / "pid").read_text())
        process.send_signal(number)
        assert process.wait(timeout=300) == 130
    pid = int((folder / "pid").read_text())
    _wait_for(lambda: not Path(f"/proc/{pid}").exists())


# Slow: thousands of records cross a pipe to the handler's process, and those that fail do so five times.
@pytest.mark.slow
def test_thousands_of_records_are_replayed_until_none_is_left(folder):
    """With 5 % failures; the time is measured elsewhere. ``make deep`` replays ten thousand."""
    count = by_depth(2_000, 10_000)
    lines = [json.dumps({"number": number, "do": "fail" if number % 20 == 0 else ""}) for number in range(count)]
    (folder / "orders.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = document(folder, "orders.jsonl", "--handler", "app:handler", "--batch-size", "100", "--window", "1")
    assert result["summary"]["deleted"] == count * 19 // 20
    assert result["summary"]["dead_lettered"] == count // 20
    assert result["summary"]["lost"] == 0


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _wait_for(holds: Any) -> None:
    until = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
