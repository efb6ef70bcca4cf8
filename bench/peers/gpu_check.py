"""Checks onepiece_stage on a machine with a GPU, and measures how fast tensors go to the GPU and back.

Invariant: tensors lie in memory of a stage process (files, passed as descriptors, mapped by the package). The baseline
is PyTorch's own pinned memory; both are measured in turns. Prints one JSON document; exit code 1 when a check fails.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "src", "python"), os.path.join(ROOT, "test", "python")]

import torch  # noqa: E402
from stage_process import StageProcess  # noqa: E402

MIB = 2**20
ROUNDS = 50
WARM_UP = 5

STAGE = """
import torch
from onepiece_stage import stage
kept = []

@stage
def through(task):
    x = task.inputs["request"]["x"]
    on_gpu = x.torch("cuda")
    out = task.output("y", x.dtype, x.shape)
    shown = out.torch()
    shown.copy_(on_gpu * 2, non_blocking=True)       # has ended when the task has
    return {"pinned": [x.torch().is_pinned(), shown.is_pinned()]}

@stage
def keep(task):
    kept.append(task.inputs["request"]["x"].torch())
    kept[-1].to("cuda")
    task.inputs["request"]["x"].torch("cuda")
    return {"pinned": kept[-1].is_pinned(), "sums": [float(one.sum()) for one in kept]}

@stage
def assertion(task):
    x = torch.zeros(4, device="cuda")
    x[torch.tensor([9], device="cuda")]
    return {}
"""


def p50(values):
    return sorted(values)[len(values) // 2]


def run(process, task, answer_with=None):
    process.post(task)
    record = process.take(120)
    if record["t"] == "alloc":
        process.post({"t": "output", "slot": 0, "id": record["id"], "segment": answer_with, "offset": 0})
        record = process.take(120)
    if record["t"] != "done":
        raise AssertionError(record)
    return record


def with_stage(name, work):
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "gpu_stages.py")
        with open(file, "w") as out:
            out.write(STAGE)
        process = StageProcess()
        started = process.start(file, name)
        assert started["t"] == "ready", started
        try:
            return work(process)
        finally:
            process.close()


def check_through():
    """An input goes to the GPU and its output is whole when the task ends; memory is registered once."""

    def work(process):
        x = torch.arange(16 * MIB, dtype=torch.float32)
        source, _ = process.segment(x.numpy().tobytes())
        target, shown = process.segment(b"", 64 * MIB)
        for _ in range(20):
            shown[:] = bytes(64 * MIB)
            done = run(process, process.task(inputs=[["x", "f32", [16 * MIB], source, 0, 64 * MIB]]), target)
            assert done["meta"]["pinned"] == [True, True], done
            assert torch.equal(torch.frombuffer(shown, dtype=torch.float32), x * 2), "other bytes than were computed"
        assert process.worker._memory.registered == 2, process.worker._memory.registered
        for segment in (source, target):
            process.post({"t": "drop", "segment": segment})
        process.stop()
        assert process.worker._memory.registered == 0

    with_stage("through", work)


def check_kept():
    """A kept tensor goes on showing its bytes and is no longer registered; the next task sees its own bytes."""

    def work(process):
        segment, shown = process.segment(torch.ones(MIB, dtype=torch.float32).numpy().tobytes())
        task = process.task(inputs=[["x", "f32", [MIB], segment, 0, 4 * MIB]])
        first = run(process, task)
        assert first["meta"]["sums"] == [float(MIB)], first
        assert process.worker._memory.registered == 0
        shown[:] = torch.full([MIB], 3.0).numpy().tobytes()
        second = run(process, task)
        assert second["meta"]["sums"] == [float(MIB), 3.0 * MIB], second

    with_stage("keep", work)


def check_broken():
    """A kernel that breaks the CUDA context fails its task, and the process ends, to be replaced."""
    program = f"""
