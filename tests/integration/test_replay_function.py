"""The process of a replayed handler: what it sees of Lambda, and what it cannot disturb."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanfold._replay.function import InvocationResult, LocalFunction
from fanfold._replay.handler_settings import HandlerSettings
from fanfold._replay.mapping import Errored, Returned
from fanfold._replay.outage import Outage
from fanfold._replay.runtime_client import RuntimeClientFunction
from fanfold.testing import make_event

SOURCE = """
    import json, logging, os, sys, time
    from pathlib import Path

    logging.getLogger("orders").setLevel(logging.INFO)

    def reads_stdin(event, context):
        return sys.stdin.read() + os.popen("cat").read()

    def writes_everywhere(event, context):
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, b'{"id": "junk"}\\\\n')
            except OSError:
                pass

    def closes_everything(event, context):
        os.closerange(3, 64)

    def responds(event, context):
        return {"length": len(event["Records"]), "seconds": context.get_remaining_time_in_millis() > 0}

    def responds_at_length(event, context):
        return "é" * 3_200_000

    def responds_with_a_set(event, context):
        return {1}

    def logs(event, context):
        logging.getLogger("orders").info("an order")
        logging.getLogger("orders").debug("a detail")
        logging.getLogger("others").info("not shown")

    def meets(event, context):
        Path(f"met-{event['Records'][0]['body']}").touch()
        while len(list(Path().glob("met-*"))) < 2:
            time.sleep(0.005)
        return os.getpid()

    def hangs(event, context):
        if event["Records"][0]["body"] == "hang":
            time.sleep(600)
        return "done"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(textwrap.dedent(SOURCE), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def local(name: str, **settings: Any) -> LocalFunction:
    environment = HandlerSettings(**settings).environment()
    return LocalFunction(f"app:{name}", timeout_seconds=60, memory_mb=1769, environment=environment)


def reason(result: InvocationResult) -> str:
    assert isinstance(result.invocation, Errored), result.invocation
    return f"{result.invocation.kind}: {result.invocation.reason}"


def value(result: InvocationResult) -> Any:
    assert isinstance(result.invocation, Returned), result.invocation
    return json.loads(result.invocation.text)


@pytest.mark.parametrize("name", ["writes_everywhere", "closes_everything"])
def test_a_handler_that_disturbs_the_pipes_is_an_error_of_its_invocation(name: str):
    """Its process is replaced, so the next invocation has a result too."""
    with local(name) as function:
        for _ in range(2):
            assert reason(function.invoke(make_event(1))) == (
                "error: the handler wrote to, or closed, a file descriptor that it had not opened: the pipe to its "
                "process is unusable"
            )


def test_the_standard_input_of_a_handler_is_empty():
    """As on Lambda, also for its child processes; the next request is still read."""
    with local("reads_stdin") as function:
        assert [value(function.invoke(make_event(1))) for _ in range(2)] == ["", ""]


def test_a_response_over_six_megabytes_fails():
    """In bytes of UTF-8, with Lambda's error."""
    with local("responds_at_length") as function:
        assert reason(function.invoke(make_event(1))) == (
            "error: Function.ResponseSizeTooLarge: Response payload size exceeded maximum allowed payload size "
            "(6291556 bytes)."
        )


def test_a_response_that_is_not_json_fails_as_in_lambdas_runtime_client():
    """The error is that of the client."""
    with local("responds_with_a_set") as function:
        assert reason(function.invoke(make_event(1))).startswith(
            "error: Runtime.MarshalError: Unable to marshal response: Object of type set is not JSON serializable"
        )


def test_an_event_of_six_megabytes_arrives():
    """It is larger than the buffer of a pipe."""
    with local("responds") as function:
        assert value(function.invoke(make_event(*["x" * 500_000] * 12))) == {"length": 12, "seconds": True}


def test_log_lines_are_those_that_cloudwatch_shows(capfd: pytest.CaptureFixture[str]):
    """The level INFO where the handler asks for it, in Lambda's format with the request id."""
    with local("logs") as function:
        function.invoke(make_event(1))
    (line,) = capfd.readouterr().err.splitlines()
    level, time, request_id, text = line.split("\t")
    assert (level, request_id, text) == ("[INFO]", "00000000-0000-4000-8000-000000000001", "an order")
    assert time.endswith("Z")


def test_an_invocation_fails_during_an_outage():
    """With the error that the user chose."""
    with local("responds", outage=Outage(60, 1, "OSError: down")) as function:
        assert reason(function.invoke(make_event(1), now=59)) == "error: OSError: down"
        assert value(function.invoke(make_event(1), now=60))["length"] == 1


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[RuntimeClientFunction]:
    pytest.importorskip("awslambdaric.lambda_multi_concurrent_utils", reason="Lambda's runtime client is not installed")
    name, timeout = request.param
    environment = HandlerSettings(outage=Outage(60, 1, "OSError: down")).environment()
    with RuntimeClientFunction(
        f"app:{name}", timeout_seconds=timeout, memory_mb=1769, environment=environment, concurrency=2
    ) as function:
        yield function


# Slow: the runtime client imports the handler in each of its processes.
@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.parametrize("client", [("meets", 60)], indirect=True)
def test_concurrent_invocations_overlap_in_processes_of_one_execution_environment(client: RuntimeClientFunction):
    """Each waits for the other. During an outage, the error passes through the client."""
    results = [client.start(make_event(body), now=60) for body in ("a", "b")]
    first, second = (value(wait()) for wait in results)
    assert first != second
    assert reason(client.invoke(make_event("a"), now=0)) == "error: OSError: down"


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.parametrize("client", [("hangs", 1)], indirect=True)
def test_a_timeout_ends_no_process_with_concurrent_invocations(client: RuntimeClientFunction):
    """The others continue; once all processes are busy, a new execution environment replaces them."""
    hanging = client.start(make_event("hang"), now=60)
    assert value(client.invoke(make_event("ok"), now=60)) == "done"
    assert reason(hanging()) == "timeout: Task timed out after 1.00 seconds"
    assert value(client.invoke(make_event("ok"), now=60)) == "done"
    waiting = [client.start(make_event("hang"), now=60) for _ in range(2)]
    assert [reason(wait()) for wait in waiting] == ["timeout: Task timed out after 1.00 seconds"] * 2
    assert value(client.invoke(make_event("ok"), now=60)) == "done"


# Slow: the handler has worker processes.
@pytest.mark.slow
@pytest.mark.linux
def test_a_handler_in_worker_processes_fails_during_an_outage_and_runs_in_them_afterward(folder: Path):
    """During the outage, it would not run anyway."""
    source = """
        import multiprocessing, os
        import fanfold

        @fanfold.consumer(processes=2, max_tasks_per_process=9)
        def handler(body: dict) -> None:
            with open("pids", "a") as file:
                file.write(f"{os.getpid()} {os.getppid()}\\n")
    """
    (folder / "worker.py").write_text(textwrap.dedent(source), encoding="utf-8")
    environment = HandlerSettings(outage=Outage(60, 1, "OSError: down")).environment()
    with LocalFunction("worker:handler", timeout_seconds=60, memory_mb=1769, environment=environment) as function:
        failing, running = (function.invoke(make_event({"n": 1}), now=now) for now in (0, 60))
    assert value(failing)["batchItemFailures"] == [{"itemIdentifier": "message-0"}]
    assert value(running) == {"batchItemFailures": []}
    assert len((folder / "pids").read_text().splitlines()) == 1
