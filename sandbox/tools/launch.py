"""The launcher stands between the service and a tool server, so that no server outlives the service.

Run as `launch.py <pid of the service> <command> [argument…]`. It starts the command in a process group of its own,
hands it standard input and output, and waits. When the service dies, by whatever way, the kernel tells the
launcher; then, as on SIGTERM, the whole group is asked to end, and killed when it does not. When the command ends
by itself, what it left behind is killed. The exit code is the command's.

It imports the standard library alone, and is run by its path.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

__all__ = ("main",)

_PR_SET_PDEATHSIG = 1
_GRACE_S = 2
_CANNOT_START = 127


def main(argv: list[str]) -> int:
    """Run the command to its end and return its exit code."""
    service, command = int(argv[1]), argv[2:]
    # Asked for before the fork: from here on no death of the service goes unnoticed but one that came before.
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    _die_with_parent(signal.SIGTERM)
    if os.getppid() != service:
        return 1
    child = os.fork()
    if child == 0:
        _become(command)
    try:
        os.setpgid(child, child)
    except OSError:
        pass  # it has done so itself, and begun
    _end_on_term(child)
    if asked:
        os.kill(os.getpid(), signal.SIGTERM)
    _let_go_of_pipes()
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    _signal_group(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) & 0xFF


def _become(command: list[str]) -> None:
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _die_with_parent(signal.SIGKILL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode("utf-8", "replace"))
    finally:
        os._exit(_CANNOT_START)


def _end_on_term(child: int) -> None:
    def ask(*_: Any) -> None:
        _signal_group(child, signal.SIGTERM)
        signal.alarm(_GRACE_S)

    signal.signal(signal.SIGALRM, lambda *_: _signal_group(child, signal.SIGKILL))
    signal.signal(signal.SIGTERM, ask)


def _let_go_of_pipes() -> None:
    # Whoever reads or writes these must meet their end when the command ends.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def _signal_group(child: int, number: int) -> None:
    try:
        os.killpg(child, number)
    except OSError:
        pass  # nobody is left


def _die_with_parent(number: int) -> None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:  # Linux; elsewhere a server ends when its standard input does
        prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
