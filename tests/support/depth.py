"""Sizes of slow tests: ``make deep`` runs them in full, ``make test`` on a part."""

from hypothesis import settings


def by_depth(quick: int, deep: int) -> int:
    """Return a size for ``make test``, or one for ``make deep``."""
    return deep if settings.default.max_examples == settings.get_profile("deep").max_examples else quick
