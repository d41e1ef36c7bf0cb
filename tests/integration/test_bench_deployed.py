"""``fanfold bench --function``: a deployed function's memory and concurrency, swept on the emulated AWS and put back.

The emulator enforces no memory and reports no durations: that settings are changed, used and put back is shown here,
not how fast anything is.
"""

import io
import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from command import fanfold, running
from fanfold._stack.emulator import LocalStack
from fanfold.aws.functions import DeployedFunction, FunctionSetting
from fanfold.errors import FanfoldError
from fanfold.testing import make_event

pytestmark = pytest.mark.stack

CODE = """
import os, time
def handler(event, context):
    print(context.memory_limit_in_mb, os.environ.get("FANFOLD_CONCURRENCY"), os.environ.get("OTHER"))
    if os.environ.get("FANFOLD_CONCURRENCY") == "13":
        raise RuntimeError("unlucky")
    time.sleep(0.02)
    return {"batchItemFailures": []}
"""
VARIABLES = {"OTHER": "kept", "FANFOLD_CONCURRENCY": "7"}


@pytest.fixture
def client(aws: LocalStack) -> Any:
    return boto3.client("lambda", endpoint_url=aws.endpoint_url)


FUNCTION = {
    "FunctionName": "swept", "Runtime": "python3.12", "Role": "arn:aws:iam::000000000000:role/any",
    "Handler": "app.handler", "MemorySize": 256, "Timeout": 10, "Environment": {"Variables": VARIABLES},
}  # fmt: skip


def package() -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", CODE)
    return code.getvalue()


@pytest.fixture
def function(client: Any) -> Iterator[str]:
    """A deployed function with 256 MB and a concurrency of 7."""
    client.create_function(**FUNCTION, Code={"ZipFile": package()})
    yield "swept"
    client.delete_function(FunctionName="swept")


def is_as_it_was(client: Any) -> bool:
    found = client.get_function_configuration(FunctionName="swept")
    return found["MemorySize"] == 256 and found["Environment"]["Variables"] == VARIABLES


def command(folder: Path, *arguments: str, function: str = "swept") -> list[str]:
    (folder / "event.json").write_text(json.dumps(make_event(*range(4))), encoding="utf-8")
    return ["bench", "event.json", "--function", function, "--repeats", "1", "--seconds", "0.1", *arguments]


@contextmanager
def swept(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep of eight settings that takes a while and keeps its samples."""
    grid = ("--concurrency", "1,2,3,4", "--memory", "128,512", "--seconds", "1", "--output", "out")
    with running(*command(folder, *grid), folder=folder) as process:
        yield process


def test_every_setting_is_set_measured_and_put_back(function: str, client: Any, tmp_path: Path):
    """The present one is measured too; what the durations are is said."""
    arguments = command(tmp_path, "--concurrency", "1,10", "--memory", "128,512", "--json")
    done = fanfold(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    settings = {(c["setting"]["concurrency"], c["setting"]["memory_mb"]): c["end"] for c in found["cells"]}
    assert settings == dict.fromkeys([(1, 128), (1, 512), (10, 128), (10, 512), (7, 256)], "measured")
    assert found["present"] == {"concurrency": 7, "memory_mb": 256}
    assert any("not Lambda's" in note for note in found["notes"])
    assert "function swept: 256 MB, FANFOLD_CONCURRENCY 7; put back in the end" in done.stderr
    assert is_as_it_was(client)


def test_it_is_put_back_after_an_invocation_that_failed(function: str, client: Any, tmp_path: Path):
    """A setting at which the function raises is told; the others are measured."""
    arguments = command(tmp_path, "--concurrency", "1,13", "--memory", "128", "--json")
    done = fanfold(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    ends = {each["setting"]["concurrency"]: (each["end"], each["reason"]) for each in json.loads(done.stdout)["cells"]}
    assert ends[1][0] == "measured"
    assert ends[13][0] == "failed"
    assert "unlucky" in ends[13][1]
    assert is_as_it_was(client)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_is_put_back_when_the_sweep_is_interrupted(function: str, client: Any, tmp_path: Path, number: int):
    """By Ctrl-C, by a terminator, by a terminal that is closed; what was measured is kept."""
    with swept(tmp_path) as process:
        while is_as_it_was(client) or not (tmp_path / "out" / "bench.json").exists():
            assert process.poll() is None
        os.kill(process.pid, number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with --resume out/bench.json" in told
    assert is_as_it_was(client)


def test_a_variable_that_was_not_set_is_not_set_afterwards(function: str, client: Any):
    """Other variables are left as they are at that moment."""
    client.update_function_configuration(FunctionName="swept", Environment={"Variables": {"OTHER": "kept"}})
    deployed = DeployedFunction(client, "swept", "FANFOLD_CONCURRENCY")
    with pytest.raises(RuntimeError, match="in between"), deployed.restored_on_exit() as before:  # noqa: PT012 - the block is it
        assert before == FunctionSetting(256, None)
        deployed.set(FunctionSetting(1024, "50"))
        raise RuntimeError("in between")
    found = client.get_function_configuration(FunctionName="swept")
    assert (found["MemorySize"], found["Environment"]["Variables"]) == (256, {"OTHER": "kept"})


def test_a_function_that_cannot_be_put_back_is_told_with_what_to_set(function: str, client: Any):
    """The error holds the old memory and the old value."""
    deployed = DeployedFunction(client, "swept", "FANFOLD_CONCURRENCY")
    words = "could not be restored: set its memory to 256 MB and FANFOLD_CONCURRENCY to 7"
    with pytest.raises(FanfoldError, match=words), deployed.restored_on_exit():
        deployed.name = "gone"


def test_what_was_measured_is_kept_when_the_function_is_gone(function: str, client: Any, tmp_path: Path):
    """One line says so, and how to go on."""
    with swept(tmp_path) as process:
        while not (tmp_path / "out" / "bench.json").exists():
            assert process.poll() is None
        client.delete_function(FunctionName="swept")
        _, told = process.communicate(timeout=60)
    client.create_function(**FUNCTION, Code={"ZipFile": package()})
    assert process.returncode == 1
    assert "samples are kept, go on with --resume out/bench.json" in told
    assert "could not be restored: set its memory to 256 MB" in told


def test_a_function_that_does_not_exist_is_one_line(aws: LocalStack, tmp_path: Path):
    """Exit code 2, and the name."""
    done = fanfold(*command(tmp_path, function="nobody"), folder=tmp_path)
    assert done.returncode == 2
    assert "function nobody: does not exist" in done.stderr.splitlines()[-1]
