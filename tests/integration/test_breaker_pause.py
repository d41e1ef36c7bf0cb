"""A breaker pauses the mapping of its queue on the local AWS, and the rule alone enables it again."""

import json
from pathlib import Path

import pytest

from fanfold._ports.breakers import OPEN
from fanfold._stack.emulator import LocalStack
from outage_on_aws import Clients, OutageOnAws, outage_on_aws

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.linux]

MESSAGES = 12


def is_enabled(deployed: OutageOnAws) -> bool:
    state = deployed.functions.get_event_source_mapping(UUID=deployed.mappings[0])["State"]
    return bool(state in {"Enabled", "Enabling"})


def watch(deployed: OutageOnAws) -> None:
    """Invoke the function as the rule does every five minutes."""
    event = json.dumps({"fanfold": "breaker-watch"}).encode()
    response = deployed.functions.invoke(FunctionName=f"{deployed.name}-app", Payload=event)
    assert "FunctionError" not in response, response["Payload"].read()


@pytest.mark.parametrize(
    "kill_at", ["", pytest.param("after CLOSED", marks=pytest.mark.deep)], ids=["alive", "killed after closing"]
)
def test_a_paused_mapping_is_enabled_by_the_rule_alone(stack: LocalStack, tmp_path: Path, kill_at: str):
    """While it is disabled, nothing is delivered; also if the process that closed the breaker has ended before that."""
    clients = Clients(stack)
    variables = {"FANFOLD_BREAKER_PAUSES_MAPPING": "true"}
    with outage_on_aws(clients, tmp_path, probe=True, kill_at=kill_at, variables=variables) as deployed:
        deployed.send(MESSAGES)
        deployed.until(lambda: deployed.circuit().state == OPEN)
        deployed.until(lambda: not is_enabled(deployed))
        watch(deployed)
        assert not is_enabled(deployed)
        assert deployed.circuit().paused
        deployed.service_is_up()

        def is_enabled_again() -> bool:
            if not is_enabled(deployed):
                watch(deployed)
            return is_enabled(deployed) and not deployed.circuit().paused

        if kill_at:
            with pytest.raises(AssertionError):
                deployed.until(is_enabled_again)
            assert deployed.is_killed
            assert not is_enabled(deployed)
        deployed.until(is_enabled_again)

        def is_over() -> bool:
            if deployed.circuit().has_held:
                watch(deployed)
            return deployed.is_over()

        deployed.until(is_over)
        assert deployed.counts(deployed.dead_letters) == (0, 0)
    clients.close()
