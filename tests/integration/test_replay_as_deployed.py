"""``fanfold replay`` as the function is deployed: filters, environment, idempotency, and an outage."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

import fanfold
from fanfold._base.sample_events import make_record
from fanfold._replay.events import SavedEvent
from fanfold._replay.options import Replayed, ReplayOptions
from fanfold._replay.outage import Outage
from fanfold._replay.replay import replay as replayed
from fanfold.testing import Simulator
from replayed import replay, save

APP = """
    import os

    import fanfold
    from fanfold.idempotency import Idempotency

    @fanfold.consumer
    def plain(order: dict) -> None: ...

    @fanfold.consumer(backoff=fanfold.Backoff(base=100, factor=2, cap=900, jitter=0))
    def backing_off(order: dict) -> None: ...

    @fanfold.consumer(breaker=fanfold.Breaker("payments", on=ConnectionError))
    def saved(order: dict) -> None: ...

    @fanfold.consumer(idempotency=Idempotency(lambda order: order["id"], table="production"))
    def once(order: dict) -> None:
        print("charged", order["id"])

    def environment(event, context):
        for name in ("STAGE", "TABLE", "QUEUE_URL"):
            print(name, os.environ.get(name))
"""
TEMPLATE = """
    Parameters: {Stage: {Type: String, Default: dev}}
    Globals: {Function: {Timeout: 7, Environment: {Variables: {STAGE: !Ref Stage}}}}
    Resources:
      Table: {Type: "AWS::DynamoDB::Table"}
      Orders:
        Type: AWS::SQS::Queue
        Properties: {RedrivePolicy: {deadLetterTargetArn: arn, maxReceiveCount: 3}}
      Consume:
        Type: AWS::Serverless::Function
        Properties:
          Environment: {Variables: {TABLE: !Ref Table, QUEUE_URL: !Ref Orders}}
          Events:
            Orders:
              Type: SQS
              Properties:
                Queue: !GetAtt Orders.Arn
                FilterCriteria: {Filters: [{Pattern: '{"body": {"id": [{"numeric": ["<", 2]}]}}'}]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(APP), encoding="utf-8")
    (tmp_path / "template.yaml").write_text(textwrap.dedent(TEMPLATE), encoding="utf-8")
    save(tmp_path, [{"id": number} for number in range(4)], "orders.json")
    return tmp_path


FROM_TEMPLATE = ("--template", "template.yaml", "--function", "Consume")


def test_filters_and_environment_variables_are_those_of_the_template(folder: Path):
    """Filtered messages are counted; what only the deployment determines is named; a file and a parameter add to it."""
    (folder / "env.json").write_text(json.dumps({"Consume": {"TABLE": "orders-test"}}))
    arguments = ("orders.json", "--handler", "app:environment", *FROM_TEMPLATE, "--json")
    done = replay(folder, *arguments, "--parameter", "Stage=prod")
    document = json.loads(done.stdout)
    assert document["summary"]["filtered"] == 2
    assert [message["end"] for message in document["messages"]] == [
        "deleted",
        "deleted",
        "filtered out",
        "filtered out",
    ]
    assert {"STAGE prod", "TABLE None"} <= set(done.stderr.splitlines())
    (url,) = [line for line in done.stderr.splitlines() if line.startswith("QUEUE_URL")]
    assert url.startswith("QUEUE_URL http://127.0.0.1:")
    assert 'TABLE of Consume is not known: {"Ref": "Table"}' in done.stderr
    assert "it is not set, --env-vars sets it" in done.stderr
    done = replay(folder, *arguments, "--env-vars", "env.json")
    assert {"STAGE dev", "TABLE orders-test"} <= set(done.stderr.splitlines())
    assert "TABLE of Consume is not known" not in done.stderr


def test_idempotency_stays_in_memory(folder: Path):
    """A duplicate is acknowledged without a second call, and nothing is written to the table of production."""
    save(folder, [{"id": 1}, {"id": 1}, {"id": 2}], "orders.json")
    done = replay(folder, "orders.json", "--handler", "app:once", "--batch-size", "1", "--json")
    assert json.loads(done.stdout)["summary"]["deleted"] == 3
    assert [line for line in done.stderr.splitlines() if "charged" in line] == ["charged 1", "charged 2"]


