"""Runs the measurements that need GPUs on this machine, within a number of seconds; prints lines of JSON.

    python3 -m examples.gpu_run --seconds 280 --out folder

Jobs run side by side as long as GPUs are free; a job that needs more GPUs than there are, or that there is no time for,
is skipped, and a line says so. With ``--out`` the lines also go to ``models.jsonl`` in that folder, profiles beside it.
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
from typing import Any, Dict, List, NamedTuple

import torch

from .tools import device_name

_SOURCES = pathlib.Path(__file__).resolve().parents[1]


class Job(NamedTuple):
    """One Python module to run, and how many GPUs it needs."""

    name: str
    gpus: int
    module: str
    words: List[str]
    has_deadline: bool = True  # whether it takes --deadline


def jobs(chosen: argparse.Namespace) -> List[Job]:
    """The jobs to run, the most valuable first."""
    pd = ["--rates", chosen.rates, "--seconds", str(chosen.arrivals), *chosen.pd.split()]
    profile = [] if chosen.out is None else ["--profile", str(pathlib.Path(chosen.out) / "wan-profile.json")]
    wan = chosen.wan.split()
    found = [Job(name, 2, "examples.llm.pd_bench", [*pd, "--system", name]) for name in ("apart", "plain", "chunked")]
    found.append(Job("wan-measure", 1, "examples.wan.measure", [*profile, *wan]))
    found.append(Job("wan-all", 1, "examples.wan.all", ["--steps", "2", *wan], has_deadline=False))
    wanted = chosen.only.split(",") if chosen.only else [job.name for job in found]
    unknown = set(wanted) - {job.name for job in found}
    if unknown:
        raise SystemExit(f"no job is called {', '.join(sorted(unknown))}")
    return [job for job in found if job.name in wanted]


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="gpu_run", description="Runs what needs GPUs.")
    parser.add_argument("--seconds", type=float, default=280)
    parser.add_argument("--out", help="a folder")
    parser.add_argument("--only", help="names, separated by commas: apart, plain, chunked, wan-measure, wan-all")
    parser.add_argument("--gpus", type=int, help="how many GPUs to use; default all")
    parser.add_argument("--rates", default="6,10,14,18,22,26")
    parser.add_argument("--arrivals", type=float, default=10, help="seconds of arrivals at each rate")
    parser.add_argument("--pd", default="", help="more options of pd_bench, as one argument")
    parser.add_argument("--wan", default="", help="more options of wan.measure and wan.all, as one argument")
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
        # The last 25 s are for answering what is under way and for ending the processes.
        deadline = ["--deadline", str(left - 25)] if job.has_deadline else []
        command = [sys.executable, "-m", job.module, *deadline, *job.words]
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
        row: Dict[str, Any] = {"row": "job", "job": job.name}
        if job.gpus > total:
            say(json.dumps({**row, "skipped": f"needs {job.gpus} GPUs, and there are {total}"}))
            continue
        with changed:
            while len(free) < job.gpus:
                changed.wait()
            gpus = [free.pop(0) for _ in range(job.gpus)]
        if end - time.monotonic() < 60:
            say(json.dumps({**row, "skipped": "no time left"}))
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
