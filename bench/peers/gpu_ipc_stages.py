"""The stages of bench/gpu-ipc.mjs: one fills an output on its GPU, the next one copies it to memory of its own GPU."""

import os
import sys
import time

import torch

if __name__ == "__main__":  # where no stage process has set the path
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "python"))

from onepiece_stage import Stage  # noqa: E402


def p50(values):
    return sorted(values)[len(values) // 2]


def timed(work, rounds=20):
    """How long it takes with the wait for the GPU, in microseconds; p50."""
    took = []
    for _ in range(rounds + 3):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        took.append((time.perf_counter() - begin) * 1e6)
    return p50(took[3:])


class Make(Stage):
    def setup(self, context):
        torch.zeros(1, device="cuda")

    def run(self, task):
        meta = task.inputs["request"].meta
        if meta.get("plain"):
            time.sleep(0.003)  # others have gone to sleep, as while a GPU works
            return {**meta, "maker": os.getpid(), "madeNs": time.monotonic_ns()}
        out = task.output("x", "u8", [meta["bytes"]], device="cuda")
        out.torch().fill_(meta["value"])
        torch.cuda.synchronize()
        return {**meta, "maker": os.getpid(), "madeNs": time.monotonic_ns()}


class Take(Stage):
    def setup(self, context):
        self.own = torch.zeros(1, dtype=torch.uint8, device="cuda")

    def run(self, task):
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
        found["handOverUs"] = (begin - meta["madeNs"]) / 1e3
        found["shownUs"] = (shown - begin) / 1e3
        found["totalUs"] = (end - meta["madeNs"]) / 1e3
        if meta.get("measure"):
            other = torch.empty_like(self.own)
            found["sharedUs"] = timed(lambda: self.own.copy_(view))
            found["withinUs"] = timed(lambda: other.copy_(self.own))
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
    """A copy from one GPU to another within this process, in microseconds; None with one GPU."""
    if torch.cuda.device_count() < 2:
        return None
    source = torch.empty(nbytes, dtype=torch.uint8, device="cuda:0")
    target = torch.empty(nbytes, dtype=torch.uint8, device="cuda:1")

    def copy():
        target.copy_(source)
        torch.cuda.synchronize(0)
        torch.cuda.synchronize(1)

    return timed(copy)


if __name__ == "__main__":
    import json

    print(json.dumps({"acrossUs": across(int(sys.argv[1])), "gpu": torch.cuda.get_device_name(0)}))
