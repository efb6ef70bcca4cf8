"""All of Wan2.1-I2V in one process, without a pipeline: the baseline for the pipeline's overhead.

    python3 -m examples.wan.all --layers 2 --size 256x256 --frames 17 --steps 4

Prints a line of JSON for each clip: the seconds of each step and of the whole, and a checksum of the frames.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from typing import Any, Dict, List

import torch

from ..tools import device_name, synchronize
from .shape import Shape, shape_with
from .steps import DecodeStep, DiffuseStep, ImageStep, TextStep


_NUMBERS = ("layers", "steps", "frames", "seed")
_PARTS = ("text", "clip", "vae", "dit")


def options_of(parser: argparse.ArgumentParser) -> None:
    """Adds the options that shrink the model or say where weights are."""
    for name in _NUMBERS:
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--size", help="width x height, for example 832x480")
    parser.add_argument("--tiny", action="store_true", help="a model for a CPU")
    for name in _PARTS:
        parser.add_argument(f"--{name}-weights", help="a .pth or .safetensors file, or a folder of those")
    parser.add_argument("--tokenizer", help="the tokenizer.json of umT5")


def shape_of(chosen: argparse.Namespace) -> Shape:
    """The shape that these options ask for."""
    names = (*_NUMBERS, "size", *(f"{name}_weights" for name in _PARTS), "tokenizer")
    given = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
    return shape_with(**given, tiny=chosen.tiny)


class Whole:
    """All four steps on one device."""

    def __init__(self, shape: Shape, device: str) -> None:
        self.shape, self.device = shape, device
        self.text = TextStep(shape, device)
        self.image = ImageStep(shape, device)
        self.diffuse = DiffuseStep(shape, device)
        self.decode = DecodeStep(shape, device)

    def run(self, prompt: str, picture: torch.Tensor, seed: int) -> "tuple[torch.Tensor, Dict[str, float]]":
        """Answers the frames of a clip, in memory of the CPU, and the seconds that each step took."""
        marks = [self._now()]
        context = self.text.run([prompt], [None])
        marks.append(self._now())
        seen, given = self.image.run([picture])
        marks.append(self._now())
        latent = self.diffuse.run(context, seen, given, [seed])
        marks.append(self._now())
        shape = self.shape
        frames = torch.empty(shape.frames, shape.height, shape.size_width, 3, dtype=torch.uint8)
        self.decode.run(latent, [frames])
        marks.append(self._now())
        names = ("text-encode", "image-encode", "diffuse", "decode")
        seconds = {name: round(marks[at + 1] - marks[at], 4) for at, name in enumerate(names)}
        return frames, {**seconds, "total": round(marks[-1] - marks[0], 4)}

    def _now(self) -> float:
        synchronize(self.device)
        return time.perf_counter()


def test_picture(height: int, width: int) -> torch.Tensor:
    """A picture whose colours change from corner to corner, [height, width, 3] of u8."""
    down = torch.arange(height).view(-1, 1).expand(height, width) * 255 // max(1, height - 1)
    right = torch.arange(width).expand(height, width) * 255 // max(1, width - 1)
    return torch.stack((down, right, (down + right) // 2), -1).to(torch.uint8)


def main(words: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="wan.all", description="Makes clips in one process.")
    options_of(parser)
    parser.add_argument("--prompt", default="a ship sails into the evening")
    parser.add_argument("--clips", type=int, default=2, help="the first one warms up")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    chosen = parser.parse_args(words)
    shape = shape_of(chosen)
    began = time.perf_counter()
    whole = Whole(shape, chosen.device)
    loaded = round(time.perf_counter() - began, 2)
    for clip in range(chosen.clips):
        frames, seconds = whole.run(chosen.prompt, test_picture(shape.height, shape.size_width), clip)
        line: Dict[str, Any] = {"row": "wan-all", "machine": device_name(chosen.device), "clip": clip}
        line.update(loadSeconds=loaded, seconds=seconds, checksum=hashlib.sha256(frames.numpy()).hexdigest()[:16])
        print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
