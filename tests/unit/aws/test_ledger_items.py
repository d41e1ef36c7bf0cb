"""Items of the ledger's table."""

import pytest

from fanfold._ports.run import Run, RunState
from fanfold.aws.ledger_items import run_item, run_of
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
