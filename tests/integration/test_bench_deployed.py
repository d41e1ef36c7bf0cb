"""``fanfold bench --function``: a sweep of a deployed function's memory and concurrency on the emulated AWS.

The emulator enforces no memory limit and reports no durations. These tests show that settings are changed, used, and
restored, but not how fast the function is.
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
from deployment import until
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
    """Deploy a function with 256 MB and a concurrency of 7; yield its name."""
    client.create_function(**FUNCTION, Code={"ZipFile": package()})
    yield "swept"
    client.delete_function(FunctionName="swept")


def is_as_it_was(client: Any) -> bool:
    configuration = client.get_function_configuration(FunctionName="swept")
    return configuration["MemorySize"] == 256 and configuration["Environment"]["Variables"] == VARIABLES


def command(folder: Path, *arguments: str, function: str = "swept") -> list[str]:
    (folder / "event.json").write_text(json.dumps(make_event(*range(12))), encoding="utf-8")
    return ["bench", "event.json", "--function", function, "--repeats", "1", "--seconds", "0.1", *arguments]


@contextmanager
def swept(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a sweep of eight settings that takes some time and saves its samples."""
    grid = ("--concurrency", "1,2,3,4", "--memory", "128,512", "--seconds", "1", "--output", "out")
    with running(*command(folder, *grid), folder=folder) as process:
        yield process


# Slow: each change of a function's settings starts a new process.
def test_every_setting_is_set_and_measured_and_the_original_is_restored(function: str, client: Any, tmp_path: Path):
    """The present setting is measured too; a note states that the durations are not Lambda's."""
    arguments = command(tmp_path, "--concurrency", "1,10", "--memory", "128,512", "--json")
    done = fanfold(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    settings = {(c["setting"]["concurrency"], c["setting"]["memory_mb"]): c["end"] for c in document["cells"]}
    assert settings == dict.fromkeys([(1, 128), (1, 512), (10, 128), (10, 512), (7, 256)], "measured")
    assert document["present"] == {"concurrency": 7, "memory_mb": 256}
    assert any("differ from Lambda's" in note for note in document["notes"])
    assert "function swept: 256 MB, FANFOLD_CONCURRENCY 7; both are restored at the end" in done.stderr
    assert is_as_it_was(client)


def test_settings_are_restored_after_an_invocation_that_failed(function: str, client: Any, tmp_path: Path):
    """A setting with which the function raises is reported; the others are measured."""
    arguments = command(tmp_path, "--concurrency", "1,13", "--memory", "128", "--json")
    done = fanfold(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    ends = {c["setting"]["concurrency"]: (c["end"], c["reason"]) for c in json.loads(done.stdout)["cells"]}
    assert ends[1][0] == "measured"
    assert ends[13][0] == "failed"
    assert "unlucky" in ends[13][1]
    assert is_as_it_was(client)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *[pytest.param(number, marks=pytest.mark.deep) for number in (signal.SIGTERM, signal.SIGHUP)]],
)
def test_settings_are_restored_when_the_sweep_is_interrupted(function: str, client: Any, tmp_path: Path, number: int):
    """By Ctrl-C, SIGTERM, or a closed terminal; the measured samples are kept."""
    with swept(tmp_path) as process:
        samples = tmp_path / "out" / "bench.json"
        until(lambda: process.poll() is not None or (samples.exists() and not is_as_it_was(client)))
        assert process.poll() is None
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Resume with --resume out/bench.json" in errors
    assert is_as_it_was(client)


def test_a_variable_that_was_not_set_is_not_set_afterwards(function: str, client: Any):
    """Other variables keep their current values."""
    client.update_function_configuration(FunctionName="swept", Environment={"Variables": {"OTHER": "kept"}})
    deployed = DeployedFunction(client, "swept", "FANFOLD_CONCURRENCY")
    with pytest.raises(RuntimeError, match="in between"), deployed.restored_on_exit() as before:  # noqa: PT012 - the block is tested
        assert before == FunctionSetting(256, None)
        deployed.set(FunctionSetting(1024, "50"))
        raise RuntimeError("in between")
    configuration = client.get_function_configuration(FunctionName="swept")
    assert (configuration["MemorySize"], configuration["Environment"]["Variables"]) == (256, {"OTHER": "kept"})


def test_the_error_of_settings_that_cannot_be_restored_contains_them(function: str, client: Any):
    """The error contains the original memory and the original value."""
    deployed = DeployedFunction(client, "swept", "FANFOLD_CONCURRENCY")
    message = "could not be restored: set its memory to 256 MB and FANFOLD_CONCURRENCY to 7"
    with pytest.raises(FanfoldError, match=message), deployed.restored_on_exit():
        deployed.name = "gone"


def test_samples_are_kept_when_the_function_is_deleted(function: str, client: Any, tmp_path: Path):
    """One line states this and how to resume."""
    with swept(tmp_path) as process:
        until(lambda: process.poll() is not None or (tmp_path / "out" / "bench.json").exists())
        assert process.poll() is None
        client.delete_function(FunctionName="swept")
        _, errors = process.communicate(timeout=300)
    client.create_function(**FUNCTION, Code={"ZipFile": package()})
    assert process.returncode == 1
    assert "samples are saved. Resume with --resume out/bench.json" in errors
    assert "could not be restored: set its memory to 256 MB" in errors


def test_a_function_that_does_not_exist_is_one_line(aws: LocalStack, tmp_path: Path):
    """The exit code is 2, and the line contains the name."""
    done = fanfold(*command(tmp_path, function="nobody"), folder=tmp_path)
    assert done.returncode == 2
    assert "function nobody: does not exist" in done.stderr.splitlines()[-1]
