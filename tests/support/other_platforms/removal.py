"""The removal of what Python lacks on Windows, or on macOS, from this interpreter on Linux.

``sys.platform`` remains, because the standard library would import modules that do not exist here. So this tests code
that checks for a capability, not code that checks for the name of a platform. Some libraries do the latter; what they
then use remains, too: ``os.getuid`` and ``os.uname``.
"""

import asyncio
import builtins
import contextlib
import faulthandler
import importlib
import io
import itertools
import multiprocessing
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import warnings
from importlib.abc import MetaPathFinder
from types import ModuleType

NO_MODULES = {
    "termios",
    "tty",
    "_posixshmem",
    "crypt",
    "fcntl",
    "grp",
    "nis",
    "pwd",
    "pty",
    "readline",
    "resource",
    "spwd",
    "syslog",
}
NO_OS = [
    "chown", "chroot", "confstr", "ctermid", "eventfd", "fchmod", "fchown", "fork", "forkpty", "fpathconf", "getegid",
    "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getsid", "getxattr",
    "initgroups", "killpg", "lchown", "listxattr", "lockf", "memfd_create", "mkfifo", "mknod", "nice", "pathconf",
    "pidfd_open", "posix_fadvise", "posix_fallocate", "posix_spawn", "posix_spawnp", "pread", "preadv", "pwrite",
    "pwritev", "readv", "register_at_fork", "sched_getaffinity", "sched_getscheduler", "sched_setaffinity",
    "sched_yield", "sendfile", "set_blocking", "setegid", "seteuid", "setgid", "setpgid", "setpriority", "setsid",
    "setuid", "splice", "statvfs", "sync", "sysconf", "tcgetpgrp", "wait", "wait3", "wait4", "waitid",
    "writev",
]  # fmt: skip
NO_SIGNAL = [
    "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGHUP", "SIGIO", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF",
    "SIGPWR", "SIGQUIT", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "alarm", "getitimer", "pause", "pthread_kill",
    "pthread_sigmask", "setitimer", "siginterrupt", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo",
]  # fmt: skip
NO_SELECT = ["devpoll", "epoll", "kqueue", "poll"]
NOT_ON_MACOS = [
    "eventfd", "memfd_create", "pidfd_open", "posix_fadvise", "posix_fallocate", "sched_getaffinity",
    "sched_getscheduler", "sched_setaffinity", "splice",
]  # fmt: skip
MAY_BE_POSIX = ("", "posixpath", "subprocess", "tempfile")
"""Modules of the standard library that work differently on Windows, so they may do on Linux what others may not."""
ERROR_SHARING_VIOLATION = "The process cannot access the file because it is being used by another process"
NOT_IN_NAMES = set('<>:"|?*')
TERMINATED = 1
"""Exit status of a process that TerminateProcess has ended."""


def remove_what_is_missing_on(platform: str) -> None:
    """Remove what Python lacks on a platform: ``windows`` or ``macos``."""
    multiprocessing.set_start_method("spawn")
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"fanfold\.")  # Windows would take cp1252
    _remove_folders("/proc", "/sys", *(["/bin"] if platform == "windows" else []))
    if platform == "macos":
        _remove(os, NOT_ON_MACOS)
        _remove(importlib.import_module("fcntl"), ["F_SETSIG"])
        _remove(select, ["epoll"])
        return
    assert platform == "windows", platform
    _remove_modules()
    _remove(os, NO_OS)
    _remove(faulthandler, ["register", "unregister"])
    _end_processes_as_windows_does()  # uses a signal that is removed below
    _remove(signal, NO_SIGNAL)
    _remove(select, NO_SELECT)
    _restrict_event_loops()
    _refuse_select_of_pipes()
    _keep_open_files()
    _write_lines_as_windows_does()
    sys.addaudithook(_refuse_names)


def _remove(module: ModuleType, names: list[str]) -> None:
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
    if hasattr(module, "__all__"):
        module.__all__ = [name for name in module.__all__ if hasattr(module, name)]


def _remove_modules() -> None:
    class Missing(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name in NO_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing())
    for name in NO_MODULES:
        sys.modules.pop(name, None)


def _remove_folders(*folders: str) -> None:
    """Raise FileNotFoundError for these folders and all that is in them."""

    def is_removed(path):
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return text.startswith(tuple(f"{folder}/" for folder in folders)) or text in folders

    def look(event, arguments):
        if event in {"open", "os.listdir", "os.scandir"} and is_removed(arguments[0]):
            raise FileNotFoundError(2, "No such file or directory", arguments[0])

    def without(call):
        def called(path, *arguments, **options):
            if is_removed(path):
                raise FileNotFoundError(2, "No such file or directory", path)
            return call(path, *arguments, **options)

        return called

    sys.addaudithook(look)
    for name in ("stat", "lstat", "readlink"):
        setattr(os, name, without(getattr(os, name)))
    access = os.access
    os.access = lambda path, *arguments, **options: not is_removed(path) and access(path, *arguments, **options)


