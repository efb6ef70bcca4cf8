"""Proves what becomes of outputs on a GPU, with a CUDA runtime over shared memory (fake_cudart.c)."""

import ctypes
import gc
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

from onepiece_stage import cudart, dlpack
from onepiece_stage.gpu import Gpu
from onepiece_stage.gpu_mappings import Lost, Unreachable
from onepiece_stage.gpu_pool import ARENA_BYTES, Pool

MIB = 2**20
FOLDER = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    made = tmp_path_factory.mktemp("cudart") / "libfakecudart.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", made, FOLDER / "fake_cudart.c"], check=True)
    return str(made)


@pytest.fixture
def runtime(library, monkeypatch, tmp_path):
    """A runtime of its own for each test: a library is loaded once for each file."""
    own = shutil.copy(library, tmp_path / "libfakecudart.so")
    monkeypatch.setenv("ONEPIECE_CUDART", str(own))
    return cudart.Cudart.load()


def poke(address, data):
    ctypes.memmove(address, data, len(data))


OWNER = """
import sys, json, ctypes
sys.path.insert(0, sys.argv[1])
from onepiece_stage.gpu import Gpu
gpu = Gpu()
offer = gpu.offer(True)
block = gpu.take(0, 1 << 20)
ctypes.memmove(block.address, b"from the owner", 14)
print(json.dumps([offer, gpu.describe(block)]), flush=True)
for line in sys.stdin:
    gpu.give(block.number)
    block = gpu.take(0, 100 << 20)
    gpu.take(0, 100 << 20), gpu.take(0, 100 << 20)
    print(json.dumps([offer, gpu.describe(block)]), flush=True)
"""


