"""Stages that leave their outputs on a GPU, for gpu.test.ts, which is fake: bytes are written through addresses."""

import ctypes
import os
import signal
import time

from onepiece_stage import Task, stage


def wait(file):
    """Says that it runs, and waits until it may go on."""
    with open(file, "a") as out:
        out.write("x")
    while not os.path.exists(file + ".go"):
        time.sleep(0.005)


def act(task, name):
    """What the request wants of one stage."""
    meta = task.inputs["request"].meta if "request" in task.inputs else task.inputs["make"].meta
    what = meta.get(name)
    if what == "waits":
        wait(meta["file"])
    elif what == "raises":
        raise ValueError("as ordered")
    elif what == "loops":
        while True:
            task.progress(0.5)
            time.sleep(0.005)
    elif what == "stops":
        with open(meta["file"], "a") as out:
            out.write("x")
        if os.path.getsize(meta["file"]) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
    return meta


@stage
def make(task: Task):
    meta = task.inputs["request"].meta
    out = task.output("y", "f32", [meta["count"]], device="cuda")
    shown = (ctypes.c_float * meta["count"]).from_address(out.data_ptr())
    for at in range(0, meta["count"], 997):
        shown[at] = meta["value"]
    shown[meta["count"] - 1] = meta["value"]
    act(task, "make")
    return {**meta, "maker": os.getpid()}


def look(tensor):
    """Looks at a tensor, wherever it lies."""
    data = memoryview(tensor.tobytes()).cast("f")
    return [data[0], data[len(data) - 1], len(data)]


@stage
def read(task: Task):
    y = task.inputs["make"]["y"]
    if type(y).__name__ == "GpuTensor":
        y.data_ptr()
    act(task, "read")
    maker = task.inputs["make"].meta["maker"]
    return {"looks": look(y), "kind": type(y).__name__, "reader": os.getpid(), "maker": maker}


@stage
def forward(task: Task):
    source = task.inputs["source"]
    task.forward("y", source["y"])
    return source.meta
