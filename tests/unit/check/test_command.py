"""``fanfold check`` as a user meets it: text, JSON, SARIF, exit codes, wrong input; and the rules in cfn-lint."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cfnlint.config import ManualArgs
from cfnlint.decode import decode
from typer.testing import CliRunner

from fanfold.check import reading
from fanfold.check.cfnlint import cfnlint_id
from fanfold.check.rules import BY_ID, RULES, Rule, page
from fanfold.check.run import check_template
from fanfold.cli.app import app
from fanfold.errors import MissingExtraError

ROOT = Path(__file__).parents[3]
CORPUS = ROOT / "tests" / "check_corpus"
WORST = CORPUS / "bad" / "all_left_at_default.yaml"
WARNED = CORPUS / "bad" / "dead_letters_after_two_receives.yaml"
INFO = CORPUS / "bad" / "backoff_without_permission.yaml"
FINE = CORPUS / "good" / "sam_events.yaml"
OPEN = CORPUS / "good" / "unknown_parameters.yaml"


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_a_finding_says_where_what_is_and_what_should_be():
    """Resource, file and line, rule, both values."""
    done = run(WORST)
    assert done.exit_code == 1
    words = " ".join(done.stdout.split())
    assert f"{WORST}:3 FF003 error Jobs" in words
    assert "is VisibilityTimeout 30 s (the default), below the Timeout 900 s of Work" in words
    assert "should be at least 5,400 s (6 x 900 s)" in words
    assert "1 SQS mapping, 4 errors" in words
    assert "4 errors" in done.stderr


def test_nothing_found_is_exit_code_0():
    """And says how much was looked at."""
    done = run(FINE)
    assert done.exit_code == 0
    assert "1 SQS mapping, nothing found" in " ".join(done.stdout.split())
    assert done.stderr == ""


def test_what_is_not_known_is_said_and_is_no_finding():
    """With the reason, and the rules that were not looked at."""
    done = run(OPEN)
    assert done.exit_code == 0
    assert "Timeout of Do: parameter Timeout has no default (FF003, FF004)" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("template", "level", "code"),
    [
        (WARNED, "info", 1), (WARNED, "warning", 1), (WARNED, "error", 0), (INFO, "info", 1), (INFO, "warning", 0),
        (WORST, "ERROR", 1),
    ],
)  # fmt: skip
def test_fail_on_names_how_bad_a_finding_has_to_be(template: Path, level: str, code: int):
    """What is found is printed all the same."""
    done = run(template, "--fail-on", level)
    assert done.exit_code == code
    assert "FF0" in done.stdout


def test_an_ignored_rule_is_counted_and_does_not_fail():
    """Its id in any case."""
    done = run(WARNED, "--ignore", "ff008")
    assert done.exit_code == 0
    assert "nothing found, 1 ignored" in " ".join(done.stdout.split())


def test_the_template_may_ignore_a_rule_for_one_resource():
    """Only there."""
    report = check_template(CORPUS / "good" / "the_template_ignores_a_rule.yaml")
    assert [finding.rule for finding in report.ignored] == ["FF004"]


def test_a_parameter_can_be_given():
    """It counts instead of the default, and what is known by it is not said to be open."""
    with_default = run(CORPUS / "good" / "conditions.yaml")
    assert with_default.exit_code == 0
    assert "Stage=prod" in with_default.stdout
    as_dev = run(CORPUS / "good" / "conditions.yaml", "--parameter", "Stage=dev", "--json")
    rules = {finding["rule"] for finding in json.loads(as_dev.stdout)["templates"][0]["findings"]}
    assert rules == {"FF001", "FF003", "FF005", "FF007"}


def test_json_is_one_document_and_nothing_else():
    """Also when something is found; the summary counts."""
    done = run(WORST, OPEN, "--json")
    document = json.loads(done.stdout)
    assert [each["template"] for each in document["templates"]] == [str(WORST), str(OPEN)]
    assert document["summary"]["error"] == 4
    first = document["templates"][0]["findings"][0]
    assert first["rule"] == "FF003"
    assert first["line"] == 3
    assert first["fix"] == BY_ID["FF003"].fix
    assert first["page"]["url"].startswith("https://docs.aws.amazon.com/")
    assert document["templates"][1]["not_known"][0].keys() == {"what", "why", "line", "rules"}
    assert done.exit_code == 1


def strict(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


TEXT = strict(text={"type": "string", "minLength": 1})
WHOLE = {"type": "integer", "minimum": 1}
LOCATION = strict(
    physicalLocation=strict(
        artifactLocation=strict(uri={"type": "string", "pattern": "^[^ ]+$"}),
        region=strict(startLine=WHOLE, startColumn=WHOLE, endLine=WHOLE, endColumn=WHOLE),
    ),
    logicalLocations={"type": "array", "items": strict(name={"type": "string"}, kind={"type": "string"})},
)
LEVEL = {"enum": ["error", "warning", "note"]}
SARIF = strict(
    **{"$schema": {"type": "string"}},
    version={"const": "2.1.0"},
    runs={
        "type": "array",
        "items": strict(
            tool=strict(
                driver=strict(
                    name={"type": "string"},
                    version={"type": "string"},
                    rules={
                        "type": "array",
                        "uniqueItems": True,
                        "items": strict(
                            id={"type": "string"},
                            shortDescription=TEXT,
                            fullDescription=TEXT,
                            help=TEXT,
                            helpUri={"type": "string", "pattern": "^https://"},
                            defaultConfiguration=strict(level=LEVEL),
                        ),
                    },
                )
            ),
            columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
            invocations={
                "type": "array",
                "items": strict(
                    executionSuccessful={"type": "boolean"},
                    toolExecutionNotifications={
                        "type": "array",
                        "items": strict(level=LEVEL, message=TEXT, locations={"type": "array", "items": LOCATION}),
                    },
                ),
            },
            results={
                "type": "array",
                "items": strict(
                    ruleId={"type": "string"},
                    ruleIndex={"type": "integer", "minimum": 0},
                    level=LEVEL,
                    message=TEXT,
                    locations={"type": "array", "items": LOCATION},
                    suppressions={"type": "array", "items": strict(kind={"const": "inSource"})},
                ),
            },
        ),
    },
)
"""The parts of SARIF 2.1.0 that are used, and no others."""


def test_sarif_is_what_the_standard_says():
    """Results point to their rule and place; what is ignored is suppressed, what is open a notification."""
    done = run(WORST, OPEN, CORPUS / "good" / "the_template_ignores_a_rule.yaml", "--sarif")
    document = json.loads(done.stdout)
    jsonschema.validate(document, SARIF)
    (only,) = document["runs"]
    assert [result["ruleId"] for result in only["results"]] == ["FF003", "FF007", "FF001", "FF005", "FF004"]
    assert all(only["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] == each["ruleId"] for each in only["results"])
    assert ["suppressions" in result for result in only["results"]] == [False, False, False, False, True]
    assert only["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert only["invocations"][0]["toolExecutionNotifications"]
    assert done.exit_code == 1


def test_a_relative_file_has_a_relative_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As code scanning wants it; a space is encoded."""
    monkeypatch.chdir(tmp_path)
    Path("my template.yaml").write_text(WORST.read_text())
    document = json.loads(run("my template.yaml", "--format", "sarif").stdout)
    place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "my%20template.yaml"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_explained(rule: Rule):
    """Its page says why, how to mend it and which page of AWS's says so; its example is YAML."""
    done = run("--explain", rule.id.lower())
    assert done.exit_code == 0
    assert done.stdout == page(rule)
    assert yaml.compose(rule.example) is not None
    assert rule.page.url.startswith("https://docs.aws.amazon.com/")