import sys
sys.path[:0] = [{os.path.join(ROOT, "test", "python")!r}, {os.path.dirname(os.path.abspath(__file__))!r}]
import os, tempfile, threading
printed, leave = threading.Event(), os._exit
os._exit = lambda code: (printed.wait(60), leave(code))  # the stage ends its process, which here is this one too
from gpu_check import STAGE, StageProcess
with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, "gpu_stages.py")
    open(file, "w").write(STAGE)
    process = StageProcess()
    assert process.start(file, "assertion")["t"] == "ready"
process.post(process.task())
print(process.take(120)["error"].splitlines()[0], flush=True)
printed.set()
process.thread.join()
"""
    ended = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 71, (ended.returncode, ended.stdout, ended.stderr[-2000:])
    assert "CUDA" in ended.stdout, ended.stdout


def measure_copies(nbytes):
    """Lane to GPU and back, and the same from PyTorch's pinned memory, in turns; p50 in microseconds."""
    process = StageProcess()
    segment, _ = process.segment(os.urandom(MIB) * (nbytes // MIB) or os.urandom(nbytes))
    from onepiece_stage.tensor import Tensor

    torch.cuda.init()
    window = process.worker.window(0, segment, 0, nbytes)
    lane = Tensor("x", "u8", (nbytes,), window, True, ())
    pinned = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
    pinned.copy_(lane.torch())
    pageable = torch.empty(nbytes, dtype=torch.uint8).copy_(pinned)
    on_gpu = lane.torch("cuda")
    torch.cuda.synchronize()
    assert torch.equal(on_gpu.cpu(), pageable)
    shown = lane.torch()
    ways = {
        "lane to GPU": lambda: lane.torch("cuda"),
        "pinned to GPU": lambda: pinned.cuda(non_blocking=True),
        "pageable to GPU": lambda: pageable.cuda(),
        "GPU to lane": lambda: shown.copy_(on_gpu, non_blocking=True),
        "GPU to pinned": lambda: pinned.copy_(on_gpu, non_blocking=True),
    }
    took = {name: [] for name in ways}
    for round_ in range(WARM_UP + ROUNDS):
        for name, way in ways.items():
            torch.cuda.synchronize()
            begin = time.perf_counter()
            made = way()
            torch.cuda.synchronize()
            if round_ >= WARM_UP:
                took[name].append((time.perf_counter() - begin) * 1e6)
            del made
    us = {name: round(p50(values), 1) for name, values in took.items()}
    del shown, on_gpu, lane
    process.worker._memory.end([window], "bench")
    process.worker._memory.drop(segment)
    left = process.worker._memory.registered
    process.close()
    return {
        "bytes": nbytes,
        "p50Us": us,
        "toGpuRelativeToPinned": round(us["pinned to GPU"] / us["lane to GPU"], 3),
        "toLaneRelativeToPinned": round(us["GPU to pinned"] / us["GPU to lane"], 3),
        "leftRegistered": left,
    }


def main():
    if not torch.cuda.is_available():
        print(json.dumps({"schemaVersion": 1, "gpus": [], "reason": "PyTorch sees no GPU"}))
        return 1
    checks = {}
    for check in (check_through, check_kept, check_broken):
        try:
            check()
            checks[check.__name__[6:]] = "ok"
        except Exception:
            checks[check.__name__[6:]] = traceback.format_exc()[-3000:]
    rows, failures = [], []
    for nbytes in (64 * 1024, MIB, 64 * MIB, 1024 * MIB):
        try:
            rows.append(measure_copies(nbytes))
        except Exception:
            failures.append(traceback.format_exc()[-3000:])
    document = {
        "schemaVersion": 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "checks": checks,
        "rows": rows,
        "failures": failures,
    }
    print(json.dumps(document, indent=2))
    return 0 if set(checks.values()) == {"ok"} and not failures else 1


if __name__ == "__main__":
    sys.exit(main())
