"""Attention of the tokens of one prompt, of a batch that decodes, and of both together.

Invariant: a cache is [layers, 2, slots, kv heads, positions, width]; slot s holds one sequence, its keys at 0 and its
values at 1. A pass writes the keys and values of its own tokens there before it reads.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

import torch
from torch.nn import functional

from ..tools import Tensor
from .model import Attend, Llama


def read_prompt(model: Llama, tokens: Tensor, kv: Tensor) -> Tensor:
    """Reads a whole prompt into ``kv``, [layers, 2, kv heads, >= tokens, width]; answers its next token, [1]."""
    count = tokens.shape[0]
    last = torch.tensor([count - 1], device=tokens.device)
    positions = torch.arange(count, device=tokens.device)
    return model(tokens, positions, prompt_attend(kv, 0, count), last)


def prompt_attend(kv: Tensor, start: int, count: int) -> Attend:
    """Tokens start ... start + count of one sequence; its keys and values: [layers, 2, kv heads, positions, width]."""
    end = start + count
    sees = causal(start, count, kv.device)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kv[layer, 0, :, start:end] = k.transpose(0, 1)
        kv[layer, 1, :, start:end] = v.transpose(0, 1)
        keys, values = kv[layer, 0, :, :end], kv[layer, 1, :, :end]
        return sees(q.transpose(0, 1), keys, values).transpose(0, 1)

    return attend


def causal(start: int, count: int, device: torch.device) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Attention of ``count`` queries from position ``start`` on: each one sees the keys up to its own position.

    Returns a function of q [heads, count, width], and k and v [kv heads, start + count, width].
    """
    end = start + count
    fused = getattr(functional, "scaled_dot_product_attention", None)
    if fused is None or device.type != "cuda":
        return lambda q, k, v: _plain(q, k, v, torch.ones(count, end, dtype=torch.bool, device=device).tril(start))
    options: Dict[str, Any] = {"is_causal": True}
    if start > 0:
        # The flag sees the first queries at the first keys; here the last query is at the last key.
        from torch.nn.attention.bias import causal_lower_right  # PyTorch 2.3 and later

        options = {"attn_mask": causal_lower_right(count, end)}

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        group = q.shape[0] // k.shape[0]
        k, v = (x.unsqueeze(1).expand(-1, group, -1, -1).reshape(1, -1, end, x.shape[-1]) for x in (k, v))
        return fused(q.unsqueeze(0), k, v, **options)[0]

    return attend


def _plain(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    group = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(group, 0).float(), v.repeat_interleave(group, 0).float()
    scores = torch.matmul(q.float() * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    return torch.matmul(scores.masked_fill(~seen, float("-inf")).softmax(-1), v).to(q.dtype)


def batch_attend(cache: Tensor, positions: Tensor, reach: int) -> Attend:
    """One token each for the first sequences of a cache.

    Args:
        positions: [sequences], the position of each one's token.
        reach: how many positions of the cache are read; every position is below it.
    """
    count = positions.shape[0]
    at = (
        torch.arange(count, device=cache.device)[:, None],
        torch.arange(cache.shape[3], device=cache.device)[None, :],
        positions[:, None],
    )
    hidden = torch.arange(reach, device=cache.device) > positions.unsqueeze(1)
    bias = torch.zeros(hidden.shape, dtype=torch.float32, device=cache.device).masked_fill(hidden, float("-inf"))
    bias = bias[:, None, None, :]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        cache[layer, 0].index_put_(at, k)
        cache[layer, 1].index_put_(at, v)
        keys, values = cache[layer, 0, :count, :, :reach], cache[layer, 1, :count, :, :reach]
        # The heads that share keys are the rows of one product: the cache is read once and never copied.
        grouped = q.reshape(count, keys.shape[1], -1, q.shape[-1])
        scores = torch.matmul(grouped, keys.transpose(-1, -2)).float() * q.shape[-1] ** -0.5 + bias
        return torch.matmul(scores.softmax(-1).to(q.dtype), values).reshape(q.shape)

    return attend


def mixed_attend(cache: Tensor, positions: Tensor, reach: int, slot: int, start: int, count: int) -> Attend:
    """First the tokens of a batch that decodes, then ``count`` tokens of the prompt of another slot, from ``start``."""
    decoding = positions.shape[0]
    prompt = prompt_attend(cache[:, :, slot], start, count)
    batch = batch_attend(cache, positions, reach) if decoding > 0 else None

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = prompt(layer, q[decoding:], k[decoding:], v[decoding:])
        if batch is None:
            return seen
        return torch.cat((batch(layer, q[:decoding], k[:decoding], v[:decoding]), seen))

    return attend
