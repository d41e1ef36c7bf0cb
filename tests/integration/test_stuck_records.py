"""A record that holds the interpreter lock for ever, among nine others, replayed as from a queue."""

import json
from pathlib import Path

import command
from fanfold.testing import make_event

HANDLER = """
import re
import fanfold

@fanfold.consumer(processes=2)
def handler(body: dict) -> None:
    if body["text"]:
        re.match("(a+)+$", body["text"])
"""


def test_a_record_that_never_ends_becomes_a_dead_letter_and_the_others_are_deleted_at_their_first_delivery(
    tmp_path: Path,
):
    """Each of its three deliveries ends at the deadline of the invocation."""
    # Slow: the deliveries end at the function's timeout, in real time.
    (tmp_path / "stuck.py").write_text(HANDLER)
    bodies = [{"text": "a" * 60 + "b" if number == 4 else ""} for number in range(10)]
    (tmp_path / "stuck.json").write_text(json.dumps(make_event(*bodies)))
    arguments = ["--handler", "stuck:handler", "--timeout", "2", "--max-receive-count", "3", "--json"]
    replayed = json.loads(command.fanfold("replay", "stuck.json", *arguments, folder=tmp_path).stdout)
    assert replayed["summary"]["dead_lettered"] == 1
    ends = {message["number"]: (message["end"], message["receives"]) for message in replayed["messages"]}
    assert {number for number, end in ends.items() if end == ("deleted", 1)} == set(range(10)) - {4}
