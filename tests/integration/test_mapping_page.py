"""The page of what becomes of a batch."""

import sys
from pathlib import Path

from command import succeeds


def test_the_page_of_what_becomes_of_a_batch_is_up_to_date():
    """Made again, by the script it names, it is the same."""
    succeeds(sys.executable, "benchmarks/mapping_page.py", "--check", folder=Path(__file__).parents[2])
