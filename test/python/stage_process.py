"""A stage process for the tests of onepiece_stage: the other end of a Worker, in the same process.

Invariant: a Worker runs in a thread of the test and ends with it; nothing is left in any folder. It needs no pytest:
the checks of a GPU machine (bench/gpu-check.sh) use it too.
"""

import os
import pathlib
import socket
import struct
import sys
import threading
import json
import mmap

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "src" / "python"))

from onepiece_stage.mailbox import MAILBOX_BYTES, RING_BYTES, RINGS_AT, Mailbox  # noqa: E402
from onepiece_stage.worker import Worker  # noqa: E402


class StageProcess:
    """Posts records to a worker and takes its records, as mailbox.ts does."""

    def __init__(self):
        self.fd = os.memfd_create("mailbox")
        os.ftruncate(self.fd, MAILBOX_BYTES)
        self.memory = mmap.mmap(self.fd, MAILBOX_BYTES)
        self.words = memoryview(self.memory)[:RINGS_AT].cast("I")
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.bell, bell_in = self._bell()
        bell_out, self.answers = self._bell()
        self.channel = theirs
        self.mailbox = Mailbox(self.fd, bell_in, bell_out, theirs.fileno())
        self.worker = Worker(self.mailbox, theirs)
        self.segments = 0
        self.thread = None

    def _bell(self):
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        return writer, reader

    def post(self, record, ring=True):
        data = json.dumps(record).encode()
        tail = self.words[0]
        # Through a buffer that is written piece by piece: records go round the end of the ring.
        for at, byte in enumerate(struct.pack("<I", len(data)) + data):
            self.memory[RINGS_AT + (tail + at) % RING_BYTES] = byte
        self.words[0] = (tail + ((4 + len(data) + 7) & -8)) % 2**32
        if ring:
            self.ring()

    def ring(self):
        os.write(self.bell, b"\1\0\0\0\0\0\0\0")

    def polls(self):
        """Whether the worker says that it polls."""
        return self.words[256] == 1

    def set_polls(self, polls):
        """Says whether this end polls."""
        self.words[272] = int(polls)

    def has_rung(self):
        import select

        return select.select([self.answers], [], [], 0)[0] != []

    def silence(self):
        if self.has_rung():
            os.read(self.answers, 4096)

    def take(self, timeout=20.0):
        import select

        while self.words[32] == self.words[48]:
            ready, _, _ = select.select([self.answers], [], [], timeout)
            if not ready:
                raise TimeoutError("the worker says nothing")
            os.read(self.answers, 4096)
        head = self.words[48]
        base = RINGS_AT + RING_BYTES
        ring = lambda at: self.memory[base + at % RING_BYTES]  # noqa: E731
        length = int.from_bytes(bytes(ring(head + at) for at in range(4)), "little")
        data = bytes(ring(head + 4 + at) for at in range(length))
        self.words[48] = (head + ((4 + length + 7) & -8)) % 2**32
        return json.loads(data)

    def segment(self, data, size=None):
        """Shares memory that begins with these bytes; answers its number, and the mapping."""
        fd = os.memfd_create("segment")
        os.ftruncate(fd, max(size or 0, len(data), 1))
        shown = mmap.mmap(fd, max(size or 0, len(data), 1))
        shown[: len(data)] = data
        self.segments += 1
        words = json.dumps({"segment": self.segments, "offset": 0, "bytes": len(shown)})
        socket.send_fds(self.ours, [words.encode()], [fd])
        os.close(fd)
        return self.segments, shown

    def start(self, file, name, batch=False, concurrency=1, poll=0):
        self.post(
            {
                "t": "start",
                "file": str(file),
                "name": name,
                "stage": "act",
                "instance": 0,
                "concurrency": concurrency,
                "batch": batch,
                "poll": poll,
            }
        )
        assert self.worker.start() in (True, False)
        hello = self.take()
        assert hello == {"t": "hello", "pid": os.getpid()}
        record = self.take()
        if record["t"] == "ready":
            self.thread = threading.Thread(target=self.worker.serve)
            self.thread.start()
        return record

    def task(self, slot=0, inputs=(), run=True, remaining=None):
        if not hasattr(self, "room"):
            self.room, self.room_memory = self.segment(b"", 65536)
        return {
            "t": "task",
            "slot": slot,
            "run": run,
            "request": "1-0-1",
            "seed": 7,
            "instance": 0,
            "instances": 1,
            "spread": "route",
            "remaining": remaining,
            "inputs": [["request", 0, {}, list(inputs)]],
            "room": [self.room, 0, 65536],
            "inline": 1024,
            "limit": 2**22,
        }

    def stop(self):
        """Ends the worker when it has taken all records."""
        if self.thread is not None:
            self.post({"t": "stop"})
            self.thread.join(20)
            assert not self.thread.is_alive()
            self.thread = None

    def close(self):
        self.stop()
        self.ours.close()
