"""Idempotency on the emulated AWS: shared among processes, and with Powertools."""

import json
import os
import random
import signal
import uuid
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyAlreadyInProgressError

import fanfold
from depth import by_depth
from fanfold import Done, Failed, Retrying
from fanfold._stack.emulator import LocalStack
from fanfold.idempotency import Idempotency, Layout
from fanfold.testing import make_context, make_event
from idempotency_table import new_table
from worker_trial import in_queue, send, wait_for, worker

pytestmark = pytest.mark.stack

ORDERS = int(os.environ.get("IDEMPOTENCY_ORDERS", by_depth(160, 400)))
APP = """
    import asyncio, os
    import fanfold
    from fanfold.idempotency import Idempotency

    once = Idempotency(lambda order: order["number"], lease_seconds=5)

    @fanfold.consumer(concurrency=20, idempotency=once)
    async def handler(order: dict) -> None:
        await asyncio.sleep(0.02)
        with open("effects", "a") as effects:
            effects.write(f"{order['number']} {os.getpid()}\\n")
"""


@pytest.fixture
def table(aws: LocalStack) -> str:
    """Create a table as in Powertools' documentation."""
    return new_table()


@pytest.fixture
def queue(aws: LocalStack) -> Any:
    client = boto3.client("sqs")
    url = client.create_queue(QueueName=f"orders-{uuid.uuid4().hex}", Attributes={"VisibilityTimeout": "6"})["QueueUrl"]
    bodies = [json.dumps({"number": number}) for number in range(ORDERS)] * 2
    random.Random(2013).shuffle(bodies)
    send(client, url, bodies)
    yield client, url
    client.close()


def effects(folder: Path) -> dict[int, list[int]]:
    """Return, by order, the ids of the processes that processed it."""
    done: dict[int, list[int]] = defaultdict(list)
    file = folder / "effects"
    for line in file.read_text().splitlines() if file.is_file() else ():
        number, process = line.split()
        done[int(number)].append(int(process))
    return done


def busiest(done: dict[int, list[int]]) -> tuple[int, int]:
    """Return the process that has processed most orders, and their number."""
    counts = Counter(process for processes in done.values() for process in processes)
    return max(counts.items(), key=lambda item: item[1], default=(0, 0))


# The next test does the same, and kills a process.
@pytest.mark.deep
@pytest.mark.slow
def test_an_order_that_is_sent_twice_to_four_processes_is_processed_once(queue, table, tmp_path):
    """In random order, with a shared table. The variable ``IDEMPOTENCY_ORDERS`` sets the number of orders."""
    sqs, url = queue
    with ExitStack() as workers:
        for _ in range(4):
            workers.enter_context(worker(tmp_path, url, app=APP, FANFOLD_IDEMPOTENCY_TABLE=table))
        wait_for(lambda: in_queue(sqs, url) == 0)
    done = effects(tmp_path)
    assert set(done) == set(range(ORDERS))
    assert {len(processes) for processes in done.values()} == {1}


# Slow: the leases of the killed process have to expire.
@pytest.mark.slow
def test_claims_of_a_killed_process_are_taken_over_by_another(queue, table, tmp_path):
    """After their leases expire. Only orders whose completion could not be recorded before the kill are repeated."""
    sqs, url = queue
    with ExitStack() as workers:
        processes = [
            workers.enter_context(worker(tmp_path, url, app=APP, FANFOLD_IDEMPOTENCY_TABLE=table)) for _ in range(4)
        ]
        wait_for(lambda: busiest(effects(tmp_path))[1] > ORDERS / 10)
        (first,) = [process for process in processes if process.pid == busiest(effects(tmp_path))[0]]
        first.send_signal(signal.SIGKILL)
        wait_for(lambda: in_queue(sqs, url) == 0)
    done = effects(tmp_path)
    assert set(done) == set(range(ORDERS))
    repeated = [pids for pids in done.values() if len(pids) > 1]
    assert all(pids[0] == first.pid and len(pids) == 2 for pids in repeated)
    assert len(repeated) <= 40


def counted(idempotency: Idempotency) -> Any:
    calls: list[int] = []

    @fanfold.consumer(idempotency=idempotency)
    async def handler(order: dict) -> dict[str, int]:
        calls.append(order["id"])
        return {"charged": order["id"]}

    handler.calls = calls
    return handler


def run(handler: Any, *ids: int) -> Any:
    try:
        return handler.invoke(make_event(*({"id": id_} for id_ in ids)), make_context()).outcomes
    finally:
        handler.close()


@pytest.mark.parametrize("sort_key", [False, True])
def test_a_table_is_shared_with_powertools(table, monkeypatch, sort_key):
    """Neither repeats a call that the other has completed, and each waits for calls that the other has claimed."""
    layout: dict[str, Any] = {}
    if sort_key:
        table, layout = new_table("sk"), {"key_attr": "pk", "sort_key_attr": "sk"}
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    store = DynamoDBPersistenceLayer(table_name=table, **layout)
    config = IdempotencyConfig(event_key_jmespath="id")
    calls: list[int] = []

    @idempotent_function(data_keyword_argument="order", config=config, persistence_store=store, key_prefix="shared")
    def theirs(order: dict) -> dict[str, int]:
        calls.append(order["id"])
        if order["id"] == 3:
            held = counted(ours.settings.idempotency)
            (outcome,) = run(held, 3)
            assert isinstance(outcome, Retrying)
            assert not held.calls
        return {"charged": order["id"]}

    settings = Idempotency(lambda order: order["id"], table=table, prefix="shared", layout=Layout(**layout))
    ours = counted(settings)
    config.register_lambda_context(make_context(20))
    theirs(order={"id": 1})
    assert run(ours, 1, 2) == [Done({"charged": 1}), Done({"charged": 2})]
    assert ours.calls == [2]
    assert theirs(order={"id": 2}) == {"charged": 2}
    theirs(order={"id": 3})
    assert calls == [1, 3]

    @fanfold.consumer(idempotency=settings)
    def while_held(order: dict) -> None:
        theirs(order=order)

    (failed,) = run(while_held, 4)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, IdempotencyAlreadyInProgressError)
    store.client.close()
