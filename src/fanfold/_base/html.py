"""HTML pages, rendered from templates in the packages; all values are escaped."""

from __future__ import annotations

from typing import Any

from fanfold.errors import MissingExtraError


def render(package: str, template: str, **values: Any) -> str:
    """Return a page; values are escaped, also half of a surrogate pair, which UTF-8 cannot encode.

    Args:
        package: The package that contains the template, such as ``fanfold.bench``.
        template: The file name of the template.
        values: The variables of the template.

    Raises:
        MissingExtraError: If jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingExtraError("cli", "an HTML page") from error
    pages = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template(template).render(values).encode(errors="backslashreplace").decode()
