"""The zygote is a clean process that does nothing but fork: exec'd with an empty environment, everything loaded.

It never sees code or data of a run, so nothing of one run remains for the next. It gives up its rights
once, at the start, for itself and all its children: namespaces, root directory, identity, capabilities,
paths. What is left, the filter and the resource limits, each child takes upon itself.

Control messages, one a packet. From the host: `S` fork a child, `P` fork one without the filter (to see what
Landlock alone refuses). To the host: `R` ready (JSON), `B` born (pid; with the child's channel and pidfd),
`D` dead (pid, wait status, CPU seconds, peak KiB), `F` failed (text).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from . import child, kernel, preload
from .program import Program

__all__ = ("main",)

_PACKET = 65536


def main(control_fd: int, options: dict[str, Any]) -> None:
    """Prepare, report, and fork until the host goes away."""
    control = socket.socket(fileno=control_fd)
    # It ends when the host does, not when a service manager signals everybody: the host may be draining.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        report = _prepare(options)
    except BaseException as error:
        control.send(b"F" + f"{type(error).__name__}: {error}".encode()[:4000])
        raise
    _forget_the_host(options["modules"])
    Program.rehearse(child.LIBRARIES)
    gc.collect()
    gc.freeze()
    control.send(b"R" + json.dumps(report).encode())
    _Forks(control, options["address_space"]).serve()


def _prepare(options: dict[str, Any]) -> dict[str, Any]:
    if options["die_with_parent"]:
        kernel.die_with_parent(options["host_pid"])
    os.environ.clear()
    preload.load_modules(tuple(options["modules"]))
    for name, folder in options["libraries"].items():
        child.LIBRARIES[name] = preload.load_library(name, folder)
    # Read while there is a /proc: a child starts with the same address space.
    with open("/proc/self/statm") as file:  # noqa: PTH123
        options["address_space"] = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("500")
    with contextlib.suppress(OSError):
        os.nice(options["nice"])
    gaps: dict[str, str] = {}
    namespaces = _namespaces(gaps, options["namespaces"])
    if os.getuid() == 0:
        kernel.set_identity(options["uid"], options["gid"])
        if options["die_with_parent"]:  # a change of identity clears it
            with contextlib.suppress(OSError):
                kernel.die_with_parent(os.getppid())
    kernel.drop_capabilities()
    kernel.undumpable()
    kernel.forbid_new_privileges()
    landlock = kernel.restrict_paths() if options["landlock"] else 0
    return {
        "pid": os.getpid(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "modules": sorted({name.partition(".")[0] for name in sys.modules} & sys.stdlib_module_names),
        "namespaces": namespaces,
        "landlock": landlock,
        "gaps": gaps,
    }


def _namespaces(gaps: dict[str, str], wanted: bool) -> list[str]:
    """Enter what can be entered; each thing refused is written down, not fatal."""
    if not wanted:
        gaps["namespaces"] = "switched off"
        return []
    first = () if os.getuid() == 0 else ("user",)
    for names in ((*first, "mount", "net", "ipc", "uts"), (*first, "net", "ipc"), (*first, "net")):
        try:
            kernel.unshare(*names)
        except OSError as error:
            gaps[",".join(names)] = str(error)
            continue
        entered = list(names)
        if "mount" in names:
            try:
                kernel.empty_root()
                entered.append("empty root")
            except (OSError, StopIteration) as error:
                gaps["empty root"] = str(error)
        if "uts" in names:
            with contextlib.suppress(OSError):
                socket.sethostname("sandbox")
        return entered
    return []


def _forget_the_host(wanted: list[str]) -> None:
    """Drop what tells of the host's paths, so that user code sees a plain interpreter."""
    sys.argv[:] = ["<code>"]
    sys.orig_argv[:] = ["python"]
    sys.path[:] = []
    sys.path_importer_cache.clear()
    sys.executable = ""
    for name in preload.HIDDEN:
        if name not in wanted:
            sys.modules.pop(name, None)


class _Forks:
    """The children of one zygote, and the loop that makes and buries them."""

    def __init__(self, control: socket.socket, address_space: int) -> None:
        self._control = control
        self._address_space = address_space
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self._alive: dict[int, tuple[int, int]] = {}

    def serve(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._control.fileno():
                    request = self._control.recv(_PACKET)
                    if not request:
                        os._exit(0)  # the children die with this process
                    self._fork(sealed=request[:1] == b"S")
                else:
                    self._bury(fd)

    def _fork(self, sealed: bool) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _child(theirs.detach(), parent, self._address_space, sealed)
        theirs.close()
        pidfd = os.pidfd_open(pid)
        self._alive[pidfd] = (pid, 0)
        self._poll.register(pidfd, select.POLLIN)
        message = b"B" + struct.pack("=i", pid)
        fds = struct.pack("=2i", ours.fileno(), pidfd)
        self._control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        ours.close()

    def _bury(self, pidfd: int) -> None:
        pid, _ = self._alive.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(pid, 0)
        cpu = usage.ru_utime + usage.ru_stime
        self._control.send(b"D" + struct.pack("=iidq", pid, status, cpu, usage.ru_maxrss))


def _child(channel: int, parent: int, address_space: int, sealed: bool) -> None:
    """Become one run's process. Never returns into the zygote's loop."""
    leave: Callable[[int], Any] = os._exit
    try:
        kernel.die_with_parent(parent)
        kernel.undumpable()
        if channel != 3:
            os.dup2(channel, 3)
        os.closerange(4, 65536)
        child.serve(3, address_space, sealed)
    finally:
        leave(0)


if __name__ == "__main__":
    time.tzset()
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
