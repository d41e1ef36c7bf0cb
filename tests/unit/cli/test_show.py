"""How runs look in a terminal."""

from rich.console import Console

from fanfold._jobs.report import RunReport
from fanfold.cli.show import report_table


def test_a_reason_is_shown_as_it_is_whatever_brackets_are_in_it():
    """It is no markup of ours: a user's error can hold anything."""
    reason = "KeyError: '[/order]' of [red]"
    account = RunReport(1, 0, {0: reason}, 0, deliveries=1, retries=0, duplicates=0, evenness=None, seconds=None)
    console = Console(width=100)
    with console.capture() as shown:
        console.print(report_table(account))
    assert reason in shown.get()
