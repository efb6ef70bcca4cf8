"""Requests for prefill and decode, and how many of them met an SLO.

Invariant: the same seed and rate give the same requests at the same times, so measurement and prediction see the same.
"""

from __future__ import annotations

import argparse
import math
import random
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

#: SLOs that are counted: the time to the first token, and that of each token after it, on average.
TTFT_MS = (200, 300, 500, 1000)
TPOT_MS = (8, 10, 12, 15, 20, 30)


class Request(NamedTuple):
    """One request: its number, the tokens of its prompt, and those of its answer, at least 2."""

    number: int
    prompt: int
    wanted: int


def options_of(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a load."""
    parser.add_argument("--rates", type=rates_of, default="8,12,16,20,24", help="requests a second of all devices")
    parser.add_argument("--seconds", type=float, default=12, help="of arrivals, at each rate")
    parser.add_argument("--patience", type=float, default=5, help="seconds after the last arrival")
    parser.add_argument("--prompt", type=between, default=(512, 2048), help="tokens, at least and at most")
    parser.add_argument("--answer", type=between, default=(32, 256), help="tokens, at least 2 and at most")
    parser.add_argument("--slots", type=int, default=64, help="sequences that a device decodes at a time")
    parser.add_argument("--chunk", type=int, default=512, help="tokens of a piece, of the system `chunked`")
    parser.add_argument("--places", type=int, default=16, help="prompts on their way from prefill to decode")
    parser.add_argument("--seed", type=int, default=1)


def between(text: str) -> Tuple[int, int]:
    """Two numbers of tokens, "512,2048". Raises ArgumentTypeError unless the first is at least 1 and at most the
    second."""
    try:
        least, most = (int(one) for one in text.split(","))
    except ValueError:
        least, most = 0, 0
    if not 1 <= least <= most:
        raise argparse.ArgumentTypeError(f"give two numbers of tokens, the smaller one first, not {text!r}")
    return least, most


def rates_of(text: str) -> List[float]:
    """The rates of "8,12", the lowest first. Raises ArgumentTypeError unless each is above 0 and finite."""
    try:
        rates = sorted(float(one) for one in text.split(","))
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise argparse.ArgumentTypeError(f"give requests a second, above 0, not {text!r}")
    return rates


def arrivals(
    rate: float, seconds: float, seed: int, prompt: Tuple[int, int], wanted: Tuple[int, int]
) -> List[Tuple[float, Request]]:
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


def percentile(values: Iterable[float], share: float) -> float:
    """The value that a share (0 to 1) of all values does not exceed; NaN when there are none."""
    ordered: List[float] = sorted(values)
    if not ordered:
        return math.nan
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]
