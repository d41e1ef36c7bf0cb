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
from depth import by_depth
from expiring import expiring
from fanfold._stack.emulator import LocalStack
from worker_trial import effects, in_queue, send, stop, trial, wait_for, worker

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
        assert stop(process, folder) == 0, (folder / "log").read_text()
    return (folder / "log").read_text()


def test_a_worker_empties_a_queue_and_stops_cleanly(sqs, tmp_path):
    """Every message is processed once, a failure is redelivered after its backoff, and a reject is dead-lettered."""
    url, dead = new_queue(sqs, 30), new_queue(sqs)
    send(sqs, url, orders(*[{}] * 40, {"do": "fail"}, {"do": "reject"}))
    log = finished(sqs, url, tmp_path, FANFOLD_DEAD_LETTER_QUEUE_URL=dead)
    assert effects(tmp_path) == dict.fromkeys(range(41), 1)
    assert log.splitlines()[-1] == "stopped: 41 done, 1 rejected, 1 to be redelivered"
    assert f"polling {url}: concurrency 20, visibility timeout 30 s, dead-letter queue {dead}" in log
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
        wait_for(lambda: "1 handlers are still running" in (tmp_path / "log").read_text())
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


@pytest.mark.parametrize("seed", range(int(os.environ.get("WORKER_TRIALS", by_depth(1, 3)))))
def test_workers_that_are_killed_lose_nothing(sqs, tmp_path, seed):
    """After SIGTERM and SIGKILL at random times, every order has its effect, and the queue is empty at the end.

    The environment variable ``WORKER_TRIALS`` sets the number of trials.
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


def send_to_groups(sqs, url: str, *orders_of_groups: tuple[str, dict]) -> None:
    for number, (group, order) in enumerate(orders_of_groups):
        body = json.dumps({"number": number, **order})
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group)


def test_a_slow_record_delays_no_other_message_group_and_a_kill_repeats_no_acknowledged_record(sqs, tmp_path):
    """Groups of one receive are acknowledged while the slow one runs; after SIGKILL, only what is left runs again."""
    url = new_queue(sqs, 3, FifoQueue="true", ContentBasedDeduplication="true")
    slow = ("a", {"do": "wait"})
    send_to_groups(sqs, url, ("a", {}), ("b", {}), slow, ("b", {}), ("c", {}), ("a", {}), ("c", {}))
    with worker(tmp_path, url) as process:
        wait_for(lambda: in_queue(sqs, url) == 2)
        process.kill()
    assert effects(tmp_path) == dict.fromkeys((0, 1, 3, 4, 6), 1)
    (tmp_path / "go").touch()
    finished(sqs, url, tmp_path)
    assert effects(tmp_path) == dict.fromkeys(range(7), 1)


@pytest.mark.parametrize("fifo", [False, True])
def test_sigterm_while_idle_makes_no_message_invisible(sqs, tmp_path, fifo):
    """A message that is sent while the last poll runs can be received immediately after the worker has ended."""
    settings = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if fifo else {}
    url = new_queue(sqs, 600, **settings)
    with worker(tmp_path, url, "--health-file", "health.json") as process:
        wait_for(lambda: _health(tmp_path))  # written when the first poll begins
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: "the running ReceiveMessage call ends within 20 s" in (tmp_path / "log").read_text())
        sqs.send_message(QueueUrl=url, MessageBody='{"number": 1}', **({"MessageGroupId": "a"} if fifo else {}))
        assert process.wait(timeout=40) == 0
    assert effects(tmp_path) == {}
    assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])) == 1
    assert (tmp_path / "log").read_text().splitlines()[-1] == "stopped: 0 done, 0 rejected, 1 to be redelivered"


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


def test_a_worker_goes_on_with_new_credentials_when_its_own_have_expired(aws: LocalStack, sqs, tmp_path, monkeypatch):
    """It reads the credentials file again; messages in flight are deleted and delayed with the new ones."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = first\naws_secret_access_key = test\n")
    url, dead = new_queue(sqs, 4), new_queue(sqs)
    with expiring(aws.endpoint_url) as proxy:
        variables = {
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "AWS_ENDPOINT_URL": proxy.url,
            "FANFOLD_DEAD_LETTER_QUEUE_URL": dead,
        }
        send(sqs, url, orders({"do": "wait"}, {"do": "fail"}, {"do": "reject"}))
        with worker(tmp_path, url, "--health-file", "health.json", **variables) as process:
            wait_for(lambda: _health(tmp_path).get("in_flight") == 1)
            proxy.expired.add("first")
            wait_for(lambda: proxy.refusals >= 3)
            credentials.write_text("[default]\naws_access_key_id = second\naws_secret_access_key = test\n")
            send(sqs, url, orders({}, {}, {}, {"do": "fail"}, {"do": "reject"}))
            (tmp_path / "go").touch()
            wait_for(lambda: in_queue(sqs, url) == 0)
            assert stop(process, tmp_path) == 0
    log = (tmp_path / "log").read_text()
    assert log.count("reading the credentials again") == 1
    assert {0, 1, 2} <= set(effects(tmp_path))
    assert in_queue(sqs, dead) == 2


DECORATED = """
    import functools
    import fanfold

    @fanfold.consumer
    async def consumer(order: dict) -> None:
        with open("effects", "a") as effects:
            effects.write(f"{order['number']}\\n")

    @functools.wraps(consumer)
    def handler(event, context):
        with open("invocations", "a") as invocations:
            invocations.write(f"{context.function_name} {len(event['Records'])}\\n")
        return consumer(event, context)

    def drop_in(event, context):
        return {"batchItemFailures": []}
"""


def test_a_worker_runs_what_decorators_have_made_of_a_consumer(sqs, tmp_path):
    """The decorators run around each call; a handler without a consumer is refused."""
    url = new_queue(sqs, 30)
    send(sqs, url, orders({}, {}, {}))
    with worker(tmp_path, url, app=DECORATED) as process:
        wait_for(lambda: in_queue(sqs, url) == 0)
        assert stop(process, tmp_path) == 0
    assert effects(tmp_path) == {0: 1, 1: 1, 2: 1}
    assert (tmp_path / "invocations").read_text().splitlines() == ["consumer 1"] * 3
    refused = fanfold("worker", "--queue-url", url, "--handler", "app:drop_in", folder=tmp_path)
    assert refused.returncode == 2
    assert "app:drop_in is a function, not a fanfold.Consumer" in refused.stderr
