"""The settings that ``fanfold bench --template`` reads from a template, and the cells that it measures."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from fanfold.bench.cells import Setting
from fanfold.cli.bench_axis import distinct
from fanfold.cli.bench_plan import BenchOptions, Deployed, Plan, deployed, plan_of
from fanfold.errors import ConfigurationError
from fanfold.testing import make_event


@pytest.fixture
def template(tmp_path: Path) -> Any:
    def template(mapping: dict[str, Any] | None = None, **properties: Any) -> Path:
        """Write a template with a function, a queue, and a mapping, which invokes it if its properties are given."""
        elsewhere = {"FunctionName": "elsewhere", "EventSourceArn": "arn:aws:sqs:eu-west-1:123456789012:jobs"}
        invokes = {"FunctionName": {"Ref": "Do"}, "EventSourceArn": {"Fn::GetAtt": ["Jobs", "Arn"]}}
        document = {
            "Parameters": {"Open": {"Type": "Number"}, "Size": {"Type": "Number", "Default": 512}},
            "Mappings": {"Sizes": {"a": {"Handlers": 7}}},
            "Resources": {
                "Do": {"Type": "AWS::Lambda::Function", "Properties": properties},
                "Jobs": {"Type": "AWS::SQS::Queue"},
                "Reads": {
                    "Type": "AWS::Lambda::EventSourceMapping",
                    "Properties": elsewhere if mapping is None else {**invokes, **mapping},
                },
            },
        }
        file = tmp_path / "template.json"
        file.write_text(json.dumps(document))
        return file

    return template


def variables(**values: Any) -> dict[str, Any]:
    return {"Variables": values}


def test_parameters_and_mappings_are_resolved(template: Any):
    """As in a replay. Without the variable, the handler's decorator sets the concurrency."""
    handlers = {"Fn::FindInMap": ["Sizes", "a", "Handlers"]}
    environment = variables(FANFOLD_CONCURRENCY=handlers)
    settings = deployed(template(MemorySize={"Ref": "Size"}, Environment=environment), "Do")
    assert (settings.present, settings.memory_mb, settings.notes) == (Setting(7, 512), None, ())
    assert deployed(template(), "Do") == Deployed(memory_mb=128, architecture="x86")


def test_architecture_batch_size_and_environment_are_those_of_the_template(template: Any):
    """A variable that is the URL of a queue is marked, because a sweep sends no messages there."""
    environment = variables(TABLE="orders", SIZE={"Ref": "Size"}, QUEUE={"Ref": "Jobs"}, OPEN={"Ref": "Open"})
    file = template(
        {"BatchSize": 50, "MaximumBatchingWindowInSeconds": 1}, Architectures=["arm64"], Environment=environment
    )
    settings = deployed(file, "Do")
    assert (settings.architecture, settings.batch_size) == ("arm", 50)
    assert dict(settings.variables) == {"TABLE": "orders", "SIZE": "512"}
    assert settings.queue_variables == ("QUEUE",)
    (note,) = settings.notes
    assert "OPEN" in note
    assert note.endswith(": set it in this shell.")


def test_an_unknown_setting_is_noted_and_not_guessed(template: Any):
    """Each note quotes the template and names the option that helps."""
    unknown = {"Ref": "Open"}
    file = template({"BatchSize": unknown}, MemorySize=unknown, Architectures=[unknown],
                    Environment=variables(FANFOLD_CONCURRENCY=unknown))  # fmt: skip
    settings = deployed(file, "Do")
    assert (settings.present, settings.memory_mb, settings.architecture, settings.batch_size) == (
        None,
        None,
        None,
        None,
    )
    assert 'MemorySize of Do is not known: {"Ref": "Open"} (parameter Open has no default)' in settings.notes[0]
    assert "FANFOLD_CONCURRENCY of Do is not known" in settings.notes[1]
    assert all("specify the present setting with --present" in note for note in settings.notes[:2])
    assert settings.notes[2].endswith("specify it with --arch.")
    assert settings.notes[3].endswith("specify it with --batch-size.")
    assert len(settings.notes) == 4


