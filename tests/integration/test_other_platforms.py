"""fanfold on a laptop with macOS or Windows: handlers, their tests, and the commands that need no AWS.

On Linux, the interpreters lack what Python lacks there (``support/other_platforms``). On the two platforms themselves,
nothing is removed.
"""

import json
import socket
import sys
from pathlib import Path

import pytest

from fanfold.testing import make_event
from platform_trial import PLATFORMS, Platform

pytestmark = pytest.mark.slow  # each test starts several interpreters

ORDERS = make_event({"number": 0}, {"number": 1, "do": "fail"}, {"number": 2})
_COMPUTING = """
import os, re
import fanfold

@fanfold.consumer(processes=2, timeout=2)
def handler(body: dict) -> None:
    if body["do"] == "stick":
        re.match("(a+)+$", "a" * 60 + "b")
    if body["do"] == "die":
        os._exit(3)
"""
"""A module with a handler for worker processes."""
NOT_REPORTED = "this platform does not report the memory of a process (Linux does, in /proc)"


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.deep] * (name != PLATFORMS[0])) for name in PLATFORMS])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Platform:
    """A folder with an application and a saved event, on each of the two; Windows lacks all that macOS lacks."""
    (tmp_path / "orders.json").write_text(json.dumps(ORDERS), encoding="utf-8")
    return Platform(request.param, tmp_path)


def test_child_processes_lack_what_the_platform_lacks(platform: Platform):
    """Modules, functions, signals, /proc; on Windows, also features of event loops and processes."""
    facts = """
        import asyncio, importlib.util, json, multiprocessing, os, select, signal, subprocess, sys

        def fails(call):
            try:
                call()
            except (ImportError, OSError, AssertionError, NotImplementedError, ValueError) as error:
                return type(error).__name__
            return "works"

        loop, pipe = asyncio.new_event_loop(), os.pipe()
        facts = {
            "resource": fails(lambda: importlib.import_module("resource")),
            "fork": hasattr(os, "fork"),
            "SIGHUP": hasattr(signal, "SIGHUP"),
            "affinity": hasattr(os, "sched_getaffinity"),
            "proc": fails(lambda: open("/proc/self/statm")),
            "add_signal_handler": fails(lambda: loop.add_signal_handler(signal.SIGTERM, print)),
            "select": fails(lambda: select.select([pipe[0]], [], [], 0)),
            "pass_fds": fails(lambda: subprocess.run([sys.executable, "-c", ""], pass_fds=[pipe[1]])),
            "replace": fails(lambda: os.replace(sys.argv[1], sys.argv[1])),
            "start": multiprocessing.get_start_method(),
        }
        loop.close()
        print(json.dumps(facts))
    """
    program = f"""
        import subprocess, sys, textwrap
        with open("open.txt", "w", encoding="ascii"):
            pass
        child = "kept = open('open.txt', 'rb')\\n" + textwrap.dedent({facts!r})
        sys.stdout.write(subprocess.run([sys.executable, "-c", child, "open.txt"], capture_output=True, check=True,
                                        encoding="ascii").stdout)
    """
    facts_there, _ = platform.python(program)
    linux_only = {"affinity": False, "proc": "FileNotFoundError", "start": "spawn"}
    posix = ("resource", "fork", "SIGHUP", "add_signal_handler", "select", "pass_fds", "replace")
    windows = (
        "ModuleNotFoundError",
        False,
        False,
        "NotImplementedError",
        "OSError",
        "AssertionError",
        "PermissionError",
    )
    macos = ("works", True, True, "works", "works", "works", "works")
    expected = dict(zip(posix, windows if platform.name == "windows" else macos, strict=True))
    assert facts_there == {**linux_only, **expected}


def test_public_modules_can_be_imported(platform: Platform):
    """All names of ``fanfold`` exist, too."""
    program = """
        import importlib, json
        import fanfold

        for name in ("capture", "errors", "folds", "idempotency", "inmemory", "logs", "observers", "payloads",
                     "protocols", "sinks", "sources", "testing"):
            importlib.import_module(f"fanfold.{name}")
        print(json.dumps([name for name in fanfold.__all__ if not hasattr(fanfold, name)]))
    """
    assert platform.python(program)[0] == []


