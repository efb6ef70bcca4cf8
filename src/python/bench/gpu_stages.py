"""Stages of `onepiece bench python --gpu` and of bench/gpu-ipc.mjs. Each needs PyTorch and a GPU."""

import asyncio
import json
import os
import sys
import time

import torch

from onepiece_stage import Stage, Task

_WARM_UP = 5


def p50(values):
    return sorted(values)[len(values) // 2]


def timed(work, rounds=20):
    """Microseconds of each round, with the wait for all GPUs that are seen here."""
    took = []
    for _ in range(_WARM_UP + rounds):
        _wait()
        begin = time.perf_counter()
        work()
        _wait()
        took.append((time.perf_counter() - begin) * 1e6)
    return took[_WARM_UP:]


def _wait():
    for device in range(torch.cuda.device_count()):
        torch.cuda.synchronize(device)


class Copies(Stage):
    """Copies within one process: from a lane and from pinned memory to the GPU, in turns; and from GPU to GPU."""

    def setup(self, context):
        torch.zeros(1, device="cuda")

    def run(self, task: Task):
        x, meta = task.inputs["request"]["x"], task.inputs["request"].meta
        shown = x.torch()
        pinned = torch.empty(shown.shape, dtype=shown.dtype, pin_memory=True)
        pinned.copy_(shown)
        if not torch.equal(x.torch("cuda").cpu(), pinned) or not shown.is_pinned():
            raise RuntimeError("the lane was not registered with CUDA, or the GPU has other bytes")
        lane_us, pinned_us = [], []
        for _ in range(meta["rounds"]):
            lane_us += timed(lambda: x.torch("cuda"), 1)
            pinned_us += timed(lambda: pinned.cuda(non_blocking=True), 1)
        target = "cuda:1" if torch.cuda.device_count() > 1 else "cuda:0"
        source = torch.ones(meta["betweenBytes"], dtype=torch.uint8, device="cuda:0")
        other = torch.empty(meta["betweenBytes"], dtype=torch.uint8, device=target)
        between_us = timed(lambda: other.copy_(source), meta["rounds"])
        return {"laneUs": lane_us, "pinnedUs": pinned_us, "betweenUs": between_us}


def _filled(task: Task):
    """Fills an output that stays on its GPU; whether it is there yet is for the end of the task."""
    meta = task.inputs["request"].meta
    task.output("x", "u8", [meta["bytes"]], device="cuda").torch().fill_(meta["value"])
    return {**meta, "maker": os.getpid(), "madeNs": time.monotonic_ns()}


class _OnGpu(Stage):
    def setup(self, context):
        torch.zeros(1, device="cuda")


class MakeBatch(_OnGpu):
    """As Make, for batches; each says how large its batch was."""

    def run_batch(self, tasks):
        return [{**_filled(task), "together": len(tasks)} for task in tasks]


class MakeAsync(_OnGpu):
    """As Make, for several tasks at a time; each says how many there were."""

    running = 0

    async def run(self, task: Task):
        self.running += 1
        made = _filled(task)
        await asyncio.sleep(0.02)
        together, self.running = self.running, self.running - 1
        return {**made, "together": together}


class Make(_OnGpu):
    """Fills an output that stays on its GPU."""

    def run(self, task: Task):
        meta = task.inputs["request"].meta
        if meta.get("plain"):
            time.sleep(0.003)  # others have gone to sleep, as while a GPU works
            return {**meta, "maker": os.getpid(), "madeNs": time.monotonic_ns()}
        out = task.output("x", "u8", [meta["bytes"]], device="cuda")
        out.torch().fill_(meta["value"])
        torch.cuda.synchronize()
        return {**meta, "maker": os.getpid(), "madeNs": time.monotonic_ns()}


class Take(Stage):
    """Copies it to memory of its own GPU, and says how long that took since it was there."""

    def setup(self, context):
        self.own = torch.zeros(1, dtype=torch.uint8, device="cuda")

    def run(self, task: Task):
        begin = time.monotonic_ns()
        source = task.inputs["make"]
        meta = source.meta
        if meta.get("plain"):
            return {"handOverUs": (begin - meta["madeNs"]) / 1e3, "low": meta["value"], "high": meta["value"]}
        if self.own.numel() != meta["bytes"]:
            self.own = torch.empty(meta["bytes"], dtype=torch.uint8, device="cuda")
            torch.cuda.synchronize()
        x = source["x"]
        view = x.torch()
        shown = time.monotonic_ns()
        self.own.copy_(view, non_blocking=True)
        torch.cuda.synchronize()
        end = time.monotonic_ns()
        found = {"kind": type(x).__name__, "reader": os.getpid(), "maker": meta["maker"]}
        found["together"] = meta.get("together", 1)
        found["handOverUs"] = (begin - meta["madeNs"]) / 1e3
        found["shownUs"] = (shown - begin) / 1e3
        found["totalUs"] = (end - meta["madeNs"]) / 1e3
        if meta.get("measure"):
            other = torch.empty_like(self.own)
            found["sharedUs"] = p50(timed(lambda: self.own.copy_(view)))
            found["withinUs"] = p50(timed(lambda: other.copy_(self.own)))
        if "file" in meta:
            with open(meta["file"], "a") as out:
                out.write("x")
            while not os.path.exists(meta["file"] + ".go"):
                time.sleep(0.005)
            self.own.copy_(view)
        del view
        low, high = self.own.min().item(), self.own.max().item()
        return {**found, "low": low, "high": high}


def across(nbytes):
    """Microseconds of a copy from one GPU to another within this process; None with one GPU."""
    if torch.cuda.device_count() < 2:
        return None
    source = torch.empty(nbytes, dtype=torch.uint8, device="cuda:0")
    target = torch.empty(nbytes, dtype=torch.uint8, device="cuda:1")
    return p50(timed(lambda: target.copy_(source)))


if __name__ == "__main__":
    print(json.dumps({"acrossUs": across(int(sys.argv[1])), "gpu": torch.cuda.get_device_name(0)}))