def test_a_concurrency_that_adjusts_itself_is_no_present_setting(template: Any):
    """The sweep has nothing to compare with."""
    settings = deployed(template(Environment=variables(FANFOLD_CONCURRENCY="auto")), "Do")
    assert (settings.present, settings.memory_mb) == (None, None)
    assert settings.notes == ("FANFOLD_CONCURRENCY is auto, so there is no present setting to compare with.",)


def test_a_function_elsewhere_has_a_batch_size_only(template: Any):
    """The template has its mapping."""
    settings = deployed(template(), "Reads")
    assert (settings.batch_size, settings.present) == (10, None)
    assert "does not declare the function of Reads" in settings.notes[0]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"MemorySize": 64}, "MemorySize of Do must be integers from 128"),
        ({"Environment": variables(FANFOLD_CONCURRENCY="0.5")}, "FANFOLD_CONCURRENCY of Do must be integers from 1"),
    ],
)
def test_an_invalid_setting_is_refused(template: Any, properties: dict[str, Any], message: str):
    """In one line that names it."""
    with pytest.raises(ConfigurationError, match=message):
        deployed(template(**properties), "Do")


# --- The plan.


def plan(folder: Path, records: int, **changes: Any) -> Plan:
    """Return the plan of a sweep over one saved event."""
    event = folder / "event.json"
    event.write_text(json.dumps(make_event(*range(records))))
    defaults = {
        "events": (str(event),), "handler": "app:handler", "concurrency": "1,5,10,50,100", "memory": "512",
        "repeats": 1, "seconds": 1.0, "timeout_seconds": 60.0, "within_seconds": None, "architecture": None,
        "prices": None, "batch_size": None, "downstream_latency_ms": None, "payload_bytes": 640, "template": None,
        "function": None, "present": None, "search": False, "seed": 0, "resume": None,
    }  # fmt: skip
    return plan_of(BenchOptions(**{**defaults, **changes}), io.BytesIO())


@pytest.mark.parametrize(
    ("records", "measured"), [(1, (1,)), (4, (1, 5)), (5, (1, 5)), (10, (1, 5, 10)), (60, (1, 5, 10, 50, 100))]
)
def test_cells_that_cannot_differ_are_not_measured(records: int, measured: tuple[int, ...]):
    """With more handlers than records, the others never run: one such value represents all."""
    assert distinct((1, 5, 10, 50, 100), records) == measured


def test_omitted_cells_are_noted(tmp_path: Path):
    """With the reason, and the option that changes it."""
    result = plan(tmp_path, 10, present="200:512")
    assert result.grid.settings == [Setting(1, 512), Setting(5, 512), Setting(10, 512)]
    assert result.present == Setting(10, 512)
    assert result.notes == (
        "Concurrency 50, 100 is not measured: a batch has 10 records, so it is the same as 10; see --batch-size.",
        "The present concurrency of 200 is measured as 10.",
    )
    assert result.with_present(Setting(300, 1_024)).present == Setting(10, 1_024)
    assert result.with_present(Setting(3, 1_024)).grid.also == (Setting(3, 1_024),)


def test_a_present_concurrency_between_two_values_is_measured(tmp_path: Path):
    """It differs from both."""
    result = plan(tmp_path, 10, present="7:512")
    assert Setting(7, 512) in result.grid.settings
    assert len(result.notes) == 1


def test_a_plan_uses_the_settings_of_its_template(tmp_path: Path, template: Any):
    """Batch size, prices of the architecture, and variables; options take precedence."""
    file = template({"BatchSize": 5}, Architectures=["arm64"], Environment=variables(TABLE="orders"))
    result = plan(tmp_path, 10, template=file, function="Do")
    assert (result.batches.records, len(result.batches.events)) == (5, 2)
    assert result.prices.architecture == "arm"
    assert dict(result.deployed.variables) == {"TABLE": "orders"}
    chosen = plan(tmp_path, 10, template=file, function="Do", architecture="x86", batch_size=2, present="3:512")
    assert (chosen.batches.records, chosen.prices.architecture) == (2, "x86")
    assert result.prices.gb_second == pytest.approx(0.8 * chosen.prices.gb_second, rel=0.01)
