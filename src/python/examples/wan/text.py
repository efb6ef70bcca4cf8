"""umT5: the encoder of the prompt.

Invariant: names and shapes of its parameters are those of models_t5_umt5-xxl-enc-bf16.pth. Every layer has its own
table of relative positions.
"""

from __future__ import annotations

import math
from typing import List, Optional

import torch
from torch import nn

from ..tools import Tensor, attention, linear, parameter
from .shape import Shape

_BUCKETS = 32
_FARTHEST = 128


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = parameter(width)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Attention(nn.Module):
    """Attention whose scores are not scaled and get a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (f(x).view(batch, tokens, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(attention(q, k, v, 1.0, bias).transpose(1, 2).reshape(batch, tokens, width))


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(linear(width, inner, bias=False), nn.GELU(approximate="tanh"))
        self.fc1 = linear(width, inner, bias=False)
        self.fc2 = linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.fc1(x) * self.gate(x))


class Positions(nn.Module):
    """A bias for each head and distance; far distances share buckets."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_BUCKETS, heads, device="meta")

    def forward(self, buckets: Tensor) -> Tensor:
        return self.embedding(buckets).permute(2, 0, 1).unsqueeze(0)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = Norm(shape.text_width)
        self.attn = Attention(shape.text_width, shape.text_heads)
        self.norm2 = Norm(shape.text_width)
        self.ffn = FeedForward(shape.text_width, shape.text_ffn)
        self.pos_embedding = Positions(shape.text_heads)

    def forward(self, x: Tensor, buckets: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), self.pos_embedding(buckets) + mask)
        return x + self.ffn(self.norm2(x))


class TextEncoder(nn.Module):
    """The encoder."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(shape.text_vocabulary, shape.text_width, device="meta")
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.text_layers)])
        self.norm = Norm(shape.text_width)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Encodes prompts.

        Args:
            ids: [batch, tokens], of the tokenizer; those beyond the length of a prompt are ignored.
            lengths: [batch].

        Returns [batch, tokens, width]; it is 0 beyond the length of a prompt.
        """
        x = self.token_embedding(ids)
        is_there = torch.arange(ids.shape[1], device=ids.device) < lengths.unsqueeze(1)
        mask = torch.zeros(is_there.shape, dtype=x.dtype, device=x.device)
        mask = mask.masked_fill(~is_there, torch.finfo(x.dtype).min)[:, None, None, :]
        buckets = distance_buckets(ids.shape[1], x.device)
        for block in self.blocks:
            x = block(x, buckets, mask)
        return self.norm(x) * is_there.unsqueeze(-1)


def distance_buckets(tokens: int, device: torch.device) -> Tensor:
    """The bucket of the distance from each token to each other one, [tokens, tokens].

    Half of the buckets are for later tokens. Half of each half are for exact distances; the rest grow by a constant
    factor up to a distance of 128.
    """
    at = torch.arange(tokens, device=device)
    distance = at.unsqueeze(0) - at.unsqueeze(1)
    half, exact = _BUCKETS // 2, _BUCKETS // 4
    size = distance.abs()
    growth = torch.log(size.clamp(min=1).float() / exact) / math.log(_FARTHEST / exact) * (half - exact)
    far = (exact + growth.long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distance > 0).long()


class Tokenizer:
    """Turns a prompt into token ids: with a ``tokenizer.json``, or, for random weights, each byte of UTF-8 plus 3."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._tokenizer = None
        if shape.tokenizer is not None:
            try:
                from tokenizers import Tokenizer as Loaded
            except ImportError:
                raise ImportError(f"reading {shape.tokenizer} needs: pip install tokenizers") from None
            self._tokenizer = Loaded.from_file(shape.tokenizer)
        elif shape.text_weights is not None:
            raise ValueError("real weights need their tokenizer: the option tokenizer is the path of tokenizer.json")

    def ids(self, prompt: str) -> List[int]:
        """The ids of a prompt, at most ``text_tokens``."""
        limit = self.shape.text_tokens
        found: Optional[List[int]] = None if self._tokenizer is None else self._tokenizer.encode(prompt).ids
        if found is None:
            found = [3 + byte for byte in prompt.encode()][: limit - 1] + [1]
        return found[:limit]


def padded(rows: List[List[int]], tokens: int, device: str) -> "tuple[Tensor, Tensor]":
    """The ids and lengths that a TextEncoder takes, from the ids of several prompts."""
    ids = torch.zeros(len(rows), tokens, dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
    return ids.to(device), torch.tensor([len(row) for row in rows], device=device)
