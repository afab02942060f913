"""What a worker may take of the machine, and what it may not do at all while a model file is being opened.

This is defence in depth: loading executes nothing to begin with. It holds against exhaustion (memory, CPU time, disk,
open files) and against Python code that got in all the same; it is no sandbox against native code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from auditor.errors import UnsafeFileError
from auditor.request import Confinement

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

GIB = 1 << 30

KEPT_VARIABLES = frozenset(
    {
        "PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "TMPDIR", "TEMP",
        "TMP", "LANG", "LANGUAGE", "TZ", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONHASHSEED", "PYTHONUTF8",
        "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "COLUMNS",
    }
)
"""variables that a worker is given; with these prefixes, too"""
KEPT_PREFIXES = ("LC_", "OMP_", "MKL_", "KMP_", "OPENBLAS_", "CUDA_", "NVIDIA_", "PYTORCH_", "TORCH_", "ATEN_")

REFUSED = frozenset(
    {
        "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "os.fork",
        "os.forkpty", "pty.spawn", "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg",
        "socket.getaddrinfo", "socket.gethostbyname", "os.remove", "os.rename", "os.rmdir", "os.mkdir",
        "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.putenv", "os.kill", "shutil.rmtree",
        "shutil.copyfile", "shutil.move", "webbrowser.open",
    }
)
"""audit events (PEP 578) that opening a model never needs"""


def environment(caller: Mapping[str, str]) -> dict[str, str]:
    """The variables of the caller that a worker needs; tokens, keys and everything else stay behind."""
    return {
        name: value
        for name, value in caller.items()
        if name.upper() in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }


def confine(limits: Confinement) -> bool:
    """Bound what this process may take from here on; false where the system offers no such bounds."""
    sys.dont_write_bytecode = True
    if resource is None:
        return False
    _bound("RLIMIT_DATA" if sys.platform == "linux" else "RLIMIT_AS", int(memory_of(limits) * GIB))
    _bound("RLIMIT_CPU", limits.cpu_seconds)
    _bound("RLIMIT_FSIZE", limits.written_bytes)
    _bound("RLIMIT_NOFILE", limits.open_files)
    _bound("RLIMIT_CORE", 0)
    return True


def memory_of(limits: Confinement) -> float:
    """The bound on memory in GiB: as set, or three quarters of the machine's."""
    if limits.memory_gib is not None:
        return limits.memory_gib
    try:
        return max(4.0, 0.75 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB)
    except (AttributeError, ValueError, OSError):
        return 16.0


def _bound(name: str, value: int | None) -> None:
    kind = getattr(resource, name, None)
    if kind is None or value is None:
        return
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (most, hard if name == "RLIMIT_CPU" else most))
    except (ValueError, OSError):  # a system that knows the limit and does not enforce it
        return


class Seal:
    """Refuses processes, connections and changes of files while closed; `trespasses` says what was tried.

    An audit hook cannot be taken out again, so one is put in once and asks whether the seal is closed.
    """

    def __init__(self) -> None:
        self.closed = False
        self.trespasses: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Closed inside; raises `UnsafeFileError` at the end when something was tried, even if it was caught."""
        self.closed = True
        try:
            yield
        finally:
            self.closed = False
        self.check()

    def check(self) -> None:
        """Raises `UnsafeFileError` when something was tried."""
        if self.trespasses:
            raise self._error(self.trespasses[0])

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.closed:
            return
        if event in REFUSED or (event == "open" and _writes(arguments)):
            self.trespasses.append(event)
            raise self._error(event)

    @staticmethod
    def _error(event: str) -> UnsafeFileError:
        what = "to write a file" if event == "open" else f"'{event}'"
        return UnsafeFileError(
            f"expected a file that is only read, got one that attempted {what} while it was being opened, which was "
            "refused; do not open this file anywhere else, and report it"
        )


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, flags = arguments[0], arguments[2]
    writing = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND))
    return writing and path != os.devnull
