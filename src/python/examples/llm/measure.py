"""Times the passes of prefill and decode on one device, each alone, for ``predict`` and for ``profile.json``.

    python3 -m examples.llm.measure --chunks 512,256 --profile examples/llm/profile.json

A figure is the median by the clock of calls that ``pd_workers`` makes: a pass, and what Python does before and after.
Tokens, keys and values are random: a GPU works faster on zeros. Before the first figure it reads prompts for
``--warm-seconds``, as one that has just started is faster than a busy one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any, Callable, Dict, List

import torch

from ..profile import write_whole
from ..tools import Tensor, device_name, synchronize
from .batch import Batch, Prompt
from .model import Llama, shape_of
from .pd_workers import Settings, build

Row = Dict[str, Any]


def median_seconds(device: str, call: Callable[[], Any], repeats: int, after: Callable[[], Any]) -> float:
    """Median of ``repeats`` calls after one that does not count; ``after`` undoes each, and is not timed."""
    seconds: List[float] = []
    for _ in range(repeats + 1):
        synchronize(device)
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        after()
    return round(statistics.median(seconds[1:]), 6)


def time_prompts(batch: Batch, device: str, repeats: int) -> List[Row]:
    """Whole prompts, by their tokens."""
    rows: List[Row] = []
    assert batch.reader is not None
    for size in batch.reader.sizes:
        tokens = random_tokens(batch, device, size)
        seconds = median_seconds(device, lambda: batch.begin(0, tokens, 1), repeats, batch.clear)
        rows.append({"tokens": size, "seconds": seconds})
    return rows


def time_steps(batch: Batch, device: str, repeats: int) -> List[Row]:
    """Steps, by the number of sequences and how far they reach."""
    rows: List[Row] = []
    for reach in batch.reaches:
        for count in batch.counts:
            fill(batch, device, count, reach - repeats - 2, repeats + 2)
            seconds = median_seconds(device, batch.step, repeats, lambda: None)
            rows.append({"sequences": count, "reach": reach, "seconds": seconds})
            batch.clear()
    return rows


def time_pieces(batch: Batch, device: str, repeats: int) -> List[Row]:
    """Pieces of a prompt, by the number of sequences beside it, where it starts, and its tokens."""
    rows: List[Row] = []
    for beside in batch.beside:
        decoding = min(beside, batch.slots - 1)  # the prompt needs a slot too
        for start in range(0, batch.prompts, batch.chunk):
            for size in batch.pieces:
                length = min(start + size, batch.prompts)
                prompt = Prompt("prompt", random_tokens(batch, device, length), 1)
                fill(batch, device, decoding, batch.longest - repeats - 2, repeats + 2)
                seconds = median_seconds(
                    device, lambda: batch.step_with(prompt, start), repeats, lambda: batch.remove(decoding)
                )
                rows.append({"chunk": batch.chunk, "sequences": beside, "start": start, "tokens": size,
                             "seconds": seconds})
                batch.clear()
    return rows


def fill(batch: Batch, device: str, count: int, length: int, wanted: int) -> None:
    """``count`` sequences of ``length`` tokens, which want ``wanted`` more, join an empty batch."""
    kv = torch.randn(batch.model.shape.kv_size(length), dtype=batch.cache.dtype, device=device)
    for number in range(count):
        batch.join(number, kv, 0, wanted)


def random_tokens(batch: Batch, device: str, count: int) -> Tensor:
    """Tokens of a prompt."""
    return torch.randint(batch.model.shape.vocabulary, (count,), device=device)


def warm_up(batch: Batch, device: str, seconds: float) -> None:
    """Reads the longest prompt again and again."""
    tokens = random_tokens(batch, device, batch.prompts)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        batch.begin(0, tokens, 1)
        batch.clear()


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="llm.measure", description="Times the passes of prefill and decode.")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=128256)
    parser.add_argument("--prompts", type=int, default=2048, help="tokens of the longest prompt")
    parser.add_argument("--answers", type=int, default=256, help="tokens of the longest answer")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--chunks", default="512,256", help="tokens of pieces")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--warm-seconds", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", help="the file to write")
    chosen = parser.parse_args(words)
    chunks = [int(text) for text in chosen.chunks.split(",")]
    if chosen.repeats < 1 or min(chunks) < 1:
        parser.error("--repeats and --chunks of at least 1")
    device, shape = chosen.device, shape_of(chosen.layers, chosen.width, chosen.vocabulary)
    longest = chosen.prompts + chosen.answers
    began = time.perf_counter()
    model: Llama = build(Settings(shape, chosen.prompts, longest, chosen.slots, 0, 1, chosen.seed), device)
    synchronize(device)
    options = {"shape": vars(shape), "kvBytes": shape.kv_bytes, "prompts": chosen.prompts, "longest": longest,
               "slots": chosen.slots, "repeats": chosen.repeats, "torch": torch.__version__}
    document: Dict[str, Any] = {"machine": device_name(device), "options": options,
                                "loadSeconds": round(time.perf_counter() - began, 3)}
    with torch.inference_mode():
        batch = Batch(model, chosen.slots, longest, chosen.prompts)
        warm_up(batch, device, chosen.warm_seconds)
        prompts, steps = time_prompts(batch, device, chosen.repeats), time_steps(batch, device, chosen.repeats)
        document["memoryBytes"] = torch.cuda.max_memory_allocated() if device.startswith("cuda") else None
        pieces: List[Row] = []
        for chunk in chunks:
            del batch
            batch = Batch(model, chosen.slots, longest, chosen.prompts, chunk)
            pieces += time_pieces(batch, device, chosen.repeats)
    document["passes"] = {"prompt": prompts, "step": steps, "piece": pieces}
    if chosen.profile is not None:
        write_whole(chosen.profile, document)
    print(json.dumps({"row": "llm-profile", **document}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
