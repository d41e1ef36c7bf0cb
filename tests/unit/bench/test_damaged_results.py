"""Damaged results: any change of a committed result is read correctly, or refused in one line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanfold.bench.compare import compare
from fanfold.bench.estimate import Backlog, estimate, rates_of
from fanfold.bench.result import document_of, read_result
from fanfold.errors import ConfigurationError

RESULT = Path(__file__).parents[3] / "benchmarks" / "results" / "waits" / "bench.json"


def small() -> dict[str, Any]:
    document = json.loads(RESULT.read_text())
    return {**document, "samples": document["samples"][:4]}


def read(folder: Path, document: Any) -> str:
    """Read a document and use it as the commands do; return the error."""
    file = folder / "bench.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    try:
        result = read_result(file)
        compare(result, read_result(RESULT))
        compare(read_result(RESULT), result)
        document_of(result)
        for cell in result.cells:
            if cell.measured:
                estimate(rates_of(cell, result.samples, result.workload.records), Backlog(10), result.prices)
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        (["samples", 2, "batch_seconds", 0], "x", "the result.samples[2].batch_seconds[0] must be a number, not 'x'"),
        (["samples", 0, "batch_seconds"], [], "the result.samples[0] must have records and durations above 0"),
        (["samples", 0, "setting"], None, "the result.samples[0].setting must be an object, not None"),
        (["samples", 0, "records"], 1.5, "the result.samples[0].records must be an integer, not 1.5"),
        (["samples", 0, "failed"], -1, "the result.samples[0].failed must be from 0 to its number of records"),
        (["samples", 0, "reason"], 5, "the result.samples[0].reason must be a string, not 5"),
        (["samples"], {}, "the result.samples must be a list, not {}"),
        (["workload", "where"], "y" * 99, ""),
        (["workload"], "y" * 99, "the result.workload must be an object, not 'yyyy"),
        (["workload", "new"], 1, "the result.workload has the unknown key 'new'"),
        (["grid", "memories"], [], "the result.grid must have values on both axes"),
        (["prices", "gb_second"], float("inf"), "the result.prices.gb_second must be a number, not inf"),
        (["machine"], {}, "the result.machine must have cpu and packages"),
        (["machine"], [], "the result.machine must be an object, not []"),
        (["present"], None, ""),
        (["consumer"], "yes", "the result.consumer must be true or false, not 'yes'"),
    ],
)
def test_a_damaged_value_is_named(tmp_path: Path, path: list[Any], value: Any, error: str):
    """With its place in the document, and the requirement."""
    document = small()
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    message = read(tmp_path, document)
    assert error in message
    assert message.startswith(str(tmp_path / "bench.json")) if error else not message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is not JSON"),
        ("[]", "is not a result of this version"),
        ('{"fanfold_bench": 1}', "is damaged: the result has no key 'workload'; measure again"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str, error: str):
    """In one line."""
    assert error in read(tmp_path, text)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


SMALL = {name: value for name, value in small().items() if name not in {"cells", "findings"}}
PLACES = [place for place in places(SMALL) if place]
REMOVED = object()
DAMAGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from([[], {}, 10**400, 10**15, 1e99, REMOVED]),
)


@given(st.sampled_from(PLACES), DAMAGE)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_is_a_traceback(tmp_path: Path, path: tuple[Any, ...], damage: Any):
    """A changed or removed value is refused with an error of ours, or does not matter."""
    document: Any = copy.deepcopy(SMALL)
    place = document
    for key in path[:-1]:
        place = place[key]
    if damage is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = copy.deepcopy(damage)
    read(tmp_path, document)