def test_a_consumer_reports_failures_and_warns_once_that_its_memory_guard_is_off(platform: Platform):
    """With async and synchronous handlers, and with one that blocks the event loop until the timeout."""
    program = """
        import json, time
        import fanfold
        from fanfold.testing import make_context, make_event

        @fanfold.consumer
        async def handler(order: dict) -> None:
            if order.get("do") == "fail":
                raise ValueError(order)

        @fanfold.consumer(concurrency=500)
        def plain(order: dict) -> None:
            if order.get("do") == "fail":
                raise ValueError(order)

        @fanfold.consumer(concurrency=2, deadline_margin=0.5)
        async def late(order: dict) -> None:
            time.sleep(30 if order.get("do") == "fail" else 0)

        event = make_event({"number": 0}, {"number": 1, "do": "fail"}, {"number": 2})
        responses = [consumer(event, make_context(2.0)) for consumer in (handler, plain, handler, late)]
        failures = [response["batchItemFailures"] for response in responses]
        print(json.dumps([[item["itemIdentifier"] for item in items] for items in failures]))
    """
    failures, log = platform.python(program)
    assert failures[:3] == [["message-1"]] * 3
    assert "message-1" in failures[3]
    warning = f"the memory guard is off: {NOT_REPORTED}"
    assert log.count(warning) == 1


def test_a_handler_runs_in_worker_processes_on_macos_and_is_refused_on_windows(platform: Platform):
    """A record that sticks or ends its process fails; the others are done."""
    (platform.folder / "computing.py").write_text(_COMPUTING, encoding="utf-8")
    program = """
        import json
        from fanfold.errors import ConfigurationError
        from fanfold.testing import make_context, make_event

        try:
            from computing import handler
        except ConfigurationError as error:
            print(json.dumps(str(error)))
        else:
            result = handler.invoke(make_event(*[{"do": do} for do in ("", "stick", "", "die", "")]), make_context(60))
            handler.close()
            print(json.dumps([str(getattr(outcome, "error", "done")) for outcome in result.outcomes]))
    """
    outcomes, _ = platform.python(program)
    died = "the worker process ended while it ran the handler: exit code 3"
    if platform.name == "windows":
        assert outcomes == "processes needs signals, which this platform does not have; use threads"
    else:
        assert outcomes == ["done", "the handler took longer than 2 s", "done", died, "done"]


def test_a_handler_is_tested_with_deliver(platform: Platform):
    """The outcomes are the same as on Linux."""
    program = """
        import contextlib, io, json
        from app import handler
        from fanfold.testing import deliver

        with contextlib.redirect_stdout(io.StringIO()):
            result = deliver(handler, {"number": 0}, {"number": 1, "do": "fail"})
        print(json.dumps([type(outcome).__name__ for outcome in result.outcomes]))
    """
    assert platform.python(program)[0] == ["Done", "Failed"]


def test_the_file_name_of_a_captured_batch_is_valid(platform: Platform):
    """The file can be replayed."""
    program = """
        import json
        from pathlib import Path
        from app import handler
        from fanfold.capture import Capture
        from fanfold.testing import make_context, make_event

        Capture(lambda event, context: None, "captured")(make_event({"number": 0}), make_context())
        print(json.dumps([each.name for each in Path("captured").iterdir()]))
    """
    [name], _ = platform.python(program)
    assert name.endswith("-000000.json")
    done = platform.fanfold("replay", "captured", "--handler", "app:handler", "--json")
    assert json.loads(done.stdout)["summary"]["deleted"] == 1


