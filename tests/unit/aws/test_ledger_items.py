"""The items of a ledger's table."""

import pytest

from fanfold._ports.run import Run, RunState
from fanfold.aws.ledger_items import run_item, run_of
from fanfold.errors import LedgerError

RUN = Run("r", "job", {}, {}, created_at=0.0, expires_at=1, state=RunState.FOLDING)


def test_a_state_is_stored_as_its_text():
    """Items that an earlier release wrote are read as before."""
    assert type(run_item(RUN)["state"]["S"]) is str
    assert run_of(run_item(RUN) | {"state": {"S": "FOLDING"}}) == RUN


def test_a_state_of_another_release_is_refused():
    """The error says what to do: functions of one job share a release."""
    with pytest.raises(
        LedgerError, match="run r: the ledger holds the state 'PAUSED', which this release does not know"
    ):
        run_of(run_item(RUN) | {"state": {"S": "PAUSED"}})
