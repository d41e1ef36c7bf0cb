"""HTML pages from templates that lie beside the code; every value in them is escaped."""

from __future__ import annotations

from typing import Any

from fanfold.errors import MissingExtraError


def render(package: str, template: str, **values: Any) -> str:
    """Return a page. Text in it is shown as text, whatever it holds.

    Args:
        package: The package that holds the template, such as ``fanfold.bench``.
        template: Its file.
        values: Its variables.

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
    return pages.get_template(template).render(values)
