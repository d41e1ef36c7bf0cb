"""The options of ``fanfold redrive``: for a run, and for the messages of a dead-letter queue."""

import pytest
from typer.testing import CliRunner

from fanfold.cli.app import app


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("", "specify either RUN, or --from QUEUE for the messages of a dead-letter queue"),
        ("r-1 --from dead", "specify either RUN, or --from QUEUE for the messages of a dead-letter queue"),
        ("r-1 --to orders", "--to needs --from QUEUE"),
        ("r-1 --rate 5 --where x", "--rate needs --from QUEUE"),
        ("--from dead --no-watch", "--watch needs a RUN"),
        ("--from dead --within 5", "--within needs a RUN"),
        ("r-1 --only a", "--only 'a' is not a list of segments such as 3,17,20-25"),
        ("--from dead --rate 0", "--rate must be a number of at least 0.1, not '0'. Run `fanfold redrive --help` for"),
    ],
)
def test_options_that_do_not_go_together_are_one_clear_line(line: str, error: str):
    """With exit code 2, before anything is read."""
    done = CliRunner().invoke(app, ["redrive", *line.split()])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"fanfold: {error}")
