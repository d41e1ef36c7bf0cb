"""Writes a page for each rule of ``fanfold check``, from the table of rules, into docs/check.

::

    python docs/rule_pages.py
"""

from __future__ import annotations

from pathlib import Path

from fanfold.check.pages import index, page
from fanfold.check.rules import RULES

folder = Path(__file__).parent / "check"
folder.mkdir(exist_ok=True)
(folder / "README.md").write_text(index(), encoding="utf-8")
for rule in RULES:
    (folder / f"{rule.id}.md").write_text(page(rule), encoding="utf-8")
