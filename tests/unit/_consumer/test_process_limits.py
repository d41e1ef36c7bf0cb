"""The concurrency is limited to what the process allows."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import fanfold
from fanfold._consumer.process_limits import RESERVED, clamp_concurrency, concurrent_processes
from fanfold.testing import make_context, make_event
from simple_handlers import nothing

pytestmark = pytest.mark.linux


@contextmanager
def limited(resource_kind: int, maximum: int) -> Iterator[None]:
    """Set a resource limit of the process in the block."""
    before = resource.getrlimit(resource_kind)
    resource.setrlimit(resource_kind, (maximum, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource_kind, before)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Limit the file descriptors to the current ones, the reserve, and 20 more."""
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the names are needed
    with limited(resource.RLIMIT_NOFILE, used + RESERVED + 20):
        yield


@pytest.fixture
def threads() -> Iterator[None]:
    """Limit the threads to the current ones, the reserve, and 10 more."""
    with limited(resource.RLIMIT_NPROC, threading.active_count() + RESERVED + 10):
        yield


@pytest.mark.usefixtures("descriptors")
def test_a_concurrency_within_the_limits_is_unchanged(caplog: pytest.LogCaptureFixture):
    """Nothing is logged."""
    assert clamp_concurrency(20, threads=False) == 20
    assert caplog.text == ""


@pytest.mark.usefixtures("descriptors")
def test_a_concurrency_above_the_file_descriptors_is_reduced_with_a_warning(caplog: pytest.LogCaptureFixture):
    """The warning contains the requested and the reduced concurrency."""
    assert clamp_concurrency(1_000, threads=False) == 20
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "concurrency 1000 is reduced to 20: this process has 20 file descriptors left" in record.getMessage()


@pytest.mark.usefixtures("threads")
def test_def_handlers_are_limited_by_the_threads(caplog: pytest.LogCaptureFixture):
    """Each handler needs a thread."""
    assert clamp_concurrency(100, threads=True) == 10
    assert "reduced to 10: this process has 10 threads and file descriptors left" in caplog.text


@pytest.mark.usefixtures("threads")
def test_async_handlers_need_no_threads():
    """The limit on threads does not apply to them."""
    assert clamp_concurrency(100, threads=False) == 100


@pytest.mark.usefixtures("threads", "descriptors")
def test_the_lower_limit_applies_to_def_handlers():
    """Each needs a thread and a file descriptor."""
    assert clamp_concurrency(100, threads=True) == 10


def test_one_handler_always_runs(caplog: pytest.LogCaptureFixture):
    """Even if nothing is left; the warning then states 0, not a negative number."""
    with limited(resource.RLIMIT_NOFILE, 32):
        assert clamp_concurrency(10, threads=False) == 1
    assert "reduced to 1: this process has 0 file descriptors left" in caplog.text


def test_a_process_without_limits_allows_any_concurrency():
    """On a system that sets none."""
    if resource.getrlimit(resource.RLIMIT_NPROC)[1] != resource.RLIM_INFINITY:
        pytest.skip("this system sets a hard limit")
    with limited(resource.RLIMIT_NPROC, resource.RLIM_INFINITY):
        assert clamp_concurrency(100, threads=True) == 100


@pytest.mark.usefixtures("descriptors")
def test_a_consumer_logs_one_warning_about_its_reduced_concurrency(caplog: pytest.LogCaptureFixture):
    """It does not log one per batch, and the setting is unchanged."""
    handler = fanfold.consumer(concurrency=500)(nothing)
    for _ in range(2):
        assert handler(make_event(1), make_context()) == {"batchItemFailures": []}
    handler.close()
    assert caplog.text.count("concurrency 500 is reduced") == 1
    assert handler.concurrency == 500


@pytest.mark.parametrize(
    ("value", "processes"),
    [(None, 1), ("", 1), ("0", 1), ("-1", 1), ("abc", 1), ("1.5", 1), ("1", 1), ("32", 32), ("1600", 1600)],
)
def test_the_number_of_processes_is_the_one_that_lambda_sets(
    value: str | None, processes: int, monkeypatch: pytest.MonkeyPatch
):
    """Without a positive integer there is one, as on ordinary Lambda."""
    if value is not None:
        monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", value)
    assert concurrent_processes() == processes


def test_the_processes_of_an_execution_environment_share_its_threads(monkeypatch: pytest.MonkeyPatch):
    """The limit counts the threads of all of them; so does the reserve."""
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "4")
    with limited(resource.RLIMIT_NPROC, RESERVED + 4 * (threading.active_count() + 10)):
        assert clamp_concurrency(100, threads=True) == 10


def test_16_processes_with_the_quota_of_an_execution_environment_run_threads(monkeypatch: pytest.MonkeyPatch):
    """A reserve for each of them would leave none: 16 times 64 are the 1,024 threads of the quota."""
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "16")
    with limited(resource.RLIMIT_NPROC, 1_024):
        assert clamp_concurrency(100, threads=True) == max(1, 60 - threading.active_count())


@pytest.mark.usefixtures("descriptors")
def test_each_process_of_an_execution_environment_has_its_own_file_descriptors(monkeypatch: pytest.MonkeyPatch):
    """The limit counts those of one process."""
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "4")
    assert clamp_concurrency(1_000, threads=False) == 20
