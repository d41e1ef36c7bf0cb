"""The estimated cost of a run."""

import pytest

from fanfold._jobs.run_columns import SegmentEnd
from fanfold._report.columns import Columns
from fanfold._report.cost import busy_seconds, cost_of, dollars_text


def columns_of(*spans: tuple[float, float, str | None]) -> Columns:
    """Return columns with a segment for each begin, end, and environment."""
    return Columns.of(
        [
            SegmentEnd(number, 0, began, ended, ended - began, 1, 1, None, environment, None)
            for number, (began, ended, environment) in enumerate(spans)
        ],
        [],
    )


def test_time_in_which_an_environment_processes_several_segments_counts_once():
    """Lambda bills invocations, not segments; of an unknown environment, every segment counts."""
    assert busy_seconds(columns_of((0, 10, "a"), (5, 12, "a"), (6, 8, "a"), (20, 21, "a"), (0, 3, "b"))) == 16
    assert busy_seconds(columns_of((0, 10, None), (5, 12, None))) == 17


def test_the_cost_is_the_sum_of_its_lines():
    """A thousand segments of a second each, one after the other, with 1,024 MB."""
    cost = cost_of(columns_of(*((n, n + 1, "a") for n in range(1_000))), 1_000, 1_024)
    amounts = {line.name: (line.amount, line.dollars) for line in cost.lines}
    assert amounts["Lambda, GB-seconds"] == ("1,000.0", pytest.approx(1_000 * 0.0000133334))
    assert amounts["Lambda, invocations"] == ("100", pytest.approx(100 * 0.2e-6))
    assert amounts["SQS, requests"] == ("300", pytest.approx(300 * 0.4e-6))
    assert amounts["DynamoDB, write units"] == ("300", pytest.approx(300 * 0.625e-6))
    assert cost.dollars == pytest.approx(sum(line.dollars for line in cost.lines))
    assert "1,024 MB" in cost.note


@pytest.mark.parametrize(
    ("dollars", "text"), [(0, "$0"), (1_234.5, "$1,234.50"), (0.123, "$0.12"), (0.00012, "$0.00012")]
)
def test_a_small_amount_has_two_digits(dollars: float, text: str):
    """It is not rounded to zero."""
    assert dollars_text(dollars) == text