def test_the_rules_are_listed():
    """One line for each."""
    assert [line.split()[0] for line in run("--rules").stdout.splitlines()[1:]] == list(BY_ID)


FILES = {
    "empty.yaml": (b"", "is empty"),
    "words.yaml": (b"just words", "has no Resources"),
    "list.yaml": (b"- a", "has no Resources"),
    "latin.yaml": ("Resources: {} # é".encode("latin-1"), "is no UTF-8 text"),
    "broken.json": (b'{"Resources": {', "cannot be read as YAML or JSON"),
    "twice.yaml": (b"Resources:\n  A: {}\n  A: {}\n", ":2 cannot be read as YAML or JSON: Duplicate found 'A'"),
    "join.yaml": (
        b"Resources:\n  A:\n    Type: AWS::SQS::Queue\n    Properties:\n      VisibilityTimeout: !Join [a]\n",
        'join.yaml:5 A, VisibilityTimeout: Fn::Join takes a delimiter and a list, not ["a"]',
    ),
    "condition.yaml": (b"Resources: {A: {Type: AWS::SQS::Queue, Condition: B}}\n", ":1 A: there is no condition B"),
    "loop.yaml": (b"Transform: AWS::LanguageExtensions\nResources: {Fn::ForEach::X: [A]}\n", "cannot be transformed"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_template_is_told_in_one_line(name: str, tmp_path: Path):
    """Exit code 2, the file, and what is wrong with it; with --json nothing on stdout."""
    content, told = FILES[name]
    (tmp_path / name).write_bytes(content)
    for form in ((), ("--json",)):
        done = run(tmp_path / name, *form)
        assert done.exit_code == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"fanfold: {tmp_path / name}")
        assert told in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "which template?"),
        (("nowhere.yaml",), "nowhere.yaml cannot be read: No such file or directory"),
        ((CORPUS,), "is a directory, not a template"),
        ((FINE, "--ignore", "FF999"), f"there is no rule FF999; there are FF001 to {RULES[-1].id}"),
        (("--explain", "E3001"), "there is no rule E3001"),
        ((FINE, "--parameter", "Stage"), "not of the form NAME=VALUE"),
        ((FINE, "--parameter", "Stage=prod"), "has no parameter Stage; it has none"),
        ((CORPUS / "good" / "conditions.yaml", "-p", "Stage=x"), "parameter Stage is one of dev, test, prod, not x"),
        ((FINE, "--json", "--sarif"), "one form of output at a time"),
    ],
)
def test_wrong_use_is_exit_code_2_and_one_line(arguments: tuple[Any, ...], told: str):
    """It names the thing and the mend."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """Both libraries are needed at use only."""
    monkeypatch.setitem(sys.modules, "cfnlint.decode", None)
    with pytest.raises(MissingExtraError, match=r"fanfold\[check\]"):
        reading.read_template(FINE)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "samtranslator.parser.parser", None)
    with pytest.raises(MissingExtraError, match=r"fanfold\[check\]"):
        check_template(FINE)


def lint(template: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run the real cfn-lint with our rules."""
    program = str(Path(sys.executable).with_name("cfn-lint"))
    command = [program, str(template), "--append-rules", "fanfold.check.cfnlint"]
    done = subprocess.run(  # noqa: S603 - ourselves
        [*command, "--format", "json", *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.parametrize("template", [WORST, WARNED, INFO], ids=lambda template: template.name)
def test_cfn_lint_finds_the_same_on_the_same_lines(template: Path):
    """By ids that cfn-lint takes: E, W or I, and 97 for fanfold."""
    ours = sorted((cfnlint_id(BY_ID[each.rule]), each.place.line) for each in check_template(template).findings)
    matches = lint(template, "--include-checks", "I")
    found = [(each["Rule"]["Id"], each["Location"]["Start"]["LineNumber"]) for each in matches]
    assert sorted(each for each in found if each[0][1:3] == "97") == ours


def test_cfn_lint_says_nothing_of_good_templates_and_leaves_malformed_ones_to_its_own_rules(tmp_path: Path):
    """Neither an alarm nor an error of ours."""
    malformed = tmp_path / "join.yaml"
    malformed.write_bytes(FILES["join.yaml"][0])
    for template in (FINE, malformed, CORPUS / "good" / "the_template_ignores_a_rule.yaml"):
        ids = {each["Rule"]["Id"] for each in lint(template)}
        assert not {each for each in ids if each[1:3] == "97" or each == "E0002"}


def test_the_rules_run_in_cfn_lints_own_interface():
    """For whoever calls it from Python."""
    from cfnlint.api import lint as lint_text

    config = ManualArgs(append_rules=["fanfold.check.cfnlint"])
    found = {match.rule.id for match in lint_text(WARNED.read_text(), config=config)}
    assert "W9708" in found


def test_our_own_template_passes():
    """What we give to others we hold ourselves."""
    report = check_template(ROOT / "template.yaml")
    assert report.findings == ()
    assert report.mappings >= 3
    assert decode(str(ROOT / "template.yaml"))[1] == []
