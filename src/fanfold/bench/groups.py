"""Control groups: the kernel limits the memory and the CPU of a process, as Lambda does.

The mounts determine whether version 1 or 2 is used. Limits that are not permitted are skipped; ``Groups.description``
states this. If a group cannot limit the memory, resident memory is monitored instead (``_replay.function``).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fanfold._base.aws_limits import LAMBDA_FILE_DESCRIPTORS, cpus_of
from fanfold._base.operating_system import reports_memory

PERIOD_MICROSECONDS: Final = 100_000
"""The kernel's default period of CPU quotas. Lambda's period is not documented."""
_MB: Final = 1024 * 1024
_REMOVE_SECONDS: Final = 2.0
_NO_LIMIT: Final = "-1"
_numbers = itertools.count()

_ENTER: Final = (
    'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; '
    f'ulimit -Sn {LAMBDA_FILE_DESCRIPTORS} 2>/dev/null; exec "$@"'
)
"""A shell script that enters the groups of these files, and then executes the command after ``--``."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The folders in which this process can create groups."""

    memory: Path | None
    """Folder for groups with a memory limit; None if they are not permitted."""
    cpu: Path | None
    """Folder for groups with a CPU quota; None if they are not permitted. Version 2: the same as ``memory``."""
    version: int
    """1 or 2; 0 if no groups are permitted."""

    @property
    def description(self) -> str:
        """A description of how the limits are enforced, for readers of the numbers."""
        monitored = "memory limited by monitoring its size" if reports_memory() else "memory not limited or measured"
        memory = f"memory limited by cgroup v{self.version}" if self.memory else monitored
        cpu = f"CPU limited by cgroup v{self.version}" if self.cpu else "CPU not limited"
        return f"{memory}, {cpu}"


