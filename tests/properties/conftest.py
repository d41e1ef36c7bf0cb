"""Fixtures of all property-based tests."""

import csv
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def field_size_limit() -> Iterator[None]:
    """Set the default limit of the process for each test, and restore it."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)
