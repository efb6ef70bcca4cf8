"""The four steps from a prompt and a picture to a clip, each for a batch, on the device of its models.

Invariant: the stages of the pipeline and all.py both call these, so they compute the same.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple

import torch
from torch.nn import functional

from ..tools import Tensor, dtype_on, prepared
from .clip import VisionTower
from .dit import Dit
from .shape import Shape
from .text import TextEncoder, Tokenizer, padded
from .vae import Vae

#: The default negative prompt: guidance leads the clip away from it.
NEGATIVE = "overexposed, static, blurred details, subtitles, worst quality, low quality, deformed, still picture"


class TextStep:
    """Encodes prompts, [batch, 2, 512, 4096]: the prompt, and the negative prompt."""

    def __init__(self, shape: Shape, device: str) -> None:
        self.shape, self.device = shape, device
        self.tokenizer = Tokenizer(shape)
        self.encoder: Any = prepared(TextEncoder(shape), shape.text_weights, device, dtype_on(device), shape.seed)

    @torch.inference_mode()
    def run(self, prompts: Sequence[str], negatives: Sequence[Optional[str]]) -> Tensor:
        texts: List[str] = []
        for prompt, negative in zip(prompts, negatives):
            texts += [prompt, NEGATIVE if negative is None else negative]
        ids, lengths = padded([self.tokenizer.ids(text) for text in texts], self.shape.text_tokens, self.device)
        return self.encoder(ids, lengths).unflatten(0, (-1, 2))


class ImageStep:
    """Encodes pictures: with CLIP, [batch, 257, 1280], and as the first frame of a latent clip, [batch, 20, frames,
    height, width]: 4 channels mark the given frame, 16 are its latent."""

    def __init__(self, shape: Shape, device: str) -> None:
        self.shape, self.device = shape, device
        self.tower: Any = prepared(
            VisionTower(shape), shape.clip_weights, device, dtype_on(device), shape.seed + 1, "visual."
        )
        self.vae: Any = prepared(Vae(shape), shape.vae_weights, device, dtype_on(device), shape.seed + 2)

    @torch.inference_mode()
    def run(self, pictures: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """Pictures are [height, width, 3] of u8, of any size."""
        shape = self.shape
        seen, frames = [], []
        for picture in pictures:
            values = picture.to(self.device).permute(2, 0, 1).unsqueeze(0).float() / 127.5 - 1
            seen.append(self.tower(values))
            size = (shape.height, shape.size_width)
            frames.append(functional.interpolate(values, size, mode="bicubic", align_corners=False))
        first = torch.cat(frames).unsqueeze(2).to(dtype_on(self.device))
        clip = torch.cat((first, first.new_zeros(*first.shape[:2], shape.frames - 1, *first.shape[3:])), 2)
        latent = self.vae.encode(clip).float()
        is_given = latent.new_zeros(latent.shape[0], 4, *latent.shape[2:])
        is_given[:, :, 0] = 1
        return torch.cat(seen), torch.cat((is_given, latent), 1)


class DiffuseStep:
    """Noise becomes the latent of a clip, [batch, 16, frames, height, width]."""

    def __init__(self, shape: Shape, device: str) -> None:
        self.shape, self.device = shape, device
        self.dit: Any = prepared(Dit(shape), shape.dit_weights, device, dtype_on(device), shape.seed + 3)

    @torch.inference_mode()
    def run(
        self, context: Tensor, seen: Tensor, given: Tensor, seeds: Sequence[int],
        on_step: Callable[[int], None] = lambda step: None,
    ) -> Tensor:  # fmt: skip
        """Takes the results of the steps before it; calls ``on_step`` after each step with its number, from 1.

        Each step follows the flow from noise to clip, by Euler's method, at noise levels that the shift raises.
        """
        shape, dtype = self.shape, dtype_on(self.device)
        x = torch.cat([self._noise(seed) for seed in seeds])
        wanted = self.dit.conditions(context[:, 0].to(dtype), seen.to(dtype))
        other = self.dit.conditions(context[:, 1].to(dtype), seen.to(dtype))
        levels = noise_levels(shape.steps, shape.shift)
        for step in range(shape.steps):
            times = torch.full((x.shape[0],), levels[step] * 1000, device=self.device)
            flow = self.dit(x, given, times, *other)
            flow = flow + shape.guidance * (self.dit(x, given, times, *wanted) - flow)
            x = x + (levels[step + 1] - levels[step]) * flow
            on_step(step + 1)
        return x

    def _noise(self, seed: int) -> Tensor:
        shape = self.shape
        generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device gets the same noise
        size = (1, shape.latent, shape.latent_frames, *shape.latent_size)
        return torch.randn(size, generator=generator).to(self.device)


class DecodeStep:
    """A latent becomes frames."""

    def __init__(self, shape: Shape, device: str) -> None:
        self.shape, self.device = shape, device
        self.vae: Any = prepared(Vae(shape), shape.vae_weights, device, dtype_on(device), shape.seed + 2)

    @torch.inference_mode()
    def run(self, latent: Tensor, frames: Sequence[Tensor], on_frames: Callable[[int], None] = lambda n: None) -> None:
        """Writes the frames of each clip, [frames, height, width, 3] of u8; tells ``on_frames`` how many are done."""
        at = 0
        for piece in self.vae.decode(latent.to(self.device).to(dtype_on(self.device))):
            values = ((piece.float() + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)
            for row, clip in zip(values, frames):
                clip[at : at + row.shape[0]].copy_(row)
            at += values.shape[1]
            on_frames(at)


def noise_levels(steps: int, shift: float) -> List[float]:
    """Levels of noise from 1 to 0, steps + 1 of them; a shift above 1 spends more steps at high levels."""
    even = [1 - step / steps for step in range(steps + 1)]
    return [shift * level / (1 + (shift - 1) * level) for level in even]
