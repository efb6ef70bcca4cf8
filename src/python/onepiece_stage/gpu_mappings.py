"""Memory of other processes' GPU outputs, as this process has mapped it.

Invariant: an arena of another process is mapped once for each device, by the first task that reads it, and stays so
while its owner lives and has it. What a task has read counts only if the owner lived until the task had ended: without
its owner nobody says what the memory holds.
"""

from __future__ import annotations

import os
import select
from typing import Any, Callable, Dict, List, Optional, Tuple

from .cudart import Cudart, CudaError


class Lost(Exception):
    """The process that owns a tensor has ended: the tensor comes again, from the next one."""

    retryable = True


class Unreachable(Exception):
    """Memory of another process's GPU cannot be opened here: the request is tried again, through the host."""

    retryable = True


def started_at(pid: int) -> Optional[str]:
    """When a process has begun, in ticks since the host has (proc_pid_stat(5), field 22); None: it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()


class Owner:
    """A process whose memory is mapped here."""

    def __init__(self, pid: int, started: str) -> None:
        self._pid = pid
        self._started = started
        self.fd: Optional[int] = None  # readable when it has ended (pidfd_open(2))
        try:
            self.fd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        except OSError:
            pass
        self._is_over = started_at(pid) != started

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        if not self._is_over:
            if self.fd is not None:
                poll = select.poll()
                poll.register(self.fd, select.POLLIN)
                self._is_over = bool(poll.poll(0))
            else:
                self._is_over = started_at(self._pid) != self._started
        return self._is_over

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Mapping:
    """An arena of another process."""

    def __init__(self, owner: Owner, device: int, address: int) -> None:
        self.owner = owner
        self.device = device
        self.address = address
        self.users = 0  # tensors of tasks that have not ended


_OwnerKey = Tuple[int, str]
#: Called with a descriptor that is readable when an owner has ended and True, and with False before it is closed.
OnOwner = Callable[[int, bool], None]


def ignore(fd: int, is_new: bool) -> None:
    """Nobody watches owners."""


class Mappings:
    """All of them."""

    def __init__(self, cudart: Cudart, on_owner: OnOwner = ignore) -> None:
        self._cudart = cudart
        self._on_owner = on_owner
        self._owners: Dict[_OwnerKey, Owner] = {}
        self._open: Dict[Tuple[_OwnerKey, int, int], Mapping] = {}

    def __len__(self) -> int:
        return len(self._open)

    def owner(self, key: _OwnerKey) -> Owner:
        """The process that began then under this number."""
        found = self._owners.get(key)
        if found is None:
            found = self._owners[key] = Owner(*key)
            if found.fd is not None:
                self._on_owner(found.fd, True)
        return found

    def map(self, key: _OwnerKey, arena: int, handle: bytes, device: int) -> Mapping:
        """Maps an arena, once; counts one more user. Raises Lost; Unreachable."""
        owner = self.owner(key)
        found = self._open.get((key, arena, device))
        if found is None:
            if owner.is_over:
                raise Lost(f"process {key[0]}, on whose GPU a tensor of this task lies, has ended")
            try:
                address = self._cudart.open(device, handle)
            except CudaError as error:
                if owner.is_over:
                    raise Lost(f"process {key[0]} has ended: {error}") from None
                raise Unreachable(f"a tensor on the GPU of process {key[0]} cannot be opened: {error}") from None
            found = self._open[(key, arena, device)] = Mapping(owner, device, address)
        found.users += 1
        return found

    def tidy(self, arenas: Dict[_OwnerKey, List[int]]) -> None:
        """Closes what is used by no task and is gone at its owner.

        Args:
            arenas: those that owners have said they have.
        """
        for (key, arena, device), mapping in list(self._open.items()):
            is_gone = mapping.owner.is_over or (key in arenas and arena not in arenas[key])
            if mapping.users == 0 and is_gone:
                del self._open[(key, arena, device)]
                self._close(mapping)
        used = {key for key, _, _ in self._open}
        for key in [key for key, owner in self._owners.items() if owner.is_over and key not in used]:
            owner = self._owners.pop(key)
            if owner.fd is not None:
                self._on_owner(owner.fd, False)
            owner.close()

    def _close(self, mapping: Mapping) -> None:
        try:
            self._cudart.close(mapping.device, mapping.address)
        except CudaError:
            pass  # it goes away with this process

    def forget(self) -> None:
        """In a process that was forked: CUDA does not work there."""
        for owner in self._owners.values():
            owner.close()
        self._owners = {}
        self._open = {}
