"""Stages of the tests: they do what a request says."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time

import numpy as np

from onepiece_stage import Stage, Task, stage


@stage
def double(task: Task):
    """Doubles the tensor `x` into an output of its own."""
    x = task.inputs["request"]["x"]
    out = task.output("x", x.dtype, x.shape)
    np.multiply(x.numpy(), 2, out=out.numpy())
    return {"pid": os.getpid(), "seed": task.seed, "n": task.inputs["request"].meta.get("n")}


@stage
def increment(task: Task):
    (name,) = (key for key in task.inputs)
    x = task.inputs[name]["x"]
    out = task.output("x", x.dtype, x.shape)
    np.add(x.numpy(), 1, out=out.numpy())
    return task.inputs[name].meta


@stage
def nothing(task: Task):
    return None


@stage
def sees(task: Task):
    """Says which GPUs this process may use."""
    return {**task.inputs["heavy"].meta, "python": os.environ.get("CUDA_VISIBLE_DEVICES")}


kept = []
uses = []


class Act(Stage):
    """Does what `act` of the request says."""

    def setup(self, context):
        self.context = context

    def run(self, task: Task):
        meta = task.inputs["request"].meta
        return getattr(self, meta.get("act", "pid").replace("-", "_"))(task, meta)

    def pid(self, task, meta):
        return {"pid": os.getpid(), "stage": self.context.stage, "instance": task.instance}

    def raises(self, task, meta):
        raise ValueError("what the test wants")

    def exits(self, task, meta):
        sys.exit(3)

    def ends(self, task, meta):
        """Ends the process the first `times` times."""
        with open(meta["file"], "a") as file:
            file.write("x")
        if os.path.getsize(meta["file"]) <= meta["times"]:
            os._exit(7)
        return self.pid(task, meta)

    def segfaults(self, task, meta):
        ctypes.string_at(0)

    def sleeps(self, task, meta):
        with open(meta["file"], "a") as file:
            file.write("x")
        time.sleep(meta.get("seconds", 1e6) if os.path.getsize(meta["file"]) <= meta.get("times", 1e6) else 0)
        return self.pid(task, meta)

    def holds(self, task, meta):
        """Never lets go of the interpreter."""
        ctypes.PyDLL(None).sleep(1000000)

    def listens(self, task, meta):
        for step in range(10**6):
            task.progress(step / 10**6, step=step)
            time.sleep(0.005)

    def tells(self, task, meta):
        task.progress(0.5, step=1, preview=b"\x00\x01")
        return None

    def prints(self, task, meta):
        line = "y" * 1023 + "\n"
        for _ in range(meta["kib"]):
            sys.stdout.write(line)
        sys.stdout.flush()
        return None

    def forks(self, task, meta):
        pid = os.fork()
        if pid == 0:
            return {"pid": -1}
        _, status = os.waitpid(pid, 0)
        return {"pid": os.getpid(), "status": status}

    def starts(self, task, meta):
        """Starts a process that leaves its group, and one in it."""
        away = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        near = subprocess.Popen(["sleep", "1000"])
        return {"pid": os.getpid(), "pids": [away.pid, near.pid]}

    def keeps(self, task, meta):
        """Keeps its input, and answers what it has kept of the ones before."""
        sums = [int(array.sum()) for array in kept]
        kept.append(task.inputs["request"]["x"].numpy())
        return {"sums": sums}

    def uses_late(self, task, meta):
        """Keeps a tensor and a view of it, and answers how the ones before answer now."""
        answers = []
        for use in uses:
            try:
                use()
                answers.append("shows")
            except (ValueError, RuntimeError) as error:
                answers.append(type(error).__name__)
        x = task.inputs["request"]["x"]
        view = x.memoryview()
        uses[:] = [x.memoryview, x.numpy, lambda: view[0], lambda: task.inputs, lambda: task.progress(1)]
        return {"answers": answers}

    def wrong_dtype(self, task, meta):
        task.output("x", "f33", [1])

    def wrong_shape(self, task, meta):
        task.output("x", "f32", [-1])

    def too_large(self, task, meta):
        task.output("x", "u8", [2**33])

    def returns_list(self, task, meta):
        return [1]

    def returns_nan(self, task, meta):
        return {"x": float("nan")}

    def large_meta(self, task, meta):
        return {"text": "z" * meta["bytes"]}

    def puts(self, task, meta):
        task.put("a", np.arange(6, dtype=np.int32).reshape(2, 3))
        task.put("b", b"12345678", dtype="u16", shape=[2, 2])
        task.put("c", np.zeros((0, 4), np.float32))
        task.put("d", np.full(100000, 7, np.uint8))
        task.forward("x", task.inputs["request"]["x"])
        return {"text": "\u00e9\u2028\U0001f600"}

    def stops(self, task, meta):
        with open(meta["file"], "a") as file:
            file.write("x")
        if os.path.getsize(meta["file"]) == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return self.pid(task, meta)


    def stops_always(self, task, meta):
        os.kill(os.getpid(), signal.SIGSTOP)

    def says_much(self, task, meta):
        raise ValueError("begin \ud800" + "y" * 10**7 + " end")

    def prints_halves(self, task, meta):
        """Half a line, a warning, the rest; and half a character at the end."""
        sys.stdout.write("half ")
        time.sleep(0.2)
        sys.stderr.write("warning\n")
        time.sleep(0.2)
        sys.stdout.buffer.write("of a line \u20ac\nto the end \xe9".encode() + b"\xe2\x82")
        sys.stdout.flush()
        os._exit(0)


class Batch(Stage):
    def run_batch(self, tasks):
        results = []
        for task in tasks:
            meta = task.inputs["request"].meta
            if meta.get("act") == "exits" and not os.path.exists(meta["file"]):
                open(meta["file"], "w").close()
                os._exit(9)
            if meta.get("act") == "always-exits":
                os._exit(9)
            fine = {"n": meta["n"], "of": len(tasks)}
            results.append(ValueError("this one") if meta.get("act") == "raises" else fine)
        return results


@stage
async def together(task: Task):
    """Ends when as many tasks run as the request says."""
    global waiting
    meta = task.inputs["request"].meta
    x = task.inputs["request"]["x"].numpy()
    waiting += 1
    while waiting < meta["count"]:
        task.progress(0)
        await asyncio.sleep(0.001)
    out = task.output("x", "f32", x.shape)
    out.numpy()[...] = x + meta["n"]
    return {"pid": os.getpid()}


waiting = 0


class Fails(Stage):
    def setup(self, context):
        raise RuntimeError("no model here")

    def run(self, task):
        return None