def _caller() -> str:
    """Return the package that called the caller of this function."""
    return sys._getframe(2).f_globals.get("__name__", "").partition(".")[0]


def _end_processes_as_windows_does() -> None:
    """Terminate a process with an exit status instead of a signal; refuse arguments and programs unknown to Windows."""
    kill, start, handle = os.kill, subprocess.Popen.__init__, subprocess.Popen._handle_exitstatus
    killing, terminating = signal.SIGKILL, signal.SIGTERM

    def started(self, args, *more, **options):
        if options.get("preexec_fn") is not None:
            raise ValueError("preexec_fn is not supported on Windows platforms")
        assert not options.get("pass_fds"), "pass_fds not supported on Windows."
        options.pop("start_new_session", None)  # without effect on Windows
        program = args if isinstance(args, str) else args[0]
        if os.fspath(program).startswith(("/bin/", "/usr/bin/")) and not _of_this_python(program):
            raise FileNotFoundError(2, "The system cannot find the file specified", program)
        start(self, args, *more, **options)

    def ended(self, *arguments):
        handle(self, *arguments)
        if self.returncode is not None and self.returncode < 0:
            self.returncode = TERMINATED

    def terminate(self):
        self.poll()
        if self.returncode is None:
            kill(self.pid, killing)

    def send_signal(self, number):
        if number != terminating:
            raise ValueError(f"Unsupported signal: {number}")
        self.terminate()

    subprocess._USE_POSIX_SPAWN = False
    subprocess.Popen.__init__ = started
    subprocess.Popen._handle_exitstatus = ended
    subprocess.Popen.terminate = subprocess.Popen.kill = terminate
    subprocess.Popen.send_signal = send_signal


def _of_this_python(program: object) -> bool:
    return os.path.realpath(os.fspath(program)).startswith(os.path.realpath(sys.base_prefix + "/bin/python"))


def _restrict_event_loops() -> None:
    """Refuse descriptors and signal handlers, as the event loop of Windows does."""

    def refuse(*_arguments, **_options):
        raise NotImplementedError

    for verb in ("add", "remove"):
        for kind in ("reader", "signal_handler", "writer"):
            setattr(asyncio.SelectorEventLoop, f"{verb}_{kind}", refuse)


def _refuse_select_of_pipes() -> None:
    chosen = select.select

    def select_sockets(*arguments):
        if _caller() not in {"selectors", *MAY_BE_POSIX}:
            for file in itertools.chain(*arguments[:3]):
                number = file if isinstance(file, int) else file.fileno()
                if not stat.S_ISSOCK(os.fstat(number).st_mode):
                    raise OSError(10038, "An operation was attempted on something that is not a socket")
        return chosen(*arguments)

    select.select = select_sockets


def _keep_open_files() -> None:
    """Refuse to remove, replace, or rename a file that this process has open."""
    shutil._use_fd_functions = shutil._USE_CP_SENDFILE = False  # as on Windows

    def keeping(call):
        def changed(*paths, **options):
            if _caller() not in MAY_BE_POSIX:
                for path in paths:
                    if _is_open(path):
                        raise PermissionError(13, ERROR_SHARING_VIOLATION, os.fspath(path))
            return call(*paths, **options)

        return changed

    for name in ("remove", "rename", "replace", "unlink"):
        setattr(os, name, keeping(getattr(os, name)))


def _is_open(path: object) -> bool:
    try:
        status = os.stat(path)  # noqa: PTH116 - a path of any type
    except (OSError, TypeError, ValueError):
        return False
    for number in range(256):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), status):
                return True
    return False


def _write_lines_as_windows_does() -> None:
    """End a line that is written as text in CR LF, unless the caller specifies another end."""
    opened = io.open

    def opening(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):  # noqa: FBT002 - as open itself
        if newline is None and "b" not in mode and set(mode) & set("wax+"):
            newline = "\r\n"
        return opened(file, mode, buffering, encoding, errors, newline, closefd, opener)

    io.open = builtins.open = opening


def _refuse_names(event: str, arguments: tuple) -> None:
    """Refuse a file name with a character that Windows reserves."""
    if event in {"open", "os.mkdir"} and isinstance(arguments[0], str):
        path = arguments[0]
        making = event == "os.mkdir" or (isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_WRONLY))
        if making and set(path) & NOT_IN_NAMES and not path.startswith(("/dev/", sysconfig.get_path("stdlib"))):
            raise OSError(22, "Invalid argument", path)
