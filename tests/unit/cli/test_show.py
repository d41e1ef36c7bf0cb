"""Terminal output about runs."""

import pytest
from rich.console import Console

from fanfold._jobs.report import RunReport
from fanfold.cli.show import report_table


@pytest.mark.parametrize(
    ("reason", "text"),
    [("KeyError: '[/order]' of [red]",) * 2, ("KeyError: \x1b[2J\ud83d", r"KeyError: \x1b[2J\ud83d")],
)
def test_a_reason_is_neither_markup_nor_controls_the_terminal(reason: str, text: str):
    """A user's error can contain any text."""
    report = RunReport(1, 0, {0: reason}, 0, deliveries=1, retries=0, duplicates=0, evenness=None, seconds=None)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(report_table(report))
    assert text in shown.get()
