"""A batch of sequences that keeps decoding: sequences join it and leave it between two steps.

Invariant: n sequences that decode have slots 0 to n - 1 of the cache: when one leaves, the last one takes its slot. On
a GPU a step is one CUDA graph; each rounded number of sequences and reach has one, captured before the first sequence.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch

from ..tools import Tensor
from .attend import batch_attend, mixed_attend, read_prompt
from .model import Llama

_COUNTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)


class Prompt(NamedTuple):
    """A prompt that is read piece by piece, in the slot after the sequences that decode."""

    key: Any
    tokens: Tensor
    wanted: int


class Sequence:
    """A sequence that decodes: whose it is, how many tokens it has, and how many more it wants."""

    __slots__ = ("key", "length", "left")

    def __init__(self, key: Any, length: int, left: int) -> None:
        self.key = key
        self.length = length  # tokens whose keys and values are in the cache
        self.left = left


class Batch:
    """The batch.

    Args:
        slots: sequences at a time, at most 128.
        longest: tokens of a sequence, prompt and answer.
        graphs: whether steps are CUDA graphs; default: on a GPU.
    """

    def __init__(self, model: Llama, slots: int, longest: int, graphs: Optional[bool] = None) -> None:
        if not 1 <= slots <= _COUNTS[-1]:
            raise ValueError(f"1 to {_COUNTS[-1]} slots, not {slots}")
        weight = model.lm_head.weight
        shape = model.shape
        self.model = model
        self.device = weight.device
        self.longest = longest
        self.counts = [count for count in _COUNTS if count < slots] + [slots]
        self.reaches = [reach for reach in (512, 1024, 1536, 2048, 3072, 4096) if reach < longest] + [longest]
        # One more slot, for the prompt that is read piece by piece.
        size = (shape.layers, 2, slots + 1, shape.kv_heads, longest, shape.head_width)
        self.cache = torch.zeros(size, dtype=weight.dtype, device=self.device)
        self.slots = slots
        self.sequences: List[Sequence] = []
        self.tokens = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.positions = torch.zeros(slots, dtype=torch.long, device=self.device)
        self._rows = torch.arange(slots, device=self.device)
        self._graphs: Dict[Tuple[int, int], Any] = {}
        model.prepare(longest)
        if self.device.type == "cuda" if graphs is None else graphs:
            self._capture()

    @property
    def free(self) -> int:
        return self.slots - len(self.sequences)

    # ---- Steps

    def begin(self, key: Any, tokens: Tensor, wanted: int) -> int:
        """Reads a whole prompt into the slot where it will decode; the sequence joins. Answers its first token."""
        self._check_room(tokens.shape[0], wanted)
        first = int(read_prompt(self.model, tokens, self.cache[:, :, len(self.sequences)]).item())
        self._admit(key, tokens.shape[0], first, wanted)
        return first

    def join(self, key: Any, kv: Tensor, token: int, wanted: int) -> None:
        """A sequence joins whose prompt was read elsewhere. Raises ValueError when there is no room.

        Args:
            kv: its keys and values, [layers, 2, kv heads, tokens, width].
            token: the one after them.
            wanted: how many more tokens, at least 1.
        """
        length = kv.shape[3]
        self._check_room(length, wanted)
        self.cache[:, :, len(self.sequences), :, :length].copy_(kv)
        self._admit(key, length, token, wanted)

    def step(self) -> List[Tuple[Any, int, bool]]:
        """Every sequence gets one more token; answers the key and token of each, and whether it was the last."""
        count = len(self.sequences)
        if count == 0:
            return []
        reach = max(one.length for one in self.sequences) + 1
        size, far = self._rounded(count, reach)
        graph = self._graphs.get((size, far))
        if graph is not None:
            graph.replay()
        else:
            self._advance(count, reach)
        return self._moved(self.tokens[:count].tolist())

    def step_with(self, prompt: Prompt, start: int, count: int) -> Tuple[List[Tuple[Any, int, bool]], Optional[int]]:
        """As ``step``; the same pass reads tokens ``start`` to ``start + count`` of a prompt.

        When the prompt ends there, it joins the batch, and the first token of its answer is answered too. Call nothing
        else from its first piece until then.
        """
        decoding = len(self.sequences)
        self._check_room(prompt.tokens.shape[0], prompt.wanted)
        is_last = start + count == prompt.tokens.shape[0]
        tokens = torch.cat((self.tokens[:decoding], prompt.tokens[start : start + count]))
        places = torch.cat((self.positions[:decoding], torch.arange(start, start + count, device=self.device)))
        reach = max((one.length for one in self.sequences), default=0) + 1
        attend = mixed_attend(self.cache, self.positions[:decoding], reach, decoding, start, count)
        rows = torch.cat((self._rows[:decoding], torch.tensor([decoding + count - 1], device=self.device)))
        found = self.model(tokens, places, attend, rows)
        self.tokens[:decoding] = found[:decoding]
        self.positions[:decoding] += 1
        numbers = found.tolist()
        if not is_last:
            return self._moved(numbers[:-1], read=start + count), None
        self._admit(prompt.key, prompt.tokens.shape[0], numbers[-1], prompt.wanted)
        return self._moved(numbers[:-1]), numbers[-1]

    def remove(self, at: int) -> None:
        """The sequence of a slot leaves, and the last one takes its slot."""
        last = len(self.sequences) - 1
        if at < last:
            one = self.sequences[last]
            self.cache[:, :, at, :, : one.length].copy_(self.cache[:, :, last, :, : one.length])
            self.tokens[at] = self.tokens[last]
            self.positions[at] = self.positions[last]
            self.sequences[at] = one
        self.sequences.pop()
        # An unused row of a graph writes at position 0 of a free slot.
        self.positions[last] = 0

    def clear(self) -> None:
        """Every sequence leaves."""
        self.sequences.clear()
        self.positions.zero_()

    # ---- Inside

    def _check_room(self, length: int, wanted: int) -> None:
        if self.free == 0:
            raise ValueError(f"all {self.slots} slots decode")
        if wanted < 1 or length < 1 or length + wanted > self.longest:
            raise ValueError(f"{length} tokens and {wanted} more; a slot has {self.longest}")

    def _admit(self, key: Any, length: int, token: int, wanted: int) -> None:
        slot = len(self.sequences)
        self.tokens[slot] = token
        self.positions[slot] = length
        self.sequences.append(Sequence(key, length, wanted))

    def _advance(self, count: int, reach: int) -> None:
        positions = self.positions[:count]
        attend = batch_attend(self.cache, positions, reach)
        self.tokens[:count] = self.model(self.tokens[:count], positions, attend, self._rows[:count])
        # Unused rows advance too, but stay inside the cache.
        positions.add_(1).clamp_(max=self.longest - 1)

    def _rounded(self, count: int, reach: int) -> Tuple[int, int]:
        size = next(size for size in self.counts if size >= count)
        return size, next(far for far in self.reaches if far >= reach)

    def _moved(self, numbers: List[int], read: int = 0) -> List[Tuple[Any, int, bool]]:
        """Gives the first sequences their new tokens; those that have all of theirs leave.

        Args:
            read: tokens that have been read of a prompt in the slot after all sequences: it moves down with them.
        """
        moved: List[Tuple[Any, int, bool]] = []
        for at, token in enumerate(numbers):
            one = self.sequences[at]
            one.length += 1
            one.left -= 1
            moved.append((one.key, token, one.left == 0))
        decoding = len(self.sequences)
        for at in range(len(numbers) - 1, -1, -1):
            if self.sequences[at].left == 0:
                self.remove(at)
        now = len(self.sequences)
        if read > 0 and now < decoding:
            self.cache[:, :, now, :, :read].copy_(self.cache[:, :, decoding, :, :read])
        return moved

    def _capture(self) -> None:
        """Captures a graph for each rounded number of sequences and reach, the largest first: they share memory."""
        pool = None
        side = torch.cuda.Stream(self.device)
        for size in reversed(self.counts):
            for far in reversed(self.reaches):
                # One run without a graph: libraries load their kernels and allocate their workspaces.
                side.wait_stream(torch.cuda.current_stream(self.device))
                with torch.cuda.stream(side):
                    self._advance(size, far)
                torch.cuda.current_stream(self.device).wait_stream(side)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool):
                    self._advance(size, far)
                pool = graph.pool()
                self._graphs[(size, far)] = graph
        self.positions.zero_()
        self.tokens.zero_()
