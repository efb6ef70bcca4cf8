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
from typing import Any, Dict, List, Tuple

_POPULATE = getattr(mmap, "MAP_POPULATE", 0x8000)
_PAGE = mmap.PAGESIZE
_MAP_FIXED = 0x10
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)
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

    def freeze(self, raw: Any) -> None:
        """Gives who still looks a copy in place of the shared bytes."""
        _freeze(ctypes.addressof(raw), self.nbytes)
        self._memory.forget(self._key)


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


class Memory:
    """All that this process has mapped."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._files: Dict[int, _File] = {}
        self._mapped: Dict[Tuple[int, int], Tuple[mmap.mmap, int]] = {}
        self._said = False

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
        data, descriptors, _, _ = socket.recv_fds(self._channel, 4096, 1, flags | _CLOEXEC)
        if not data:
            raise EOFError("the stage process has gone")
        if not descriptors:
            raise RuntimeError("a descriptor is missing: this process may have too many (ulimit -n)")
        words = json.loads(data)
        self._files[words["segment"]] = _File(descriptors[0], words["offset"], words["bytes"])

    def forget(self, key: Tuple[int, int]) -> None:
        """This mapping is left to who still looks; the next window gets another one."""
        self._mapped.pop(key, None)

    def drop(self, segment: int) -> None:
        """No task names it any more."""
        for key in [key for key in self._mapped if key[1] == segment]:
            del self._mapped[key]
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
        self._mapped = {}
        for file in self._files.values():
            os.close(file.fd)
        self._files = {}
