# ruff: noqa: E501 - the table goes when the packages are in place
"""Every module has a rank and imports only from lower ranks."""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "fanfold"

RANKS = {
    "_base": -2, "_stack": -2, "_replay": -2, "_worker": -2, "_jobs": -2, "_consumer": -2, "_folds": -2, "_ports": -2,
    # values, and what decides on them alone
    "_base.frozen": -1, "_base.sample_events": 0, "errors": 0, "_base.aws_limits": 0, "_base.deadline": 0, "_base.threads": 0, "_consumer.memory_guard": 0, "_consumer.process_limits": 0,
    "_base.record": 1, "_ports.run": 1, "_ports.stores": 1, "_jobs.segment": 1, "_jobs.bundle": 2, "sources.lines": 1, "_base.backoff": 1, "_consumer.admission": 1,
    "_base.retry": 1, "_base.concurrency": 1, "sources.json_rows": 1, "_consumer.blocked_loop": 1,
    "_base.outcome": 2, "_jobs.tally": 2, "_base.context": 2, "_consumer.failure_log": 2, "_ports.backend": 2, "_consumer.decode": 2, "_base.dead_letter": 2,
    "_base.response": 3, "_base.ordering": 3, "_consumer.classify": 3,
    "_consumer.event_data_classes": 1, "_ports.payload_pointers": 3.5,
    "_base.callables": 0, "_jobs.functions": 1, "_ports.idempotency": 0.5, "idempotency": 3, "inmemory.entries": 3, "aws.entries": 4, "_consumer.idempotent_calls": 5,
    # what is told of it
    "_base.log_context": 0, "observers": 3, "_consumer.notify_observers": 5, "logs": 4, "powertools.observers": 4, "otel": 4,
    # doing
    "payloads": 5, "_consumer.xray": 5, "powertools._processors": 6, "powertools": 9,
    "_ports.enqueue": 3, "_consumer.loop_thread": 3, "inmemory.store": 3, "inmemory.tables": 3, "inmemory": 4, "sources": 3, "_consumer.settle": 3,
    "_jobs.generations": 3, "_jobs.notify": 3, "_jobs.results": 4, "_jobs.segment_result": 3, "_consumer.binding": 4, "_jobs.continuation": 4, "_consumer.settings": 4,
    "sources.compression": 1, "sources.rows": 1, "sources.manifest": 4, "sources.line_object": 4,
    "sources.dynamodb_scan": 4, "sources.items": 4, "sources.ranges": 4, "sources.s3_select": 4,
    "sources.s3_lines": 5, "sources.s3_objects": 5, "sources.s3_json_array": 5,
    "_folds.output_file": 1, "_folds.sums": 1, "_folds.row_files": 2, "_jobs.output": 5, "folds": 4, "_jobs.inline_database": 5, "_jobs.inline": 10,
    "_jobs.combine": 6, "_jobs.run_request": 2, "_jobs.commit": 5, "_consumer.batch": 5, "_consumer.environment": 5, "_jobs.segment_handler": 5, "_jobs.scatter": 6, "_jobs.fold_handler": 7,
    "sinks": 5, "sinks.objects": 4, "sinks.item_sizes": 1, "sinks.batch_writer": 4,
    "_consumer.consumer": 6, "_jobs.dead_letter_handler": 6, "_jobs.step_functions": 8, "_jobs.report": 8, "_jobs.redrive": 7, "_jobs.dry_run": 5,
    # adapters: the only ones that import an SDK
    "aws": 3, "aws.faults": 3, "aws.sqs": 4, "aws.s3": 4, "aws.dynamodb": 4, "aws.settler": 4, "aws.tables": 4,
    "aws.clients": 3.5, "aws.executions": 4, "aws.outputs": 4, "aws.ledger_items": 3, "aws.notifier": 4,
    "aws.backend": 5, "aws.inbox": 5, "aws.writer": 4,
    # what ties all together
    "_base.import_string": 1, "_jobs.job": 9, "testing": 8, "capture": 4, "_worker.heartbeat": 5, "_worker.worker": 7,
    # on this machine: the mapping as decisions, and what runs on it
    "_replay.mapping": 3, "_replay.queue": 3, "_replay.timeline": 3, "_replay.endpoint": 4, "_replay.events": 4,
    "_replay.function": 4, "_replay.page": 4, "_replay.template": 4, "_replay.poller": 6,
    "_replay.runtime_client": 5, "_replay.simulator": 7, "_replay.child": 8, "_replay.replay": 9,
    "_stack.emulator": 8, "_stack.deploy": 8, "_stack.job": 9, "_stack.demo": 9,
    "_stack.project": 1, "init": 2,
    # concurrency against memory: values, decisions on them, measuring, showing
    "bench": 3, "bench.quotas": 3, "bench.prices": 4, "bench.cells": 5, "bench.decide": 6, "bench.search": 7,
    "bench.estimate": 6, "bench.simulated": 8, "bench.batches": 5, "bench.groups": 4, "bench.measure": 6,
    "bench.made_up": 9, "bench.downstream": 4, "aws.report": 3, "aws.functions": 4, "bench.deployed": 6,
    "bench.sweep": 8, "bench.result": 9, "bench.words": 10, "bench.compare": 10, "bench.sheet": 10, "bench.maps": 11,
    "bench.accepting": 5, "bench.plot": 12, "bench.page": 12,
    "cli.bench_plan": 10, "cli.bench_files": 13, "cli.bench_show": 13, "cli.bench_estimate": 11, "cli.bench": 14,
    # a template's settings: values, what they are worked out from, the rules over them
    "check": 0, "check.values": 0, "check.intrinsics": 1, "check.permissions": 1, "check.reading": 1, "check.sam": 1,
    "check.words": 1, "check.on_mappings": 2, "check.on_queues": 2, "check.on_functions": 2, "check.properties": 2,
    "check.roles": 3, "check.rules": 3, "check.resources": 3, "check.queues": 4, "check.pages": 4, "check.functions": 5,
    "check.model": 6, "check.run": 7, "check.cfnlint": 8, "check.report": 8,
    "cli.check": 10, "cli.check_show": 9,
    "cli.given": 8, "cli.sheet": 8, "cli.show": 9, "cli.capture": 10, "cli.demo": 10, "cli.env": 10, "cli.init": 10,
    "cli.replay": 10, "cli.replay_show": 9, "cli.run": 12, "cli.run_machine": 10, "cli.run_plan": 10,
    "cli.run_inline": 11, "cli.local": 10, "cli.status": 10,
    "cli.worker": 10,
    "cli.app": 15, "cli": 16,
    "__main__": 17, "": 17,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("parsing")

SDKS = {"aiobotocore", "boto3", "botocore"}


@functools.cache
def modules() -> Mapping[str, Path]:
    found = {}
    for file in sorted(SOURCE.rglob("*.py")):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        if "templates" in parts:
            continue  # of new projects
        found[".".join(part for part in parts if part != "__init__")] = file
    return found


@functools.cache
def imports_of(file: Path) -> Collection[str]:
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


@pytest.mark.parametrize("module", sorted(name for name in RANKS if not name.startswith(("aws", "_replay", "_stack"))))
def test_only_the_adapters_import_an_sdk(module: str):
    """The engine knows nothing of AWS."""
    assert not {name.split(".")[0] for name in imports_of(modules()[module])} & SDKS


@pytest.mark.parametrize("module", sorted(RANKS))
def test_a_module_is_read_in_one_sitting(module: str):
    """No module has more than 400 lines."""
    assert len(modules()[module].read_text().splitlines()) <= 400
