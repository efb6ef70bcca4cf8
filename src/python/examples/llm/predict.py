"""Predicts what ``pd_bench`` measures, from passes that ``measure`` timed on one device.

    python3 -m examples.llm.predict --system apart --rates 12,16,20,24
    python3 -m examples.llm.predict --beside measured.jsonl

Prints the lines of ``pd_bench``, for the same requests at the same times. ``--beside`` reads what ``pd_bench`` has
printed, and predicts each of its rates; a line has both. More devices than two can be predicted, and how many of them
read prompts. It needs no PyTorch.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any, Dict, Iterator, List, Tuple

from .costs import Costs, read_costs
from .load import arrivals, goodput, options_of, score
from .predicted import Fleet, simulate

_PROFILE = str(pathlib.Path(__file__).with_name("profile.json"))
_COMPARED = ("ttftMsP50", "ttftMsP99", "tpotMsP50", "tpotMsP99", "answered")


def fleet_of(system: str, devices: int, chunk: int, prefill: int) -> Fleet:
    """The devices of a system. Raises ValueError when they are too few."""
    if system == "halves":  # one device that does what two would
        return Fleet(prefill=1, decode=1)
    if system == "apart":
        if not 1 <= prefill < devices:
            raise ValueError(f"apart takes 2 devices or more, and 1 to {devices - 1} for prompts, not {prefill}")
        return Fleet(prefill=prefill, decode=devices - prefill)
    if devices < 1:
        raise ValueError(f"1 device or more, not {devices}")
    return Fleet(together=devices, chunk=chunk if system == "chunked" else 0)


def predict(fleet: Fleet, costs: Costs, rate: float, load: Dict[str, Any], bytes_per_second: float) -> Dict[str, Any]:
    """One rate: the figures of ``score``. ``load``: options of the same names as those of ``pd_bench``."""
    made = arrivals(rate, load["seconds"], load["seed"], tuple(load["prompt"]), tuple(load["answer"]))
    answers = simulate(fleet, costs, made, load["patience"], load["slots"], load["places"], bytes_per_second)
    return score(made, 0.0, answers)


def measured(path: str) -> Iterator[Tuple[Dict[str, Any], Dict[str, Any]]]:
    """The options and the row of each rate that ``pd_bench`` printed to a file. Raises OSError; ValueError for a rate
    without options before it."""
    options: Dict[str, Any] = {}
    with open(path) as file:
        for line in file:
            row = json.loads(line) if line.startswith("{") else {}
            if row.get("row") != "pd":
                continue
            if "shape" in row:
                options = row
            elif "met" in row:
                if "seconds" not in options or options["system"] != row["system"]:
                    raise ValueError(f"{path}: no options before rate {row['rate']} of {row['system']}")
                yield options, row


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="predict", description="Predicts prefill and decode, apart and together.")
    parser.add_argument("--profile", default=_PROFILE, help="what measure has written")
    parser.add_argument("--system", choices=("apart", "plain", "chunked"), help="default: all")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=1, help="devices that read prompts, of the system `apart`")
    parser.add_argument("--gigabytes", type=float, default=300, help="a second from device to device")
    parser.add_argument("--beside", help="lines of pd_bench")
    options_of(parser)
    chosen = parser.parse_args(words)
    if chosen.answer[0] < 2 or not chosen.gigabytes > 0:
        parser.error("answers of at least 2 tokens, and --gigabytes above 0")
    try:
        costs = read_costs(chosen.profile)
        if chosen.beside is not None:
            beside(costs, chosen)
        else:
            alone(costs, chosen)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    return 0


def beside(costs: Costs, chosen: argparse.Namespace) -> None:
    """Prints each measured rate and its prediction."""
    for options, row in measured(chosen.beside):
        fleet = fleet_of(row["system"], row["devices"], options["chunk"], chosen.prefill)
        found = predict(fleet, costs, row["rate"], options, chosen.gigabytes * 1e9)
        both = {name: [row[name], found[name]] for name in _COMPARED}
        met = {slo: [row["met"][slo], found["met"][slo]] for slo in row["met"]}
        said = {"system": row["system"], "devices": row["devices"], "chunk": options["chunk"], "rate": row["rate"]}
        print(json.dumps({"row": "pd-beside", **said, "requests": row["requests"], **both, "met": met}), flush=True)


def alone(costs: Costs, chosen: argparse.Namespace) -> None:
    """Prints the prediction of each rate, and the goodput of each system."""
    for system in ("apart", "plain", "chunked") if chosen.system is None else (chosen.system,):
        fleet = fleet_of(system, chosen.devices, chosen.chunk, chosen.prefill)
        said = {"row": "pd-predicted", "system": system, "machine": costs.machine, **fleet._asdict()}
        rows = []
        for rate in chosen.rates:
            rows.append({**said, "rate": rate, **predict(fleet, costs, rate, vars(chosen), chosen.gigabytes * 1e9)})
            print(json.dumps(rows[-1]), flush=True)
        print(json.dumps({**said, "goodput": goodput(rows)}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