class Other:
    """Another process with an output on its GPU."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(FOLDER.parents[1] / "src" / "python")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.offer, self.words = json.loads(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def other(runtime):
    made = Other()
    yield made
    made.close()


def mapped():
    """How many mappings of memory of fake GPUs this process has."""
    with open("/proc/self/maps") as maps:
        return sum("fake-gpu" in line for line in maps)


def test_blocks_are_taken_given_back_and_merged(runtime):
    pool = Pool(runtime)
    blocks = [pool.take(0, 10 * MIB + 1) for _ in range(6)]
    assert pool.arenas == [blocks[0].arena.number], "one arena holds them"
    assert len({block.offset for block in blocks}) == 6
    assert all(block.offset % 512 == 0 for block in blocks)
    assert not pool.has_room(0, 10 * MIB)
    for block in blocks[1:3]:
        pool.give(block.number)
        pool.give(block.number)  # nothing more
    assert pool.take(0, 20 * MIB).offset == blocks[1].offset, "two that were side by side are one"
    assert pool.held == 5


def test_large_blocks_have_arenas_of_their_own_and_idle_ones_are_bounded(runtime):
    before = mapped()
    pool = Pool(runtime)
    blocks = [pool.take(0, ARENA_BYTES + 1) for _ in range(5)]
    assert len(pool.arenas) == 5 and mapped() == before + 5
    for block in blocks:
        pool.give(block.number)
    assert len(pool.arenas) == 2 and mapped() == before + 2
    assert pool.take(0, ARENA_BYTES).arena.number in pool.arenas


def test_an_arena_whose_handle_went_out_is_not_freed(runtime):
    gpu = Gpu()
    blocks = [gpu.take(0, ARENA_BYTES + 1) for _ in range(5)]
    before = mapped()
    gpu.describe(blocks[0])
    for block in blocks:
        gpu.give(block.number)
    assert mapped() == before - 2, "two idle ones are kept beside it"
    assert json.loads(gpu.describe(gpu.take(0, 1)))["arena"] in (1, 3, 5, 7, 9)


def test_a_device_without_room_gives_up_idle_arenas_first_and_says_so_then(runtime, monkeypatch):
    other_bytes = MIB * 512
    monkeypatch.setenv("FAKE_CUDA_BYTES", str(other_bytes))
    pool = Pool(runtime)
    first = pool.take(0, 300 * MIB)
    with pytest.raises(MemoryError, match="out of memory"):
        pool.take(0, 300 * MIB)
    pool.give(first.number)
    assert pool.take(0, 400 * MIB).nbytes == 400 * MIB


def test_a_block_is_not_used_again_while_a_tensor_shows_it(runtime):
    pool = Pool(runtime)
    block = pool.take(0, MIB)
    capsule = dlpack.export(block.exports, block.address, "f32", [512, 512], (dlpack.CUDA, 0))
    pool.give(block.number)
    assert pool.held == 1 and pool.take(0, MIB).offset != block.offset
    del capsule
    gc.collect()
    assert pool.take(0, MIB).offset == block.offset


def test_numpy_takes_what_is_exported_and_gives_it_back():
    np = pytest.importorskip("numpy")
    memory = (ctypes.c_float * 6)(*range(6))
    exports = dlpack.Exports()

    class Shown:
        def __dlpack__(self, **options):
            return dlpack.export(exports, ctypes.addressof(memory), "f32", [2, 3], (dlpack.CPU, 0))

        def __dlpack_device__(self):
            return (dlpack.CPU, 0)

    array = np.from_dlpack(Shown())
    assert exports.live == 1
    assert array.dtype == np.float32 and array.tolist() == [[0, 1, 2], [3, 4, 5]]
    memory[5] = 9
    assert array[1, 2] == 9, "the same memory"
    del array
    assert exports.live == 0


def test_a_receiver_is_reached_by_its_probe(other):
    gpu = Gpu()
    block = gpu.take(0, MIB)
    assert gpu.why_host([("next/0", other.offer["probe"])], block) is None
    assert gpu.take_counts() == [1, 0, None]
    wrong = json.loads(other.offer["probe"])
    wrong["bytes"] = "00" * 32
    assert "next/0 cannot be reached: its memory shows" in gpu.why_host([("next/0", json.dumps(wrong))], block)
    assert "cannot be reached" in gpu.why_host([("next/0", "what is no probe")], block)
    assert gpu.why_host("next/0 is in JavaScript", block) == "next/0 is in JavaScript"
    assert gpu.take_counts() == [0, 3, "next/0 is in JavaScript"]
    assert gpu.take_counts() is None


def test_the_probe_of_a_process_that_has_ended_is_not_reached(other):
    other.kill()
    gpu = Gpu()
    assert "next/0 cannot be reached" in gpu.why_host([("next/0", other.offer["probe"])], gpu.take(0, MIB))


def test_an_input_is_mapped_once_and_closed_when_its_owner_has_let_go_of_it(other):
    before = mapped()
    gpu = Gpu()
    first, second = (gpu.window(MIB, None, other.words) for _ in range(2))
    assert mapped() == before, "not before it is used"
    assert first.where() == second.where()
    assert ctypes.string_at(first.where()[0], 14) == b"from the owner"
    assert mapped() == before + 1
    # Its owner frees that arena, as it has made larger ones: the next description does not name it.
    other.process.stdin.write("next\n")
    other.process.stdin.flush()
    newer = json.loads(other.process.stdout.readline())[1]
    third = gpu.window(MIB, None, newer)
    third.where()
    first.close()
    gpu.tidy()
    assert mapped() == before + 2, "a task uses the first still, and its owner has both"
    second.close()
    third.close()
    with pytest.raises(ValueError, match="has ended"):
        first.where()
    gpu.tidy()
    assert mapped() == before + 2, "the owner lives and has both arenas"


def test_what_the_owner_does_not_have_any_more_is_closed(other):
    gpu = Gpu()
    before = mapped()
    shown = gpu.window(MIB, None, other.words)
    shown.where()
    shown.close()
    words = json.loads(other.words)
    words["arenas"] = [999]
    words["arena"] = 999
    later = gpu.window(MIB, None, json.dumps(words))
    later.where()
    later.close()
    gpu.tidy()
    assert mapped() == before + 1


def test_when_the_owner_ends_inputs_are_lost_and_its_memory_is_let_go_of(other):
    watched = []
    gpu = Gpu(lambda fd, is_new: watched.append((fd, is_new)))
    before = mapped()
    shown = gpu.window(MIB, None, other.words)
    shown.where()
    assert not shown.is_lost and watched[0][1]
    other.kill()
    assert shown.is_lost
    assert ctypes.string_at(shown.where()[0], 14) == b"from the owner", "nothing crashes"
    late = gpu.window(MIB, None, other.words.replace('"arena":', '"arena":1'))
    with pytest.raises(Lost):
        late.where()
    assert late.is_lost
    shown.close()
    gpu.tidy()
    assert mapped() == before
    assert watched[-1] == (watched[0][0], False)


def test_a_process_number_that_was_given_again_is_another_owner(other):
    words = json.loads(other.words)
    words["owner"][1] = "1"
    with pytest.raises(Lost):
        Gpu().window(MIB, None, json.dumps(words)).where()


def test_a_handle_that_cannot_be_opened_is_no_loss(other):
    import base64

    words = json.loads(other.words)
    words["handle"] = base64.b64encode(bytes(64)).decode()
    with pytest.raises(Unreachable) as caught:
        Gpu().window(MIB, None, json.dumps(words)).where()
    assert caught.value.retryable


def test_what_is_offered_and_why_not(runtime, monkeypatch):
    assert "probe" in Gpu().offer(True)
    monkeypatch.setenv("FAKE_CUDA_IPC", "0")
    assert "operation not supported" in Gpu().offer(True)["why"]
    monkeypatch.delenv("FAKE_CUDA_IPC")
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "0")
    assert Gpu().offer(True) == {"why": "this process sees no GPU"}
    monkeypatch.setenv("ONEPIECE_GPU_IPC", "0")
    assert Gpu().offer(True) == {"why": "ONEPIECE_GPU_IPC is 0"}
    monkeypatch.delenv("ONEPIECE_GPU_IPC")
    monkeypatch.setenv("ONEPIECE_CUDART", "/nowhere.so")
    assert "/nowhere.so" in Gpu().offer(True)["why"]
    monkeypatch.delenv("ONEPIECE_CUDART")
    assert "no GPU in its resources" in Gpu().offer(False)["why"]


def test_devices_are_named_as_pytorch_does(runtime, monkeypatch):
    monkeypatch.setenv("FAKE_CUDA_DEVICES", "2")
    gpu = Gpu()
    assert [gpu.device(one) for one in (None, "cpu", "cuda", "cuda:1")] == [None, None, 0, 1]
    assert gpu.take(1, MIB).arena.device == 1
    for wrong in ("cuda:x", "gpu", 3, "cuda:2"):
        with pytest.raises(ValueError):
            gpu.device(wrong)


STAGE = """
import ctypes
from onepiece_stage import stage
kept = []

