"""Read a template file with cfn-lint: resources with ``Globals`` merged in, and the place of every key.

cfn-lint decodes the file, resolves YAML tags and aliases, expands ``AWS::LanguageExtensions``, and records lines and
columns. This module translates its errors to fanfold's.
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
    """The content of a template file, without its malformed parts."""

    name: str
    """The path of the file, as the caller wrote it."""
    source: Any
    """cfn-lint's template object, which has the line numbers."""
    resources: Mapping[str, Mapping[str, Any]]
    """Resources by logical id, without those that are not objects."""
    macros: tuple[str, ...]
    """Macros of the whole template; they may change anything at deployment."""

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the template, such as ``Parameters``; empty if there is none."""
        section = self.source.template.get(name)
        return section if isinstance(section, Mapping) else {}

    def place(self, path: Sequence[str | int]) -> Place:
        """Return the place of a path in the file; if it is missing, the place of its nearest parent."""
        try:
            location = self.source.get_location_yaml(self.source.template, list(path))
        except Exception:  # noqa: BLE001 - a missing line number must not fail the check
            location = None
        first, column, last, end = location or (0, 0, 0, 0)
        return Place(tuple(path), first + 1, column + 1, last + 1, end + 1)


def read_template(file: Path) -> Template:
    """Read a template file, JSON or YAML.

    Raises:
        ConfigurationError: If the file cannot be read, or is not a template.
        MissingExtraError: If cfn-lint is not installed.
    """
    try:
        from cfnlint.decode import decode
        from cfnlint.template import Template as Source
    except ModuleNotFoundError as error:
        raise MissingExtraError("check", "reading a template") from error
    _check_text(file)
    with _errors_of(file):
        decoded, matches = decode(str(file))
    if matches:
        first = matches[0]
        raise ConfigurationError(f"{file}:{first.linenumber} cannot be read as YAML or JSON: {first.message}")
    if not isinstance(decoded, dict) or not isinstance(decoded.get("Resources"), dict):
        raise ConfigurationError(f"{file} has no Resources: is it a SAM or CloudFormation template?")
    for section in [name for name, content in decoded.items() if content is None]:
        del decoded[section]  # CloudFormation accepts empty sections, such as "Parameters:"
    if "Transform" not in decoded and any(_is_sam(resource) for resource in decoded["Resources"].values()):
        decoded["Transform"] = _SAM  # a fragment of a template: merge its Globals too
    with _errors_of(file):
        source = Source(str(file), decoded)
        matches = source.transform()
    if matches:
        raise ConfigurationError(f"{file}:{matches[0].linenumber} cannot be transformed: {matches[0].message}")
    return template_of(source)


@contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    """Turn every cfn-lint error into a one-line ``ConfigurationError``, and silence its log messages."""
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
    """Return a template that cfn-lint has read and transformed."""
    content = source.template if isinstance(source.template, Mapping) else {}
    resources = content.get("Resources")
    well_formed = {
        str(name): resource
        for name, resource in (resources.items() if isinstance(resources, Mapping) else ())
        if isinstance(resource, Mapping) and isinstance(resource.get("Type"), str)
    }
    transforms = content.get("Transform") or []
    macros = [
        str(transform.get("Name", transform)) if isinstance(transform, Mapping) else str(transform)
        for transform in (transforms if isinstance(transforms, list) else [transforms])
    ]
    if isinstance(resources, Mapping) and "Fn::Transform" in resources:
        macros.append("Fn::Transform in Resources")
    return Template(
        name=str(source.filename or "template"),
        source=source,
        resources=well_formed,
        macros=tuple(name for name in macros if name not in _KNOWN_TRANSFORMS),
    )


def _is_sam(resource: Any) -> bool:
    return isinstance(resource, Mapping) and str(resource.get("Type")).startswith("AWS::Serverless::")


def _check_text(file: Path) -> None:
    """Raise if the file has no UTF-8 text: cfn-lint would print long messages, or wait for a terminal."""
    if file.is_dir():
        raise ConfigurationError(f"{file} is a directory, not a template")
    try:
        content = file.read_bytes()
        content.decode()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text: byte {error.start} cannot be decoded") from error
    if not content:
        raise ConfigurationError(f"{file} is empty")
