"""The shapes of `onepiece bench pipeline` with mpi4py and NumPy, as people write them: dicts with an array, pickled.

Usage: mpirun -np RANKS python3 pipeline-mpi4py.py FILE SHAPE TASK SIZE WINDOW SECONDS WARM_UP_SECONDS REST_MS
The arguments, the shapes, the phases and the file are those of pipeline-open-mpi.c.

Invariant: every result is checked at its stamps (first word, last word, one in each 64 KiB), the first ones in every
byte; stamping and checking are in no sample. A rank ends with its parent.
"""
import ctypes
import resource
import signal
import sys
import time

import numpy as np
from mpi4py import MPI

PR_SET_PDEATHSIG = 1
SAMPLES_MAX = 1 << 20
STRIDE_WORDS = 64 * 1024 // 4
QUARTERS = 4
SAMPLES_MIN = 5
RESTS_MIN = 10
ALL = (0, 4)

# Of each rank: whom it takes from and which quarters, whom it sends to, which quarters its output holds. Rank 0 is the
# source.
SHAPES = {
    "chain": [
        ({3: ALL}, [1], ALL),
        ({0: ALL}, [2], ALL),
        ({1: ALL}, [3], ALL),
        ({2: ALL}, [0], ALL),
    ],
    "diamond": [
        ({4: ALL}, [1], ALL),
        ({0: ALL}, [2, 3], ALL),
        ({1: ALL}, [4], ALL),
        ({1: ALL}, [4], ALL),
        ({2: (0, 2), 3: (2, 4)}, [0], ALL),
    ],
    "shard": [
        ({6: ALL}, [1], ALL),
        ({0: ALL}, [2, 3, 4, 5], ALL),
        ({1: (0, 1)}, [6], (0, 1)),
        ({1: (1, 2)}, [6], (1, 2)),
        ({1: (2, 3)}, [6], (2, 3)),
        ({1: (3, 4)}, [6], (3, 4)),
        ({2: (0, 1), 3: (1, 2), 4: (2, 3), 5: (3, 4)}, [0], ALL),
    ],
}

comm = MPI.COMM_WORLD


