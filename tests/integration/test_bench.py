"""``fanfold bench``, as a user runs it: handlers that wait, hold memory, fail, or hang; invalid input; Ctrl-C."""

import json
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from command import fanfold, running
from fanfold.bench.batches import batches_of, synthetic_records
from fanfold.bench.cells import Setting
from fanfold.bench.groups import Groups, find_groups
from fanfold.bench.measure import LocalMeasurer
from fanfold.testing import make_event

pytestmark = pytest.mark.slow  # each starts processes that measure

APP = """
    import asyncio, hashlib, os, time, urllib.request
    from pathlib import Path

    import fanfold

    @fanfold.consumer(concurrency=5)
    async def waits(order: dict) -> None:
        await asyncio.sleep(0.005)

    @fanfold.consumer(memory_share=None)  # without the guard, which would let fewer run
    async def holds(order: dict) -> None:
        held = bytearray(20_000_000)
        await asyncio.sleep(0.005)

    @fanfold.consumer
    async def grows(order: dict) -> None:
        held = bytearray(200_000_000)  # more than 128 MB, and held longer than the interval of the memory checks
        await asyncio.sleep(0.5)

    @fanfold.consumer
    async def fails(order: dict) -> None:
        if order["number"] == 1:
            raise ValueError("no")

    @fanfold.consumer
    def asks(order: dict) -> None:
        urllib.request.urlopen(os.environ["FANFOLD_BENCH_URL"]).read()

    @fanfold.consumer(backoff=fanfold.Backoff(base=7))
    async def hands_back(order: dict) -> None:
        if order["number"] % 2:
            raise ValueError("later")
        raise fanfold.Reject("never")

    def plain(event, context):
        assert os.environ["FANFOLD_CONCURRENCY"] and context.memory_limit_in_mb
        time.sleep(0.01)

    def configured(event, context):
        assert os.environ["TABLE"] == "orders" and os.environ["DEAD"].startswith("http://127.0.0.1")
        assert len(event["Records"]) <= 3

    def computes(event, context):
        until = time.process_time() + 0.05
        while time.process_time() < until:
            hashlib.sha256(b"x" * 1000).digest()

    def hangs(event, context):
        time.sleep(60)

    def raises(event, context):
        raise RuntimeError("no database")

    @fanfold.consumer
    async def notes(order: dict) -> None:
        Path("started").touch()
        await asyncio.sleep(0.005)
"""
PATIENT = ["--timeout", "600"]  # less memory is less CPU, and a busy machine leaves a share of that
SHORT = [*PATIENT, "--repeats", "1", "--seconds", "0.1", "--batch-size", "8"]
FOUR = ["--concurrency", "1,4", "--memory", "512,1769", *SHORT]
ONE = ["--concurrency", "4", "--memory", "1769", *SHORT]
"""Grids of four cells and of one; each sample starts a process."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with ``app.py`` and a saved event of four orders."""
    (tmp_path / "app.py").write_text(textwrap.dedent(APP), encoding="utf-8")
    event = make_event(*({"number": number} for number in range(4)))
    (tmp_path / "event.json").write_text(json.dumps(event), encoding="utf-8")
    return tmp_path


