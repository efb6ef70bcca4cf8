"""Hands an array from one process to another as Python programs do, for `onepiece bench python`.

usage: python-hand-over.py queue|socket|copy BYTES COUNT

Each fills the array, hands it over, and sums it; a time is from filled to summed. Prints JSON: {"us": [...]}.
"""

import json
import multiprocessing
import socket
import sys
import time

import numpy as np


def checked(array, value, filled):
    total = int(array.sum())
    us = (time.monotonic_ns() - filled) / 1000
    if total != value * array.size:
        raise ValueError("the reader saw other bytes than were written")
    return us


def read_queue(queue, times, count):
    for _ in range(count):
        array, value, filled = queue.get()
        times.put(checked(array, value, filled))


def over_queue(size, count):
    queue = multiprocessing.Queue()
    times = multiprocessing.Queue()
    reader = multiprocessing.Process(target=read_queue, args=(queue, times, count))
    reader.start()
    found = []
    array = np.empty(size // 8, np.uint64)
    for value in range(count):
        array[...] = value
        queue.put((array, value, time.monotonic_ns()))
        found.append(times.get())
    reader.join()
    return found


def read_socket(end, times, size, count):
    array = np.zeros(size // 8, np.uint64)
    head = np.zeros(2, np.uint64)
    for _ in range(count):
        for into in (head, array):
            view = memoryview(into).cast("B")
            while len(view) > 0:
                view = view[end.recv_into(view) :]
        times.put(checked(array, int(head[0]), int(head[1])))


def over_socket(size, count):
    ours, theirs = socket.socketpair()
    times = multiprocessing.Queue()
    reader = multiprocessing.Process(target=read_socket, args=(theirs, times, size, count))
    reader.start()
    found = []
    array = np.empty(size // 8, np.uint64)
    for value in range(count):
        array[...] = value
        ours.sendall(np.array([value, time.monotonic_ns()], np.uint64))
        ours.sendall(array)
        found.append(times.get())
    reader.join()
    return found


def over_copy(size, count):
    array = np.empty(size // 8, np.uint64)
    other = np.zeros(size // 8, np.uint64)
    found = []
    for value in range(count):
        array[...] = value
        filled = time.monotonic_ns()
        np.copyto(other, array)
        found.append(checked(other, value, filled))
    return found


if __name__ == "__main__":
    kind, size, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps({"us": {"queue": over_queue, "socket": over_socket, "copy": over_copy}[kind](size, count)}))
