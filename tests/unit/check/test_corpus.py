"""``fanfold check`` on templates in the shapes that people write: bad ones, their mends, and good ones."""

import json
import re
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from cfnlint.decode import decode

from fanfold.check.rules import RULES
from fanfold.check.run import check_template

CORPUS = Path(__file__).parents[2] / "check_corpus"
SIDECARS = (".fix.json", ".findings.json")
BAD = sorted(each for each in (CORPUS / "bad").iterdir() if not each.name.endswith(SIDECARS))
GOOD = sorted((CORPUS / "good").iterdir())
BY_NAME = {"ids": lambda template: template.name}


def expected(template: Path) -> list[tuple[int, str]]:
    """Return (line, rule) for each finding: from the comments, or for JSON from the file beside it."""
    beside = template.with_suffix(".findings.json")
    if beside.exists():
        return sorted((line, rule) for line, rule in json.loads(beside.read_text()))
    lines = enumerate(template.read_text().splitlines(), 1)
    return sorted((number, rule) for number, line in lines for rule in re.findall(r"FF\d{3}", line.partition(" #")[2]))


def mended(template: Path) -> Any:
    """Return a template with the JSON patch beside it applied."""
    document, errors = decode(str(template))
    assert not errors
    patch = json.loads(template.with_suffix(".fix.json").read_text())
    return jsonpatch.apply_patch(json.loads(json.dumps(document)), patch)


@pytest.mark.parametrize("template", BAD, **BY_NAME)
def test_a_bad_template_gives_exactly_its_findings_where_they_are_said(template: Path):
    """No finding more, none less, each on its line."""
    found = [(finding.place.line, finding.rule) for finding in check_template(template).findings]
    assert sorted(found) == expected(template)
    assert found


@pytest.mark.parametrize("template", BAD, **BY_NAME)
def test_a_mended_template_passes(template: Path, tmp_path: Path):
    """What a rule says should be done, done by a patch, leaves nothing to find."""
    file = tmp_path / "mended.json"
    file.write_text(json.dumps(mended(template)))
    assert check_template(file).findings == ()


def test_every_rule_has_a_bad_template():
    """None of them is there for nothing."""
    assert {rule for template in BAD for _, rule in expected(template)} == {rule.id for rule in RULES}


@pytest.mark.parametrize("template", GOOD, **BY_NAME)
def test_a_good_template_raises_no_alarm(template: Path):
    """Nothing is found; what cannot be known is said, and only where there is something."""
    report = check_template(template)
    assert report.findings == ()
    assert bool(report.not_known) is template.name.startswith("unknown_")


def test_the_corpus_is_large_enough():
    """At least 25 bad templates and 25 good ones."""
    assert len(BAD) >= 25
    assert len(GOOD) >= 25


@pytest.mark.parametrize("template", [*BAD, *GOOD], **BY_NAME)
def test_the_same_template_as_json_gives_the_same(template: Path, tmp_path: Path):
    """The form of the file does not matter."""
    document, _ = decode(str(template))
    file = tmp_path / "template.json"
    file.write_text(json.dumps(document))
    one, other = check_template(template), check_template(file)
    assert sorted((each.rule, each.resource, each.actual) for each in one.findings) == sorted(
        (each.rule, each.resource, each.actual) for each in other.findings
    )
    assert {(each.subject, each.why) for each in one.not_known} == {
        (each.subject, each.why) for each in other.not_known
    }