def bench(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = fanfold("bench", *arguments, folder=folder, COLUMNS="160")
    assert done.returncode == code, done.stderr + done.stdout
    return done


def measured(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    return json.loads(bench(folder, *arguments, "--json", code=code).stdout)


def test_a_sweep_measures_every_cell_and_recommends_one(folder: Path):
    """Each cell is measured at its concurrency and has every figure; the result states how limits were enforced.

    No cgroup remains.
    """
    groups = find_groups()
    with running("bench", "event.json", "--handler", "app:waits", *FOUR, "--json", folder=folder) as process:
        document = json.loads(process.communicate(timeout=300)[0])
    assert process.returncode == 0
    assert groups.memory is None or not list(groups.memory.glob(f"fanfold-{process.pid}-*"))
    assert [cell["end"] for cell in document["cells"]] == ["measured"] * 4
    assert [cell["most_in_flight"] for cell in document["cells"]] == [1, 1, 4, 4]
    assert document["findings"]["cheapest"] is not None
    assert document["limits"] == groups.description
    cell = document["cells"][-1]
    assert cell["record_seconds"]["p50"] >= 0.005
    assert cell["peak_memory_mb"] > 5
    assert cell["cold_start_seconds"] > 0.01


def test_an_out_of_memory_cell_is_reported(folder: Path):
    """As killed, not as slow; the frontier states how much memory is sufficient."""
    arguments = ["--handler", "app:holds", "--concurrency", "16", "--memory", "128,1024", *SHORT, "--batch-size", "16"]
    document = measured(folder, "event.json", *arguments)
    ends = {cell["setting"]["memory_mb"]: cell["end"] for cell in document["cells"]}
    assert ends == {128: "out of memory", 1024: "measured"}
    assert {"concurrency": 16, "killed_at_mb": 128, "fits_from_mb": 1024} in document["findings"]["frontier"]


@pytest.mark.parametrize("when", ["import", "warm-up"])
def test_without_cgroups_memory_is_watched_and_the_cpu_is_not_limited(
    folder: Path, monkeypatch: pytest.MonkeyPatch, when: str
):
    """A handler that exceeds its memory is killed nevertheless, also during its import."""
    (folder / "fat.py").write_text(
        "import time\nkept = bytearray(200_000_000)\ntime.sleep(60)\ndef handler(event, context): ..."
    )
    monkeypatch.chdir(folder)
    batches = batches_of([synthetic_records(16, 64)], None)
    handler = "fat:handler" if when == "import" else "app:grows"
    measure = LocalMeasurer(handler, batches, Groups(None, None, 0), seconds=0.1)
    sample = measure(Setting(16, 128), 0)
    assert sample.end == "out of memory"
    assert f"of 128 MB, during the {when}" in sample.reason
    surviving = LocalMeasurer("app:waits", batches, Groups(None, None, 0), seconds=0.1)(Setting(16, 128), 0)
    assert (surviving.end, surviving.throttled_seconds) == ("measured", None)


def test_a_handler_that_exceeds_its_memory_during_import_is_out_of_memory(folder: Path):
    """The kernel kills it where permitted; it is not reported as a broken module."""
    (folder / "fat.py").write_text("kept = bytearray(200_000_000)\ndef handler(event, context): ...")
    document = measured(folder, "event.json", "--handler", "fat:handler", "--concurrency", "1", "--memory", "128,512",
                     "--repeats", "1", "--seconds", "0.1")  # fmt: skip
    assert [cell["end"] for cell in document["cells"]] == ["out of memory", "measured"]
    assert "during the import" in document["cells"][0]["reason"]


@pytest.mark.deep
def test_less_memory_is_less_cpu(folder: Path):
    """A handler that computes is throttled at 128 MB, if the CPU can be limited."""
    if find_groups().cpu is None:
        pytest.skip("the CPU cannot be limited here")
    arguments = ["--handler", "app:computes", "--concurrency", "1", "--memory", "128,1769", "--repeats", "1",
                 "--seconds", "0.2"]  # fmt: skip
    small, large = measured(folder, "event.json", *arguments)["cells"]
    assert small["throttled_share"] > large["throttled_share"]


def test_a_handler_that_is_not_a_consumer_is_measured_by_batch(folder: Path):
    """Times of its records are unknown, which a note states."""
    document = measured(folder, "event.json", "--handler", "app:plain", *ONE)
    assert document["consumer"] is False
    assert document["cells"][0]["record_seconds"] is None
    assert document["cells"][0]["batch_seconds"]["p50"] >= 0.01
    assert any("not a fanfold consumer" in note for note in document["notes"])


def test_redelivered_records_are_counted_but_not_billed(folder: Path):
    """A quarter of the records fails."""
    document = measured(folder, "event.json", "--handler", "app:fails", *ONE)
    assert {cell["failed_share"] for cell in document["cells"]} == {0.25}


def test_calls_of_a_handler_to_sqs_are_accepted(folder: Path):
    """Rejected records count as done, as with a dead-letter queue that accepts them; failed ones are redelivered."""
    document = measured(folder, "event.json", "--handler", "app:hands_back", *ONE)
    assert {cell["failed_share"] for cell in document["cells"]} == {0.5}


def test_a_handler_that_hangs_or_raises_is_not_measured(folder: Path):
    """The reason is shown; without any measurement, the exit code is 1."""
    hung = bench(folder, "event.json", "--handler", "app:hangs", "--concurrency", "1", "--memory", "512",
                 "--timeout", "1", code=1)  # fmt: skip
    assert "timed out" in hung.stdout
    assert "no cell could be measured" in hung.stderr
    raised = bench(folder, "event.json", "--handler", "app:raises", "--concurrency", "1", "--memory", "512", code=1)
    assert "RuntimeError: no database" in raised.stdout


def test_a_time_limit_that_no_cell_meets_is_reported(folder: Path):
    """With the nearest cell; the exit code is 1."""
    done = bench(folder, "event.json", "--handler", "app:waits", *ONE, "--within", "0.001", code=1)
    assert "no cell meets 0.001 s per batch; the nearest is" in done.stdout
    assert done.stderr.strip().endswith(
        "no cell meets --within 0.001 s: allow more time, or measure more --concurrency or --memory"
    )


def test_a_limit_that_adjusts_itself_is_measured_in_addition_to_the_grid(folder: Path):
    """Once for each memory, with the limit that it found. It needs a handler on this machine."""
    document = measured(folder, "event.json", "--handler", "app:waits", *ONE, "--auto")
    (sample,) = document["adjusting"]
    assert (sample["end"], sample["setting"]["memory_mb"]) == ("measured", 1769)
    assert 1 <= sample["setting"]["concurrency"] <= 1_000
    done = bench(folder, "event.json", "--function", "deployed", "--auto", code=2)
    assert "--auto measures a handler on this machine" in done.stderr


def test_records_and_a_handler_are_synthesized_from_a_latency_and_a_size(folder: Path):
    """Without an event or a handler."""
    arguments = ["--downstream-latency", "5", "--payload-size", "100", *ONE, "--batch-size", "20"]
    document = measured(folder, *arguments)
    assert document["workload"]["handler"] == "fanfold.bench.synthetic_handler:handler"
    assert document["cells"][0]["record_seconds"]["p50"] >= 0.005


def test_a_handler_can_call_a_service_with_the_specified_latency(folder: Path):
    """FANFOLD_BENCH_URL is the address of the service."""
    arguments = ["--handler", "app:asks", "--downstream-latency", "10", *ONE]
    document = measured(folder, "event.json", *arguments)
    assert all(cell["failed_share"] == 0 for cell in document["cells"])
    assert document["cells"][0]["record_seconds"]["p50"] >= 0.010


@pytest.mark.deep
def test_the_present_setting_is_taken_from_the_template(folder: Path):
    """The memory, and the handler's concurrency unless the environment sets it; with the predicted saving."""
    template = """
        Resources:
          Consume:
            Type: AWS::Serverless::Function
            Properties: {MemorySize: 512, Handler: app.waits}
    """
    (folder / "template.yaml").write_text(textwrap.dedent(template))
    handlers = ["--template", "template.yaml", "--function", "Consume", "--concurrency", "2", "--memory", "512", *SHORT]
    document = measured(folder, "event.json", "--handler", "app:waits", *handlers)
    assert document["present"] == {"concurrency": 5, "memory_mb": 512}
    assert document["findings"]["saving"] is not None
    unknown = measured(folder, "event.json", "--handler", "app:plain", *handlers)
    assert unknown["present"] is None
    assert any("specify it with --present" in note for note in unknown["notes"])
    configured = "MemorySize: 512, Environment: {Variables: {FANFOLD_CONCURRENCY: '2'}},"
    (folder / "template.yaml").write_text(textwrap.dedent(template).replace("MemorySize: 512,", configured))
    document = measured(folder, "event.json", "--handler", "app:waits", *handlers)
    assert document["present"] == {"concurrency": 2, "memory_mb": 512}
    assert document["findings"]["saving"] is not None


def test_batch_size_architecture_and_environment_are_taken_from_the_template(folder: Path):
    """The URL of a queue is one that accepts everything; the prices are those of arm64, a fifth lower."""
    template = """
        Resources:
          Dead: {Type: AWS::SQS::Queue}
          Jobs: {Type: AWS::SQS::Queue}
          Consume:
            Type: AWS::Serverless::Function
            Properties:
              MemorySize: 512
              Architectures: [arm64]
              Environment: {Variables: {TABLE: orders, DEAD: {Ref: Dead}, FANFOLD_CONCURRENCY: 2}}
              Events: {Jobs: {Type: SQS, Properties: {Queue: {"Fn::GetAtt": [Jobs, Arn]}, BatchSize: 3}}}
    """
    (folder / "template.yaml").write_text(textwrap.dedent(template))
    arguments = ["--handler", "app:configured", "--template", "template.yaml", "--function", "Consume",
                 "--concurrency", "2,3,100", "--memory", "512", *SHORT[:-2]]  # fmt: skip
    document = measured(folder, "event.json", *arguments)
    assert [cell["end"] for cell in document["cells"]] == ["measured"] * 2
    assert [cell["setting"]["concurrency"] for cell in document["cells"]] == [2, 3]
    assert (document["prices"]["architecture"], document["workload"]["records"]) == ("arm", 3)
    assert any("Concurrency 100 is not measured" in note for note in document["notes"])


def test_all_files_are_written_and_an_interrupted_sweep_is_resumed(folder: Path):
    """Ctrl-C keeps the measured samples and prints how to resume; then only the rest is measured."""
    arguments = ["event.json", "--handler", "app:notes", *ONE, "--repeats", "4", "--output", "out"]
    with running("bench", *arguments, folder=folder) as process:
        while not (folder / "out" / "bench.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Resume with --resume out/bench.json" in errors
    before = json.loads((folder / "out" / "bench.json").read_text())["samples"]
    assert 0 < len(before) < 4
    bench(folder, *arguments, "--resume", "out/bench.json")
    after = json.loads((folder / "out" / "bench.json").read_text())["samples"]
    assert after[: len(before)] == before
    assert len(after) == 4
    assert {file.name for file in (folder / "out").iterdir()} == {"bench.json", "bench.csv", "bench.png", "bench.html"}


@pytest.mark.deep
def test_a_search_measures_less_and_two_results_are_compared(folder: Path):
    """``--search`` skips cells; ``compare`` reports whether both results recommend the same setting."""
    grid = ["--handler", "app:waits", "--concurrency", "1,2,4,8", "--memory", "512,1769,3008", *SHORT]
    bench(folder, "event.json", *grid, "--search", "--output", "searched")
    document = json.loads((folder / "searched" / "bench.json").read_text())
    assert len(document["cells"]) < 12
    assert document["complete"]
    same = json.loads(bench(folder, "compare", "searched/bench.json", "searched/bench.json", "--json").stdout)
    assert same["kind"] == "agree"
    assert "agree" in bench(folder, "compare", "searched/bench.json", "searched/bench.json").stdout


def test_a_result_is_enough_for_an_estimate(folder: Path):
    """It names the limiting factor and the error compared with the simulator."""
    grid = ["--handler", "app:waits", "--concurrency", "4", "--memory", "512", "--repeats", "2", "--seconds", "0.1"]
    bench(folder, "event.json", *grid, "--output", "out")
    output = bench(folder, "estimate", "out/bench.json", "--records", "1e9").stdout
    assert "1,000,000,000 records with app:waits at 4 at 512 MB" in output
    assert "limiting factor: the account's concurrency" in output
    assert "Error against the simulator (" in output
    assert "Error against the measurements on this machine" in output
    document = json.loads(bench(folder, "estimate", "out/bench.json", "--at", "4:512", "--json").stdout)
    assert document["estimate"]["batches"] == 250_000
    assert abs(document["trial"]["error"]) < 1
    assert "has no measurement at 9:512" in bench(folder, "estimate", "out/bench.json", "--at", "9:512", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["event.json"], "specify --handler MODULE:NAME"),
        (["event.json", "--handler", "app"], "is not of the form MODULE:NAME"),
        (["event.json", "--handler", "app:nothing"], "module app has no 'nothing'"),
        (["event.json", "--handler", "app:waits", "--memory", "64"], "--memory must be integers from 128 to 32,768"),
        (["event.json", "--handler", "app:waits", "--concurrency", "1,x"], "--concurrency must be integers from 1"),
        (["event.json", "--handler", "app:waits", "--arch", "riscv"], "--arch must be x86 or arm, not 'riscv'"),
        (
            ["event.json", "--handler", "app:waits", "--present", "7"],
            "is not of the form CONCURRENCY:MEMORY, such as 10:512",
        ),
        (
            ["event.json", "--handler", "app:waits", "--present", "1,2:512"],
            "is not of the form CONCURRENCY:MEMORY, such as 10:512",
        ),
        (["event.json", "--handler", "app:waits", "--template", "t.yaml"], "--template needs --function"),
        (["event.json", "--handler", "app:waits", "--function", "F"], "do not go together"),
        (["event.json", "--handler", "app:waits", "--resume", "none.json"], "none.json cannot be read"),
        (["event.json", "--handler", "app:waits", "--png", "none/x.png"], "folder none does not exist"),
        (["event.json", "--handler", "app:waits", "--csv", "."], "it is a folder"),
        (["none.json", "--handler", "app:waits"], "file none.json does not exist"),
    ],
)
def test_invalid_input_is_one_line_that_states_the_fix(folder: Path, arguments: list[str], text: str):
    """The exit code is 2, and nothing is measured."""
    done = bench(folder, *arguments, code=2)
    assert text in done.stderr.splitlines()[-1]


def test_a_result_of_another_sweep_is_not_resumed(folder: Path):
    """The error states the difference."""
    grid = ["--concurrency", "1", "--memory", "512", "--repeats", "1", "--seconds", "0.1"]
    bench(folder, "event.json", "--handler", "app:waits", *grid, "--output", "out")
    done = bench(folder, "event.json", "--handler", "app:plain", *grid, "--resume", "out/bench.json", code=2)
    assert "is the result of another sweep: handler 'app:waits', now 'app:plain'" in done.stderr
