"""Every module has a rank and imports only from lower ranks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fanfold"

RANKS = {
    # values, and what decides on them alone
    "value": -1, "builders": 0, "errors": 0, "limits": 0, "deadline": 0, "threads": 0, "memory_guard": 0, "capacity": 0,
    "record": 1, "run": 1, "storage": 1, "segment": 1, "bundle": 2, "sources.lines": 1, "backoff": 1, "pace": 1,
    "again": 1, "pool": 1, "sources.json_rows": 1, "stacks": 1,
    "outcome": 2, "completion": 2, "context": 2, "failures": 2, "protocols": 2, "decode": 2, "dead_letter": 2,
    "response": 3, "ordering": 3, "endings": 3,
    "nested": 1, "pointers": 3,
    # doing
    "payloads": 5, "tracing": 5, "in_time": 6, "powertools": 7,
    "enqueue": 3, "runtime": 3, "inmemory_store": 3, "inmemory_tables": 3, "inmemory": 4, "sources": 3, "settle": 3,
    "results": 3, "ended": 3, "binding": 4, "continuation": 4, "settings": 4,
    "sources.compression": 1, "sources.rows": 1, "sources.manifest": 4, "sources.line_object": 4,
    "sources.dynamodb_scan": 4, "sources.items": 4, "sources.ranges": 4, "sources.s3_select": 4,
    "sources.s3_lines": 5, "sources.s3_objects": 5, "sources.s3_json_array": 5,
    "marks": 5, "engine": 5, "sandbox": 5, "segments": 5, "scatter": 6, "fold": 7,
    "sinks": 5, "sinks.objects": 4, "sinks.item_sizes": 1, "sinks.batch_writer": 4,
    "consume": 6, "dead_letters": 6, "account": 8, "dry_run": 5,
    # adapters: the only ones that import an SDK
    "aws": 3, "aws.faults": 3, "aws.sqs": 4, "aws.s3": 4, "aws.dynamodb": 4, "aws.settler": 4, "aws.tables": 4,
    "aws.backend": 5, "aws.inbox": 5, "aws.writer": 4,
    # what ties all together
    "job": 8, "testing": 8, "capture": 4, "holding": 5, "worker": 7,
    # on this machine: the mapping as decisions, and what runs on it
    "local": 3, "local.mapping": 3, "local.queue": 3, "local.timeline": 3, "local.endpoint": 4, "local.events": 4,
    "local.function": 4, "local.page": 4, "local.template": 4, "local.poller": 6,
    "local.runtime_client": 5, "local.simulator": 7, "local.child": 8, "local.replay": 9,
    "local.stack": 8, "local.deploy": 8, "local.demo": 9,
    "project": 1, "init": 2,
    "cli.load": 8, "cli.sheet": 8, "cli.show": 9, "cli.capture": 10, "cli.demo": 10, "cli.init": 10, "cli.replay": 10,
    "cli.replay_show": 9, "cli.run": 10, "cli.run_plan": 9, "cli.worker": 10, "cli.app": 11, "cli": 12,
    "__main__": 13, "": 13,
}  # fmt: skip

SDKS = {"aiobotocore", "boto3", "botocore"}


def modules() -> dict[str, Path]:
    found = {}
    for file in sorted(SOURCE.rglob("*.py")):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        if "templates" in parts:
            continue  # of new projects
        found[".".join(part for part in parts if part != "__init__")] = file
    return found


def imports_of(file: Path) -> set[str]:
    """Return every module a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_every_module_has_a_rank():
    """A new module is given its place in the table."""
    assert set(modules()) == set(RANKS)


@pytest.mark.parametrize("module", sorted(RANKS))
def test_a_module_imports_only_from_lower_ranks(module: str):
    """Data flows one way, and so do imports."""
    ours = {name.removeprefix("fanfold.") for name in imports_of(modules()[module]) if name.startswith("fanfold.")}
    wrong = {name for name in ours & set(RANKS) if RANKS[name] >= RANKS[module]}
    assert not wrong


@pytest.mark.parametrize("module", sorted(name for name in RANKS if not name.startswith(("aws", "local"))))
def test_only_the_adapters_import_an_sdk(module: str):
    """The engine knows nothing of AWS."""
    assert not {name.split(".")[0] for name in imports_of(modules()[module])} & SDKS


@pytest.mark.parametrize("module", sorted(RANKS))
def test_a_module_is_read_in_one_sitting(module: str):
    """No module has more than 400 lines."""
    assert len(modules()[module].read_text().splitlines()) <= 400
