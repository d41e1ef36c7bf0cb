"""A folder of a user on Windows or macOS, and an interpreter that lacks what Python lacks there."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import run

PLATFORMS = {"win32": ["windows"], "darwin": ["macos"]}.get(sys.platform, ["windows", "macos"])
"""If the tests run on one of the two platforms, nothing needs to be removed."""
_REMOVES = sys.platform not in {"win32", "darwin"}
_REMOVAL = Path(__file__).parent / "other_platforms"
_APP = """
    import os, socket, subprocess, sys, time
    from pathlib import Path

    import fanfold
    from fanfold import folds

    @fanfold.consumer(concurrency=3)
    async def handler(order: dict) -> None:
        print("order", order["number"], "\\u2192 shipped")
        if order.get("do") == "fail":
            raise ValueError(f"\\u2192 order {order['number']}")

    def hangs(event, context):
        with socket.create_server(("127.0.0.1", 0)) as server:
            Path("port").write_text(str(server.getsockname()[1]), encoding="ascii")
            time.sleep(600)

    def starts_another(event, context):
        subprocess.run([sys.executable, "-c", "print('printed by another')"], check=True)

    def leaves(event, context):
        os._exit(3)

    job = fanfold.Job("numbers", concurrency=2)

    @job.source
    def numbers(params):
        return fanfold.Ranges(params.get("count", 40), size=10)

    @job.segment
    async def keep(rows, ctx):
        if str(ctx.segment.number) == os.environ.get("BAD"):
            raise ValueError("\\u2192 not this one")
        return [{"number": number} async for number in rows]

    job.fold(folds.to_json_lines("numbers.jsonl"))
"""


@dataclass(frozen=True)
class Platform:
    """One of the two platforms, and a folder there."""

    name: str
    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "app.py").write_text(textwrap.dedent(_APP), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of its processes."""
        removal = {
            "OTHER_PLATFORM": self.name,
            "PYTHONPATH": os.pathsep.join([str(_REMOVAL), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONWARNDEFAULTENCODING": "1",
        }
        windows = {"PYTHONIOENCODING": "cp1252"}
        return {
            **os.environ,
            "AWS_DEFAULT_REGION": "eu-west-1",
            **(removal if _REMOVES else {}),
            **(windows if self.name == "windows" else {}),
        }

    def runs(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program, and decode its output by the encoding of the platform."""
        more = {"timeout": 120, "encoding": "cp1252" if self.name == "windows" else "utf-8"}
        return run(*command, folder=self.folder, env={**self.environment, **variables}, **more)

    def fanfold(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of fanfold."""
        return self.runs(sys.executable, "-m", "fanfold", *arguments, **variables)

    def python(self, program: str) -> Any:
        """Run a program; return its output, parsed as JSON, and its log."""
        done = self.runs(sys.executable, "-c", textwrap.dedent(program))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr
