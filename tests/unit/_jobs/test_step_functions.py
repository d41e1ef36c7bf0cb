"""The handlers of a state machine, called directly: plan, a task for each segment, and collect."""

import json
from typing import Any

import anyio
import pytest

from fanfold import Job, Ranges, Reject, inmemory
from fanfold._base.aws_limits import STEP_FUNCTIONS_PAYLOAD_BYTES
from fanfold._jobs.step_functions import NO_RESULT
from fanfold._ports.backend import Backend
from fanfold._ports.run import Run
from fanfold.errors import ConfigurationError, EventError, FanfoldError, SegmentError
from fanfold.testing import make_context
from idempotent import opening


class Machine:
    """A job, and the backend that its handlers share."""

    def __init__(self, *, fold=sum, **settings: Any) -> None:
        self.errors: dict[int, Exception] = {}
        self.backend: Backend = inmemory.backend()
        job = self.job = Job("sum", backend=opening(self.backend), **settings)
        job.source(lambda params: Ranges(params.get("count", 25), size=10))
        job.fold(fold)

        @job.segment
        async def add(rows, ctx):
            if ctx.segment.number in self.errors:
                raise self.errors[ctx.segment.number]
            return sum([number async for number in rows])

    def plan(self, items: str = "payload", **params: Any) -> dict[str, Any]:
        return self.job.plan_handler({"run": "r", "input": {"params": params}, "items": items}, make_context(900))

    def task(self, event: Any) -> dict[str, Any]:
        return self.job.task_handler(event, make_context(900))

    def collect(self, **more: Any) -> dict[str, Any]:
        return self.job.collect_handler({"run": "r", **more}, make_context(900))

    def of_results(self, key: str) -> Any:
        return json.loads(anyio.run(self.backend.get_result, key))

    def run(self) -> Run:
        run = anyio.run(self.backend.ledger.run, "r")
        assert run is not None
        return run


def test_a_run_from_its_plan_to_its_output():
    """A single item, and several items in the format of the map's item batcher."""
    machine = Machine()
    planned = machine.plan()
    assert (planned["run"], planned["segments"]) == ("r", 3)
    assert machine.task(planned["items"][0]) == {"segments": 1}
    assert machine.task({"Items": planned["items"][1:], "BatchInput": {}}) == {"segments": 2}
    assert machine.collect() == {"run": "r", "state": "SUCCEEDED", "output": "runs/r/0/output.json", "failed": 0}
    assert machine.of_results("runs/r/0/output.json") == 300


def test_a_plan_in_s3_has_the_same_items():
    """As one JSON array of any size; without segments, it is empty."""
    machine = Machine()
    planned = machine.plan("s3")
    assert planned == {"run": "r", "segments": 3, "bucket": "results", "key": "runs/r/0/source/items.json"}
    assert machine.of_results(planned["key"]) == machine.plan()["items"]
    empty = Machine()
    assert empty.of_results(empty.plan("s3", count=0)["key"]) == []
    assert empty.collect()["state"] == "SUCCEEDED"
    assert empty.of_results("runs/r/0/output.json") == 0


def test_a_plan_is_pinned_by_the_first_request():
    """A retry returns the same plan, even if the source has changed."""
    machine = Machine()
    first = machine.plan(count=25)
    machine.task(first["items"][0])
    machine.job.source(lambda params: Ranges(7, size=1))
    assert machine.plan(count=25) == first


def test_the_error_of_a_plan_that_is_too_large_for_a_state_suggests_a_fix():
    """The quota applies to the whole output of the state, in bytes."""
    with pytest.raises(ConfigurationError, match="use the distributed state machine, or larger segments"):
        Machine().plan(count=10 * STEP_FUNCTIONS_PAYLOAD_BYTES // 100)


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"run": "r", "items": "both"},
        {"run": "r", "items": ["s3"]},
        {"run": "r", "items": "s3", "input": 3},
        {"items": "s3"},
    ],
)
def test_an_invalid_event_of_the_plan_handler_is_one_clear_error(event):
    """No run is planned."""
    with pytest.raises(ConfigurationError, match="the event of the plan handler must be"):
        Machine().job.plan_handler(event, make_context(900))


