"""``fanfold check`` end to end: text, JSON, SARIF, exit codes, bad input; and the rules in cfn-lint."""

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


def test_a_check_for_an_outage_states_that_it_sees_no_backoff():
    """Without that, "nothing found" would promise more than was checked."""
    assert "fanfold replay --outage 900" in " ".join(run("--outage", "900", FINE).stdout.split())
    assert "backoff" not in run(FINE).stdout


def test_a_finding_shows_the_place_the_value_and_the_recommendation():
    """The file, line, rule, and resource, and both values."""
    done = run(WORST)
    assert done.exit_code == 1
    output = " ".join(done.stdout.split())
    assert f"{WORST}:3 FF003 error Jobs" in output
    assert "is VisibilityTimeout 30 s (the default), below the Timeout 900 s of Work" in output
    assert "should be at least 5,400 s (6 x 900 s)" in output
    assert "1 SQS mapping, 4 errors" in output
    assert "4 errors" in done.stderr


def test_a_template_without_findings_is_exit_code_0():
    """The output counts the mappings."""
    done = run(FINE)
    assert done.exit_code == 0
    assert "1 SQS mapping, nothing found" in " ".join(done.stdout.split())
    assert done.stderr == ""


def test_an_unknown_value_is_shown_and_is_not_a_finding():
    """With the reason, and the rules that were not checked."""
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
def test_fail_on_sets_the_lowest_severity_that_fails(template: Path, level: str, code: int):
    """Findings of lower severity are printed too."""
    done = run(template, "--fail-on", level)
    assert done.exit_code == code
    assert "FF0" in done.stdout


def test_an_ignored_rule_is_counted_and_does_not_fail():
    """Its id is not case-sensitive."""
    done = run(WARNED, "--ignore", "ff008")
    assert done.exit_code == 0
    assert "nothing found, 1 ignored" in " ".join(done.stdout.split())


def test_the_template_may_ignore_a_rule_for_one_resource():
    """Its ``Metadata`` names the rule."""
    report = check_template(CORPUS / "good" / "the_template_ignores_a_rule.yaml")
    assert [finding.rule for finding in report.ignored] == ["FF004"]


def test_a_parameter_can_be_set():
    """The value overrides the default, and settings that depend on it are known."""
    with_default = run(CORPUS / "good" / "conditions.yaml")
    assert with_default.exit_code == 0
    assert "Stage=prod" in with_default.stdout
    as_dev = run(CORPUS / "good" / "conditions.yaml", "--parameter", "Stage=dev", "--json")
    rules = {finding["rule"] for finding in json.loads(as_dev.stdout)["templates"][0]["findings"]}
    assert rules == {"FF001", "FF003", "FF005", "FF007"}


def test_json_is_one_document_and_nothing_else():
    """With findings too; the summary counts them."""
    done = run(WORST, OPEN, "--json")
    document = json.loads(done.stdout)
    assert [report["template"] for report in document["templates"]] == [str(WORST), str(OPEN)]
    assert document["summary"]["error"] == 4
    first = document["templates"][0]["findings"][0]
    assert first["rule"] == "FF003"
    assert first["line"] == 3
    assert first["fix"] == BY_ID["FF003"].fix
    assert first["page"]["url"].startswith("https://docs.aws.amazon.com/")
    assert document["templates"][1]["not_known"][0].keys() == {"what", "why", "line", "rules"}
    assert done.exit_code == 1


SARIF = json.loads((ROOT / "tests" / "support" / "sarif-2.1.0.schema.json").read_text())
"""The published schema of SARIF 2.1.0."""


