"""Memory of the stage process that this process has mapped, and windows of it that a task sees.

Invariant: a segment is mapped once for each lane of tasks. A window shows the bytes of one task: when that has ended,
its views raise, and an array that the code of the stage has kept goes on showing the bytes that it had, in memory of
its own (`_freeze`). So no array ever shows another task's bytes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import mmap
import os
import socket
import sys
import weakref
from array import array
from typing import Any, Dict, List, Tuple

from .cuda import SMALLEST_BYTES, Registered

_POPULATE = getattr(mmap, "MAP_POPULATE", 0x8000)
_PAGE = mmap.PAGESIZE
_MAP_FIXED = 0x10
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)
_FD_BYTES = array("i").itemsize
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


class _File:
    """The file of a segment: where its bytes begin in it, and how many there are."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self.fd = fd
        self.offset = offset
        self.size = size

    def map(self) -> Tuple[mmap.mmap, int]:
        """Maps it; answers where its first byte is in the mapping."""
        start = self.offset - self.offset % _PAGE
        skip = self.offset - start
        mapped = mmap.mmap(self.fd, skip + self.size, flags=mmap.MAP_SHARED | _POPULATE, offset=start)
        # A process that the code of the stage forks has none of it: it would see other tasks' bytes later.
        if hasattr(mmap, "MADV_DONTFORK"):
            mapped.madvise(mmap.MADV_DONTFORK)
        return mapped, skip


class Window:
    """Some bytes of a segment, while a task runs."""

    __slots__ = ("_memory", "_key", "_raw", "_views", "nbytes")

    def __init__(self, memory: "Memory", key: Tuple[int, int], mapped: mmap.mmap, at: int, nbytes: int) -> None:
        self._memory = memory
        self._key = key
        self.nbytes = nbytes
        # Whatever is made of it refers to this object: while it lives, somebody may look.
        self._raw: Any = (ctypes.c_ubyte * nbytes).from_buffer(mapped, at)
        self._views: List[memoryview] = []

    @property
    def is_open(self) -> bool:
        return self._raw is not None

    def raw(self) -> Any:
        """An object with the buffer protocol. Raises ValueError when the task has ended."""
        if self._raw is None:
            raise ValueError("the task of this tensor has ended: copy what you want to keep")
        return self._raw

    def view(self, writable: bool) -> memoryview:
        """A memoryview of bytes, which raises ValueError when the task has ended."""
        made = memoryview(self.raw()).cast("B")
        if not writable:
            made = made.toreadonly()
        self._views.append(made)
        return made

    def close(self) -> "weakref.ref[Any]":
        """Ends it; answers a reference that is alive while somebody looks at its bytes."""
        for view in self._views:
            try:
                view.release()
            except BufferError:
                pass  # an array was made of it
        self._views = []
        left = weakref.ref(self._raw)
        self._raw = None
        return left

    def register(self) -> bool:
        """Has CUDA register the mapping, once; answers whether it is registered."""
        return self.nbytes >= SMALLEST_BYTES and self._memory.register(self._key)

    def freeze(self, raw: Any) -> None:
        """Gives whoever still looks a copy in place of the shared bytes."""
        self._memory.forget(self._key)  # unregisters it before its pages change; ``raw`` keeps it mapped
        _freeze(ctypes.addressof(raw), self.nbytes)


def _freeze(address: int, nbytes: int) -> None:
    start = address - address % _PAGE
    length = -(-(address + nbytes - start) // _PAGE) * _PAGE
    held = ctypes.string_at(start, length)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
    got = _libc.mmap(start, length, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if got is None or got == _MAP_FAILED:
        # What is shown would be another task's soon.
        sys.stderr.write(f"onepiece_stage: no memory for arrays that outlive their task ({nbytes} bytes)\n")
        os._exit(70)
    ctypes.memmove(start, held, length)


def _address(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_ubyte.from_buffer(mapped))


class Memory:
    """All that this process has mapped."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._files: Dict[int, _File] = {}
        self._mapped: Dict[Tuple[int, int], Tuple[mmap.mmap, int]] = {}
        self._registered = Registered()
        self._said = False

    @property
    def registered(self) -> int:
        """How many mappings CUDA has registered."""
        return len(self._registered)

    def register(self, key: Tuple[int, int]) -> bool:
        """Has CUDA register a mapping, once; answers whether it is registered."""
        found = self._mapped.get(key)
        return found is not None and self._registered.add(_address(found[0]), len(found[0]))

    def window(self, lane: int, segment: int, offset: int, nbytes: int) -> Window:
        """Shows bytes of a segment, whose descriptor comes over the channel when it is new."""
        key = (lane, segment)
        found = self._mapped.get(key)
        if found is None:
            file = self._files.get(segment)
            while file is None:
                self.receive()
                file = self._files.get(segment)
            found = self._mapped[key] = file.map()
        mapped, skip = found
        return Window(self, key, mapped, skip + offset, nbytes)

    def receive(self, flags: int = 0) -> None:
        """Takes one descriptor out of the channel. Raises EOFError when the stage process has gone."""
        # Not socket.recv_fds(): it leaves its flags out, so it waits where it must not.
        data, ancillary, _, _ = self._channel.recvmsg(4096, socket.CMSG_LEN(_FD_BYTES), flags | _CLOEXEC)
        if not data:
            raise EOFError("the stage process has gone")
        descriptors = array("i")
        for level, kind, given in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(given[: len(given) - len(given) % _FD_BYTES])
        if not descriptors:
            raise RuntimeError("a descriptor is missing: this process may have too many (ulimit -n)")
        words = json.loads(data)
        self._files[words["segment"]] = _File(descriptors[0], words["offset"], words["bytes"])

    def forget(self, key: Tuple[int, int]) -> None:
        """Unregisters a mapping and leaves it to whoever still looks; the next window gets another one."""
        found = self._mapped.pop(key, None)
        if found is not None:
            self._registered.remove(_address(found[0]))

    def drop(self, segment: int) -> None:
        """No task names it any more."""
        for key in [key for key in self._mapped if key[1] == segment]:
            self.forget(key)
        file = self._files.pop(segment, None)
        if file is not None:
            os.close(file.fd)

    def end(self, windows: List[Window], what: str) -> None:
        """The tasks of these windows have ended."""
        left = [(window, window.close()) for window in windows]
        if all(ref() is None for _, ref in left):
            return
        # In a cycle, perhaps.
        gc.collect()
        kept = 0
        for window, ref in left:
            raw = ref()
            if raw is not None:
                window.freeze(raw)
                kept += window.nbytes
        if kept > 0 and not self._said:
            self._said = True
            sys.stderr.write(
                f"onepiece_stage: {what} keeps arrays of a task that has ended ({kept} bytes); they are copied, which"
                " takes time: copy them yourself, for example with numpy().copy() (said once)\n"
            )

    def close(self) -> None:
        """In a process that was forked: it has none of the memory."""
        self._registered.forget()
        self._mapped = {}
        for file in self._files.values():
            os.close(file.fd)
        self._files = {}