def test_parameters_and_names_are_checked():
    """Like in the scatter handler."""
    plan = Machine().job.plan_handler
    with pytest.raises(ConfigurationError, match="with the parameters of the run"):
        plan({"run": "r", "items": "s3", "input": {"params": []}}, make_context(900))
    with pytest.raises(ConfigurationError, match=r"run '\.\./r'"):
        plan({"run": "../r", "items": "s3"}, make_context(900))
    with pytest.raises(EventError, match="the event of the collect handler must be"):
        Machine().job.collect_handler({"name": "r"}, make_context(900))
    with pytest.raises(EventError, match="\"tries\" in the event must be an integer of at least 0, not 'two'"):
        Machine().job.collect_handler({"run": "r", "tries": "two"}, make_context(900))


def test_a_task_that_fails_raises_and_records_the_reason():
    """The other segments of the task stay done; a retry that succeeds overrides the failure."""
    machine = Machine()
    machine.errors = {1: ConnectionError("not now")}
    items = machine.plan()["items"]
    with pytest.raises(FanfoldError, match="segment 1: ConnectionError: not now") as caught:
        machine.task({"Items": items})
    assert type(caught.value) is FanfoldError
    machine.errors = {}
    machine.task(items[1])
    assert machine.collect()["state"] == "SUCCEEDED"
    assert machine.of_results("runs/r/0/output.json") == 300


def test_the_type_of_the_error_shows_that_a_retry_cannot_succeed():
    """So that the state machine does not retry a rejection, or an item that is not a segment."""
    machine = Machine()
    machine.errors = {0: Reject("no such thing")}
    with pytest.raises(SegmentError, match="segment 0: no such thing"):
        machine.task(machine.plan()["items"][0])
    with pytest.raises(SegmentError, match="not a fanfold segment"):
        machine.task({"order": 1})


@pytest.mark.parametrize(("tolerated", "state"), [(0, "FAILED"), (2, "SUCCEEDED")])
def test_collecting_accounts_for_every_segment(tolerated, state):
    """One segment failed with a reason and one has no result; the job sets how many failures are tolerated."""
    machine = Machine(tolerated_failures=tolerated)
    machine.errors = {1: Reject("no such thing")}
    items = machine.plan()["items"]
    machine.task(items[0])
    with pytest.raises(SegmentError):
        machine.task(items[1])
    collected = machine.collect()
    assert (collected["state"], collected["failed"]) == (state, 2)
    assert machine.of_results("runs/r/0/failures.json") == {"segments": {"1": "no such thing", "2": NO_RESULT}}
    assert machine.collect() == collected
    if state == "SUCCEEDED":
        assert machine.of_results(collected["output"]) == sum(range(10))


def test_a_task_after_its_run_was_collected_has_no_effect():
    """It is late: it succeeds, but nothing is recorded."""
    machine = Machine()
    items = machine.plan()["items"]
    for item in items:
        machine.task(item)
    collected = machine.collect()
    machine.errors = {0: ValueError("oh")}
    assert machine.task(items[0]) == {"segments": 1}
    assert machine.collect() == collected


def test_a_fold_that_raises_fails_the_run_in_its_third_attempt():
    """Before that, the error goes to the state machine, which retries."""

    def broken(results):
        raise ZeroDivisionError("oh")

    machine = Machine(fold=broken)
    for item in machine.plan()["items"]:
        machine.task(item)
    with pytest.raises(FanfoldError, match="ZeroDivisionError: oh"):
        machine.collect(tries=0)
    collected = machine.collect(tries=2)
    assert collected["state"] == "FAILED"
    assert machine.of_results(collected["output"]) == {"fold": "ZeroDivisionError: oh"}


def test_an_unknown_run_or_one_of_another_job_is_not_collected():
    """It is not retried either."""
    with pytest.raises(SegmentError, match="the ledger has no run 'r' of job 'sum'"):
        Machine().collect()


def test_a_job_that_continues_segments_is_refused_on_step_functions():
    """Segments continue through a work queue, which a state machine does not have."""
    with pytest.raises(ConfigurationError, match="continuation=True needs a work queue"):
        _ = Machine(continuation=True).job.task_handler
