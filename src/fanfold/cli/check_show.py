"""How the findings of a check look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanfold.check.report import counts
from fanfold.check.rules import BY_ID, RULES
from fanfold.check.run import Report
from fanfold.check.values import Finding

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def show(reports: Sequence[Report], console: Console) -> None:
    """Print what was found in each template, what is not known, and the sum."""
    for report in reports:
        for finding in report.findings:
            _show_finding(report, finding, console)
        if report.not_known:
            _show_not_known(report, console)
        _show_end(report, console)
    if len(reports) > 1:
        console.print(_sum(counts(reports), f"{len(reports)} templates"), markup=False, highlight=False)


def show_rules(console: Console) -> None:
    """Print the table of rules."""
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "severity", "what is wrong"):
        table.add_column(name)
    for rule in RULES:
        table.add_row(rule.id, Text(rule.severity.value, _STYLES[rule.severity.value]), rule.title)
    console.print(table)


def _show_finding(report: Report, finding: Finding, console: Console) -> None:
    rule, style = BY_ID[finding.rule], _STYLES[finding.severity.value]
    head = Text.assemble(
        (f"{report.template}:{finding.place.line}", "bold"),
        "  ",
        (f"{finding.rule} {finding.severity.value}", style),
        f"  {finding.resource}: {rule.title}",
    )
    console.print(head, soft_wrap=True)
    for name, words in (("is", finding.found), ("should be", finding.wanted)):
        line = Table.grid(padding=(0, 1))
        line.add_column(width=9, style="dim", no_wrap=True)
        line.add_column(overflow="fold")
        line.add_row(name, Text(words))
        console.print(Padding(line, (0, 0, 0, 2)))
    console.print()


def _show_not_known(report: Report, console: Console) -> None:
    console.print(Text(f"{report.template}: not known, so not looked at", "bold"), soft_wrap=True)
    notes = Table.grid(padding=(0, 1))
    notes.add_column(style="dim", justify="right", no_wrap=True)
    notes.add_column(overflow="fold")
    for note in report.not_known:
        left = f" ({', '.join(note.rules)})" if note.rules else ""
        notes.add_row(f"line {note.place.line}", Text(f"{note.subject}: {note.why}{left}"))
    console.print(Padding(notes, (0, 0, 1, 2)))


def _show_end(report: Report, console: Console) -> None:
    mappings = f"{report.mappings} SQS mapping{'s' if report.mappings != 1 else ''}"
    line = _sum(counts([report]), f"{report.template}: {mappings}")
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if report.defaults:
        names = ", ".join(f"{name}={value}" for name, value in sorted(report.defaults.items()))
        text = f"with the defaults {names}; --parameter NAME=VALUE checks with others"
        console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))


def _sum(found: dict[str, int], what: str) -> str:
    words = [
        f"{found[each]} {each}{'s' if found[each] > 1 and each != 'info' else ''}" for each in _STYLES if found[each]
    ]
    ignored = f", {found['ignored']} ignored" if found["ignored"] else ""
    return f"{what}, {', '.join(words) or 'nothing found'}{ignored}"