class Usage:
    """What this rank uses while it is measured."""

    def __init__(self):
        self.begin_us = self.end_us = self.rss_kib = self.pss_kib = 0.0

    @staticmethod
    def cpu_us():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return (usage.ru_utime + usage.ru_stime) * 1e6

    def begin(self):
        self.begin_us = self.cpu_us()

    def end(self):
        self.end_us = self.cpu_us()
        with open("/proc/self/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith("Rss:"):
                    self.rss_kib = float(line.split()[1])
                elif line.startswith("Pss:"):
                    self.pss_kib = float(line.split()[1])


def place(shape, size, usage):
    """Receives, copies its share once into a new array, and sends that on, until the source says that it ends."""
    takes, outputs, held = shape[comm.rank]
    offset = lambda quarter: size * quarter // QUARTERS
    base = offset(held[0])
    phase = "warm"
    while True:
        messages = [comm.recv(source=rank) for rank in takes]
        if messages[0]["phase"] != phase:
            phase = messages[0]["phase"]
            if phase == "measured":
                usage.begin()
            else:
                usage.end()
        if phase == "end":
            for rank in outputs:
                comm.send(messages[0], dest=rank)
            return
        clip = np.empty(offset(held[1]) - base, np.uint8)
        for (rank, (first, last)), message in zip(takes.items(), messages):
            begin, end = offset(first), offset(last)
            sent = offset(shape[rank][2][0])
            clip[begin - base : end - base] = message["clip"][begin - sent : end - sent]
        for rank in outputs:
            comm.send({"phase": phase, "clip": clip}, dest=rank)


class Source:
    """Makes the requests and takes the results; a slot for each request under way."""

    def __init__(self, size, window, first, last):
        self.first, self.last, self.window = first, last, window
        at = np.arange(size, dtype=np.uint32)
        filler = ((at ^ (at >> 8) ^ (at >> 16)) & 0xFF).astype(np.uint8)
        self.clips = [filler.copy() for _ in range(window)]
        self.sends = [MPI.REQUEST_NULL] * window
        self.began = [0.0] * window
        self.places = np.arange(0, size - 4, STRIDE_WORDS * 4, dtype=np.uint64)
        self.words = (self.places * 2654435761).astype(np.uint32)
        self.last_word = np.uint32((size - 4) * 2654435761 & 0xFFFFFFFF)
        self.sent = self.got = 0
        self.samples = []
        self.requests = 0
        self.seconds = 0.0

    def stamps(self, clip):
        whole = clip[: clip.size // 4 * 4].view(np.uint32)[: self.places.size * STRIDE_WORDS : STRIDE_WORDS]
        return whole, clip[-4:].view(np.uint32)

    def stamp(self, clip, number):
        stamps, last = self.stamps(clip)
        stamps[:] = self.words + np.uint32(number)
        last[:] = np.array([self.last_word]) + np.uint32(number)

    def check(self, clip, number):
        stamps, last = self.stamps(clip)
        right = np.array_equal(stamps, self.words + np.uint32(number))
        if not right or last[0] != (np.array([self.last_word]) + np.uint32(number))[0]:
            raise RuntimeError("a result that is not that of its request")

    def send(self, phase):
        slot = self.sent % self.window
        self.sends[slot].Wait()
        self.stamp(self.clips[slot], self.sent)
        self.sent += 1
        self.began[slot] = time.perf_counter()
        message = {"phase": phase, "clip": self.clips[slot]}
        if self.window == 1:
            comm.send(message, dest=self.first)
        else:
            self.sends[slot] = comm.isend(message, dest=self.first)

    def take(self):
        result = comm.recv(source=self.last)["clip"]
        now = time.perf_counter()
        self.check(result, self.got)
        if self.got < self.window and not np.array_equal(result, self.clips[self.got % self.window]):
            raise RuntimeError("a result with other bytes than its request")
        self.got += 1
        return now

    def load(self, warm_up_s, seconds, usage, measures):
        """Steady: the window stays full from the first request until the last is counted."""
        warm = time.perf_counter() + warm_up_s
        phase = "warm"
        begin = 0.0
        while True:
            while self.sent - self.got < self.window:
                self.send(phase)
            began = self.began[self.got % self.window]
            now = self.take()
            if phase == "warm":
                if now < warm:
                    continue
                if not measures:
                    break
                phase = "measured"
                usage.begin()
                begin = time.perf_counter()
                continue
            self.requests += 1
            if began >= begin:
                self.samples.append((now - began) * 1e6)
            if (now >= begin + seconds and len(self.samples) >= SAMPLES_MIN) or len(self.samples) >= SAMPLES_MAX:
                self.seconds = now - begin
                usage.end()
                break
        while self.got < self.sent:
            self.take()

    def rest(self, seconds, rest_ms, usage):
        usage.begin()
        begin = time.perf_counter()
        for _ in range(max(RESTS_MIN, int(seconds * 1e3 // rest_ms))):
            time.sleep(rest_ms / 1e3)
            self.send("measured")
            self.samples.append((self.take() - self.began[0]) * 1e6)
        self.requests = len(self.samples)
        self.seconds = time.perf_counter() - begin
        usage.end()

    def idle(self, seconds, usage):
        """One request tells the others that it begins."""
        self.send("measured")
        self.take()
        usage.begin()
        begin = time.perf_counter()
        time.sleep(seconds)
        self.seconds = time.perf_counter() - begin
        usage.end()

    def end(self):
        comm.send({"phase": "end"}, dest=self.first)
        comm.recv(source=self.last)


def main(shape):
    path, task, size, window = sys.argv[1], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    seconds, warm_up_s, rest_ms = (float(text) for text in sys.argv[6:9])
    usage = Usage()
    comm.barrier()
    if comm.rank == 0:
        takes, outputs, _ = shape[0]
        source = Source(size, window, outputs[0], next(iter(takes)))
        source.load(warm_up_s, seconds, usage, task == "load")
        if task == "rest":
            source.rest(seconds, rest_ms, usage)
        elif task == "idle":
            source.idle(seconds, usage)
        source.end()
    else:
        place(shape, size, usage)
    mine = np.array([usage.end_us - usage.begin_us, usage.rss_kib, usage.pss_kib])
    totals = comm.reduce(mine, op=MPI.SUM, root=0)
    if comm.rank == 0:
        np.array([source.requests, source.seconds, *totals, *source.samples]).tofile(path)


ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
chosen = SHAPES.get(sys.argv[2]) if len(sys.argv) == 9 else None
if chosen is None or len(chosen) != comm.size:
    sys.exit("usage: FILE SHAPE TASK SIZE WINDOW SECONDS WARM_UP_SECONDS REST_MS; chain: 4 ranks, diamond: 5, shard: 7")
try:
    main(chosen)
except Exception as error:  # one rank that has failed ends all of them
    print(f"pipeline-mpi4py: {error!r}", file=sys.stderr, flush=True)
    comm.Abort(1)
