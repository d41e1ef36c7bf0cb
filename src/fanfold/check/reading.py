"""Read a template file with cfn-lint: resources with ``Globals`` merged in, and the place of every key.

cfn-lint decodes the file, resolves YAML tags and aliases, expands the loops of ``AWS::LanguageExtensions``, and records
lines and columns. This module translates its errors to fanfold's. A loop that cannot be expanded is left out and named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fanfold.check.bounds import check_bounds
from fanfold.check.loops import remove_loops, set_defaults
from fanfold.check.terraform import is_plan, template_of_plan
from fanfold.check.values import NotKnown, Place
from fanfold.errors import ConfigurationError, MissingExtraError

_SAM: Final = "AWS::Serverless-2016-10-31"
_EXTENSIONS: Final = "AWS::LanguageExtensions"
_KNOWN_TRANSFORMS: Final = {_SAM, _EXTENSIONS, "AWS::CodeDeployBlueGreen"}


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
    notes: tuple[NotKnown, ...] = ()
    """Loops that could not be expanded."""

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


def read_template(file: Path, parameters: Mapping[str, str] | None = None) -> Template:
    """Read a template file, JSON or YAML, or the JSON form of a Terraform plan.

    Args:
        file: The template.
        parameters: Values of parameters, for the loops over them; the others have their defaults.

    Raises:
        ConfigurationError: If the file cannot be read, or is not a template.
        MissingExtraError: If cfn-lint is not installed.
    """
    try:
        from cfnlint.decode import decode
        from cfnlint.template import Template as Source
    except ModuleNotFoundError as error:
        raise MissingExtraError("check", "reading a template") from error
    decoded = _decoded(file, decode)
    set_defaults(decoded, parameters or {})
    with _errors_of(file):
        removed = list(remove_loops(str(file), decoded))
        source = Source(str(file), decoded)
        matches = source.transform()
    if matches:
        raise ConfigurationError(f"{file}:{matches[0].linenumber} cannot be transformed: {matches[0].message}")
    template = template_of(source)
    notes = tuple(NotKnown(f"the content of {path[-1]}", why, template.place(path)) for path, why in removed)
    return replace(template, notes=notes)


def _decoded(file: Path, decode: Callable[[str], Any]) -> dict[str, Any]:
    """Return the content of a file with ``Resources``, with SAM's transform if they need it."""
    _check_text(file)
    with _errors_of(file):
        decoded, matches = decode(str(file))
    if matches:
        first = matches[0]
        raise ConfigurationError(f"{file}:{first.linenumber} cannot be read as YAML or JSON: {first.message}")
    if is_plan(decoded):
        decoded = template_of_plan(decoded)
    if not isinstance(decoded, dict) or not isinstance(decoded.get("Resources"), dict):
        raise ConfigurationError(f"{file} has no Resources: is it a SAM or CloudFormation template?")
    _check_names(file, decoded)
    for section in [name for name, content in decoded.items() if content is None]:
        del decoded[section]  # CloudFormation accepts empty sections, such as "Parameters:"
    if any(_is_sam(resource) for resource in decoded["Resources"].values()):
        decoded["Transform"] = _with_sam(decoded.get("Transform"))
    return decoded


def _check_names(file: Path, decoded: Mapping[str, Any]) -> None:
    """Raise if a name in a section is not a string: YAML reads ``Off`` and ``1`` as other values."""
    for section, content in decoded.items():
        for name in content if isinstance(content, Mapping) else ():
            if not isinstance(name, str):
                raise ConfigurationError(f"{file}: {name} in {section} is not a string: put the name in quotes")


def _with_sam(transforms: Any) -> list[Any]:
    """Return the transforms of a template with resources of SAM, and SAM's, which merges its Globals.

    A fragment of a template has no transform, and a macro may add SAM's at deployment.
    """
    names = transforms if isinstance(transforms, list) else [transforms] if transforms else []
    return names if _SAM in names else [*names, _SAM]


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
    """Raise if cfn-lint would crash, print long messages, or wait for a terminal: not UTF-8, or nested too deeply."""
    if file.is_dir():
        raise ConfigurationError(
            f"{file} is a directory without templates of the AWS CDK (*.template.json): name the template files"
        )
    try:
        content = file.read_bytes()
        text = content.decode()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8 text: byte {error.start} cannot be decoded") from error
    if not content:
        raise ConfigurationError(f"{file} is empty")
    check_bounds(file, text)