def test_a_breaker_survives_an_outage_without_any_setting(folder: Path):
    """Its time is simulated: messages are held, and released by the first probe that succeeds."""
    save(folder, [{"id": number} for number in range(40)], "orders.json")
    done = replay(folder, "orders.json", "--handler", "app:saved", "--outage", "900", "--batch-size", "10")
    assert done.returncode == 0
    report = " ".join(done.stdout.split())
    assert "40 messages: 40 deleted, 0 dead-lettered, 0 lost" in report
    assert "Outage of 15 min: 40 messages failed during it or were held by a breaker" in report
    assert "These settings survive it: at most" in report
    document = json.loads(replay(folder, "orders.json", "--handler", "app:saved", "--outage", "900", "--json").stdout)
    assert max(delivery["began_at"] for delivery in document["deliveries"]) < 1_200
    held = [message["history"] for message in document["messages"] if message["receives"] == 2]
    assert "visibility timeout set to 0 s by the handler" in {line for history in held for line in history}


def test_without_a_batching_window_a_default_batch_has_at_most_ten_records(folder: Path):
    """As Lambda requires; with any other window, it has as many as the saved event."""
    save(folder, list(range(25)), "orders.json")
    for window, size in (("0", 10), ("5", 25)):
        done = replay(folder, "orders.json", "--handler", "app:plain", "--window", window, "--json")
        assert json.loads(done.stdout)["settings"]["batch_size"] == size


def test_an_event_of_another_service_is_named(folder: Path):
    """It is refused, or replayed as a body with a note."""
    save(folder, {"Records": [{"EventSource": "aws:sns", "Sns": {}}]}, "sns.json")
    refused = replay(folder, "sns.json", "--handler", "app:plain")
    assert refused.returncode == 2
    assert refused.stderr.startswith("fanfold: sns.json: record 0 is of SNS: only events of SQS can be replayed")
    save(folder, {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": "a.csv"}}}]}, "s3.json")
    noted = replay(folder, "s3.json", "--handler", "app:plain")
    assert noted.stderr == "fanfold: s3.json is an event of S3: it is replayed as the body of one SQS message\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--outage-share", "0.5"), "--outage-share and --outage-error describe an outage: add --outage SECONDS"),
        (("--outage", "9", "--outage-error", "Nope: x"), "'Nope' is not an exception"),
        (("--outage", "9", "--outage-error", "shop.Closed: x"), "module 'shop' cannot be imported"),
        (("--parameter", "Stage=prod"), "--parameter sets a parameter of a template"),
        ((*FROM_TEMPLATE, "--parameter", "Stage"), "--parameter 'Stage' is not of the form NAME=VALUE"),
        ((*FROM_TEMPLATE, "--parameter", "Nope=1"), "has no parameter Nope"),
        (("--env-vars", "none.json"), "--env-vars: file none.json does not exist"),
        (("--explain", "x"), "no message of this replay has the id 'x'"),
    ],
)
def test_bad_input_is_a_usage_error_of_one_line(folder: Path, arguments: tuple[str, ...], text: str):
    """It names the option and the fix."""
    done = replay(folder, "orders.json", "--handler", "app:plain", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("fanfold: ")
    assert text in line


SETTINGS = [
    ("plain", {"visibility_timeout": 30, "max_receive_count": 3}, 20, 60),
    ("plain", {"visibility_timeout": 600, "max_receive_count": 3, "batch_size": 5}, 0, 1_200),
    ("backing_off", {"visibility_timeout": 180, "max_receive_count": 5}, 0, 1_500),
]


@pytest.mark.parametrize(("handler", "settings", "dead", "last"), SETTINGS)
def test_an_outage_has_the_result_of_a_direct_simulation(
    folder: Path, monkeypatch: pytest.MonkeyPatch, handler: str, settings: dict[str, Any], dead: int, last: float
):
    """900 seconds, and three settings of the queue: the same deliveries, receives, and dead letters."""
    monkeypatch.chdir(folder)
    records = [make_record({"id": number}, message_id=f"message-{number}") for number in range(20)]
    options = ReplayOptions(**settings, outage=Outage(900))
    document = replayed(Replayed(f"app:{handler}", [SavedEvent("orders", records)], options))

    def down(order: dict) -> None:
        if simulator.clock() < 900:
            raise ConnectionError("simulated outage")

    backoff = fanfold.Backoff(base=100, factor=2, cap=900, jitter=0) if handler == "backing_off" else None
    with Simulator(fanfold.consumer(backoff=backoff)(down), **settings) as simulator:
        simulator.send(records=records)
        simulator.run()
    assert [(row["began_at"], row["messages"]) for row in document["deliveries"]] == [
        (delivery.began_at, [message.number for message in delivery.messages]) for delivery in simulator.deliveries
    ]
    assert len(document["dead_letters"]) == len(simulator.dead_letters) == dead
    assert document["deliveries"][-1]["began_at"] == last
