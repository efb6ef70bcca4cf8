"""The diffusion transformer of Wan2.1-I2V.

Invariant: names and shapes of its parameters are those of the published diffusion_pytorch_model of
Wan2.1-I2V-14B-480P. Matrices of the blocks are multiplied in the type of the weights; the tokens between blocks, norms,
time and the head are float32.
"""

from __future__ import annotations

import math
from typing import Dict, Tuple

import torch
from torch import nn
from torch.nn import functional

from ..tools import RmsNorm, Tensor, angles, attention, linear, parameter
from .shape import Shape

_PATCH = (1, 2, 2)
_THETA = 10000.0
_EPSILON = 1e-6
Turn = Tuple[Tensor, Tensor]


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (linear(width, width) for _ in range(4))
        # Over all heads together.
        self.norm_q, self.norm_k = RmsNorm(width, _EPSILON), RmsNorm(width, _EPSILON)

    def split(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] as [batch, tokens, heads, width of a head]."""
        return x.unflatten(2, (self.heads, -1))

    def forward(self, x: Tensor, turn: Turn) -> Tensor:
        q = rotate(self.split(self.norm_q(self.q(x))), turn).transpose(1, 2)
        k = rotate(self.split(self.norm_k(self.k(x))), turn).transpose(1, 2)
        v = self.split(self.v(x)).transpose(1, 2)
        return self.o(attention(q, k, v).transpose(1, 2).flatten(2))


class CrossAttention(SelfAttention):
    """Attends to the prompt and, with keys and values of its own, to the picture."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.k_img, self.v_img = linear(width, width), linear(width, width)
        self.norm_k_img = RmsNorm(width, _EPSILON)

    def forward(self, x: Tensor, text: Tensor, image: Tensor) -> Tensor:  # type: ignore[override]
        q = self.split(self.norm_q(self.q(x))).transpose(1, 2)
        seen = attention(q, self._heads(self.norm_k(self.k(text))), self._heads(self.v(text)))
        shown = attention(q, self._heads(self.norm_k_img(self.k_img(image))), self._heads(self.v_img(image)))
        return self.o((seen + shown).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return self.split(x).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = SelfAttention(shape.width, shape.heads)
        self.norm3 = nn.LayerNorm(shape.width, eps=_EPSILON, device="meta")
        self.cross_attn = CrossAttention(shape.width, shape.heads)
        self.ffn = nn.Sequential(
            linear(shape.width, shape.ffn), nn.GELU(approximate="tanh"), linear(shape.ffn, shape.width)
        )
        self.modulation = parameter(1, 6, shape.width)

    def forward(self, x: Tensor, time: Tensor, turn: Turn, text: Tensor, image: Tensor) -> Tensor:
        """``time`` is [batch, 6, width] of float32: how this step shifts, scales and gates both halves of the block."""
        dtype = text.dtype
        parts = (self.modulation.float() + time).unsqueeze(2).unbind(1)
        x = torch.addcmul(x, self.self_attn(modulate(x, parts[0], parts[1]).to(dtype), turn).float(), parts[2])
        x = x + self.cross_attn(self._norm3(x).to(dtype), text, image)
        return torch.addcmul(x, self.ffn(modulate(x, parts[3], parts[4]).to(dtype)).float(), parts[5])

    def _norm3(self, x: Tensor) -> Tensor:
        norm = self.norm3
        return functional.layer_norm(x, x.shape[-1:], norm.weight.float(), norm.bias.float(), norm.eps)


class Head(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head = linear(shape.width, math.prod(_PATCH) * shape.latent)
        self.modulation = parameter(1, 2, shape.width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = (self.modulation.float() + time.unsqueeze(1)).unsqueeze(2).unbind(1)
        return functional.linear(modulate(x, shift, scale), self.head.weight.float(), self.head.bias.float())


class ImageEmbedding(nn.Module):
    """Projects tokens of CLIP to the width of the transformer."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(width_in, device="meta"), linear(width_in, width_in), nn.GELU(), linear(width_in, width),
            nn.LayerNorm(width, device="meta"),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Dit(nn.Module):
    """The transformer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        # The noisy latent, four channels that mark the given frames, and the latent of those.
        self.patch_embedding = nn.Conv3d(2 * shape.latent + 4, width, _PATCH, _PATCH, device="meta")
        self.text_embedding = nn.Sequential(
            linear(shape.text_width, width), nn.GELU(approximate="tanh"), linear(width, width)
        )
        self.time_embedding = nn.Sequential(linear(shape.time_width, width), nn.SiLU(), linear(width, width))
        self.time_projection = nn.Sequential(nn.SiLU(), linear(width, 6 * width))
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.layers)])
        self.head = Head(shape)
        self.img_emb = ImageEmbedding(shape.clip_width, width)
        self._turns: Dict[Tuple[int, ...], Turn] = {}

    def conditions(self, text: Tensor, image: Tensor) -> Tuple[Tensor, Tensor]:
        """Embeds what is the same in all steps: the prompt, [batch, tokens, 4096], and CLIP's, [batch, 257, 1280]."""
        return self.text_embedding(text), self.img_emb(image)

    def forward(self, x: Tensor, given: Tensor, times: Tensor, text: Tensor, image: Tensor) -> Tensor:
        """The direction in which the latent flows.

        Args:
            x: [batch, 16, frames, height, width], the noisy latent.
            given: [batch, 20, frames, height, width], of ImageStep.
            times: [batch], 0 to 1000.
            text: with ``image``, the answer of ``conditions``.

        Returns a tensor like x, of float32.
        """
        weight = self.patch_embedding.weight
        patches = self.patch_embedding(torch.cat((x, given), 1).to(weight.dtype))
        grid = tuple(patches.shape[2:])
        tokens = patches.flatten(2).transpose(1, 2).float()
        time = run_wide(self.time_embedding, waves(times, self.shape.time_width))
        six = run_wide(self.time_projection, time).unflatten(1, (6, -1))
        turn = self._turn(grid, weight.device)
        for block in self.blocks:
            tokens = block(tokens, six, turn, text, image)
        made = self.head(tokens, time).view(x.shape[0], *grid, *_PATCH, self.shape.latent)
        return made.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(x.shape)

    def _turn(self, grid: Tuple[int, ...], device: torch.device) -> Turn:
        """How far each pair of values of a head turns at each place: some pairs by time, some by height or width."""
        if grid not in self._turns:
            half = self.shape.width // self.shape.heads // 2
            third = half // 3
            parts = []
            for axis, pairs in enumerate((half - 2 * third, third, third)):
                view = [1, 1, 1, pairs]
                view[axis] = grid[axis]
                angle = angles(torch.arange(grid[axis]), pairs, _THETA)
                parts.append(angle.view(view).expand(*grid, pairs))
            angle = torch.cat(parts, -1).flatten(0, 2).unsqueeze(1)
            self._turns[grid] = (angle.cos().float().to(device), angle.sin().float().to(device))
        return self._turns[grid]


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """LayerNorm without weights, scaled by 1 + ``scale`` and shifted."""
    return torch.addcmul(shift, functional.layer_norm(x, x.shape[-1:], eps=_EPSILON), 1 + scale)


def rotate(x: Tensor, turn: Turn) -> Tensor:
    """Rotary positions on [batch, tokens, heads, width]: neighbouring values are pairs."""
    first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = turn
    return torch.stack((first * cosine - second * sine, first * sine + second * cosine), -1).flatten(-2).to(x.dtype)


def waves(times: Tensor, width: int) -> Tensor:
    """Cosines, then sines, of times at wavelengths that grow; [batch, width]."""
    angle = angles(times, width // 2, _THETA)
    return torch.cat((angle.cos(), angle.sin()), 1).float()


def run_wide(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Runs linear layers and activations in float32, whatever the type of the weights."""
    for layer in layers:
        x = functional.linear(x, layer.weight.float(), layer.bias.float()) if isinstance(layer, nn.Linear) else layer(x)
    return x
