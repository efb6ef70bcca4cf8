"""Sizes of Wan2.1-I2V-14B and of what it makes.

Invariant: the defaults are the published model at 480p with 81 frames; anything smaller is an option.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields, replace
from typing import Any, Dict, Optional, Tuple

#: pixels along each side of a patch of CLIP
CLIP_PATCH = 14


@dataclass(frozen=True)
class Shape:
    """Sizes; widths in elements, pictures in pixels."""

    # umT5-xxl
    text_vocabulary: int = 256384
    text_width: int = 4096
    text_ffn: int = 10240
    text_heads: int = 64
    text_layers: int = 24
    text_tokens: int = 512
    # CLIP ViT-H/14, the vision tower
    clip_width: int = 1280
    clip_heads: int = 16
    clip_layers: int = 32
    clip_out: int = 1024
    clip_image: int = 224
    # the autoencoder
    vae_width: int = 96
    latent: int = 16
    # the diffusion transformer
    width: int = 5120
    ffn: int = 13824
    heads: int = 40
    layers: int = 40
    time_width: int = 256
    # what it makes
    frames: int = 81
    height: int = 480
    size_width: int = 832
    steps: int = 40
    guidance: float = 5.0
    shift: float = 3.0
    # where weights are: files or folders; None: random ones
    text_weights: Optional[str] = None
    clip_weights: Optional[str] = None
    vae_weights: Optional[str] = None
    dit_weights: Optional[str] = None
    tokenizer: Optional[str] = None
    seed: int = 1

    @property
    def clip_tokens(self) -> int:
        """Tokens of a picture: one for each patch, and one for the whole."""
        return (self.clip_image // CLIP_PATCH) ** 2 + 1

    @property
    def latent_frames(self) -> int:
        return (self.frames - 1) // 4 + 1

    @property
    def latent_size(self) -> Tuple[int, int]:
        return self.height // 8, self.size_width // 8

    def check(self) -> "Shape":
        """Returns itself. Raises ValueError for sizes that the model cannot make."""
        if self.frames < 1 or self.frames % 4 != 1:
            raise ValueError(f"frames is 4 n + 1, not {self.frames}")
        if min(self.height, self.size_width) < 16 or self.height % 16 != 0 or self.size_width % 16 != 0:
            raise ValueError(f"height and width are multiples of 16, not {self.height} x {self.size_width}")
        if self.layers < 1 or self.steps < 1:
            raise ValueError(f"at least 1 layer and 1 step, not {self.layers} and {self.steps}")
        return self


def shape_with(**options: Any) -> Shape:
    """The published shape with some sizes changed.

    Args:
        options: fields of Shape, where ``layers`` limits the encoders too; ``size``, such as "832x480" (width x
            height); ``tiny``, which makes everything small enough for a CPU.

    Raises ValueError for an unknown option, or a size that the model cannot make.
    """
    made = _TINY if options.pop("tiny", False) else Shape()
    size = options.pop("size", None)
    known = {field.name for field in fields(Shape)}
    for name in options:
        if name not in known:
            raise ValueError(f"there is no option {name!r}; there are: size, tiny, {', '.join(sorted(known))}")
    if size is not None:
        width, _, height = str(size).partition("x")
        options.update(size_width=int(width), height=int(height))
    if "layers" in options:
        options.setdefault("text_layers", min(options["layers"], made.text_layers))
        options.setdefault("clip_layers", min(max(2, options["layers"]), made.clip_layers))
    return replace(made, **options).check()


def shape_of_environment() -> Shape:
    """The shape in the variable WAN_OPTIONS: JSON with the options of ``shape_with``."""
    options: Dict[str, Any] = json.loads(os.environ.get("WAN_OPTIONS", "{}"))
    return shape_with(**options)


_TINY = Shape(
    text_vocabulary=300, text_width=32, text_ffn=64, text_heads=4, text_layers=2, text_tokens=16,
    clip_width=32, clip_heads=4, clip_layers=3, clip_out=16, clip_image=28, vae_width=8,
    width=48, ffn=96, heads=4, layers=2, time_width=32, frames=9, height=32, size_width=48, steps=2,
)  # fmt: skip
