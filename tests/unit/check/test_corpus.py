"""``fanfold check`` on realistic templates: bad ones, the same ones fixed by a JSON patch, and good ones."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from cfnlint.decode import decode

from fanfold.check.rules import RULES
from fanfold.check.run import Report, check_template

CORPUS = Path(__file__).parents[2] / "check_corpus"
SIDECARS = (".fix.json", ".findings.json")
BAD = sorted(file for file in (CORPUS / "bad").iterdir() if not file.name.endswith(SIDECARS))
GOOD = sorted((CORPUS / "good").iterdir())
BY_NAME = {"ids": lambda template: template.name}


def expected(template: Path) -> list[tuple[int, str]]:
    """Return (line, rule) for each finding: from the comments, or for JSON from the sidecar file."""
    sidecar = template.with_suffix(".findings.json")
    if sidecar.exists():
        return sorted((line, rule) for line, rule in json.loads(sidecar.read_text()))
    lines = enumerate(template.read_text().splitlines(), 1)
    return sorted((number, rule) for number, line in lines for rule in re.findall(r"FF\d{3}", line.partition(" #")[2]))


def outage_of(template: Path) -> float | None:
    """Return the outage that a template has to survive: 15 minutes for those named ``outage_…``."""
    return 900 if template.name.startswith("outage_") else None


@cache
def report(template: Path) -> Report:
    """Return the report of a template. Several tests read it, and each template is checked once."""
    return check_template(template, outage_seconds=outage_of(template))


def fixed(template: Path) -> Any:
    """Return a template with the JSON patch of its sidecar file applied."""
    document, errors = decode(str(template))
    assert not errors
    patch = json.loads(template.with_suffix(".fix.json").read_text())
    return jsonpatch.apply_patch(json.loads(json.dumps(document)), patch)


@pytest.mark.parametrize("template", BAD, **BY_NAME)
def test_a_bad_template_gives_exactly_its_findings_on_their_lines(template: Path):
    """No more and no fewer."""
    actual = [(finding.place.line, finding.rule) for finding in report(template).findings]
    assert sorted(actual) == expected(template)
    assert actual


@pytest.mark.parametrize("template", BAD, **BY_NAME)
def test_a_fixed_template_passes(template: Path, tmp_path: Path):
    """A patch with the recommended changes removes every finding."""
    file = tmp_path / "fixed.json"
    file.write_text(json.dumps(fixed(template)))
    assert check_template(file, outage_seconds=outage_of(template)).findings == ()


def test_every_rule_has_a_bad_template():
    """Every rule is tested."""
    assert {rule for template in BAD for _, rule in expected(template)} == {rule.id for rule in RULES}


@pytest.mark.parametrize("template", GOOD, **BY_NAME)
def test_a_good_template_has_no_findings(template: Path):
    """Only the templates named ``unknown_…`` report unknown values."""
    assert report(template).findings == ()
    assert bool(report(template).not_known) is template.name.startswith("unknown_")


def test_the_corpus_is_large_enough():
    """It has at least 80 bad templates and 50 good ones."""
    assert len(BAD) >= 80
    assert len(GOOD) >= 50


@pytest.mark.parametrize("template", [*BAD[::8], *GOOD[::8]], **BY_NAME)
@pytest.mark.uncounted
def test_the_same_template_as_json_gives_the_same(template: Path, tmp_path: Path):
    """The format of the file does not matter."""
    document, _ = decode(str(template))
    file = tmp_path / "template.json"
    file.write_text(json.dumps(document))
    original, as_json = (
        (
            sorted((finding.rule, finding.resource, finding.actual) for finding in checked.findings),
            {(note.subject, note.why) for note in checked.not_known},
        )
        for checked in (report(template), report(file))
    )
    assert original == as_json
