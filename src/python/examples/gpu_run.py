"""Runs what needs GPUs, within a number of seconds, on the GPUs of this machine; prints lines of JSON.

    python3 -m examples.gpu_run --seconds 280 --out folder

With four GPUs two things run at a time, with two one, and with one only Wan. What there is no time for is skipped, and
a line says so. With ``--out`` the lines are also in ``models.jsonl`` of that folder, and profiles beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any, Dict, List

import torch

from .tools import device_name

_SOURCES = pathlib.Path(__file__).resolve().parents[1]


class Job:
    """One command, and how many GPUs it needs."""

    def __init__(self, name: str, gpus: int, words: List[str]) -> None:
        self.name = name
        self.gpus = gpus
        self.words = words


def jobs(chosen: argparse.Namespace) -> List[Job]:
    """What is to be run, in the order of its value."""
    pd = ["examples.llm.pd_bench", "--rates", chosen.rates, "--seconds", str(chosen.arrivals), *chosen.pd.split()]
    profile = [] if chosen.out is None else ["--profile", str(pathlib.Path(chosen.out) / "wan-profile.json")]
    found = [Job(name, 2, [*pd, "--system", name]) for name in ("apart", "plain", "chunked")]
    found.append(Job("wan-measure", 1, ["examples.wan.measure", *profile, *chosen.wan.split()]))
    found.append(Job("wan-all", 1, ["examples.wan.all", "--steps", "2", *chosen.wan.split()]))
    wanted = chosen.only.split(",") if chosen.only else [job.name for job in found]
    unknown = set(wanted) - {job.name for job in found}
    if unknown:
        raise SystemExit(f"no job is called {', '.join(sorted(unknown))}")
    return [job for job in found if job.name in wanted]


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu_run", description="Runs what needs GPUs.")
    parser.add_argument("--seconds", type=float, default=280)
    parser.add_argument("--out", help="a folder")
    parser.add_argument("--only", help="names of jobs, commas between: apart, plain, chunked, wan-measure, wan-all")
    parser.add_argument("--gpus", type=int, help="how many of them; default all")
    parser.add_argument("--rates", default="6,10,14,18,22,26")
    parser.add_argument("--arrivals", type=float, default=10, help="seconds of arrivals at each rate")
    parser.add_argument("--pd", default="", help="more options of pd_bench, in one word")
    parser.add_argument("--wan", default="", help="more options of wan.measure and wan.all, in one word")
    chosen = parser.parse_args(words)
    end = time.monotonic() + chosen.seconds
    lock = threading.Lock()
    file = None if chosen.out is None else open(pathlib.Path(chosen.out) / "models.jsonl", "a")

    def say(line: str) -> None:
        with lock:
            print(line, flush=True)
            if file is not None:
                print(line, file=file, flush=True)

    free = list(range(torch.cuda.device_count() if chosen.gpus is None else chosen.gpus))
    say(json.dumps({"row": "machine", "gpus": [device_name(f"cuda:{at}") for at in range(torch.cuda.device_count())],
                    "torch": torch.__version__, "python": sys.version.split()[0]}))
    changed = threading.Condition()
    failed: List[str] = []

    def run(job: Job, gpus: List[int]) -> None:
        began = time.monotonic()
        left = end - began
        environment: Dict[str, str] = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))}
        # A system ends 25 s before the end: it answers what is on its way, and its processes go.
        command = [sys.executable, "-m", job.words[0], "--deadline", str(left - 25), *job.words[1:]]
        if job.words[0] == "examples.wan.all":
            del command[3:5]
        process = subprocess.Popen(command, cwd=_SOURCES, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, start_new_session=True)
        timer = threading.Timer(max(1.0, left), lambda: os.killpg(process.pid, 9))
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            line = line.rstrip()
            say(line if line.startswith("{") else json.dumps({"row": "said", "job": job.name, "text": line[:300]}))
        status = process.wait()
        timer.cancel()
        say(json.dumps({"row": "job", "job": job.name, "status": status, "gpus": gpus,
                        "seconds": round(time.monotonic() - began, 1)}))
        with changed:
            if status != 0:
                failed.append(job.name)
            free.extend(gpus)
            changed.notify()

    threads: List[threading.Thread] = []
    total = len(free)
    for job in jobs(chosen):
        words_of: Dict[str, Any] = {"row": "job", "job": job.name}
        if job.gpus > total:
            say(json.dumps({**words_of, "skipped": f"needs {job.gpus} GPUs, and there are {total}"}))
            continue
        with changed:
            while len(free) < job.gpus:
                changed.wait()
            gpus = [free.pop(0) for _ in range(job.gpus)]
        if end - time.monotonic() < 60:
            say(json.dumps({**words_of, "skipped": "no time left"}))
            with changed:
                free.extend(gpus)
            continue
        threads.append(threading.Thread(target=run, args=(job, gpus)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    say(json.dumps({"row": "end", "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
