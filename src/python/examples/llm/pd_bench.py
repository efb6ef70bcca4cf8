"""Compares prefill and decode on a device each with both phases on each of the two: goodput under an SLO.

    python3 -m examples.llm.pd_bench --system apart --devices cuda:0,cuda:1 --rates 8,12,16

Prints a line of JSON for each rate: how many requests met each of the SLOs, and percentiles. Arrivals are a seeded
Poisson process, the same for every system. A request meets an SLO when its first token comes within TTFT and the tokens
after it within TPOT each, on average; the way from prefill to decode counts too. Goodput is the highest rate at which
90 % of the requests meet it. ``plain`` and ``chunked`` also run on one device. ``halves`` is ``apart`` on one device:
first it reads all prompts, then it decodes them as they came from prefill.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import List

from ..tools import device_name
from .load import TPOT_MS, TTFT_MS, arrivals, goodput, options_of
from .model import shape_of
from .pd_system import Halves, System
from .pd_workers import Settings

SYSTEMS = ("apart", "halves", "plain", "chunked")


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="pd_bench", description="Compares prefill and decode, apart and together.")
    parser.add_argument("--system", choices=SYSTEMS, required=True)
    parser.add_argument("--devices", default="cuda:0,cuda:1", help="two; plain and chunked run on any number")
    parser.add_argument("--deadline", type=float, default=1e9, help="start no rate after this many seconds")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=128256)
    options_of(parser)
    chosen = parser.parse_args(words)
    began = time.monotonic()
    prompt, answer = chosen.prompt, chosen.answer
    devices = chosen.devices.split(",")
    if chosen.system == "apart" and len(devices) != 2:
        parser.error("apart takes two devices")
    if chosen.system == "halves" and len(devices) != 1:
        parser.error("halves takes one device")
    if answer[0] < 2:
        parser.error("answers of at least 2 tokens")
    shape = shape_of(chosen.layers, chosen.width, chosen.vocabulary)
    settings = Settings(shape, prompt[1], prompt[1] + answer[1], chosen.slots, chosen.chunk, chosen.places, chosen.seed)
    system = Halves(devices[0], settings) if chosen.system == "halves" else System(chosen.system, devices, settings)
    said = {"row": "pd", "system": chosen.system, "machine": device_name(devices[0]), "devices": len(devices)}
    options = {"prompt": prompt, "answer": answer, "slots": chosen.slots, "chunk": chosen.chunk, "seed": chosen.seed,
               "places": chosen.places, "seconds": chosen.seconds, "patience": chosen.patience}
    loaded = round(time.monotonic() - began, 1)
    print(json.dumps({**said, "loadSeconds": loaded, "shape": vars(shape), **options}), flush=True)
    rows = []
    try:
        # Warm-up, not counted.
        system.run(arrivals(4, 2, 0, prompt, answer), chosen.patience)
        for rate in chosen.rates:
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
