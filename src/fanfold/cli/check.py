"""``fanfold check``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fanfold import __version__
from fanfold.check.report import as_json, as_sarif, counts
from fanfold.check.rules import BY_ID, RULES, page
from fanfold.check.run import Report, check_template
from fanfold.check.values import Finding, Severity
from fanfold.cli.arguments import parameters_of
from fanfold.errors import ConfigurationError, FanfoldError

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


class Form(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def check(
    templates: list[Path] = typer.Argument(
        None, metavar="TEMPLATE", help="SAM or CloudFormation templates, YAML or JSON; what 'cdk synth' writes too."
    ),
    parameter: list[str] = typer.Option(
        [], "--parameter", "-p", metavar="NAME=VALUE", help="Check with this value of a parameter. (default: its own)"
    ),
    fail_on: Severity = typer.Option(
        Severity.INFO, case_sensitive=False, help="Exit with 1 for findings at least so bad."
    ),
    ignore: list[str] = typer.Option([], metavar="RULE", help="Leave a rule out; may be given many times."),
    form: Form = typer.Option(Form.TEXT, "--format", case_sensitive=False, help="How to print what is found."),
    json_form: bool = typer.Option(False, "--json", help="Print one JSON document: --format json."),
    sarif_form: bool = typer.Option(False, "--sarif", help="Print SARIF 2.1.0: --format sarif."),
    explain: str | None = typer.Option(None, metavar="RULE", help="Print the page of a rule, and check nothing."),
    rules: bool = typer.Option(False, "--rules", help="List the rules, and check nothing."),
) -> None:
    """Find the settings in a template that lose or duplicate messages.

    Looks at SQS queues, the event source mappings that read them, the functions these call and what they are allowed.
    Parameters count with their defaults. What a template does not tell (a queue of another stack) is said to be not
    known, and is no finding. Nothing is called, and no account is needed.

    Exit code 1 if anything was found, or with --fail-on, anything at least so bad; 2 if a template cannot be read.
    """
    if rules:
        show_rules(Console())
        return
    if explain is not None:
        print(page(BY_ID[_rule(explain)]), end="")
        return
    if not templates:
        raise ConfigurationError("which template? Say  fanfold check template.yaml")
    chosen = _form(form, as_json_too=json_form, as_sarif_too=sarif_form)
    ignored = {_rule(each) for each in ignore}
    reports = _reports(templates, parameters_of(parameter), ignored)
    if chosen is Form.JSON:
        print(json.dumps(as_json(reports), default=str))
    elif chosen is Form.SARIF:
        print(json.dumps(as_sarif(reports, __version__), default=str))
    else:
        _show(reports, Console())
    if any(report.fails(fail_on) for report in reports):
        _fail(reports)


def _fail(reports: Sequence[Report]) -> None:
    found = counts(reports)
    said = ", ".join(
        f"{found[each]} {each}{'s' if found[each] != 1 else ''}" for each in ("error", "warning") if found[each]
    )
    infos = f"{', ' if said else ''}{found['info']} info" if found["info"] else ""
    raise FanfoldError(f"{said}{infos}; say  fanfold check --explain RULE  for the reason and the mend")


def _reports(templates: Sequence[Path], given: dict[str, str], ignored: set[str]) -> list[Report]:
    return [check_template(template, parameters=given, ignore=ignored) for template in templates]


def _form(form: Form, *, as_json_too: bool, as_sarif_too: bool) -> Form:
    asked = {form} - {Form.TEXT} | ({Form.JSON} if as_json_too else set()) | ({Form.SARIF} if as_sarif_too else set())
    if len(asked) > 1:
        raise ConfigurationError("one form of output at a time: --json or --sarif")
    return asked.pop() if asked else Form.TEXT


def _rule(name: str) -> str:
    if name.upper() not in BY_ID:
        raise ConfigurationError(f"there is no rule {name}; there are {RULES[0].id} to {RULES[-1].id}")
    return name.upper()


def _show(reports: Sequence[Report], console: Console) -> None:
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
    for name, words in (("is", finding.actual), ("should be", finding.recommended)):
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