@pytest.mark.parametrize("kind", [[], pytest.param(["--job"], marks=pytest.mark.deep)], ids=["consumer", "job"])
def test_a_new_project_passes_its_tests_and_its_check(platform: Platform, kind: list[str]):
    """Lines in its files end in LF, as make and sh require."""
    made = platform.fanfold("init", "shop", *kind)
    assert made.returncode == 0, made.stderr
    files = [file for file in (platform.folder / "shop").rglob("*") if file.is_file()]
    assert [file for file in files if b"\r" in file.read_bytes()] == []
    checked = platform.fanfold("check", str(Path("shop") / "template.yaml"))
    assert (checked.returncode, checked.stderr) == (0, "")
    project = Platform(platform.name, platform.folder / "shop")
    tested = project.runs(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.deep
def test_check_reports_findings(platform: Platform):
    """Characters of the template that stdout cannot encode are escaped."""
    assert platform.fanfold("init", "shop").returncode == 0
    template = platform.folder / "shop" / "template.yaml"
    text = template.read_text(encoding="utf-8").replace("ReportBatchItemFailures", "\N{RIGHTWARDS ARROW}")
    template.write_text(text, encoding="utf-8")
    checked = platform.fanfold("check", str(template))
    assert checked.returncode == 1, checked.stderr
    assert "FF001" in checked.stdout
    assert "Traceback" not in checked.stderr


def test_an_inline_run_is_resumed_and_writes_the_same_bytes_as_on_lambda(platform: Platform):
    """Lines of its output end in LF."""
    failed = platform.fanfold("run", "app:job", "--inline", "--run", "r", BAD="2")
    assert failed.returncode == 1
    assert "1 of 4 segments failed: segment 2 (ValueError: " in failed.stderr.splitlines()[-1]
    done = platform.fanfold("run", "app:job", "--inline", "--run", "r", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["worked_on"] == 1
    [file] = (platform.folder / "fanfold-runs").rglob("numbers.jsonl")
    assert file.read_bytes() == b"".join(b'{"number":%d}\n' % number for number in range(40))


def test_a_replay_prints_only_its_document_and_warns_that_memory_is_not_measured(platform: Platform):
    """The output of the handler goes to stderr, in UTF-8 as on Lambda."""
    arguments = ["--handler", "app:handler", "--expect", "dead-lettered=1", "--json"]
    done = platform.fanfold("replay", "orders.json", *arguments)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [message["end"] for message in document["messages"]] == ["deleted", "dead-lettered", "deleted"]
    assert document["messages"][1]["error"] == "ValueError: \N{RIGHTWARDS ARROW} order 1"
    assert document["measured"]["peak_memory_mb"] is None
    assert f"fanfold: peak memory is not measured and --memory is not enforced: {NOT_REPORTED}" in done.stderr
    assert "order 0" in done.stderr


def test_a_replay_prints_text_that_stdout_cannot_encode(platform: Platform):
    """The text is escaped; the HTML page contains it as is."""
    done = platform.fanfold("replay", "orders.json", "--handler", "app:handler", "--html", "page.html")
    assert done.returncode == 1
    assert "UnicodeEncodeError" not in done.stderr
    assert "3 messages: 2 deleted, 1 dead-lettered" in " ".join(done.stdout.split())
    assert "\N{RIGHTWARDS ARROW} order 1" in (platform.folder / "page.html").read_text(encoding="utf-8")


def test_a_handler_that_hangs_is_killed_at_its_timeout(platform: Platform):
    """The process has ended, and the next delivery gets a new one."""
    arguments = ["--handler", "app:hangs", "--timeout", "1", "--max-receive-count", "2", "--json"]
    done = platform.fanfold("replay", "orders.json", *arguments)
    document = json.loads(done.stdout)
    reasons = {delivery["error"]["reason"] for delivery in document["deliveries"]}
    assert (len(document["deliveries"]), reasons) == (2, {"Task timed out after 1.00 seconds"})
    port = int((platform.folder / "port").read_text(encoding="ascii"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_replay_reports_the_exit_status_of_a_process_that_ends(platform: Platform):
    """The output of a child process is not part of the document."""
    arguments = ["replay", "orders.json", "--once", "--json", "--handler"]
    left = json.loads(platform.fanfold(*arguments, "app:leaves").stdout)
    assert left["deliveries"][0]["error"]["reason"] == "Runtime exited with exit status 3"
    other = platform.fanfold(*arguments, "app:starts_another")
    assert json.loads(other.stdout)["summary"]["deleted"] == 3
    assert "printed by another" in other.stderr


def test_a_sweep_reports_that_nothing_is_limited(platform: Platform):
    """Only Linux has control groups."""
    cell = ["--concurrency", "1", "--memory", "512", "--repeats", "1", "--seconds", "0.1"]
    done = platform.fanfold("bench", "orders.json", "--handler", "app:handler", *cell, "--json")
    assert done.stdout, done.stderr
    assert "memory not limited or measured, CPU not limited" in done.stdout


def test_a_worker_is_stopped_by_a_signal(platform: Platform):
    """Even if the event loop does not support signal handlers."""
    program = """
        import asyncio, json, signal
        from fanfold.cli.worker import _on_signals

        async def main():
            stopped = asyncio.Event()
            _on_signals(stopped.set)
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(stopped.wait(), 10)
            return True

        print(json.dumps(asyncio.run(main())))
    """
    assert platform.python(program)[0] is True
