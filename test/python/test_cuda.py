"""Proves when memory is registered with CUDA and when not any more, with a CUDA that checks the pairs."""

import ctypes
import json
import mmap
import os
import socket
import subprocess
import sys
import types

import pytest

from onepiece_stage import cuda
from onepiece_stage.memory import Memory

MIB = 2**20


class FakeCudart:
    """Registered ranges; refuses what CUDA refuses: the same twice, and what is not registered."""

    def __init__(self):
        self.ranges = {}
        self.calls = []
        self.status = 0

    def cudaHostRegister(self, address, nbytes, flags):
        assert flags == 1 and nbytes % mmap.PAGESIZE == 0 and address % mmap.PAGESIZE == 0
        ctypes.string_at(address, nbytes)  # it is mapped
        self.calls.append(("register", address))
        if self.status != 0:
            return self.status
        assert address not in self.ranges
        self.ranges[address] = nbytes
        return 0

    def cudaHostUnregister(self, address):
        ctypes.string_at(address, self.ranges.pop(address))  # it is mapped still
        self.calls.append(("unregister", address))
        return 0


@pytest.fixture
def cudart(monkeypatch):
    """A PyTorch that uses two GPUs, of which this process has used the second."""
    made = FakeCudart()
    made.synchronized = []
    made.broken = None

    def synchronize(device):
        made.synchronized.append(device)
        if made.broken is not None:
            raise RuntimeError(made.broken)

    fake = types.ModuleType("torch")
    fake.cuda = types.SimpleNamespace(
        is_initialized=lambda: True, cudart=lambda: made, device_count=lambda: 2, synchronize=synchronize
    )
    fake._C = types.SimpleNamespace(_cuda_hasPrimaryContext=lambda device: device == 1)
    monkeypatch.setitem(sys.modules, "torch", fake)
    yield made


@pytest.fixture
def memory():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made = Memory(theirs)

    def share(segment, nbytes=MIB):
        fd = os.memfd_create("segment")
        os.ftruncate(fd, nbytes)
        socket.send_fds(ours, [json.dumps({"segment": segment, "offset": 0, "bytes": nbytes}).encode()], [fd])
        os.close(fd)

    made.share = share
    yield made
    ours.close()
    theirs.close()


def test_a_mapping_is_registered_once_and_unregistered_before_it_goes(cudart, memory):
    memory.share(1)
    first = memory.window(0, 1, 0, MIB)
    assert first.register() and first.register()
    assert memory.window(0, 1, 4096, MIB - 4096).register()
    assert memory.registered == 1 and [name for name, _ in cudart.calls] == ["register"]
    # Tasks that run at a time have mappings of their own.
    other = memory.window(1, 1, 0, MIB)
    assert other.register() and memory.registered == 2
    memory.end([first, other], "stage act")
    assert memory.registered == 2  # for the next task
    memory.drop(1)
    assert memory.registered == 0 and cudart.ranges == {}


def test_what_is_kept_is_unregistered_before_its_pages_change(cudart, memory):
    memory.share(1)
    window = memory.window(0, 1, 0, MIB)
    assert window.register()
    kept = window.raw()
    memory.end([window], "stage act")
    assert cudart.ranges == {} and memory.registered == 0
    assert len(bytes(kept)) == MIB
    # The next task has a new mapping, which is registered again.
    again = memory.window(0, 1, 0, MIB)
    assert again.register() and memory.registered == 1
    memory.end([again], "stage act")
    memory.drop(1)
    assert cudart.ranges == {}


def test_small_windows_are_not_registered(cudart, memory):
    memory.share(1)
    assert not memory.window(0, 1, 0, 4096).register()
    assert cudart.calls == []


def test_a_refusal_of_cuda_is_said_once_and_registering_is_tried_again(cudart, memory, capsys):
    cudart.status = 2
    memory.share(1)
    window = memory.window(0, 1, 0, MIB)
    assert not window.register() and not window.register()
    assert capsys.readouterr().err.count("cudaHostRegister of 1048576 bytes failed (CUDA error 2)") == 1
    memory.drop(1)
    assert [name for name, _ in cudart.calls] == ["register", "register"]


def test_a_forked_process_leaves_what_its_parent_has_registered_alone(cudart, memory):
    memory.share(1)
    assert memory.window(0, 1, 0, MIB).register()
    memory.close()
    assert memory.registered == 0 and len(cudart.ranges) == 1


def test_without_pytorch_nothing_is_done(memory, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    memory.share(1)
    assert not memory.window(0, 1, 0, MIB).register()
    cuda.settle()
    assert "torch" not in sys.modules


def test_the_gpus_in_use_are_waited_for_before_a_task_ends(cudart, process, write):
    process.start(write("@stage\ndef run(task):\n    return {'at': 1}\n"), "run")
    process.post(process.task())
    assert process.take()["t"] == "done"
    assert cudart.synchronized == [1]


def test_after_an_exception_the_gpus_are_waited_for_too(cudart, process, write):
    process.start(write("@stage\ndef run(task):\n    raise ValueError('no')\n"), "run")
    process.post(process.task())
    assert process.take()["error"].startswith("ValueError: no")
    assert cudart.synchronized == [1]


# The stage ends the process that asks it, here the same one: it waits until the answer is printed.
BROKEN = """
import os, sys, threading, types
printed, leave = threading.Event(), os._exit
os._exit = lambda code: (printed.wait(30), leave(code))
sys.path[:0] = [{tests!r}]
from stage_process import StageProcess
def synchronize(device):
    raise RuntimeError("device-side assert triggered")
fake = types.ModuleType("torch")
fake.cuda = types.SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 1, synchronize=synchronize)
sys.modules["torch"] = fake
process = StageProcess()
process.start({file!r}, "run")
process.post(process.task())
print(process.take()["error"].splitlines()[0], flush=True)
printed.set()
process.thread.join()
"""


def test_a_process_whose_gpu_is_broken_answers_and_ends(write):
    tests = os.path.dirname(os.path.abspath(__file__))
    file = str(write("@stage\ndef run(task):\n    pass\n"))
    program = BROKEN.format(tests=tests, file=file)
    ended = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "Broken: CUDA: device-side assert triggered\n"
    assert "the GPU of stage act does not answer: the process ends" in ended.stderr
    assert ended.returncode == 71
