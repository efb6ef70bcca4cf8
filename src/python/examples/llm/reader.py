"""Reads whole prompts: a pass for each rounded number of tokens.

Invariant: a pass reads more tokens than a prompt has, up to the rounded number. No token sees one behind it, so those
change nothing, and their keys and values go nowhere.
"""

from __future__ import annotations

from typing import List, Optional

import torch

from ..tools import Tensor
from .attend import prompt_attend
from .model import Llama
from .passes import Passes

#: Passes over prompts have a multiple of so many tokens.
ROUND_TOKENS = 128


def rounded_sizes(most: int) -> List[int]:
    """Numbers of tokens that passes have, the last one being ``most``."""
    return [*range(ROUND_TOKENS, most, ROUND_TOKENS), most]


class Reader:
    """Reads prompts of up to ``most`` tokens.

    Args:
        model: prepared for at least so many.
        kv: memory for the keys and values of a prompt, [layers, 2, kv heads, >= most, width]; default its own.
        graphs: whether passes are CUDA graphs; default: on a GPU.
    """

    def __init__(self, model: Llama, most: int, kv: Optional[Tensor] = None, graphs: Optional[bool] = None) -> None:
        weight = model.lm_head.weight
        self.model = model
        self.most = most
        self.kv = weight.new_zeros(model.shape.kv_size(most)) if kv is None else kv
        self.sizes = rounded_sizes(most)
        self.passes = Passes(weight.device, graphs)
        self._tokens = torch.zeros(most, dtype=torch.long, device=weight.device)
        self._positions = torch.arange(most, device=weight.device)
        self._last = torch.zeros(1, dtype=torch.long, device=weight.device)
        self._found = torch.zeros(1, dtype=torch.long, device=weight.device)
        for size in reversed(self.sizes):
            self.passes.add(size, lambda size=size: self._read(size))

    def read(self, tokens: Tensor, kv: Tensor) -> Tensor:
        """Reads a prompt, [tokens], into ``kv``, [layers, 2, kv heads, >= tokens, width]; answers its next token, [1],
        in memory that the next prompt changes. Raises ValueError for more tokens than ``most``, or none."""
        count = tokens.shape[0]
        if not 1 <= count <= self.most:
            raise ValueError(f"a prompt of 1 to {self.most} tokens, not {count}")
        self._tokens[:count] = tokens
        self._last.fill_(count - 1)
        self.passes.run(next(size for size in self.sizes if size >= count))
        kv[:, :, :, :count].copy_(self.kv[:, :, :, :count])
        return self._found

    def _read(self, size: int) -> None:
        attend = prompt_attend(self.kv, 0, size)
        self._found.copy_(self.model(self._tokens[:size], self._positions[:size], attend, self._last))
