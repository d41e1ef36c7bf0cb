"""What every property-based test gets."""

import csv
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def field_size_limit() -> Iterator[None]:
    """The limit of the whole process, as each test finds it and leaves it."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)
