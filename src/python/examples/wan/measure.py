"""Measures each stage of Wan2.1-I2V by itself: seconds at each batch, memory, and the time to load.

    python3 -m examples.wan.measure --batches 1,2,4 --steps-measured 1 --profile examples/wan/profile.json

Every step of diffusion takes the same time: ``--steps-measured`` of them run, and the profile has the time of one times
``steps``. Prints a line of JSON for each figure.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, List

import torch

from ..profile import Profile
from ..tools import device_name, dtype_on, synchronize, timed
from .all import options_of, shape_of, test_picture
from .shape import Shape
from .steps import DecodeStep, DiffuseStep, ImageStep, TextStep


def runners(shape: Shape, device: str) -> Dict[str, Callable[[], Callable[[int], Any]]]:
    """For each stage a function that loads it; that returns a function that runs a batch of a given size."""
    dtype = dtype_on(device)
    size = (shape.latent_frames, *shape.latent_size)

    def text() -> Callable[[int], Any]:
        step = TextStep(shape, device)
        return lambda batch: step.run(["a ship sails into the evening"] * batch, [None] * batch)

    def image() -> Callable[[int], Any]:
        step = ImageStep(shape, device)
        return lambda batch: step.run([test_picture(shape.height, shape.size_width)] * batch)

    def diffuse() -> Callable[[int], Any]:
        step = DiffuseStep(shape, device)

        def run(batch: int, size: Any = size) -> Any:
            context = torch.randn(batch, 2, shape.text_tokens, shape.text_width, device=device, dtype=dtype)
            seen = torch.randn(batch, shape.clip_tokens, shape.clip_width, device=device, dtype=dtype)
            given = torch.randn(batch, shape.latent + 4, *size, device=device)
            return step.run(context, seen, given, list(range(batch)))

        step.shape = replace(shape, frames=1, height=64, size_width=64)
        run(1, (1, 8, 8))  # loads the libraries
        step.shape = shape
        return run

    def decode() -> Callable[[int], Any]:
        step = DecodeStep(shape, device)
        pinned = device.startswith("cuda")

        def run(batch: int) -> Any:
            frames = [
                torch.empty(shape.frames, shape.height, shape.size_width, 3, dtype=torch.uint8, pin_memory=pinned)
                for _ in range(batch)
            ]
            step.run(torch.randn(batch, shape.latent, *size, device=device), frames)

        return run

    return {"text-encode": text, "image-encode": image, "decode": decode, "diffuse": diffuse}


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="wan.measure", description="Measures each stage by itself.")
    options_of(parser)
    parser.add_argument("--batches", default="1,2,4")
    parser.add_argument("--steps-measured", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--deadline", type=float, default=1e9, help="start nothing after this many seconds")
    parser.add_argument("--profile", help="the file to write")
    chosen = parser.parse_args(words)
    began = time.monotonic()
    device, whole = chosen.device, shape_of(chosen)
    shape = replace(whole, steps=chosen.steps_measured)
    profile = Profile(device_name(device), {"layers": whole.layers, "steps": whole.steps, "frames": whole.frames,
                                            "width": whole.size_width, "height": whole.height})
    for stage, load in runners(shape, device).items():
        loaded = timed(device, load)
        call = loaded.pop("result")
        profile.loaded(stage, loaded["seconds"], loaded["peakBytes"])
        last = 0.0
        scale = whole.steps / shape.steps if stage == "diffuse" else 1.0
        for at, batch in enumerate(int(text) for text in chosen.batches.split(",")):
            line: Dict[str, Any] = {"row": "wan", "stage": stage, "batch": batch, "machine": device_name(device)}
            expected = 2.2 * last  # the next batch is at most twice as large
            if time.monotonic() - began + expected > chosen.deadline:
                print(json.dumps({**line, "skipped": "no time left"}), flush=True)
                continue
            try:
                if at == 0 and stage != "diffuse":
                    call(batch)  # libraries choose their kernels
                run = timed(device, partial(call, batch))
            except torch.cuda.OutOfMemoryError as error:
                print(json.dumps({**line, "failed": str(error)[:200]}), flush=True)
                torch.cuda.empty_cache()
                continue
            last = run["seconds"]
            profile.ran(stage, batch, run["seconds"] * scale, run["peakBytes"])
            shown = {"seconds": run["seconds"], "peakBytes": run["peakBytes"], "loadSeconds": loaded["seconds"]}
            if stage == "diffuse":
                shown["stepsMeasured"] = shape.steps
            print(json.dumps({**line, **shown}), flush=True)
        del call
        gc.collect()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
            synchronize(device)
    if chosen.profile is not None:
        profile.write(chosen.profile)
    print(json.dumps({"row": "wan-profile", **profile.document()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
