"""Terminal output about runs."""

from rich.console import Console

from fanfold._jobs.report import RunReport
from fanfold.cli.show import report_table


def test_brackets_in_a_reason_are_not_markup():
    """A user's error can contain any text."""
    reason = "KeyError: '[/order]' of [red]"
    report = RunReport(1, 0, {0: reason}, 0, deliveries=1, retries=0, duplicates=0, evenness=None, seconds=None)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(report_table(report))
    assert reason in shown.get()
