"""``fanfold bench estimate`` and ``fanfold bench compare`` on a committed result."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from command import fanfold

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "waits" / "bench.json"


def run(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = fanfold("bench", *arguments, folder=folder, COLUMNS="80")
    assert done.returncode == code, done.stderr + done.stdout
    return done


def normalized(text: str) -> str:
    return " ".join(text.split())


def estimated(folder: Path, *arguments: str) -> dict[str, Any]:
    return json.loads(run(folder, "estimate", str(RESULT), *arguments, "--json").stdout)


def test_the_mode_of_the_mapping_and_the_kind_of_function_change_the_estimate(tmp_path: Path):
    """Standard mode, provisioned mode, Managed Instances, and a fair queue."""
    standard = estimated(tmp_path)
    assert standard["estimate"]["binds"] == "the scaling rate of the mapping"
    provisioned = estimated(tmp_path, "--minimum-pollers", "5", "--maximum-pollers", "50")
    assert provisioned["backlog"]["pollers"] == {"minimum": 5, "maximum": 50}
    assert provisioned["estimate"]["binds"] == "the throughput of the pollers"
    assert estimated(tmp_path, "--minimum-pollers", "5")["backlog"]["pollers"]["maximum"] == 200
    assert estimated(tmp_path, "--maximum-pollers", "5")["backlog"]["pollers"] == {"minimum": 2, "maximum": 5}
    managed = estimated(tmp_path, "--processes", "16", "--hourly-price", "3.6")["estimate"]
    assert managed["binds"] == "the growth of Managed Instances"
    assert managed["lambda_dollars"] == pytest.approx(managed["seconds"] * 0.001 + 0.001)
    assert all(abs(document["trial"]["error"]) < 0.15 for document in (standard, provisioned))


def test_an_estimate_in_words_states_its_assumptions(tmp_path: Path):
    """The price of instances, and the time of quiet tenants."""
    output = normalized(run(tmp_path, "estimate", str(RESULT), "--processes", "16", "--noisy-share", "0.9").stdout)
    assert "without the instances, whose price is set with --hourly-price" in output
    assert "fair queue: messages of all but the tenant that has sent 90% of the backlog take" in output
    priced = normalized(run(tmp_path, "estimate", str(RESULT), "--processes", "16", "--hourly-price", "2.5").stdout)
    assert "with instances for $2.5 per hour" in priced


def test_an_estimate_of_one_record_is_readable_at_80_columns(tmp_path: Path):
    """No line is longer, nouns are singular, and a price below a millionth of a dollar is an amount."""
    output = run(tmp_path, "estimate", str(RESULT), "--records", "1").stdout
    assert all(len(line) <= 80 for line in output.splitlines())
    assert output.startswith("1 record with ")
    assert " in 1 invocation, at most 1 concurrently" in output
    assert "SQS under $0.000001 for bodies" in normalized(output)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--maximum-concurrency", "5", "--maximum-pollers", "5"], "--maximum-concurrency does not go with pollers"),
        (
            ["--minimum-pollers", "50", "--maximum-pollers", "5"],
            "MinimumPollers must be at most MaximumPollers, 5, not 50",
        ),
        (["--processes", "4", "--maximum-environments", "1"], "--maximum-environments 1 is below the 3 of"),
        (["--environments", "4"], "are for Managed Instances: add --processes"),
    ],
)
def test_settings_that_aws_would_reject_are_refused(tmp_path: Path, arguments: list[str], text: str):
    """In one line, with exit code 2."""
    assert text in run(tmp_path, "estimate", str(RESULT), *arguments, code=2).stderr


def test_a_damaged_result_is_one_line(tmp_path: Path):
    """It names the file, the place, and the fix; the exit code is 2."""
    document = json.loads(RESULT.read_text())
    document["samples"][3]["batch_seconds"] = "fast"
    (tmp_path / "damaged.json").write_text(json.dumps(document))
    place = "the result.samples[3].batch_seconds"
    expected = f"fanfold: damaged.json is damaged: {place} must be a list, not 'fast'; measure again"
    for arguments in (["compare", str(RESULT), "damaged.json"], ["compare", "damaged.json", str(RESULT)],
                      ["estimate", "damaged.json"]):  # fmt: skip
        assert run(tmp_path, *arguments, code=2).stderr.splitlines() == [expected]
