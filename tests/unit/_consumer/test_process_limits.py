"""A concurrency that the process can bear."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import fanfold
from fanfold._consumer.process_limits import RESERVED, clamp_concurrency
from fanfold.testing import make_context, make_event
from simple_handlers import nothing


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """Let the process have so many of a kind in the block."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@pytest.fixture
def descriptors() -> Iterator[None]:
    """A process that may have as many descriptors as it has now, the reserve and 20."""
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all that is needed
    with limited(resource.RLIMIT_NOFILE, used + RESERVED + 20):
        yield


@pytest.fixture
def threads() -> Iterator[None]:
    """A process that may have as many threads as it has now, the reserve and 10."""
    with limited(resource.RLIMIT_NPROC, threading.active_count() + RESERVED + 10):
        yield


@pytest.mark.usefixtures("descriptors")
def test_a_concurrency_that_fits_is_left_as_it_is(caplog: pytest.LogCaptureFixture):
    """Without a word."""
    assert clamp_concurrency(20, threads=False) == 20
    assert caplog.text == ""


@pytest.mark.usefixtures("descriptors")
def test_a_concurrency_over_the_descriptors_is_clamped_with_a_warning(caplog: pytest.LogCaptureFixture):
    """The warning names what was asked for and what is used."""
    assert clamp_concurrency(1_000, threads=False) == 20
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "concurrency 1000 is reduced to 20: this process has 20 file descriptors left" in record.getMessage()


@pytest.mark.usefixtures("threads")
def test_plain_handlers_are_clamped_to_the_threads(caplog: pytest.LogCaptureFixture):
    """Each needs one."""
    assert clamp_concurrency(100, threads=True) == 10
    assert "reduced to 10: this process has 10 threads and file descriptors left" in caplog.text


@pytest.mark.usefixtures("threads")
def test_async_handlers_need_no_threads():
    """The limit on threads is none for them."""
    assert clamp_concurrency(100, threads=False) == 100


@pytest.mark.usefixtures("threads", "descriptors")
def test_the_lower_limit_counts_for_plain_handlers():
    """They need a thread and a descriptor each."""
    assert clamp_concurrency(100, threads=True) == 10


def test_one_handler_always_runs(caplog: pytest.LogCaptureFixture):
    """Even when nothing is left, and the warning tells of no less than nothing."""
    with limited(resource.RLIMIT_NOFILE, 32):
        assert clamp_concurrency(10, threads=False) == 1
    assert "reduced to 1: this process has 0 file descriptors left" in caplog.text


def test_a_process_without_limits_bears_any_concurrency():
    """Where the system sets none."""
    if resource.getrlimit(resource.RLIMIT_NPROC)[1] != resource.RLIM_INFINITY:
        pytest.skip("this system sets a hard limit")
    with limited(resource.RLIMIT_NPROC, resource.RLIM_INFINITY):
        assert clamp_concurrency(100, threads=True) == 100


@pytest.mark.usefixtures("descriptors")
def test_a_consumer_is_clamped_with_one_warning(caplog: pytest.LogCaptureFixture):
    """Not one for each batch; the setting itself stays."""
    handler = fanfold.consumer(concurrency=500)(nothing)
    for _ in range(2):
        assert handler(make_event(1), make_context()) == {"batchItemFailures": []}
    handler.close()
    assert caplog.text.count("concurrency 500 is reduced") == 1
    assert handler.concurrency == 500
