"""What Python for Windows and Python for macOS do not have, and how it is hidden on Linux.

``sys.platform`` stays: the standard library would look for modules that are not there. So this shows what code finds
that asks for a capability, not what it finds that asks for the name of a platform. What libraries that do the latter
then ask for stays, too: ``os.getuid`` and ``os.uname``.
"""

import asyncio
import builtins
import contextlib
import faulthandler
import io
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
KEEPS_ITS_OWN = ("", "posixpath", "subprocess", "tempfile")
"""Modules of the standard library that do on Linux what they do otherwise on Windows."""
ERROR_SHARING_VIOLATION = "The process cannot access the file because it is being used by another process"
NOT_IN_NAMES = set('<>:"|?*')
TERMINATED = 1
"""Exit status of a process that TerminateProcess has ended."""


def hide(platform: str) -> None:
    """Hide what a platform has not: ``windows`` or ``macos``."""
    multiprocessing.set_start_method("spawn")
    warnings.filterwarnings("ignore", category=EncodingWarning)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"fanfold\.")  # Windows would take cp1252
    _hide_folders("/proc", "/sys", *(["/bin"] if platform == "windows" else []))
    if platform == "macos":
        _remove(os, NOT_ON_MACOS)
        _remove(select, ["epoll"])
        return
    assert platform == "windows", platform
    _hide_modules()
    _remove(os, NO_OS)
    _remove(faulthandler, ["register", "unregister"])
    _end_processes_as_windows_does()  # needs a signal that is removed then
    _remove(signal, NO_SIGNAL)
    _remove(select, NO_SELECT)
    _refuse_what_event_loops_cannot()
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


def _hide_modules() -> None:
    class Missing(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name in NO_MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Missing())
    for name in NO_MODULES:
        sys.modules.pop(name, None)


def _hide_folders(*hidden: str) -> None:
    """There are no such folders: whoever opens them or asks for them is told so."""

    def is_hidden(path):
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return text.startswith(tuple(f"{folder}/" for folder in hidden)) or text in hidden

    def look(event, arguments):
        if event in {"open", "os.listdir", "os.scandir"} and is_hidden(arguments[0]):
            raise FileNotFoundError(2, "No such file or directory", arguments[0])

    def hiding(call):
        def asked(path, *arguments, **options):
            if is_hidden(path):
                raise FileNotFoundError(2, "No such file or directory", path)
            return call(path, *arguments, **options)

        return asked

    sys.addaudithook(look)
    for name in ("stat", "lstat", "readlink"):
        setattr(os, name, hiding(getattr(os, name)))
    access = os.access
    os.access = lambda path, *arguments, **options: not is_hidden(path) and access(path, *arguments, **options)


def _caller() -> str:
    """Return the package that has called what calls this."""
    return sys._getframe(2).f_globals.get("__name__", "").partition(".")[0]


def _end_processes_as_windows_does() -> None:
    """No signal is sent to a process: it is terminated, with an exit status; what Windows cannot start is refused."""
    kill, start, handle = os.kill, subprocess.Popen.__init__, subprocess.Popen._handle_exitstatus
    killing, terminating = signal.SIGKILL, signal.SIGTERM

    def started(self, args, *more, **options):
        if options.get("preexec_fn") is not None:
            raise ValueError("preexec_fn is not supported on Windows platforms")
        assert not options.get("pass_fds"), "pass_fds not supported on Windows."
        options.pop("start_new_session", None)  # has no effect there
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

    subprocess.Popen.__init__ = started
    subprocess.Popen._handle_exitstatus = ended
    subprocess.Popen.terminate = subprocess.Popen.kill = terminate
    subprocess.Popen.send_signal = send_signal


def _of_this_python(program: object) -> bool:
    return os.path.realpath(os.fspath(program)).startswith(os.path.realpath(sys.base_prefix + "/bin/python"))


def _refuse_what_event_loops_cannot() -> None:
    """The event loop of Windows watches no descriptors, and takes no handlers of signals."""

    def refuse(*_arguments, **_options):
        raise NotImplementedError

    for verb in ("add", "remove"):
        for kind in ("reader", "signal_handler", "writer"):
            setattr(asyncio.SelectorEventLoop, f"{verb}_{kind}", refuse)


def _refuse_select_of_pipes() -> None:
    chosen = select.select

    def select_sockets(*arguments):
        if _caller() not in {"selectors", *KEEPS_ITS_OWN}:
            for each in (each for files in arguments[:3] for each in files):
                number = each if isinstance(each, int) else each.fileno()
                if not stat.S_ISSOCK(os.fstat(number).st_mode):
                    raise OSError(10038, "An operation was attempted on something that is not a socket")
        return chosen(*arguments)

    select.select = select_sockets


def _keep_open_files() -> None:
    """A file that this process has open cannot be removed, replaced or renamed."""
    shutil._use_fd_functions = shutil._USE_CP_SENDFILE = False  # as there

    def keeping(call):
        def changed(*paths, **options):
            if _caller() not in KEEPS_ITS_OWN:
                for path in paths:
                    if _is_open(path):
                        raise PermissionError(13, ERROR_SHARING_VIOLATION, os.fspath(path))
            return call(*paths, **options)

        return changed

    for name in ("remove", "rename", "replace", "unlink"):
        setattr(os, name, keeping(getattr(os, name)))


def _is_open(path: object) -> bool:
    try:
        wanted = os.stat(path)  # noqa: PTH116 - whatever it is
    except (OSError, TypeError, ValueError):
        return False
    for number in range(256):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), wanted):
                return True
    return False


def _write_lines_as_windows_does() -> None:
    """A line that is written as text ends in CR LF, unless the writer asks for another end."""
    opened = io.open

    def opening(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):  # noqa: FBT002 - as open itself
        if newline is None and "b" not in mode and set(mode) & set("wax+"):
            newline = "\r\n"
        return opened(file, mode, buffering, encoding, errors, newline, closefd, opener)

    io.open = builtins.open = opening


def _refuse_names(event: str, arguments: tuple) -> None:
    """A file name holds none of the characters that mean something to Windows."""
    if event in {"open", "os.mkdir"} and isinstance(arguments[0], str):
        path = arguments[0]
        making = event == "os.mkdir" or (isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_WRONLY))
        if making and set(path) & NOT_IN_NAMES and not path.startswith(("/dev/", sysconfig.get_path("stdlib"))):
            raise OSError(22, "Invalid argument", path)
