"""A template file as cfn-lint reads it: resources with Globals merged in, and the place of every key.

cfn-lint decodes the file, resolves YAML's tags and aliases, expands ``AWS::LanguageExtensions`` and knows lines and
columns. Its errors stop here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fanfold.check.values import Place
from fanfold.errors import ConfigurationError, MissingExtraError

_SAM: Final = "AWS::Serverless-2016-10-31"
_KNOWN_TRANSFORMS: Final = {_SAM, "AWS::LanguageExtensions", "AWS::CodeDeployBlueGreen"}


@dataclass(frozen=True)
class Template:
    """A template that has been read; whatever is malformed in it is left out."""

    name: str
    """The file, as it was given."""
    source: Any
    """cfn-lint's own template, which knows the lines."""
    resources: Mapping[str, Mapping[str, Any]]
    """Resources by logical id; those that are no objects are left out."""
    macros: tuple[str, ...]
    """Macros of the whole template, which may change anything at deployment."""

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the template, such as ``Parameters``; empty if there is none."""
        found = self.source.template.get(name)
        return found if isinstance(found, Mapping) else {}

    def place(self, path: Sequence[str | int]) -> Place:
        """Return where a path is said; where its nearest parent is, if it is not there."""
        try:
            found = self.source.get_location_yaml(self.source.template, list(path))
        except Exception:  # noqa: BLE001 - a line number is no reason to fail
            found = None
        first, column, last, end = found or (0, 0, 0, 0)
        return Place(tuple(path), first + 1, column + 1, last + 1, end + 1)


def read_template(file: Path) -> Template:
    """Read a template file, JSON or YAML.

    Raises:
        ConfigurationError: If it cannot be read, or is no template.
        MissingExtraError: If cfn-lint is not installed.
    """
    try:
        from cfnlint.decode import decode
        from cfnlint.template import Template as Source
    except ModuleNotFoundError as error:
        raise MissingExtraError("check", "reading a template") from error
    _look_at(file)
    with _errors_of(file):
        decoded, matches = decode(str(file))
    if matches:
        first = matches[0]
        raise ConfigurationError(f"{file}:{first.linenumber} cannot be read as YAML or JSON: {first.message}")
    if not isinstance(decoded, dict) or not isinstance(decoded.get("Resources"), dict):
        raise ConfigurationError(f"{file} has no Resources: is it a SAM or CloudFormation template?")
    for section in [name for name, content in decoded.items() if content is None]:
        del decoded[section]  # such as "Parameters:" with nothing below, which CloudFormation takes
    if "Transform" not in decoded and any(_is_sam(each) for each in decoded["Resources"].values()):
        decoded["Transform"] = _SAM  # a part of a template: its Globals count all the same
    with _errors_of(file):
        source = Source(str(file), decoded)
        matches = source.transform()
    if matches:
        raise ConfigurationError(f"{file}:{matches[0].linenumber} cannot be transformed: {matches[0].message}")
    return template_of(source)


@contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    """Turn cfn-lint's errors, of whatever kind, into one line, and keep it from logging what it returns."""
    log = logging.getLogger("cfnlint")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except RecursionError as error:
        raise ConfigurationError(f"{file} is nested too deeply") from error
    except Exception as error:
        raise ConfigurationError(f"{file} cannot be read as a template: {error!r}") from error
    finally:
        log.setLevel(level)


def template_of(source: Any) -> Template:
    """Return what cfn-lint has read and transformed as a template of ours."""
    content = source.template if isinstance(source.template, Mapping) else {}
    resources = content.get("Resources")
    kept = {
        str(name): each
        for name, each in (resources.items() if isinstance(resources, Mapping) else ())
        if isinstance(each, Mapping) and isinstance(each.get("Type"), str)
    }
    transforms = content.get("Transform") or []
    names = transforms if isinstance(transforms, list) else [transforms]
    macros = [str(each.get("Name", each)) if isinstance(each, Mapping) else str(each) for each in names]
    if isinstance(resources, Mapping) and "Fn::Transform" in resources:
        macros.append("in Resources (Fn::Transform)")
    return Template(
        name=str(source.filename or "template"),
        source=source,
        resources=kept,
        macros=tuple(name for name in macros if name not in _KNOWN_TRANSFORMS),
    )


def _is_sam(resource: Any) -> bool:
    return isinstance(resource, Mapping) and str(resource.get("Type")).startswith("AWS::Serverless::")


def _look_at(file: Path) -> None:
    """Raise if there is no text to read: cfn-lint's decoder would say so at length, or wait for a terminal."""
    if file.is_dir():
        raise ConfigurationError(f"{file} is a directory, not a template")
    try:
        content = file.read_bytes()
        content.decode()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is no UTF-8 text") from error
    if not content:
        raise ConfigurationError(f"{file} is empty")
