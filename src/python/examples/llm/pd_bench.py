"""Compares prefill and decode on a device each with both phases on each of the two: goodput under an SLO.

    python3 -m examples.llm.pd_bench --system apart --devices cuda:0,cuda:1 --rates 8,12,16

Prints a line of JSON for each rate: how many requests met each of the SLOs, and percentiles. Arrivals are a seeded
Poisson process, the same for every system. A request meets an SLO when its first token comes within TTFT and the tokens
after it within TPOT each, on average; the way from prefill to decode counts too. Goodput is the highest rate at which
90 % of the requests meet it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from multiprocessing.connection import wait
from typing import Any, Dict, List, Tuple

import torch.multiprocessing

from ..tools import device_name, percentile
from . import pd_workers
from .model import shape_of
from .pd_workers import Request, Settings

SYSTEMS = ("apart", "plain", "chunked")
TTFT_MS = (200, 300, 500, 1000)
TPOT_MS = (8, 10, 12, 15, 20, 30)


def arrivals(rate: float, seconds: float, seed: int, prompt: Tuple[int, int], wanted: Tuple[int, int]):
    """Arrival times in seconds and their requests: a Poisson process of ``rate`` a second."""
    chance = random.Random(f"{seed} {rate}")
    at, made = chance.expovariate(rate), []
    while at < seconds:
        made.append((at, Request(len(made), chance.randint(*prompt), chance.randint(*wanted))))
        at += chance.expovariate(rate)
    return made


def score(
    requests: List[Tuple[float, Request]], began: float, answers: Dict[int, Tuple[float, float]]
) -> Dict[str, Any]:
    """Percentiles of the answered requests, and the share of all requests that met each SLO, "ttft/tpot"."""
    ttft, tpot = {}, {}
    for at, request in requests:
        if request.number in answers:
            first, last = answers[request.number]
            ttft[request.number] = (first - began - at) * 1000
            tpot[request.number] = (last - first) * 1000 / (request.wanted - 1)
    met = {
        f"{a}/{b}": round(sum(ttft[n] <= a and tpot[n] <= b for n in ttft) / max(1, len(requests)), 4)
        for a in TTFT_MS
        for b in TPOT_MS
    }
    shown = {
        f"{name}P{share}": round(percentile(values.values(), share / 100), 2) if values else None
        for name, values in (("ttftMs", ttft), ("tpotMs", tpot))
        for share in (50, 90, 99)
    }
    return {"requests": len(requests), "answered": len(ttft), **shown, "met": met}


class System:
    """The processes of one system; ``close`` ends them."""

    def __init__(self, name: str, devices: List[str], settings: Settings) -> None:
        context = torch.multiprocessing.get_context("spawn")
        self.channels: List[Any] = []  # all, for answers
        self.entries: List[Any] = []  # those that take requests
        self.processes: List[Any] = []
        ends = []

        def start(target: Any, *words: Any, device: str) -> Any:
            ours, theirs = context.Pipe()
            process = context.Process(target=target, args=(settings, device, theirs, *words), daemon=True)
            process.start()
            ends.append(theirs)
            self.processes.append(process)
            self.channels.append(ours)
            return ours

        if name == "apart":
            hither, thither = context.Pipe()
            self.entries.append(start(pd_workers.prefill, hither, device=devices[0]))
            start(pd_workers.decode, thither, device=devices[1])
            ends += [hither, thither]
        else:
            for device in devices:
                self.entries.append(start(pd_workers.together, name == "chunked", device=device))
        for end in ends:
            end.close()
        self.load = {id(entry): 0 for entry in self.entries}
        self.owner: Dict[int, int] = {}
        for channel in self.channels:
            if channel.recv() != "ready":
                raise RuntimeError("a process did not start")

    def run(self, requests: List[Tuple[float, Request]], patience: float) -> Dict[str, Any]:
        """Sends each request on its arrival to the process that has the fewest; waits for answers until ``patience``
        seconds after the last arrival."""
        answers: Dict[int, Tuple[float, float]] = {}
        began = time.monotonic() + 0.05
        next_one, lateness = 0, 0.0
        end = began + (requests[-1][0] if requests else 0) + patience
        while len(answers) < len(requests) and time.monotonic() < end:
            now = time.monotonic()
            while next_one < len(requests) and began + requests[next_one][0] <= now:
                at, request = requests[next_one]
                lateness = max(lateness, now - began - at)
                entry = min(self.entries, key=lambda one: self.load[id(one)])
                self.load[id(entry)] += 1
                self.owner[request.number] = id(entry)
                entry.send(request)
                next_one += 1
            due = began + requests[next_one][0] if next_one < len(requests) else end
            for channel in wait(self.channels, max(0.0, min(due, end) - time.monotonic())):
                self._take(channel.recv(), answers)  # type: ignore[attr-defined]
        self._drop(answers)
        return {**score(requests, began, answers), "sentLateMs": round(lateness * 1000, 2)}

    def _take(self, message: Any, answers: Dict[int, Tuple[float, float]]) -> bool:
        if message == "dropped":
            return True
        for number, first, last in message:
            answers[number] = (first, last)
            self.load[self.owner[number]] -= 1
        return False

    def _drop(self, answers: Dict[int, Tuple[float, float]]) -> None:
        """Drops all unanswered requests, and waits until every process has dropped them."""
        late = dict(answers)  # answers that come now are too late to count
        for entry in self.entries:
            entry.send("drop")
        left = len(self.entries)  # apart, prefill passes it on, and decode answers
        while left > 0:
            for channel in wait(self.channels):
                left -= self._take(channel.recv(), late)  # type: ignore[attr-defined]
        self.load = {key: 0 for key in self.load}

    def close(self) -> None:
        for entry in self.entries:
            try:
                entry.send("stop")
            except OSError:
                pass  # its process has ended
        patience = 30 if all(process.is_alive() for process in self.processes) else 1
        for process in self.processes:
            process.join(patience)
            if process.is_alive():
                process.kill()


def goodput(rows: List[Dict[str, Any]]) -> Dict[str, float]:
    """For each SLO the highest rate at which, as at all lower ones, 90 % of the requests met it; 0: none."""
    found: Dict[str, float] = {}
    for slo in rows[0]["met"] if rows else []:
        found[slo] = 0
        for row in sorted(rows, key=lambda one: one["rate"]):
            if row["met"][slo] < 0.9:
                break
            found[slo] = row["rate"]
    return found


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="pd_bench", description="Compares prefill and decode, apart and together.")
    parser.add_argument("--system", choices=SYSTEMS, required=True)
    parser.add_argument("--devices", default="cuda:0,cuda:1")
    parser.add_argument("--rates", default="8,12,16,20,24", help="requests a second, of both devices together")
    parser.add_argument("--seconds", type=float, default=12, help="of arrivals, at each rate")
    parser.add_argument("--patience", type=float, default=5, help="seconds after the last arrival")
    parser.add_argument("--deadline", type=float, default=1e9, help="start no rate after this many seconds")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=128256)
    parser.add_argument("--prompt", default="512,2048", help="tokens, at least and at most")
    parser.add_argument("--answer", default="32,256", help="tokens, at least 2 and at most")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--places", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(words)
    began = time.monotonic()
    prompt, answer = ((int(a), int(b)) for a, b in (text.split(",") for text in (chosen.prompt, chosen.answer)))
    devices = chosen.devices.split(",")
    if len(devices) != 2 or prompt[0] < 1 or answer[0] < 2 or prompt[0] > prompt[1] or answer[0] > answer[1]:
        parser.error("two devices; prompts of at least 1 and answers of at least 2 tokens")
    shape = shape_of(chosen.layers, chosen.width, chosen.vocabulary)
    settings = Settings(shape, prompt[1], prompt[1] + answer[1], chosen.slots, chosen.chunk, chosen.places, chosen.seed)
    system = System(chosen.system, devices, settings)
    said = {"row": "pd", "system": chosen.system, "machine": device_name(devices[0]), "devices": 2}
    options = {"prompt": prompt, "answer": answer, "slots": chosen.slots, "chunk": chosen.chunk, "seed": chosen.seed}
    loaded = round(time.monotonic() - began, 1)
    print(json.dumps({**said, "loadSeconds": loaded, "shape": vars(shape), **options}), flush=True)
    rows = []
    try:
        # Warm-up, not counted.
        system.run(arrivals(4, 2, 0, prompt, answer), chosen.patience)
        for rate in sorted(float(rate) for rate in chosen.rates.split(",")):
            if time.monotonic() - began > chosen.deadline:
                print(json.dumps({**said, "rate": rate, "skipped": "no time left"}), flush=True)
                continue
            made = arrivals(rate, chosen.seconds, chosen.seed, prompt, answer)
            rows.append({**said, "rate": rate, **system.run(made, chosen.patience)})
            print(json.dumps(rows[-1]), flush=True)
            if rows[-1]["met"][f"{TTFT_MS[-1]}/{TPOT_MS[-1]}"] < 0.5:
                break
    finally:
        system.close()
    print(json.dumps({**said, "goodput": goodput(rows)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
