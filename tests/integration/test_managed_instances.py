"""A consumer with Lambda's runtime client in its multi-concurrent mode, as on Lambda Managed Instances.

There, the processes of one execution environment share its memory, and a process that exits is not replaced.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from fanfold._base.operating_system import resident_bytes
from fanfold._consumer.loop_thread import MAX_ABANDONED_HANDLERS
from fanfold.testing import make_event
from runtime_api import Function, Response, function

pytest.importorskip("awslambdaric.lambda_multi_concurrent_utils", reason="Lambda's runtime client is not installed")
pytestmark = [pytest.mark.linux, pytest.mark.slow]

MB = 1024 * 1024
MEETING = """
    import asyncio, os, threading, time
    from pathlib import Path
    import fanfold

    def meet(name: str, processes: int) -> None:
        \"\"\"Wait until as many processes are here: then each of them has an invocation.\"\"\"
        Path(name).mkdir(exist_ok=True)
        Path(name, str(os.getpid())).touch()
        while len(os.listdir(name)) < processes:
            time.sleep(0.005)

    def write(text: str) -> None:
        os.write(1, f"{text} {os.getpid()}\\n".encode())  # one call, so that lines of processes do not mix
"""
RESPONDS = """
    @fanfold.consumer(concurrency=1)
    def handler(body: dict, ctx: fanfold.Context) -> None:
        meet(body["meeting"], body["processes"])
        write(f"responds {ctx.lambda_context.aws_request_id}")
        if body["fails"]:
            raise ValueError
"""
HOLDS_MEMORY = """
    from fanfold._base.operating_system import resident_bytes

    running = 0

    @fanfold.consumer(concurrency=4)
    async def handler(body: dict) -> None:
        global running
        running += 1
        write(f"{running} running in")
        await asyncio.sleep(body["download_seconds"])
        held = bytearray(150 << 20)
        held[::4096] = b"x" * len(held[::4096])  # each page is resident
        Path("holding", str(os.getpid())).touch()
        while len(os.listdir("holding")) < body["processes"]:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        running -= 1
"""
LEAVES_HANDLERS = f"""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan():
        write("lifespan begins in")
        yield
        write("lifespan ends in")

    @fanfold.consumer(concurrency={MAX_ABANDONED_HANDLERS + 1}, lifespan=lifespan)
    async def handler(body: dict) -> None:
        while body["hangs"]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
        await asyncio.to_thread(meet, body["meeting"], body["processes"])
        write("responds")
"""
BLOCKS = """
    @fanfold.consumer(concurrency=1)
    async def handler(body: dict) -> None:
        if body["blocks"]:
            write("blocks")
            threading.Event().wait()
        write("responds")
"""


def managed(folder: Path, source: str, processes: int, **variables: str) -> AbstractContextManager[Function]:
    """Start a function in the runtime client's multi-concurrent mode."""
    return function(folder, MEETING + source, AWS_LAMBDA_MAX_CONCURRENCY=str(processes), **variables)


def process_ids(log: str, beginning: str) -> list[int]:
    """Return the processes that wrote the lines with this beginning."""
    return [int(line.split()[-1]) for line in log.splitlines() if line.startswith(beginning)]


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def wait_for_processes(environment: Function, processes: int) -> list[int]:
    """Wait until the runtime client has forked its processes, and return their IDs."""
    wait_for(lambda: len(environment.process_ids()) == processes)
    return environment.process_ids()


def invoke_every_process(environment: Function, processes: int, meeting: str, **body) -> list[Response]:
    """Invoke each process once: their handlers wait for each other."""
    bodies = {"meeting": meeting, "processes": processes, **body}
    return environment.invoke_concurrently(*[make_event(bodies) for _ in range(processes)])


@pytest.mark.parametrize("processes", [2, 8])
def test_each_process_responds_to_its_invocations(processes: int, tmp_path: Path):
    """The response to each request ID is the one of its batch, and each process responds to one of each round."""
    with managed(tmp_path, RESPONDS, processes) as environment:
        for turn in range(3):
            fails = [number % 2 == turn % 2 for number in range(processes)]
            bodies = [{"meeting": f"turn {turn}", "processes": processes, "fails": failing} for failing in fails]
            responses = environment.invoke_concurrently(*map(make_event, bodies))
            assert [bool(response.failed_ids) for response in responses] == fails
        responded = process_ids(environment.log, "responds")
        assert sorted(responded) == sorted(environment.process_ids() * 3)
        assert len(set(responded)) == processes


