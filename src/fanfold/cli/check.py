"""``fanfold check``."""

from __future__ import annotations

import json
import sys
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
from fanfold.check.run import Report, Unreadable, check_templates
from fanfold.check.values import Finding, Severity
from fanfold.cli.arguments import parameters_of
from fanfold.errors import ConfigurationError, FanfoldError

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_OUTAGE = typer.Option(
    None,
    metavar="SECONDS",
    min=1,
    max=1_209_600,
    help="Warn about queues whose settings do not survive an outage of this length of a service that the function "
    "calls; 900 is a good start.",
)


class Form(StrEnum):
    """Output format of the findings."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def check(
    templates: list[Path] = typer.Argument(
        None,
        metavar="TEMPLATE",
        help="SAM or CloudFormation templates in YAML or JSON, the folder cdk.out of `cdk synth`, or plans of "
        "Terraform as JSON (`terraform show -json`).",
    ),
    parameter: list[str] = typer.Option(
        [],
        "--parameter",
        "-p",
        metavar="NAME=VALUE",
        help="Value of a template parameter, instead of its default. Repeatable.",
    ),
    fail_on: Severity = typer.Option(
        Severity.INFO,
        case_sensitive=False,
        metavar="|".join(Severity),
        help="Lowest severity that makes the exit code 1.",
    ),
    ignore: list[str] = typer.Option([], metavar="RULE", help="Skip this rule, such as FF012. Repeatable."),
    outage: float | None = _OUTAGE,
    form: Form = typer.Option(
        Form.TEXT, "--format", case_sensitive=False, metavar="|".join(Form), help="Output format of the findings."
    ),
    json_form: bool = typer.Option(False, "--json", help="Print one JSON document; same as --format json."),
    sarif_form: bool = typer.Option(False, "--sarif", help="Print SARIF 2.1.0; same as --format sarif."),
    explain: str | None = typer.Option(
        None, metavar="RULE", help="Print the documentation of a rule and exit, such as FF001."
    ),
    rules: bool = typer.Option(False, "--rules", help="List the rules and exit."),
) -> None:
    """Find the settings in a template that lose or duplicate messages.

    Use it before each deployment, and in CI. It checks SQS queues, the event source mappings that read them, the
    functions that these invoke, and their permissions. Parameters have their default values. If a value cannot be
    determined from the template, such as a queue of another stack, the output reports it as not known; it is not a
    finding. The command calls no AWS service.

    Exit code: 1 if there are findings of at least the severity of --fail-on, 2 if a template cannot be read. The
    others are checked anyway.
    """
    if rules:
        show_rules(Console())
        return
    if explain is not None:
        print(page(BY_ID[_rule(explain)]), end="")
        return
    if not templates:
        raise ConfigurationError("TEMPLATE is required. Run `fanfold check template.yaml`")
    chosen = _form(form, as_json_too=json_form, as_sarif_too=sarif_form)
    ignored = {_rule(name) for name in ignore}
    reports, unreadable = check_templates(
        templates, parameters=parameters_of(parameter), ignore=ignored, outage_seconds=outage
    )
    if chosen is Form.JSON:
        print(json.dumps(as_json(reports, unreadable), default=str))
    elif chosen is Form.SARIF:
        print(json.dumps(as_sarif(reports, __version__, unreadable), default=str))
    else:
        _show(reports, Console())
        if outage is not None and reports:
            _show_backoff_not_known(outage, Console())
    if unreadable:
        _fail_unreadable(unreadable)
    if any(report.fails(fail_on) for report in reports):
        _fail(reports)


def _fail(reports: Sequence[Report]) -> None:
    raise FanfoldError(f"{_counted(counts(reports))}. Run `fanfold check --explain RULE` for the reason and the fix")


def _fail_unreadable(unreadable: Sequence[Unreadable]) -> None:
    """Print one line for each template that could not be checked, and exit with code 2."""
    *others, last = unreadable
    for failed in others:
        print("fanfold:", " ".join(failed.why.split()), file=sys.stderr)
    raise ConfigurationError(last.why)


def _counted(numbers: dict[str, int]) -> str:
    parts = [
        f"{numbers[severity]} {severity}{'s' if numbers[severity] > 1 and severity != 'info' else ''}"
        for severity in _STYLES
        if numbers[severity]
    ]
    return ", ".join(parts)


def _form(form: Form, *, as_json_too: bool, as_sarif_too: bool) -> Form:
    forms = {form} - {Form.TEXT} | ({Form.JSON} if as_json_too else set()) | ({Form.SARIF} if as_sarif_too else set())
    if len(forms) > 1:
        raise ConfigurationError("only one output format is possible: use --json or --sarif")
    return forms.pop() if forms else Form.TEXT


def _rule(name: str) -> str:
    if name.upper() not in BY_ID:
        raise ConfigurationError(f"rule {name} does not exist: use {RULES[0].id} to {RULES[-1].id}")
    return name.upper()


def _show(reports: Sequence[Report], console: Console) -> None:
    """Print the findings of each template, the values that are not known, and the totals."""
    for report in reports:
        for finding in report.findings:
            _show_finding(report, finding, console)
        if report.not_known:
            _show_not_known(report, console)
        _show_end(report, console)
    if len(reports) > 1:
        console.print(_total(counts(reports), f"{len(reports)} templates"), markup=False, highlight=False)


def show_rules(console: Console) -> None:
    """Print the table of rules."""
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "severity", "problem"):
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
    for name, value in (("is", finding.actual), ("should be", finding.recommended)):
        line = Table.grid(padding=(0, 1))
        line.add_column(width=9, style="dim", no_wrap=True)
        line.add_column(overflow="fold")
        line.add_row(name, Text(value))
        console.print(Padding(line, (0, 0, 0, 2)))
    console.print()


def _show_not_known(report: Report, console: Console) -> None:
    console.print(Text(f"{report.template}: not known, so not checked", "bold"), soft_wrap=True)
    notes = Table.grid(padding=(0, 1))
    notes.add_column(style="dim", justify="right", no_wrap=True)
    notes.add_column(overflow="fold")
    for note in report.not_known:
        rules = f" ({', '.join(note.rules)})" if note.rules else ""
        notes.add_row(f"line {note.place.line}", Text(f"{note.subject}: {note.why}{rules}"))
    console.print(Padding(notes, (0, 0, 1, 2)))


def _show_end(report: Report, console: Console) -> None:
    readers = f"{report.mappings} SQS mapping{'s' if report.mappings != 1 else ''}"
    if report.pipes:
        readers += f" and {report.pipes} pipe{'s' if report.pipes != 1 else ''}"
    line = _total(counts([report]), f"{report.template}: {readers}")
    console.print(line, markup=False, highlight=False, soft_wrap=True)
    if report.defaults:
        names = ", ".join(f"{name}={value}" for name, value in sorted(report.defaults.items()))
        text = f"with the defaults {names}; use --parameter NAME=VALUE to check other values"
        console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))


def _show_backoff_not_known(outage: float, console: Console) -> None:
    text = (
        "a template does not show a backoff, which may shorten the outage that is survived: "
        f"`fanfold replay --outage {outage:g}` runs the handler with it"
    )
    console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))


def _total(numbers: dict[str, int], subject: str) -> str:
    ignored = f", {numbers['ignored']} ignored" if numbers["ignored"] else ""
    return f"{subject}, {_counted(numbers) or 'nothing found'}{ignored}"