class Group:
    """The confinement of one process; see ``_replay.function.Confinement``."""

    def __init__(self, memory: Path | None, cpu: Path | None, memory_mb: int, version: int) -> None:
        self._memory, self._cpu, self._version = memory, cpu, version
        self._cpus = min(cpus_of(memory_mb), float(os.cpu_count() or 1))
        self._kills = self._kill_count()

    @property
    def limits_memory(self) -> bool:
        """True if the kernel kills a process that exceeds its memory."""
        return self._memory is not None

    def command(self, command: Sequence[str]) -> list[str]:
        """Return a command that enters the group and then executes this one."""
        folders = {folder for folder in (self._memory, self._cpu) if folder is not None}
        files = [str(folder / "cgroup.procs") for folder in sorted(folders)]
        if not files and not Path("/bin/sh").exists():
            return list(command)
        return ["/bin/sh", "-c", _ENTER, "sh", *files, "--", *command]

    def limit_cpu(self) -> None:
        """Limit the CPU, after the import: Lambda, too, gives a function more CPU during the init phase."""
        if self._cpu is None:
            return
        quota = max(1_000, int(self._cpus * PERIOD_MICROSECONDS))
        if self._version == 1:
            (self._cpu / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS), encoding="ascii")
            (self._cpu / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")
        else:
            (self._cpu / "cpu.max").write_text(f"{quota} {PERIOD_MICROSECONDS}", encoding="ascii")

    def out_of_memory(self) -> bool:
        """Return whether the kernel has killed a process of the group for its memory."""
        return self._kill_count() > self._kills

    def throttled_seconds(self) -> float | None:
        """Return how long the processes have waited for their CPU quota; None if it is not limited."""
        if self._cpu is None:
            return None
        stat = _figures(self._cpu / "cpu.stat")
        return stat.get("throttled_time", 0) / 1e9 if self._version == 1 else stat.get("throttled_usec", 0) / 1e6

    def _kill_count(self) -> int:
        if self._memory is None:
            return 0
        name = "memory.oom_control" if self._version == 1 else "memory.events"
        return _figures(self._memory / name).get("oom_kill", 0)


def find_groups(mounts: str | None = None, own: str | None = None) -> Groups:
    """Return where groups with a memory limit and a CPU quota can be created, determined by trying.

    Args:
        mounts: The text of ``/proc/self/mountinfo``; None to read it.
        own: The text of ``/proc/self/cgroup``; None to read it.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8") if mounts is None else mounts
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8") if own is None else own
    except OSError:
        return Groups(None, None, 0)
    places = _places(mounts, own)
    memory = _first(places.get("memory", []), "memory.limit_in_bytes", str(512 * _MB))
    cpu = _first(places.get("cpu", []), "cpu.cfs_quota_us", _NO_LIMIT)
    if memory or cpu:
        return Groups(memory, cpu, 1)
    memory = _first(places.get("", []), "memory.max", str(512 * _MB))
    cpu = _first([memory] if memory else places.get("", []), "cpu.max", "max")
    return Groups(memory, cpu, 2 if memory or cpu else 0)


@contextmanager
def open_group(groups: Groups, memory_mb: int) -> Iterator[Group]:
    """Create a group, yield it, and remove it. The CPU is limited when ``limit_cpu`` is called.

    Args:
        groups: Where groups can be created.
        memory_mb: Memory of the function in MB, which determines its CPU.
    """
    name = f"fanfold-{os.getpid()}-{next(_numbers)}"
    memory, cpu = (folder / name if folder else None for folder in (groups.memory, groups.cpu))
    created: list[Path] = []
    try:
        for folder in dict.fromkeys(folder for folder in (memory, cpu) if folder is not None):
            folder.mkdir()
            created.append(folder)
        if memory is not None:
            _limit_memory(memory, memory_mb * _MB, groups.version)
        yield Group(memory, cpu, memory_mb, groups.version)
    finally:
        for folder in created:
            _remove(folder)


def _limit_memory(folder: Path, limit_bytes: int, version: int) -> None:
    name = "memory.limit_in_bytes" if version == 1 else "memory.max"
    (folder / name).write_text(str(limit_bytes), encoding="ascii")
    # The function must not use swap. Without swap, this file may not exist.
    swap = ("memory.memsw.limit_in_bytes", str(limit_bytes)) if version == 1 else ("memory.swap.max", "0")
    if (folder / swap[0]).exists():
        with contextlib.suppress(OSError):
            (folder / swap[0]).write_text(swap[1], encoding="ascii")


def _places(mounts: str, own: str) -> Mapping[str, Sequence[Path]]:
    """Return candidate folders for groups, best first, by controller; "" is version 2."""
    groups = [line.split(":", 2) for line in own.splitlines()]
    paths = {name: path for _, names, path in groups for name in names.split(",")}
    places: dict[str, list[Path]] = {}
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split()[:3] if len(rest.split()) >= 3 else ("", "", "")  # noqa: PLR2004 - proc(5)
        root, point = fields.split()[3:5]
        if kind == "cgroup2" and "" in paths:
            here = _below(Path(point), root, paths[""])
            # Version 2 does not allow both processes and groups in a group: the parent is the second candidate.
            places[""] = [here, here.parent] if here != Path(point) else [here]
        elif kind == "cgroup":
            for name in {"memory", "cpu"} & set(options.split(",")) & paths.keys():
                places[name] = [_below(Path(point), root, paths[name]), Path(point)]
    return places


def _below(point: Path, root: str, path: str) -> Path:
    """Return a group's folder. Its path starts at the root of the hierarchy, of which only a part may be mounted."""
    part = path[len(root) :] if root != "/" and path.startswith(root) else path
    return point / part.lstrip("/") if (point / part.lstrip("/")).is_dir() else point


def _first(folders: Sequence[Path], name: str, value: str) -> Path | None:
    return next((folder for folder in folders if _permits(folder, name, value)), None)


def _permits(folder: Path, name: str, value: str) -> bool:
    """Return whether a group can be created in a folder, configured, and entered by a process."""
    trial = folder / f"fanfold-{os.getpid()}-trial"
    try:
        trial.mkdir()
    except OSError:
        return False
    try:
        if not (trial / name).exists():
            return False
        (trial / name).write_text(value, encoding="ascii")
        command = ["/bin/sh", "-c", _ENTER, "sh", str(trial / "cgroup.procs"), "--", "true"]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0  # noqa: S603 - ours
    except OSError:
        return False
    finally:
        _remove(trial)


def _remove(folder: Path) -> None:
    """Remove a group. Wait up to two seconds for its last process to end."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    while folder.exists():
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)


def _figures(file: Path) -> dict[str, int]:
    """Return the numbers in a file of ``name number`` lines; an empty dict if it cannot be read."""
    try:
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}  # noqa: PLR2004
