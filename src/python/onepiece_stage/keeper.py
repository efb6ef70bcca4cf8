"""The process between a stage process and its Python process: it leaves nothing behind.

Invariant: when the Python process or the stage process has ended, whatever the Python process has started ends too,
also what has left its process group: those that lose their parent become this process's children
(PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import List

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _die_with(parent: int, number: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


_WATCHED = {signal.SIGTERM, signal.SIGCHLD}


def keep(parent: int, descriptors: List[int]) -> None:
    """Forks; returns in the process that runs the stage. This one ends with its status, as shells say it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _die_with(parent, signal.SIGTERM)
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        _die_with(keeper, signal.SIGKILL)
        return
    # Their other ends shall see that the stage has ended. Its output goes on through what it has started.
    for fd in descriptors + [1, 2]:
        os.close(fd)
    status = _wait(pid)
    _end_all()
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _wait(pid: int) -> int:
    """Waits until the stage has ended, or until this process is asked to end it; answers its status."""
    while True:
        number = signal.sigwait(_WATCHED)
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if ended == pid:
                return status
            if ended == 0:
                break
        if number == signal.SIGTERM:
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]


def _end_all() -> None:
    """Ends all descendants: as one ends, its children become ours."""
    while True:
        for child in _children():
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> List[int]:
    own = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # proc_pid_stat(5): the name, in brackets, may hold anything; then the state and the parent.
                    parent = int(file.read().rpartition(b") ")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if parent == own:
                found.append(int(name))
    return found
