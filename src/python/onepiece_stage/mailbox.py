"""Records between this process and its stage process: two rings in memory that both have mapped.

Invariant: each ring has one writer and one reader. A record is whole before the tail moves, and its bytes are read
before the head moves. The layout is drawn in src/ts/cluster/python/mailbox.ts.
"""

from __future__ import annotations

import json
import mmap
import os
import platform
import select
import threading
import time
from typing import Any, Callable, Dict, List, Optional

RING_BYTES = 4 * 2**20
RINGS_AT = 4096
MAILBOX_BYTES = RINGS_AT + 2 * RING_BYTES
MAX_RECORD_BYTES = RING_BYTES // 2
_TO_PYTHON_TAIL, _TO_PYTHON_HEAD, _TO_NODE_TAIL, _TO_NODE_HEAD, _CANCELLED = 0, 16, 32, 48, 64
_PYTHON_POLLS, _NODE_POLLS = 256, 272
_MODULUS = 2**32
_FULL_S = 0.0005

# Made once: json.dumps() makes an encoder at each call that has options.
_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode
_decode = json.JSONDecoder().decode

_fence_lock = threading.Lock()
# x86 keeps loads in order, and stores. Elsewhere a lock that is taken and given back twice does.
_is_ordered = platform.machine() in ("x86_64", "AMD64", "i686")


def _fence() -> None:
    if not _is_ordered:
        _full_fence()


def _full_fence() -> None:
    """Also a load behind a store waits for it, which x86 does not promise."""
    for _ in range(2):
        with _fence_lock:
            pass


class Closed(Exception):
    """The stage process has gone."""


class Mailbox:
    """This end: takes records for Python out, and puts records for Node in."""

    def __init__(self, memory_fd: int, bell_in: int, bell_out: int, channel_fd: int) -> None:
        self._memory = mmap.mmap(memory_fd, MAILBOX_BYTES)
        self._memory.madvise(mmap.MADV_DONTFORK)
        whole = memoryview(self._memory)
        self._words = whole[:RINGS_AT].cast("I")
        self._in = whole[RINGS_AT : RINGS_AT + RING_BYTES]
        self._out = whole[RINGS_AT + RING_BYTES :]
        self.bell_in = bell_in
        self._bell_out = bell_out
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(bell_in, select.POLLIN)
        self._poll.register(channel_fd, 0)  # poll() reports its end alone
        self._watched: Dict[int, Callable[[], None]] = {}
        self.spin_s = 0.0
        self._is_rung = False

    def take(self) -> Optional[Dict[str, Any]]:
        """The next record; None: there is none."""
        words = self._words
        head = words[_TO_PYTHON_HEAD]
        if words[_TO_PYTHON_TAIL] == head:
            return None
        _fence()
        at = head % RING_BYTES
        length = int.from_bytes(self._in[at : at + 4], "little")
        start = (at + 4) % RING_BYTES
        end = start + length
        if end <= RING_BYTES:
            data = bytes(self._in[start:end])
        else:
            data = bytes(self._in[start:]) + bytes(self._in[: end - RING_BYTES])
        _fence()
        words[_TO_PYTHON_HEAD] = (head + _padded(length)) % _MODULUS
        record: Dict[str, Any] = _decode(data.decode())
        return record

    def next(self) -> Dict[str, Any]:
        """The next record, as soon as it is there. Raises Closed when the stage process has gone."""
        while True:
            record = self.take() or self._spin() or self._silenced()
            if record is not None:
                return record
            self._sleep()

    def _spin(self) -> Optional[Dict[str, Any]]:
        """Looks for a while; whoever posts a record meanwhile need not ring."""
        if self.spin_s <= 0:
            return None
        words = self._words
        head = words[_TO_PYTHON_HEAD]
        until = time.perf_counter() + self.spin_s
        try:
            words[_PYTHON_POLLS] = 1
            while words[_TO_PYTHON_TAIL] == head and time.perf_counter() < until:
                pass
        finally:
            words[_PYTHON_POLLS] = 0
        # What was posted by now may have rung no bell.
        _full_fence()
        return self.take()

    def _silenced(self) -> Optional[Dict[str, Any]]:
        """Takes the count of a bell that has rung; not before the record for which it has rung was taken."""
        if not self._is_rung:
            return None
        self._is_rung = False
        self.silence()
        return self.take()

    def _sleep(self) -> None:
        for fd, event in self._poll.poll():
            if fd == self.bell_in:
                self._is_rung = True
            elif fd in self._watched:
                self._watched[fd]()
            elif event & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                raise Closed("the stage process has gone")

    def watch(self, fd: int, call: Optional[Callable[[], None]]) -> None:
        """Calls when a descriptor is readable while this end sleeps; None: not any more."""
        if call is not None:
            self._watched[fd] = call
            self._poll.register(fd, select.POLLIN)
        elif self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def silence(self) -> None:
        """Takes the count of the bell; what it rang for is looked for afterwards."""
        try:
            os.read(self.bell_in, 8)
        except BlockingIOError:
            pass

    def post(self, record: Dict[str, Any]) -> None:
        """Writes a record; waits while there is no room.

        Raises ValueError for what JSON does not carry or what is too long, TypeError for what is no JSON.
        """
        data = _encode(record).encode()
        if len(data) > MAX_RECORD_BYTES:
            raise ValueError(f"{len(data)} bytes of metadata; put large data into tensors")
        with self._lock:
            words = self._words
            tail = words[_TO_NODE_TAIL]
            while _padded(len(data)) > RING_BYTES - (tail - words[_TO_NODE_HEAD]) % _MODULUS:
                time.sleep(_FULL_S)
                if os.getppid() == 1:
                    raise Closed("the stage process has gone")
            _fence()
            at = tail % RING_BYTES
            self._out[at : at + 4] = len(data).to_bytes(4, "little")
            start = (at + 4) % RING_BYTES
            cut = min(len(data), RING_BYTES - start)
            self._out[start : start + cut] = data[:cut]
            if cut < len(data):
                self._out[: len(data) - cut] = data[cut:]
            _fence()
            words[_TO_NODE_TAIL] = (tail + _padded(len(data))) % _MODULUS
        _full_fence()
        if self._words[_NODE_POLLS] == 0:
            os.write(self._bell_out, b"\1\0\0\0\0\0\0\0")

    def cancelled(self, slot: int) -> int:
        """Why the task in a slot is not wanted any more; 0: it is."""
        return self._words[_CANCELLED + slot]

    def fds(self) -> List[int]:
        return [self.bell_in, self._bell_out]


def _padded(length: int) -> int:
    return (4 + length + 7) & -8
