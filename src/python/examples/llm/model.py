"""A decoder-only transformer of Llama's shape (RMSNorm, rotary positions, grouped heads, SwiGLU).

Invariant: names and shapes of its parameters are those of published Llama checkpoints. It keeps no cache: the caller
passes the attention, a function that runs once for each layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, List, Tuple

import torch
from torch import nn
from torch.nn import functional

from ..tools import RmsNorm, Tensor, angles, linear

_EPSILON = 1e-5

#: (layer, q [tokens, heads, width], k [tokens, kv heads, width], v) -> [tokens, heads, width]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; the defaults are those of Llama 3 8B."""

    layers: int = 32
    width: int = 4096
    ffn: int = 14336
    heads: int = 32
    kv_heads: int = 8
    vocabulary: int = 128256
    theta: float = 500000.0

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV cache of a token, in bf16."""
        return math.prod(self.kv_size(1)) * 2

    def kv_size(self, tokens: int) -> Tuple[int, ...]:
        """Sizes of the keys and values of one sequence: [layers, 2, kv heads, tokens, width of a head]."""
        return (self.layers, 2, self.kv_heads, tokens, self.head_width)


def shape_of(layers: int = 32, width: int = 4096, vocabulary: int = 128256) -> Shape:
    """The 8B shape, or a smaller one of the same proportions. Raises ValueError unless width is a multiple of 128."""
    if layers < 1 or width < 128 or width % 128 != 0 or vocabulary < 2:
        raise ValueError(f"layers >= 1, width a multiple of 128, vocabulary >= 2; not {layers}, {width}, {vocabulary}")
    heads = max(4, width // 128)
    return Shape(layers, width, width * 7 // 2, heads, max(1, heads // 4), vocabulary)


class Heads(nn.Module):
    """The four projections of attention."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head_width
        self.q_proj = linear(shape.width, shape.width, bias=False)
        self.k_proj = linear(shape.width, kv, bias=False)
        self.v_proj = linear(shape.width, kv, bias=False)
        self.o_proj = linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Tuple[Tensor, Tensor], attend: Callable[..., Tensor]) -> Tensor:
        tokens, width = x.shape[0], self.shape.head_width
        turned = rotate(torch.cat((self.q_proj(x), self.k_proj(x)), -1).view(tokens, -1, width), turn)
        q, k = turned.split((self.shape.heads, self.shape.kv_heads), 1)
        v = self.v_proj(x).view(tokens, -1, width)
        return self.o_proj(attend(q, k, v).reshape(tokens, -1))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = linear(shape.width, shape.ffn, bias=False)
        self.up_proj = linear(shape.width, shape.ffn, bias=False)
        self.down_proj = linear(shape.ffn, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Heads(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = RmsNorm(shape.width, _EPSILON)
        self.post_attention_layernorm = RmsNorm(shape.width, _EPSILON)

    def forward(self, x: Tensor, turn: Tuple[Tensor, Tensor], attend: Callable[..., Tensor]) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, attend)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width, device="meta")
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        self.norm = RmsNorm(shape.width, _EPSILON)


class Llama(nn.Module):
    """The model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Trunk(shape)
        self.lm_head = linear(shape.width, shape.vocabulary, bias=False)
        self._turns: List[Tensor] = []

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend, answers: Tensor) -> Tensor:
        """One pass.

        Args:
            tokens: [tokens], of any number of sequences.
            positions: [tokens], of each in its sequence.
            attend: what each token sees.
            answers: [n], the indices of the tokens whose next token is wanted.

        Returns the most likely next tokens, [n].
        """
        x = self.model.embed_tokens(tokens)
        turn = self._turn(positions)
        for at, layer in enumerate(self.model.layers):
            x = layer(x, turn, lambda q, k, v, at=at: attend(at, q, k, v))
        return self.lm_head(self.model.norm(x.index_select(0, answers))).argmax(-1)

    def prepare(self, longest: int) -> None:
        """Makes the table of rotary positions for sequences of up to ``longest`` tokens."""
        device = self.lm_head.weight.device
        angle = angles(torch.arange(longest), self.shape.head_width // 2, self.shape.theta)
        self._turns = [angle.cos().float().to(device), angle.sin().float().to(device)]

    def _turn(self, positions: Tensor) -> Tuple[Tensor, Tensor]:
        if not self._turns:
            raise RuntimeError("prepare() comes first")
        cosine, sine = (table.index_select(0, positions).unsqueeze(1) for table in self._turns)
        return cosine, sine


def rotate(x: Tensor, turn: Tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions, on [tokens, heads, width]: each value of the first half pairs with one of the second."""
    first, second = x.float().chunk(2, -1)
    cosine, sine = turn
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1).to(x.dtype)
