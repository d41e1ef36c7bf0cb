"""The command line, run in a separate process as by a user."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import typer

from command import FLIGHTS, fanfold, only_line
from deployment import Deployment
from fanfold._stack.demo import expected_output
from fanfold._stack.emulator import LocalStack
from fanfold.cli.app import COMMANDS, app

GROUP: Any = typer.main.get_command(app)


# Slow: the whole demo: an emulator, a deployment, injected failures and their redeliveries.
@pytest.mark.stack
@pytest.mark.slow
def test_the_demo_output_equals_the_one_computed_from_the_file(tmp_path: Path):
    """All parts are real; the injected faults are in the run report."""
    done = fanfold("demo", "--json", "--output", str(tmp_path), "--log", str(tmp_path / "log"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["agrees"]
    assert report["problems"] == []
    assert sum(carrier["flights"] for carrier in report["output"].values()) == 27_004
    run_report = report["report"]
    assert [run_report[name] for name in ("segments", "done", "missing", "failed")] == [20, 20, 0, {}]
    assert run_report["retries"] >= 3
    assert run_report["duplicates"] >= 1
    assert run_report["deliveries"] == 20 + run_report["retries"] + run_report["duplicates"]
    assert report["quarantined"][0]["reason"].startswith("not a fanfold segment")
    sheet = openpyxl.load_workbook(report["sheet"]).active
    assert [cell.value for cell in sheet[1]][:2] == ["carrier", "flights"]
    assert sheet.max_row == 17
    assert (tmp_path / "log").stat().st_size > 0


def test_the_expected_output_of_the_demo_is_correct():
    """Checked with a few rows."""
    rows = b"carrier,dep_time,dep_delay,arr_delay\nAA,5,2,4\nAA,NA,NA,NA\nUA,5,-1,NA\n"
    assert expected_output(rows) == {
        "AA": {"flights": 2, "mean_dep_delay": 2.0, "mean_arr_delay": 4.0, "cancelled_share": 0.5},
        "UA": {"flights": 1, "mean_dep_delay": -1.0, "mean_arr_delay": None, "cancelled_share": 0.0},
    }


def test_a_port_in_use_is_one_clear_line(tmp_path: Path):
    """Nothing is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = fanfold("demo", "--port", str(port), "--output", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"port {port} is in use" in only_line(done.stderr)


@pytest.mark.slow
def test_a_demo_that_is_interrupted_leaves_nothing_running(tmp_path: Path):
    """Ctrl-C while the local AWS starts stops it by its process id."""
    # If the tests run in the background, SIGINT is ignored from the start, and Python keeps that.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from fanfold.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, "demo", "--output", str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: S603 - fanfold itself
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("deploy template.yaml" in line for line in lines)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(300) == 130
    assert "interrupted; nothing is left running on this machine" in rest
    assert not [folder for folder in tmp_path.iterdir() if folder.name.startswith("fanfold-local-")]
    assert str(tmp_path) not in _commands()


def _commands() -> str:
    commands = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            commands.append((folder / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(commands)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "app"], "'app' must have the form MODULE:NAME, such as app:job"),
        (["run", "nowhere:job"], "module 'nowhere' was not found: run the command in the folder that contains it"),
        (["run", "app:jop"], "module app has no 'jop'; it has job"),
        (["run", "app:count"], "app:count is a function, not a fanfold.Job"),
        (["run", "broken:job"], "importing broken failed: ZeroDivisionError: division by zero (broken.py, line 1)"),
        (["run", "wants:job"], "importing wants failed: ModuleNotFoundError: No module named 'wanted'"),
        (["run", "leaves:job"], "importing leaves failed: SystemExit: 0 (leaves.py, line 1)"),
        (["run", "odd:job"], "importing odd failed: SyntaxError: invalid syntax (odd.py, line 1)"),
        (["run", "app:job", "--params", "{"], "--params is not JSON"),
        (["run", "app:job", "--params", "[]"], "--params must be a JSON object, not []"),
        (["run", "app:job", "--read-first"], "--read-first needs --dry-run: add it, or leave it out"),
        (["demo", "--output", "app.py/sheets"], "--output app.py/sheets cannot be created: Not a directory"),
        (["run", "app:job", "--params", '{"buckit": 1}'], "the environment variable FANFOLD_QUEUE_URL is not set"),
    ],
)
def test_a_users_mistake_is_one_clear_line(arguments: list[str], complaint: str, tmp_path: Path):
    """On stderr, with exit code 2 and without a traceback."""
    (tmp_path / "app.py").write_text((FLIGHTS / "app.py").read_text())
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "wants.py").write_text("import wanted\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "odd.py").write_text("1 +\n")
    done = fanfold(*arguments, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in only_line(done.stderr)


VARIABLES = {
    f"FANFOLD_{name}": "http://127.0.0.1:9/queue"
    for name in ("QUEUE_URL", "FOLD_QUEUE_URL", "QUARANTINE_QUEUE_URL", "LEDGER_TABLE", "RESULTS_BUCKET")
}


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({}, "no AWS region is set: set AWS_REGION"),
        ({"AWS_REGION": "eu-west-1"}, "no AWS credentials found"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "no AWS credentials found"),
    ],
)
def test_missing_credentials_or_region_are_one_clear_line(variables: dict[str, str], complaint: str):
    """The line names the fix."""
    params = '{"bucket": "b", "key": "k.csv"}'
    done = fanfold("run", "app:job", "--params", params, folder=FLIGHTS, **VARIABLES, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in only_line(done.stderr)


@pytest.fixture(scope="module")
def deployment(stack: LocalStack) -> Deployment:
    """The flights job, deployed."""
    return Deployment(stack, "flights", FLIGHTS, {"FunctionTimeout": "5"}, visibility_timeout=5)


@pytest.mark.stack
def test_a_run_is_started_watched_and_shown(deployment: Deployment):
    """``fanfold run`` against deployed functions."""
    deployment.upload("input/few.csv", b"carrier,dep_time,dep_delay,arr_delay\n" + b"AA,5,2,4\n" * 100)
    params = {"bucket": deployment.outputs["ResultsBucket"], "key": "input/few.csv", "chunk_bytes": 100}
    variables = {**deployment.stack.environment, **deployment.variables}
    done = fanfold("run", "app:job", "--params", json.dumps(params), "--json", folder=FLIGHTS, **variables)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["output"]["AA"]["flights"] == 100
    assert document["report"]["segments"] == 9


@pytest.mark.stack
@pytest.mark.parametrize(
    ("change", "complaint", "code"),
    [
        ({"params": {"key": "input/none.csv"}}, "does not exist: check the bucket and the key", 1),
        ({"params": {"bucket": "no-such-bucket"}}, "does not exist: check the bucket and the key", 1),
        ({"FANFOLD_LEDGER_TABLE": "no-such-table"}, "table no-such-table: does not exist", 2),
        ({"FANFOLD_FOLD_QUEUE_URL": "http://127.0.0.1:1/0/none"}, "does not exist", 2),
    ],
)
def test_a_missing_resource_is_one_clear_line(deployment: Deployment, change: dict, complaint: str, code: int):
    """The line names the object, table, or queue."""
    deployment.upload("input/few.csv", b"carrier,dep_time\nAA,5\n")
    params = {"bucket": deployment.outputs["ResultsBucket"], "key": "input/few.csv", **change.pop("params", {})}
    variables = {**deployment.stack.environment, **deployment.variables, **change}
    done = fanfold("run", "app:job", "--params", json.dumps(params), folder=FLIGHTS, **variables)
    assert (done.returncode, done.stdout) == (code, "")
    assert complaint in only_line(done.stderr)


@pytest.mark.stack
@pytest.mark.parametrize("content", [b"", b"carrier,dep_time,dep_delay,arr_delay\n"], ids=["no bytes", "a header"])
def test_an_empty_input_is_an_empty_run(deployment: Deployment, content: bytes):
    """It succeeds with the output of a fold without results."""
    deployment.upload("input/empty.csv", content)
    params = {"bucket": deployment.outputs["ResultsBucket"], "key": "input/empty.csv"}
    variables = {**deployment.stack.environment, **deployment.variables}
    done = fanfold("run", "app:job", "--params", json.dumps(params), "--json", folder=FLIGHTS, **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == {}


@pytest.mark.stack
def test_a_run_with_bad_rows_fails_with_the_segment_and_prints_the_run_report(deployment: Deployment):
    """The exit code is 1, the failures are printed, and the other segments are processed."""
    rows = b"carrier,dep_time,dep_delay,arr_delay\n" + b"AA,5,2,4\n" * 10 + b'"AA,5\n' + b"AA,5,2,4\n" * 10
    deployment.upload("input/bad.csv", rows)
    params = {"bucket": deployment.outputs["ResultsBucket"], "key": "input/bad.csv", "chunk_bytes": 60}
    variables = {**deployment.stack.environment, **deployment.variables}
    done = fanfold("run", "app:job", "--params", json.dumps(params), "--json", folder=FLIGHTS, **variables)
    assert done.returncode == 1, done.stderr
    assert "ended as FAILED" in only_line(done.stderr)
    assert len(json.loads(done.stdout)["report"]["failed"]) == 1


def test_a_full_disk_is_one_clear_line():
    """Without a traceback, whatever was to be printed."""
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        command = [sys.executable, "-m", "fanfold", "check", "--rules"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)  # noqa: S603 - fanfold itself
    assert done.returncode == 1
    assert "no space left on the device" in only_line(done.stderr)


def test_help_describes_commands_and_exit_codes():
    """Every command states what it does and what its exit code means."""
    done = fanfold("--help")
    assert done.returncode == 0
    assert "fanfold demo" in done.stdout
    assert "Exit code 0 only if" in fanfold("demo", "--help").stdout
    assert fanfold("--version").stdout.startswith("fanfold 0.")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_commands_help_ends_with_a_valid_example(name: str):
    """The options in the example exist, and the paragraphs of the help wrap at any terminal width."""
    command = GROUP.get_command(typer.Context(GROUP), name)
    example = shlex.split((command.epilog or "").removeprefix("Example:"))
    assert " ".join(example).startswith(f"fanfold {name}")
    assert command.make_context(name, example[1 + len(name.split()) :]).params
    assert not re.search(r"[^\n]\n[^\n]", command.help or "")
