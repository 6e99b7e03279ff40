"""The probe tries what a sealed child must not be able to do, and reports what happened.

It runs inside a child made exactly like those that user code gets. Anything that succeeds is a hole.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any

from . import kernel

__all__ = ("run",)

_PTRACE_ATTACH = 16
_CLONE_NEWUSER = 0x10000000


def run() -> dict[str, str]:
    """Try everything. Returns for each act the name of the errno that refused it, or `allowed`."""
    return {name: _attempt(act) for name, act in _acts().items()}


def _attempt(act: Callable[[], Any]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    except (ValueError, RuntimeError, KeyError) as error:  # `setrlimit` refuses with ValueError
        return type(error).__name__
    return "allowed"


def _acts() -> dict[str, Callable[[], Any]]:
    parent = os.getppid()
    return {
        "open a file": lambda: os.close(os.open("/", os.O_RDONLY)),
        "make a file": lambda: os.close(os.open("/tmp/.duralite-probe", os.O_CREAT | os.O_WRONLY)),
        "list a directory": lambda: os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY)),
        "stat a path": lambda: os.lstat("/"),
        "make an internet socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
        "make a unix socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
        "make a datagram pair": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].close(),
        "fork": _fork,
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "signal the parent": lambda: os.kill(parent, 0),
        "signal everybody": lambda: os.kill(-1, 0),
        "map executable memory": _map_executable,
        "trace the parent": lambda: kernel.system_call("ptrace", _PTRACE_ATTACH, parent, 0, 0),
        "read another's memory": lambda: kernel.system_call("process_vm_readv", parent, 0, 0, 0, 0, 0),
        "make a memory file": lambda: kernel.system_call("memfd_create", b"probe", 0),
        "make a namespace": lambda: kernel.system_call("unshare", _CLONE_NEWUSER),
        "use io_uring": lambda: kernel.system_call("io_uring_setup", 1, bytes(120)),
        "use bpf": lambda: kernel.system_call("bpf", 0, 0, 0),
        "open a process": lambda: kernel.system_call("pidfd_open", parent, 0),
        "become root": lambda: os.setresuid(0, 0, 0),
        "mount": lambda: kernel.system_call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "raise a limit": _raise_limit,
    }


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _map_executable() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _raise_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (100, 100))
