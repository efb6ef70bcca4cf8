"""Stages of `onepiece bench python`. Each touches every byte with NumPy."""

import time

import numpy as np

from onepiece_stage import Task, stage


@stage
def echo(task: Task):
    x = task.inputs["request"]["x"]
    task.output("x", x.dtype, x.shape).memoryview()[:] = x.memoryview()


@stage
def fill(task: Task):
    meta = task.inputs["request"].meta
    out = task.output("x", "u64", [meta["bytes"] // 8])
    out.numpy()[...] = meta["value"]
    return {"value": meta["value"], "filled": time.monotonic_ns()}


@stage
def read(task: Task):
    filled = task.inputs["fill"]
    x = filled["x"].numpy()
    total = int(x.sum())
    us = (time.monotonic_ns() - filled.meta["filled"]) / 1000
    if total != filled.meta["value"] * x.size:
        raise ValueError("the reader saw other bytes than were written")
    return {"us": us}
