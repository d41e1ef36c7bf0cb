"""Items of the ledger's table."""

from typing import Any

import pytest

from fanfold._ports.run import Marker, Run, RunState
from fanfold.aws.ledger_items import marker_item, marker_of, run_item, run_of
from fanfold.aws.run_index import newest_runs
from fanfold.errors import LedgerError

RUN = Run("r", "job", {}, {}, created_at=0.0, expires_at=1, state=RunState.FOLDING)


def test_a_state_is_stored_as_a_string():
    """An item that an earlier release wrote is still readable."""
    assert type(run_item(RUN)["state"]["S"]) is str
    assert run_of(run_item(RUN) | {"state": {"S": "FOLDING"}}) == RUN


def test_an_unknown_state_is_refused():
    """The error asks the reader to deploy one version to all functions of the job."""
    with pytest.raises(
        LedgerError, match="run r: the ledger holds the state 'PAUSED', which this release does not know"
    ):
        run_of(run_item(RUN) | {"state": {"S": "PAUSED"}})


MARKER = Marker("m", 0, ids=[3, 5], results={3: '{"a":[1,2]}', 5: "7"})
KEY = {"sk": {"S": "M#0#m"}}
STATE = {"pk": {"S": "RUN#r"}, "sk": {"S": "STATE"}}


def test_results_are_stored_as_one_json_list():
    """It is readable for people, and for an earlier release."""
    item = marker_item(MARKER)
    assert item["results"] == {"S": '[\n{"a":[1,2]},\n7\n]'}
    assert marker_of(item | KEY) == MARKER
    assert marker_of(item | {"results": {"S": '[{"a":[1,2]},7]'}} | KEY) == MARKER


def test_results_of_other_segments_than_the_ids_are_stored_by_segment():
    """As if results of a marker were missing."""
    marker = Marker("m", 0, ids=[3, 5], results={5: "7"})
    item = marker_item(marker)
    assert item["results"] == {"S": '{\n"5":7\n}'}
    assert marker_of(item | KEY) == marker
    assert marker_of(item | {"results": {"S": '{"5":7}'}} | KEY) == marker


@pytest.mark.parametrize(
    "text", ["[\n1\n]", "[\n1,\n2,\n3\n]", "[1]", "[\n1,\n2", "[\n", '{\n"3":1', '{\n"x":1\n}', '{\n"3":\n}']
)
def test_incomplete_results_are_refused(text: str):
    """The fold is retried, and no result is attributed to another segment."""
    with pytest.raises(LedgerError, match=r"the ledger holds (\d results for 2 segments|unreadable results)"):
        marker_of(marker_item(MARKER) | {"results": {"S": text}} | KEY)


@pytest.mark.parametrize("name", ["created_at", "ended_at", "expires_at"])
@pytest.mark.parametrize("moment", ["-1", "1E+20", "1E+300", "x"])
def test_a_run_at_a_time_of_no_calendar_is_refused(name: str, moment: str):
    """A list or a page could not show it."""
    with pytest.raises(LedgerError, match="RUN#r STATE in the ledger cannot be read: ValueError"):
        run_of(STATE | run_item(RUN) | {name: {"N": moment}})


async def test_a_run_that_cannot_be_read_is_left_out_of_the_list(caplog):
    """A warning names it."""
    good = STATE | run_item(RUN)
    pages = iter([[good, STATE | {"run": {"S": "odd"}}, good | {"created_at": {"N": "1E+20"}}]])

    async def call(operation: str, **request: Any) -> dict[str, Any]:
        return {"Items": next(pages, [])}

    page = await newest_runs(call, "ledger", state=RunState.FOLDING, limit=10, after=None)
    assert [run.id for run in page.runs] == ["r"]
    assert caplog.text.count("a run is not listed: the run RUN#r STATE in the ledger cannot be read") == 2
