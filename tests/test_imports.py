"""Import costs, measured by the modules that an import loads."""

import pytest

from command import python

HEAVY = (
    "aiobotocore",
    "argparse",
    "asyncio",
    "boto3",
    "botocore",
    "pydantic",
    "aws_lambda_powertools",
    "typer",
    "rich",
)


RUN_A_COMMAND = "import sys; from fanfold.__main__ import main; sys.argv = ['fanfold', 'check', 'x.yaml']; main()"

OPEN_BACKEND = """
import anyio, fanfold
async def main():
    async with fanfold.Job('job').open_backend():
        pass
anyio.run(main)
"""

WRITE_SHEET = """
from fanfold import folds
folds.to_excel()([])
"""


def loaded_after(statement: str) -> set[str]:
    done = python(f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))")
    assert not done.stderr
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_an_event_loop_nor_an_sdk():
    """A cold start loads only modules that it uses."""
    assert not loaded_after("import fanfold") & set(HEAVY)


def test_declaring_a_consumer_loads_no_sdk():
    """A consumer needs only anyio and the standard library."""
    statement = "import fanfold; fanfold.consumer(lambda body: None)"
    assert not loaded_after(statement) & (set(HEAVY) - {"asyncio"})


def test_declaring_a_consumer_loads_few_modules():
    """Every module adds to the cold start."""
    loaded = loaded_after("import fanfold; fanfold.consumer(lambda body: None)")
    assert len([name for name in loaded if name.partition(".")[0] == "fanfold"]) <= 37


def test_declaring_a_consumer_generates_no_methods():
    """Dataclasses compile their methods when they are defined, which takes longer than the rest of a module."""
    assert "dataclasses" not in loaded_after("import fanfold; fanfold.consumer(lambda body: None)")


def test_declaring_a_job_loads_no_sdk():
    """A job's module can be imported without the AWS extra."""
    statement = "import fanfold; fanfold.Job('job'); fanfold.S3Lines('bucket', 'key.csv')"
    assert not loaded_after(statement) & (set(HEAVY) - {"asyncio"})


def test_the_command_line_needs_only_its_extra():
    """``fanfold[cli]`` and ``fanfold[bench]`` install no SDK; commands import other extras when they need them."""
    other_extras = {"aiobotocore", "boto3", "botocore", "yaml", "samtranslator", "cfnlint", "matplotlib", "xlsxwriter"}
    assert not loaded_after("import fanfold.cli.app") & other_extras


def test_declaring_a_consumer_starts_nothing():
    """Before the first invocation, there is no event loop, thread, or connection, so SnapStart and forks are safe."""
    program = (
        "import threading, fanfold; handler = fanfold.consumer(lambda body: None); print(threading.active_count())"
    )
    assert python(program).stdout.strip() == "1"


@pytest.mark.parametrize(
    ("module", "extra", "statement"),
    [
        ("aiobotocore", "aws", OPEN_BACKEND),
        ("ministack", "local", "from fanfold._stack.emulator import local_stack\nwith local_stack(): pass"),
        ("typer", "cli", RUN_A_COMMAND),
        ("rich", "cli", RUN_A_COMMAND),
        ("xlsxwriter", "excel", WRITE_SHEET),
        ("aws_lambda_powertools", "powertools", "import fanfold.powertools"),
        ("jinja2", "cli", "from fanfold._base.html import render; render('fanfold.bench', 'page.html')"),
        ("opentelemetry", "otel", "import fanfold.otel"),
        (
            "aws_lambda_powertools",
            "powertools",
            "from fanfold.powertools.observers import BatchMetrics; BatchMetrics(1)",
        ),
    ],
)
def test_a_missing_extra_fails_at_use_and_names_the_install_command(module: str, extra: str, statement: str):
    """The import of ``fanfold`` itself never fails because of a missing extra."""
    blocked = (
        "import sys, importlib.abc, importlib.util\n"
        "class Blocker(importlib.abc.MetaPathFinder):\n"
        " def find_spec(self, name, path=None, target=None):\n"
        f"  if name.split('.')[0] == {module!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {module!r} else find(name, *rest)\n"
    )
    assert f"pip install 'fanfold[{extra}]'" in python(blocked + statement).stderr.splitlines()[-1]
