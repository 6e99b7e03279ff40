"""The host's view of a zygote: start it, have it fork children, learn of their ends.

A zygote is trusted: it runs no code of users. It lives as long as its control socket; when the host goes, by
whatever way, the socket closes, the zygote exits, and the kernel kills its children.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.errors import Unavailable

__all__ = ("Child", "Exit", "Zygote", "ZygoteOptions")

_GUEST = Path(__file__).resolve().parent.parent / "guest"
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[3]); "
    "from duralite_guest.zygote import main; import json; "
    "main(int(sys.argv[1]), json.loads(sys.argv[2]))"
)
_READY_S = 60.0
_LEAVE_S = 2.0
_PACKET = 262144


@dataclass(frozen=True, slots=True)
class ZygoteOptions:
    """How to start a zygote. `uid` and `gid` count where the host is root."""

    python: str
    libraries: Mapping[str, Path] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    namespaces: bool = True
    landlock: bool = True
    nice: int = 5
    uid: int = 65534
    gid: int = 65534


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: its signal or exit code, CPU seconds, peak memory."""

    signal: int | None
    code: int | None
    cpu_s: float
    peak_bytes: int


class Child:
    """One forked process, good for one run."""

    def __init__(self, pid: int, pidfd: int, sock: socket.socket, zygote: Zygote) -> None:
        self.pid = pid
        self.socket = sock
        self.zygote = zygote
        self.exited: asyncio.Future[Exit | None] = asyncio.get_running_loop().create_future()
        self._pidfd = pidfd

    def kill(self) -> None:
        """End the process. Nothing in it can prevent that."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def bury(self, ended: Exit | None) -> None:
        """Take the news that the process is gone (None: with its zygote)."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if not self.exited.done():
            self.exited.set_result(ended)


class Zygote:
    """One zygote process, and the children that it made."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._asked: deque[asyncio.Future[Child]] = deque()
        self._children: dict[int, Child] = {}
        self._on_death: Callable[[Zygote], None] | None = None
        self.report: dict[str, Any] = {}
        self.spawned = 0
        self.dead = False
        self._retiring = False
        self._loop.add_reader(control.fileno(), self._readable)

    @classmethod
    async def start(cls, options: ZygoteOptions, on_death: Callable[[Zygote], None]) -> Zygote:
        """Exec a zygote and wait until it is ready. Raises `Unavailable` when it cannot be."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            # On this thread: the kernel ties the zygote's life to the thread that makes it.
            process = subprocess.Popen(  # noqa: ASYNC220 - a few ms, at the start
                [
                    *(options.python, "-s", "-S", "-P", "-B", "-X", "utf8", "-c", _BOOT),
                    *(str(theirs.fileno()), _options_json(options), str(_GUEST)),
                ],
                pass_fds=(theirs.fileno(),),
                # A fixed hash seed: the order of sets is the same in every run, which replay needs.
                env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # A group of its own: a Ctrl-C at the terminal is the host's to handle. Not a session of its own: Linux
                # schedules each as one (`sched(7)`, autogroup), where `nice` weighs nothing and a busy host can starve it.
                process_group=0,
            )
        zygote = cls(process, ours)
        try:
            zygote.report = await asyncio.wait_for(zygote._ready, _READY_S)
        except BaseException as error:
            await zygote.aclose()
            if isinstance(error, TimeoutError):
                raise Unavailable(f"The sandbox's zygote was not ready after {_READY_S:.0f} s.") from None
            raise
        zygote._on_death = on_death
        return zygote

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def children(self) -> tuple[Child, ...]:
        """The children that are alive."""
        return tuple(self._children.values())

    def ask(self, sealed: bool = True) -> asyncio.Future[Child]:
        """Ask for a child, which comes as the future's result (`Unavailable` when the zygote dies first)."""
        future: asyncio.Future[Child] = self._loop.create_future()
        if self.dead:
            future.set_exception(Unavailable("The sandbox's zygote ended."))
            return future
        try:
            self._control.send(b"S" if sealed else b"P")
        except BlockingIOError:
            future.set_exception(Unavailable("The sandbox's zygote is behind with its work."))
            return future
        except OSError:
            self._end()
            future.set_exception(Unavailable("The sandbox's zygote ended."))
            return future
        self._asked.append(future)
        self.spawned += 1
        return future

    def retire(self) -> None:
        """Close down once the last running child is gone."""
        self._on_death = None
        if not self._children and not self._asked:
            self._end()
        else:
            self._retiring = True

    async def aclose(self) -> None:
        """End the zygote and its children. Idempotent."""
        self._on_death = None
        for child in self.children:
            child.kill()
        self._end()
        await asyncio.to_thread(self._wait)

    def _wait(self) -> None:
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _readable(self) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._control, _PACKET, 2, socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, fds = b"", []
            if not data:
                self._end()
                return
            self._take(data[:1], data[1:], fds)

    def _take(self, kind: bytes, body: bytes, fds: list[int]) -> None:
        if kind == b"B":
            self._born(struct.unpack("=i", body)[0], *fds)
        elif kind == b"D":
            pid, status, cpu, peak_kib = struct.unpack("=iidq", body)
            child = self._children.pop(pid, None)
            if child is not None:
                code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
                child.bury(Exit(ended_by, code, cpu, peak_kib * 1024))
            if self._retiring and not self._children:
                self._end()
        elif kind == b"R":
            self._ready.set_result(json.loads(body))
        elif kind == b"F" and not self._ready.done():
            self._ready.set_exception(Unavailable(f"The sandbox's zygote failed to start: {body.decode()}"))

    def _born(self, pid: int, channel_fd: int, pidfd: int) -> None:
        child = Child(pid, pidfd, socket.socket(fileno=channel_fd), self)
        self._children[pid] = child
        while self._asked:
            waiting = self._asked.popleft()
            if not waiting.done():
                waiting.set_result(child)
                return
        child.kill()  # whoever asked has left
        child.socket.close()

    def _end(self) -> None:
        if self.dead:
            return
        self.dead = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        gone = Unavailable("The sandbox's zygote ended.")
        if not self._ready.done():
            self._ready.set_exception(gone)
        for waiting in self._asked:
            if not waiting.done():
                waiting.set_exception(gone)
                waiting.exception()  # whoever waits sees it; nobody else has to
        self._asked.clear()
        for child in self.children:
            child.kill()
            child.bury(None)
        self._children.clear()
        threading.Thread(target=self._wait, daemon=True, name="duralite-zygote-wait").start()
        if self._on_death is not None:
            self._on_death(self)


def _options_json(options: ZygoteOptions) -> str:
    return json.dumps(
        {
            "libraries": {name: str(Path(folder).resolve()) for name, folder in options.libraries.items()},
            "modules": list(options.modules),
            "namespaces": options.namespaces,
            "landlock": options.landlock,
            "nice": options.nice,
            "uid": options.uid,
            "gid": options.gid,
            "host_pid": os.getpid(),
            "die_with_parent": True,
        }
    )