def test_sarif_follows_the_standard():
    """Results refer to a rule and a place; ignored findings are suppressed, unknown values are notifications."""
    done = run(WORST, OPEN, CORPUS / "good" / "the_template_ignores_a_rule.yaml", "--sarif")
    document = json.loads(done.stdout)
    jsonschema.validate(document, SARIF)
    (only,) = document["runs"]
    assert [result["ruleId"] for result in only["results"]] == ["FF003", "FF007", "FF001", "FF005", "FF004"]
    rules = only["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in only["results"])
    assert ["suppressions" in result for result in only["results"]] == [False, False, False, False, True]
    assert only["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 3
    assert only["invocations"][0]["toolExecutionNotifications"]
    assert done.exit_code == 1


def test_a_relative_file_has_a_relative_uri(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Code scanning requires it; a space is percent-encoded."""
    monkeypatch.chdir(tmp_path)
    Path("my template.yaml").write_text(WORST.read_text())
    document = json.loads(run("my template.yaml", "--format", "sarif").stdout)
    place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "my%20template.yaml"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_explained(rule: Rule):
    """Its page states the reason, the fix, and the page of the AWS documentation; its example is YAML."""
    done = run("--explain", rule.id.lower())
    assert done.exit_code == 0
    assert done.stdout == page(rule)
    assert yaml.compose(rule.example) is not None
    assert rule.page.url.startswith("https://docs.aws.amazon.com/")


def test_the_rules_are_listed():
    """One line per rule."""
    assert [line.split()[0] for line in run("--rules").stdout.splitlines()[1:]] == list(BY_ID)


FILES = {
    "empty.yaml": (b"", "is empty"),
    "scalar.yaml": (b"just text", "has no Resources"),
    "list.yaml": (b"- a", "has no Resources"),
    "latin.yaml": ("Resources: {} # é".encode("latin-1"), "is not UTF-8 text: byte 16 cannot be decoded"),
    "broken.json": (b'{"Resources": {', "cannot be read as YAML or JSON"),
    "twice.yaml": (b"Resources:\n  A: {}\n  A: {}\n", ":2 cannot be read as YAML or JSON: Duplicate found 'A'"),
    "levels.yaml": (b"Resources: " + b"[" * 100_000, "is nested too deeply: more than 100 levels"),
    "levels.json": (b'{"Resources":\t' + b"[" * 100_000, "is nested too deeply: more than 100 levels"),
    "aliases.yaml": (
        b"a0: &a0 [x, x, x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)),
        "is too large: its aliases expand to more than 1,000,000 values",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_an_invalid_template_is_reported_in_one_line(name: str, tmp_path: Path):
    """Exit code 2, the file, and the problem; with --json, the document names it too."""
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    for form in ((), ("--json",)):
        done = run(tmp_path / name, *form)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"fanfold: {tmp_path / name}")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        if not form:
            assert done.stdout == ""
            continue
        document = json.loads(done.stdout)
        assert [failed["template"] for failed in document["unreadable"]] == [str(tmp_path / name)]
        assert document["templates"] == []


@pytest.fixture
def ten(tmp_path: Path) -> list[Path]:
    """Ten templates, of which the second and the last cannot be read."""
    good = sorted((CORPUS / "bad").glob("*.yaml"))[:8]
    broken = [tmp_path / "empty.yaml", tmp_path / "list.yaml"]
    for file in broken:
        file.write_bytes(FILES[file.name][0])
    return [good[0], broken[0], *good[1:], broken[1]]


def test_the_other_templates_are_checked_if_one_cannot_be_read(ten: list[Path]):
    """Eight are reported, two are named in a line each, and the exit code is 2."""
    done = run(*ten)
    assert done.exit_code == 2
    assert "8 templates" in done.stdout
    assert all(str(file) in done.stdout for file in (ten[0], *ten[2:9]))
    assert [line.split()[1] for line in done.stderr.splitlines()] == [str(ten[1]), str(ten[9])]
    document = json.loads(run(*ten, "--json").stdout)
    assert len(document["templates"]) == 8
    assert document["summary"]["unreadable"] == 2


def test_sarif_states_which_templates_could_not_be_read(ten: list[Path]):
    """The execution was not successful, and a notification of level ``error`` names each of them."""
    done = run(*ten, "--sarif")
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    jsonschema.validate(document, SARIF)
    (only,) = document["runs"]
    assert only["results"]
    assert only["invocations"][0]["executionSuccessful"] is False
    failed = [note for note in only["invocations"][0]["toolExecutionNotifications"] if note["level"] == "error"]
    uris = [note["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for note in failed]
    assert uris == [ten[1].as_uri(), ten[9].as_uri()]


def test_a_folder_of_the_cdk_is_checked(tmp_path: Path):
    """The templates of ``cdk.out``, those of stages and nested stacks included; other files are not templates."""
    for name in ("Shop.template.json", "assembly-Prod/Shop.template.json", "Nested1.nested.template.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((CORPUS / "bad" / "cdk_left_at_defaults.json").read_text())
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "tree.json").write_text("{}")
    document = json.loads(run(tmp_path, "--json").stdout)
    assert len(document["templates"]) == 3
    assert document["unreadable"] == []


def test_a_parameter_sets_the_list_of_a_loop(tmp_path: Path):
    """Without a value, the resources of the loop are not known."""
    template = CORPUS / "good" / "unknown_loop_over_a_parameter.yaml"
    assert "the content of Fn::ForEach::Queues: Names, which it loops over" in " ".join(run(template).stdout.split())
    set_to = json.loads(run(template, "-p", "Names=a,b", "--json").stdout)["templates"][0]
    assert (set_to["not_known"], set_to["findings"]) == ([], [])


MALFORMED = {
    "join.yaml": (
        b"Resources:\n  A:\n    Type: AWS::SQS::Queue\n    Properties:\n      RedrivePolicy: !Join [a]\n",
        'line 5 RedrivePolicy of A: Fn::Join takes a delimiter and a list, not ["a"]',
    ),
    "condition.yaml": (
        b"Resources: {A: {Type: AWS::SQS::Queue, Condition: B}}\n",
        "line 1 whether A is deployed: condition B is not defined in the template",
    ),
    "loop.yaml": (
        b"Transform: AWS::LanguageExtensions\nResources: {Fn::ForEach::X: [A]}\n",
        "the content of Fn::ForEach::X:",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_function_is_a_value_that_is_not_known(name: str, tmp_path: Path):
    """The rest of the template is checked; the exit code is that of the findings."""
    content, message = MALFORMED[name]
    (tmp_path / name).write_bytes(content)
    done = run(tmp_path / name)
    assert done.exit_code == 0
    assert message in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "TEMPLATE is required. Run `fanfold check template.yaml`"),
        (("nowhere.yaml",), "nowhere.yaml cannot be read: No such file or directory"),
        ((CORPUS,), "is a directory without templates of the AWS CDK (*.template.json): name the template files"),
        ((FINE, "--ignore", "FF999"), f"rule FF999 does not exist: use FF001 to {RULES[-1].id}"),
        (("--explain", "E3001"), "rule E3001 does not exist"),
        ((FINE, "--parameter", "Stage"), "not of the form NAME=VALUE"),
        ((FINE, "--parameter", "Stage=prod"), "has no parameter Stage; its parameters: none"),
        ((CORPUS / "good" / "conditions.yaml", "-p", "Stage=x"), "Stage must be one of dev, test, prod, not x"),
        ((FINE, "--json", "--sarif"), "only one output format is possible"),
    ],
)
def test_invalid_arguments_are_exit_code_2_and_one_line(arguments: tuple[Any, ...], message: str):
    """The line names the argument and the fix."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch):
    """Both libraries are imported only when a template is read."""
    monkeypatch.setitem(sys.modules, "cfnlint.decode", None)
    with pytest.raises(MissingExtraError, match=r"fanfold\[check\]"):
        reading.read_template(FINE)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "samtranslator.parser.parser", None)
    with pytest.raises(MissingExtraError, match=r"fanfold\[check\]"):
        check_template(FINE)


def lint(*templates: Path, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Run the real cfn-lint with fanfold's rules, once for all templates, since it takes a second to start."""
    program = str(Path(sys.executable).with_name("cfn-lint"))
    command = [program, *map(str, templates), "--append-rules", "fanfold.check.cfnlint"]
    done = subprocess.run(  # noqa: S603 - ourselves
        [*command, "--format", "json", *options], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.slow
def test_cfn_lint_finds_the_same_on_the_same_lines():
    """The ids have cfn-lint's form: E, W, or I, and 97 for fanfold."""
    templates = (WORST, WARNED, INFO)
    expected = sorted(
        (str(template), cfnlint_id(BY_ID[finding.rule]), finding.place.line)
        for template in templates
        for finding in check_template(template).findings
    )
    assert {template for template, _, _ in expected} == set(map(str, templates))
    actual = [
        (match["Filename"], match["Rule"]["Id"], match["Location"]["Start"]["LineNumber"])
        for match in lint(*templates, options=("--include-checks", "I"))
    ]
    assert sorted(match for match in actual if match[1][1:3] == "97") == expected


@pytest.mark.slow
def test_in_cfn_lint_good_and_malformed_templates_have_no_findings(tmp_path: Path):
    """cfn-lint's own rules report malformed templates; fanfold's rules do not raise an error."""
    malformed = tmp_path / "join.yaml"
    malformed.write_bytes(MALFORMED["join.yaml"][0])
    matches = lint(FINE, malformed, CORPUS / "good" / "the_template_ignores_a_rule.yaml")
    assert str(malformed) in {match["Filename"] for match in matches}
    ids = {match["Rule"]["Id"] for match in matches}
    assert not {rule for rule in ids if rule[1:3] == "97" or rule == "E0002"}


def test_the_rules_run_in_cfn_lints_python_interface():
    """``cfnlint.api.lint`` loads them too."""
    from cfnlint.api import lint as lint_text

    config = ManualArgs(append_rules=["fanfold.check.cfnlint"])
    ids = {match.rule.id for match in lint_text(WARNED.read_text(), config=config)}
    assert "W9708" in ids


def test_fanfolds_own_template_passes():
    """``template.yaml`` follows every rule."""
    report = check_template(ROOT / "template.yaml")
    assert report.findings == ()
    assert report.mappings >= 3
    assert decode(str(ROOT / "template.yaml"))[1] == []