@stage
def make(task):
    meta = task.inputs["request"].meta
    out = task.output("y", "u8", [1 << 20], device="cuda")
    assert out.device == "cuda:0" and out.writable
    ctypes.memset(out.data_ptr(), meta["value"], 1 << 20)
    if meta.get("fails"):
        raise ValueError("as ordered")
    return {}

@stage
def read(task):
    y = task.inputs["make"]["y"]
    data = y.tobytes()
    if task.inputs["make"].meta.get("keeps"):
        kept.append(y.__dlpack__())
    return {"sum": sum(data[:1000]), "first": data[0], "last": data[-1]}

@stage
def forward(task):
    task.forward("z", task.inputs["make"]["y"])

@stage
async def reads(task):
    return {"first": task.inputs["make"]["y"].tobytes()[0]}
"""


def make_task(process, peers, value, slot=0, **meta):
    task = process.task(slot=slot)
    task["inputs"] = [["request", 0, {"value": value, **meta}, []]]
    task["gpu"] = peers
    task["limit"] = 4 * MIB
    return task


def read_task(process, words, slot=0, **meta):
    task = process.task(slot=slot)
    task["inputs"] = [["make", 0, meta, [["y", "u8", [MIB], 0, 0, MIB, words]]]]
    task["limit"] = 4 * MIB
    return task


def test_an_output_goes_out_by_its_description_until_it_is_freed(process, write, other):
    ready = process.start(write(STAGE), "make")
    assert set(ready["gpu"]) == {"probe"}
    peers = [["read/0", other.offer["probe"]]]
    words = []
    for value in (7, 8):
        process.post(make_task(process, peers, value))
        done = process.take()
        [[kind, name, dtype, shape, block, said]] = done["parts"]
        assert (kind, name, dtype, shape, done["copied"]) == ("g", "y", "u8", [MIB], 0)
        words.append((block, json.loads(said)))
        assert process.take() == {"t": "gpu", "counts": [1, 0, None]}
    assert words[0][1]["offset"] != words[1][1]["offset"]
    process.post({"t": "free", "block": words[0][0]})
    process.post(make_task(process, peers, 9))
    again = json.loads(process.take()["parts"][0][5])
    assert again["offset"] == words[0][1]["offset"], "its memory is used again"
    process.take()


def test_an_output_that_cannot_be_shared_goes_through_the_host(process, write, runtime):
    process.start(write(STAGE), "make")
    process.post(make_task(process, "read/0 is in JavaScript", 5))
    asked = process.take()
    assert (asked["t"], asked["dtype"], asked["shape"]) == ("alloc", "u8", [MIB])
    number, shown = process.segment(b"", MIB)
    process.post({"t": "output", "slot": 0, "id": asked["id"], "segment": number, "offset": 0})
    done = process.take()
    assert done["parts"] == [["o", "y", asked["id"]]] and done["copied"] == MIB
    assert shown[:] == b"\5" * MIB
    assert process.take() == {"t": "gpu", "counts": [0, 1, "read/0 is in JavaScript"]}
    assert process.worker.gpu.held == 1, "the probe alone"


def test_a_task_that_fails_gives_its_blocks_back(process, write, other):
    process.start(write(STAGE), "make")
    process.post(make_task(process, [["read/0", other.offer["probe"]]], 5, fails=True))
    assert "as ordered" in process.take()["error"]
    assert process.take()["t"] == "gpu"
    assert process.worker.gpu.held == 1


def test_an_output_beyond_the_limit_is_refused(process, write, runtime):
    process.start(write(STAGE), "make")
    task = make_task(process, "why", 5)
    task["limit"] = MIB - 1
    process.post(task)
    assert "maxOutputBytes" in process.take()["error"]


@pytest.mark.parametrize("name", ["read", "reads"])
def test_an_input_shows_the_bytes_of_its_owner(process, write, other, name):
    process.start(write(STAGE), name)
    process.post(read_task(process, other.words))
    assert process.take()["meta"]["first"] == ord("f")
    assert process.worker.gpu._mappings is not None and len(process.worker.gpu._mappings) == 1


@pytest.mark.parametrize("name", ["read", "reads"])
def test_when_the_owner_ends_the_task_is_lost_and_memory_is_let_go_of_between_tasks(process, write, other, name):
    process.start(write(STAGE), name)
    before = mapped()
    process.post(read_task(process, other.words))
    assert process.take()["t"] == "done"
    assert mapped() == before + 1
    other.kill()
    for _ in range(2000):
        if mapped() == before:
            break
        time.sleep(0.01)
    assert mapped() == before, "while the worker has nothing to do"
    process.post(read_task(process, other.words))
    assert process.take() == {"t": "lost", "slot": 0}


def test_what_is_sent_on_is_copied(process, write, other):
    process.start(write(STAGE), "forward")
    task = read_task(process, other.words)
    task["gpu"] = [["last/0", other.offer["probe"]]]
    process.post(task)
    [[kind, name, dtype, shape, _, said]] = process.take()["parts"]
    assert (kind, name, dtype, shape) == ("g", "z", "u8", [MIB])
    assert json.loads(said)["owner"][0] == os.getpid()
    shown = process.worker.gpu.window(MIB, None, said)
    assert ctypes.string_at(shown.where()[0], 14) == b"from the owner"
    shown.close()


def test_an_input_that_is_kept_ends_the_process(write, other):
    """In a process of its own: it ends."""
    code = (
        "import sys, json; sys.path[:0] = [sys.argv[1]]\n"
        "from stage_process import StageProcess\n"
        "import threading\n"
        "process = StageProcess(); process.start(sys.argv[2], 'read')\n"
        "task = process.task(); task['limit'] = 1\n"
        "task['inputs'] = [['make', 0, {'keeps': True}, [['y', 'u8', [1 << 20], 0, 0, 1 << 20, sys.argv[3]]]]]\n"
        "process.post(task); print(json.dumps(process.take()), flush=True); threading.Event().wait(20)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER), str(write(STAGE)), other.words],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 72
    assert "is kept after its task" in ended.stderr
