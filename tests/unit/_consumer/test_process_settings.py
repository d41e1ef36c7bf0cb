"""Settings and handlers of ``processes=`` that are refused, and how many processes there are."""

import os
import pickle
import sys

import pytest

import fanfold
import process_app
from fanfold.errors import ConfigurationError
from fanfold.testing import make_context, make_event


def test_handlers_that_cannot_run_in_processes_are_refused():
    """When the handler is decorated."""

    async def asynchronous(body: object) -> None: ...

    def local(body: object) -> None: ...

    with pytest.raises(ConfigurationError, match="asynchronous is an async def: processes is for def handlers"):
        fanfold.consumer(processes=2)(asynchronous)
    with pytest.raises(ConfigurationError, match="local cannot run in worker processes: they cannot find a local func"):
        fanfold.consumer(processes=2)(local)
    local.__module__ = "__main__"
    with pytest.raises(ConfigurationError, match="they cannot import __main__"):
        fanfold.consumer(processes=2)(local)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"processes": 0}, 'processes must be an integer of at least 1 or "auto", not 0'),
        ({"processes": "all"}, "processes must be"),
        ({"processes": 2, "concurrency": 5}, "processes=2 is the concurrency: remove concurrency=5"),
        ({"processes": 2, "concurrency": "auto"}, "processes=2 is the concurrency"),
        ({"processes": 2, "chunk_size": 3}, "processes and chunk_size cannot be combined"),
        ({"processes": 2, "max_tasks_per_process": 0}, "max_tasks_per_process must be"),
        (
            {"max_tasks_per_process": 9},
            "max_tasks_per_process has no effect without processes; set processes",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    """In one line that names both."""
    with pytest.raises(ConfigurationError, match=message):
        fanfold.consumer(**settings)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "raise OSError('no license')",
            "the worker process could not import the handler: OSError: no license (fragile_app.py, line 2)",
        ),
        ("os._exit(9)", "the worker process ended while it started: exit code 9"),  # not started again and again
    ],
)
def test_a_module_that_only_the_consumer_can_import_fails_each_record_in_one_line(
    tmp_path, monkeypatch, statement, message
):
    """Its import raises an error in the processes, or ends them."""
    (tmp_path / "fragile_app.py").write_text(
        "import os, fanfold\n"
        f"if os.getpid() != int(os.environ['PARENT']): {statement}\n"
        "@fanfold.consumer(processes=2)\n"
        "def handler(body): ...\n"
    )
    monkeypatch.setenv("PARENT", str(os.getpid()))
    monkeypatch.syspath_prepend(tmp_path)
    import fragile_app  # type: ignore[import-not-found]

    result = fragile_app.handler.invoke(make_event(1, 2), make_context(30))
    fragile_app.handler.close()
    sys.modules.pop("fragile_app")
    assert [str(outcome.error) for outcome in result.outcomes] == [message] * 2


@pytest.mark.parametrize(("memory_mb", "processes"), [("128", 1), ("1769", 1), ("3538", 2), ("10240", 6), ("3008", 2)])
def test_auto_is_the_vcpus_that_the_memory_buys(monkeypatch, memory_mb, processes):
    """One for each 1,769 MB; one on Managed Instances."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb)
    from fanfold._consumer.process_start import Processes

    assert Processes(process_app.act, fanfold.Settings(processes="auto")).count == processes
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "8")
    assert Processes(process_app.act, fanfold.Settings(processes="auto")).count == 1


def test_only_settings_that_are_set_and_can_be_pickled_are_sent():
    """Each process has the others from its import of the module."""
    from fanfold._consumer.process_start import _pickled

    sent = _pickled({"timeout": 20, "lifespan": lambda: None, "reject_on": None})
    assert pickle.loads(sent) == {"timeout": 20}  # noqa: S301 - from here
