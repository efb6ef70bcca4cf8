"""A batch of sequences that keeps decoding: sequences join it and leave it between two steps.

Invariant: n sequences that decode have slots 0 to n - 1 of the cache: when one leaves, the last one takes its slot. The
slot behind all of them has the prompt that is being read. A step is one pass (a CUDA graph on a GPU); each rounded
number of sequences and reach has one, and so has each piece of a prompt beside a rounded number of sequences.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Tuple

import torch

from ..tools import Tensor
from .attend import batch_attend, mixed_attend
from .model import Llama
from .passes import Passes
from .reader import Reader, rounded_sizes

_COUNTS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
#: Beside pieces of prompts: a few unused rows are little there.
_BESIDE = (0, 8, 16, 24, 32, 48, 64, 96)


class Prompt(NamedTuple):
    """A prompt that is read piece by piece."""

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
        prompts: tokens of the longest prompt that ``begin`` or ``step_with`` reads; 0: others read them.
        chunk: tokens of a piece of a prompt; 0: ``begin`` reads whole ones.
        graphs: whether passes are CUDA graphs; default: on a GPU.
    """

    def __init__(
        self, model: Llama, slots: int, longest: int, prompts: int = 0, chunk: int = 0, graphs: Optional[bool] = None
    ) -> None:
        if not 1 <= slots <= _COUNTS[-1]:
            raise ValueError(f"1 to {_COUNTS[-1]} slots, not {slots}")
        if not 0 <= prompts < longest or chunk < 0:
            raise ValueError(f"prompts of less than {longest} tokens, not {prompts}; pieces of {chunk}")
        weight = model.lm_head.weight
        shape = model.shape
        self.model = model
        self.device = weight.device
        self.longest = longest
        self.prompts = prompts
        self.chunk = chunk
        self.counts = [count for count in _COUNTS if count < slots] + [slots]
        self.reaches = [reach for reach in (512, 1024, 1536, 2048, 3072, 4096) if reach < longest] + [longest]
        self.beside = [count for count in _BESIDE if count < slots] + [slots]
        self.pieces = rounded_sizes(chunk) if chunk > 0 else []
        # One more slot, for the prompt that is being read.
        size = (shape.layers, 2, slots + 1, shape.kv_heads, longest, shape.head_width)
        self.cache = torch.zeros(size, dtype=weight.dtype, device=self.device)
        self.slots = slots
        self.sequences: List[Sequence] = []
        self.tokens = torch.zeros(slots, dtype=torch.long, device=self.device)
        self.positions = torch.zeros(slots, dtype=torch.long, device=self.device)
        self._rows = torch.arange(slots, device=self.device)
        self._places = torch.arange(longest, device=self.device)
        self._piece = torch.zeros(max(1, chunk), dtype=torch.long, device=self.device)
        self._last = torch.zeros(1, dtype=torch.long, device=self.device)
        self._found = torch.zeros(slots + 1, dtype=torch.long, device=self.device)
        model.prepare(longest)
        self.passes = Passes(self.device, graphs)
        self.reader = Reader(model, prompts, self.cache[:, :, slots], graphs) if prompts > 0 and chunk == 0 else None
        self._add_passes()

    @property
    def free(self) -> int:
        return self.slots - len(self.sequences)

    # ---- Steps

    def begin(self, key: Any, tokens: Tensor, wanted: int) -> int:
        """Reads a whole prompt; its sequence joins. Answers its first token. Raises ValueError when there is no room,
        or where prompts are read in pieces or elsewhere."""
        if self.reader is None:
            raise ValueError("prompts are read in pieces, or elsewhere")
        self._check_room(tokens.shape[0], wanted)
        first = int(self.reader.read(tokens, self.cache[:, :, len(self.sequences)]).item())
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
        self.passes.run((_at_least(self.counts, count), _at_least(self.reaches, reach)))
        return self._moved(self.tokens[:count].tolist())

    def step_with(self, prompt: Prompt, start: int) -> Tuple[List[Tuple[Any, int, bool]], Optional[int]]:
        """As ``step``; the same pass reads a piece of a prompt, from token ``start``, a multiple of ``chunk``.

        When the prompt ends there, it joins the batch, and the first token of its answer is answered too. Begin no
        other prompt until then.
        """
        decoding, length = len(self.sequences), prompt.tokens.shape[0]
        self._check_room(length, prompt.wanted)
        if self.chunk == 0 or start % self.chunk != 0 or not 0 <= start < length <= self.prompts:
            raise ValueError(f"no piece at {start} of {length} tokens; pieces of {self.chunk}, up to {self.prompts}")
        count = min(self.chunk, length - start)
        beside = _at_least(self.beside, decoding)
        self._piece[:count] = prompt.tokens[start : start + count]
        self._last.fill_(beside + count - 1)
        self.passes.run((beside, start, _at_least(self.pieces, count)))
        numbers = self._found.tolist()
        moved = self._moved(numbers[:decoding])
        if start + count < length:
            return moved, None
        first = numbers[beside]
        self.join(prompt.key, self.cache[:, :, self.slots, :, :length], first, prompt.wanted)
        return moved, first

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

    def _add_passes(self) -> None:
        for start in reversed(range(0, self.prompts, self.chunk) if self.chunk > 0 else []):
            for piece in reversed(self.pieces):
                for beside in reversed(self.beside):
                    self.passes.add(
                        (beside, start, piece),
                        lambda beside=beside, start=start, piece=piece: self._read_beside(beside, start, piece),
                    )
        for size in reversed(self.counts):
            for far in reversed(self.reaches):
                self.passes.add((size, far), lambda size=size, far=far: self._advance(size, far))
        self.clear()
        self.tokens.zero_()

    def _advance(self, count: int, reach: int) -> None:
        positions = self.positions[:count]
        attend = batch_attend(self.cache, positions, reach)
        self.tokens[:count] = self.model(self.tokens[:count], positions, attend, self._rows[:count])
        self._next_positions(count)

    def _read_beside(self, count: int, start: int, piece: int) -> None:
        """The first ``count`` slots and a piece of a prompt; what it has too many changes nothing (see Reader)."""
        piece = min(piece, self.longest - start)
        positions = self.positions[:count]
        tokens = torch.cat((self.tokens[:count], self._piece[:piece]))
        places = torch.cat((positions, self._places[start : start + piece]))
        attend = mixed_attend(self.cache, positions, self.longest, self.slots, start, piece)
        found = self.model(tokens, places, attend, torch.cat((self._rows[:count], self._last)))
        self.tokens[:count] = found[:count]
        self._found[: count + 1] = found
        self._next_positions(count)

    def _next_positions(self, count: int) -> None:
        # Unused rows advance too, but stay inside the cache.
        self.positions[:count].add_(1).clamp_(max=self.longest - 1)

    def _moved(self, numbers: List[int]) -> List[Tuple[Any, int, bool]]:
        """Gives the sequences their new tokens; those that have all of theirs leave."""
        moved: List[Tuple[Any, int, bool]] = []
        for one, token in zip(self.sequences, numbers):
            one.length += 1
            one.left -= 1
            moved.append((one.key, token, one.left == 0))
        for at in range(len(numbers) - 1, -1, -1):
            if self.sequences[at].left == 0:
                self.remove(at)
        return moved


def _at_least(sizes: List[int], wanted: int) -> int:
    return next(size for size in sizes if size >= wanted)