class Watch:
    """The largest sum of the resident memory of a function's processes."""

    def __init__(self, environment: Function) -> None:
        self.most_bytes = 0
        self._processes = [environment.process.pid, *environment.process_ids()]
        self._stopped = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sample the sum in the block."""
        thread = threading.Thread(target=self._sample)
        thread.start()
        yield
        self._stopped.set()
        thread.join()

    def _sample(self) -> None:
        while not self._stopped.wait(0.005):
            self.most_bytes = max(self.most_bytes, sum(resident_bytes(process) or 0 for process in self._processes))


@pytest.mark.parametrize("download_seconds", [0, 0.1], ids=["at its start", "after a download"])
def test_the_processes_together_stay_within_the_memory_of_the_execution_environment(
    download_seconds: float, tmp_path: Path
):
    """16 processes that hold a record of 150 MB each, and 4 GB: none starts a second record while it holds the first.

    A share is 230 MB. After one record, a process has 200 MB: less than that, but not enough for another record.
    """
    processes, memory_mb = 16, 4096
    variables = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb)}
    with managed(tmp_path, HOLDS_MEMORY, processes, **variables) as environment:
        wait_for_processes(environment, processes)
        watch = Watch(environment)
        (tmp_path / "holding").mkdir()
        with watch.watching():
            batch = make_event(*[{"download_seconds": download_seconds, "processes": processes}] * 2)
            for response in environment.invoke_concurrently(*[batch] * processes, seconds=60):
                assert response.failed_ids == []
        assert processes * 150 * MB < watch.most_bytes < memory_mb * MB
        assert len(process_ids(environment.log, "1 running")) == 2 * processes
        assert "2 running" not in environment.log


def test_after_too_many_abandoned_handlers_a_process_responds_on_a_new_event_loop(tmp_path: Path):
    """It does not exit, because no process would replace it; one line at level ERROR states what happened."""
    with managed(tmp_path, LEAVES_HANDLERS, 2) as environment:
        for response in invoke_every_process(environment, 2, "warm", hangs=False):
            assert response.failed_ids == []
        hanging = make_event(*[{"hangs": True}] * (MAX_ABANDONED_HANDLERS + 1))
        response = environment.invoke_with(hanging, seconds=3)
        assert len(response.failed_ids) == MAX_ABANDONED_HANDLERS + 1
        assert response.seconds_left > 0
        started = environment.process_ids()
        assert sorted(process_ids(environment.log, "lifespan begins")) == sorted(started)
        for turn in range(2):
            for response in invoke_every_process(environment, 2, f"turn {turn}", hangs=False):
                assert response.failed_ids == []
        assert environment.process_ids() == started
        assert environment.process.poll() is None
        assert sorted(process_ids(environment.log, "responds")) == sorted(started * 3)
        wait_for(lambda: "lifespan ends" in environment.log)
        [affected] = process_ids(environment.log, "lifespan ends")
        assert sorted(process_ids(environment.log, "lifespan begins")) == sorted([*started, affected])
        [line] = [line for line in environment.log.splitlines() if line.startswith("[ERROR]") and "abandoned" in line]
        assert "101 abandoned handlers and 0 blocked event loops still run in this process" in line


def test_a_blocked_event_loop_affects_no_other_process(tmp_path: Path):
    """The others respond before the blocked one does, and it responds before its deadline."""
    with managed(tmp_path, BLOCKS, 3) as environment:
        blocked = environment.start(make_event({"blocks": True}), seconds=8)
        wait_for(lambda: process_ids(environment.log, "blocks"))
        for response in [environment.invoke(*[{"blocks": False}] * 5) for _ in range(6)]:
            assert response.failed_ids == []
        response = environment.next_response()
        assert (response.request_id, response.failed_ids) == (blocked, ["message-0"])
        assert response.seconds_left > 0
        [affected] = process_ids(environment.log, "blocks")
        assert affected not in process_ids(environment.log, "responds")


def test_many_blocked_event_loops_leave_every_process_responding(tmp_path: Path):
    """A process with more than two continues, and logs an error for each further loop, not for each batch."""
    with managed(tmp_path, BLOCKS, 2) as environment:
        before = wait_for_processes(environment, 2)
        for _ in range(8):  # at least four of them in one process
            response = environment.invoke({"blocks": True}, seconds=2)
            assert response.failed_ids == ["message-0"]
            assert response.seconds_left > 0
        for _ in range(6):
            assert environment.invoke({"blocks": False}).failed_ids == []
        assert environment.process_ids() == before
        assert 1 <= environment.log.count("blocked event loops still run") <= 5


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_no_exception_of_a_handler_ends_a_process(error: str, tmp_path: Path):
    """Its record is redelivered, and each process responds to its next invocations."""
    source = f"""
    @fanfold.consumer(concurrency=1)
    async def handler(body: dict) -> None:
        meet(body["meeting"], body["processes"])
        if body["fails"]:
            raise {error}
    """
    with managed(tmp_path, source, 2) as environment:
        before = wait_for_processes(environment, 2)
        for turn, fails in enumerate((True, False)):
            for response in invoke_every_process(environment, 2, f"turn {turn}", fails=fails):
                assert bool(response.failed_ids) is fails
        assert environment.process_ids() == before
