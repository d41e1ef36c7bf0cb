"""``fanfold worker`` on the emulated AWS."""

import json
import os
import random
import signal
import time
import uuid
from pathlib import Path

import boto3
import pytest

from command import fanfold
from fanfold._stack.emulator import LocalStack
from worker_trial import effects, in_queue, send, trial, wait_for, worker

pytestmark = pytest.mark.stack


@pytest.fixture
def sqs(aws: LocalStack):
    client = boto3.client("sqs")
    yield client
    client.close()


def new_queue(sqs, visibility: int = 4, **attributes: str) -> str:
    ending = ".fifo" if "FifoQueue" in attributes else ""
    name = f"work-{uuid.uuid4().hex}{ending}"
    return sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(visibility), **attributes})["QueueUrl"]


def orders(*fields: dict) -> list[str]:
    return [json.dumps({"number": number, **order}) for number, order in enumerate(fields)]


def finished(sqs, url: str, folder: Path, *arguments: str, **variables: str) -> str:
    """Run a worker until the queue is empty, stop it, and return its log."""
    with worker(folder, url, *arguments, **variables) as process:
        wait_for(lambda: in_queue(sqs, url) == 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 0, (folder / "log").read_text()
    return (folder / "log").read_text()


def test_a_worker_empties_a_queue_and_stops_cleanly(sqs, tmp_path):
    """Every message is processed once, a failure is redelivered after its backoff, and a reject is dead-lettered."""
    url, dead = new_queue(sqs, 30), new_queue(sqs)
    send(sqs, url, orders(*[{}] * 40, {"do": "fail"}, {"do": "reject"}))
    log = finished(sqs, url, tmp_path, FANFOLD_DEAD_LETTER_QUEUE_URL=dead)
    assert effects(tmp_path) == dict.fromkeys(range(41), 1)
    assert log.splitlines()[-1] == "stopped: 42 done, 1 to be redelivered"
    (letter,) = sqs.receive_message(QueueUrl=dead, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(letter["MessageAttributes"]["fanfold"]["StringValue"])["reason"] == "no such customer"


def test_a_message_that_takes_longer_than_the_visibility_timeout_is_processed_once(sqs, tmp_path):
    """Heartbeats extend its visibility timeout, alongside others that end sooner."""
    url = new_queue(sqs, 3)
    send(sqs, url, orders({"seconds": 8}, {}, {}))
    finished(sqs, url, tmp_path, "--drain-seconds", "30")
    assert effects(tmp_path) == {0: 1, 1: 1, 2: 1}


def test_running_handlers_may_end_after_the_worker_is_stopped(sqs, tmp_path):
    """Within the drain time; no more messages are received meanwhile."""
    url = new_queue(sqs, 30)
    send(sqs, url, orders({"do": "wait"}))
    with worker(tmp_path, url, "--concurrency", "1", "--health-file", "health.json") as process:
        wait_for(lambda: _health(tmp_path).get("in_flight") == 1)
        assert _health(tmp_path)["pid"] == process.pid
        send(sqs, url, orders({}, {}))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "1 batches are still running" in (tmp_path / "log").read_text())
        (tmp_path / "go").touch()
        assert process.wait(timeout=300) == 0
    assert effects(tmp_path) == {0: 1}
    assert in_queue(sqs, url) == 2
    assert not (tmp_path / "health.json").exists()


def test_a_handler_that_raises_keyboardinterrupt_stops_the_worker_like_ctrl_c(sqs, tmp_path):
    """Other records in flight may end; the message is redelivered."""
    url = new_queue(sqs, 30)
    send(sqs, url, orders({"seconds": 1}, {"do": "interrupt"}))
    with worker(tmp_path, url) as process:
        assert process.wait(timeout=300) == 0
    log = (tmp_path / "log").read_text()
    assert "a handler raised KeyboardInterrupt; stopping the worker" in log
    assert "Traceback" not in log
    assert effects(tmp_path) == {0: 1}
    assert in_queue(sqs, url) == 1


@pytest.mark.parametrize(("order", "code"), [({"seconds": 60}, 0), ({"do": "swallow"}, 1)])
def test_a_message_whose_handler_does_not_end_in_time_is_redelivered(sqs, tmp_path, order, code):
    """The handler is cancelled once; its message is not deleted.

    A handler that ignores its cancellation does not block the worker: it is abandoned, its message is redelivered, and
    the exit code shows that not all handlers have ended.
    """
    url = new_queue(sqs, 2)
    send(sqs, url, orders(order))
    with worker(tmp_path, url, "--drain-seconds", "0.1", "--health-file", "health.json") as process:
        wait_for(lambda: _health(tmp_path).get("in_flight") == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == code
    assert effects(tmp_path) == {}
    assert in_queue(sqs, url) == 1


@pytest.mark.parametrize("seed", range(int(os.environ.get("WORKER_TRIALS", "3"))))
def test_workers_that_are_killed_lose_nothing(sqs, tmp_path, seed):
    """After SIGTERM and SIGKILL at random times, every order has its effect, and the queue is empty at the end.

    The environment variable ``WORKER_TRIALS`` sets the number of trials; the default is 3.
    """
    url = new_queue(sqs, 3)
    send(sqs, url, orders(*[{}] * 200))
    assert set(trial(sqs, url, tmp_path, random.Random(seed), 200)) == set(range(200))
    assert in_queue(sqs, url) == 0


def test_a_fifo_queue_is_processed_in_the_order_of_its_groups(sqs, tmp_path):
    """Also if a message has to be redelivered."""
    url = new_queue(sqs, 3, FifoQueue="true", ContentBasedDeduplication="true")
    for body in orders({}, {"do": "fail"}, {}, {}, {}):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="a")
    finished(sqs, url, tmp_path)
    assert (tmp_path / "effects").read_text().split() == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--queue-url", "{url}-not", "--handler", "app:handler"), "does not exist"),
        (("--queue-url", "{url}", "--handler", "app:nothing"), "has no 'nothing'"),
        (("--queue-url", "{url}", "--handler", "json:dumps"), "is a function, not a fanfold.Consumer"),
        (
            ("--queue-url", "{url}", "--handler", "app:handler", "--health-file", "no/health.json"),
            "folder no does not exist",
        ),
    ],
)
def test_a_worker_that_cannot_start_prints_one_line_with_the_reason(sqs, tmp_path, arguments, text):
    """The exit code is that of a usage error."""
    url = new_queue(sqs)
    (tmp_path / "app.py").write_text("import fanfold\n\n@fanfold.consumer\nasync def handler(order): ...\n")
    done = fanfold("worker", *(argument.format(url=url) for argument in arguments), folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert text in done.stderr


def test_a_queue_without_a_visibility_timeout_is_refused(sqs, tmp_path):
    """With a visibility timeout of 0 s, every message would be visible again immediately."""
    url = new_queue(sqs, 0)
    with worker(tmp_path, url) as process:
        assert process.wait(timeout=300) == 2
    assert "visibility timeout must be at least 1 s, not 0" in (tmp_path / "log").read_text()


def _health(folder: Path) -> dict:
    file = folder / "health.json"
    if not file.is_file():
        return {}
    health = json.loads(file.read_text())
    assert abs(health["time"] - time.time()) < 3600
    return health
